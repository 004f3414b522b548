"""How many deliveries a second, against the most that the machine can send, and against a task a delivery."""

import json

from django.conf import settings

from openvolt_events.bench.bare_senders import send_from_processes
from openvolt_events.bench.figures import AtLeast, Figure, ratio
from openvolt_events.bench.plain_tasks import SETTINGS, enqueue_pending
from openvolt_events.bench.sizes import Sizes
from openvolt_events.bench.stage import Stage, publish_deliveries
from openvolt_events.load.publishers import PAYLOAD
from subscriptions.models import new_secret

BARE = (
    "a backlog of signed 1 KB notifications to a healthy receiver on the same machine, worked off by `qcluster`,"
    " against as many processes as workers that only sign and post with `requests.Session`. Both are the rate of"
    " arrivals without the first and the last tenth."
)
PLAIN = (
    "the same backlog, against a task of django-q2 for each delivery: its own ORM broker, four workers, kept"
    " connections, one transaction for the attempt and the delivery."
)


def deliveries(stage: Stage, sizes: Sizes) -> list[Figure]:
    bare, ours, plain = [], [], []
    for _ in range(sizes.rounds):
        bare.append(by_bare_senders(stage, sizes.deliveries))
        ours.append(by_workers(stage, sizes.deliveries))
        plain.append(by_plain_tasks(stage, sizes.tasks))
    return [
        ratio("deliveries/s, 1 KB, against bare senders", ours, bare, AtLeast(1), BARE),
        ratio("deliveries/s, 1 KB, against a django-q2 task each", ours, plain, AtLeast(7), PLAIN),
    ]


def by_bare_senders(stage: Stage, number: int) -> float:
    group = stage.group("bare")
    send_from_processes(
        settings.WORKERS, stage.receiver.url(group), new_secret(), json.dumps(PAYLOAD), number
    )
    return stage.rate(group, number)


def by_workers(stage: Stage, number: int) -> float:
    """The backlog is there before the workers start: publishing is not measured here."""
    group = stage.group("ours")
    with stage.database():
        published = publish_deliveries(stage, group, number)
        with stage.workers():
            rate = stage.rate(group, published)
            stage.until_settled()
    return rate


def by_plain_tasks(stage: Stage, number: int) -> float:
    group = stage.group("plain")
    with stage.database():
        published = publish_deliveries(stage, group, number)
        enqueue_pending()
        with stage.workers(DJANGO_SETTINGS_MODULE=SETTINGS):
            rate = stage.rate(group, published)
            stage.until_settled()
    return rate
