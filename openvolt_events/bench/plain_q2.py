"""Settings of the baseline that has one django-q2 task a delivery: q2's own ORM broker, four workers."""

from openvolt_events.settings import *  # noqa: F403
from openvolt_events.settings import Q_CLUSTER as OURS

Q_CLUSTER = {
    "name": OURS["name"],  # that its tasks are queued under
    "orm": "default",
    "workers": 4,
    "bulk": 10,  # fetched at a time: a fifth faster than one
    "queue_limit": 40,
    "timeout": 60,
    "retry": 180,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
}
