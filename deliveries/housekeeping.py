"""Housekeeping: a task makes the partitions of the days to come, and deletes what has been kept for long enough."""

import zlib
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings

from accounts.audit import forget_old_entries
from accounts.sessions import forget_ended_sessions
from accounts.throttling import forget_request_counts
from deliveries.cases import forget_cases
from deliveries.chores import alone, attempt, earlier_clock
from deliveries.notices import forget_notices
from deliveries.partitions import make_partitions
from deliveries.replaying import forget_replays
from deliveries.retention import forget
from deliveries.tracking import forget_mail_events
from events.idempotency import forget_idempotency_keys

LOCK = zlib.crc32(b"openvolt housekeeping")
STEPS: list[Callable[[datetime], object]] = [
    make_partitions,
    forget_idempotency_keys,
    forget_request_counts,
    forget_ended_sessions,
    forget_old_entries,
]


def keep_house() -> None:
    """Does nothing while another worker does it, on whatever machine. What fails is tried again the next time."""
    with alone(LOCK) as is_mine:
        if not is_mine:
            return
        now = earlier_clock()
        for step in STEPS:
            attempt(step, now)
        for step in (forget, forget_mail_events, forget_notices, forget_replays, forget_cases):
            attempt(step, now - timedelta(days=settings.RETENTION_DAYS))
