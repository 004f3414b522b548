"""Housekeeping: a task makes the partitions of the days to come, and deletes what has been kept for long enough."""

from datetime import datetime, timedelta
from functools import wraps

from django.conf import settings

from accounts.audit import forget_old_entries
from accounts.sessions import forget_ended_sessions
from accounts.throttling import forget_request_counts
from deliveries.cases import forget_cases
from deliveries.chores import Step, do
from deliveries.domains import forget_pauses
from deliveries.notices import forget_notices
from deliveries.partitions import make_partitions
from deliveries.replaying import forget_replays
from deliveries.retention import forget
from deliveries.tracking import forget_mail_events
from events.idempotency import forget_idempotency_keys

STEPS: list[Step] = [
    make_partitions,
    forget_idempotency_keys,
    forget_request_counts,
    forget_ended_sessions,
    forget_old_entries,
    forget_pauses,
]


def keep_house() -> None:
    kept = (forget, forget_mail_events, forget_notices, forget_replays, forget_cases)
    do("housekeeping", *STEPS, *map(after_retention, kept))


def after_retention(step: Step) -> Step:
    """With the moment from before which all has been kept for long enough."""

    @wraps(step)
    def at(now: datetime) -> object:
        return step(now - timedelta(days=settings.RETENTION_DAYS))

    return at
