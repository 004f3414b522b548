"""Housekeeping: a task makes the partitions of the days to come, and deletes what has been kept for long enough."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from accounts.audit import forget_old_entries
from accounts.sessions import forget_ended_sessions
from accounts.throttling import forget_request_counts
from deliveries.partitions import make_partitions
from deliveries.retention import forget
from events.idempotency import forget_idempotency_keys

LOCK = zlib.crc32(b"openvolt housekeeping")
STEPS: list[Callable[[datetime], object]] = [
    make_partitions,
    forget_idempotency_keys,
    forget_request_counts,
    forget_ended_sessions,
    forget_old_entries,
]

log = structlog.get_logger(__name__)


def keep_house() -> None:
    """Does nothing while another worker does it, on whatever machine. What fails is tried again the next time."""
    with lock() as is_mine:
        if not is_mine:
            return
        now = earlier_clock()
        for step in STEPS:
            attempt(step, now)
        attempt(forget, now - timedelta(days=settings.RETENTION_DAYS))


def attempt(step: Callable[[datetime], object], moment: datetime) -> None:
    try:
        done = step(moment)
    except (DatabaseError, InterfaceError) as error:
        log.warning("housekeeping is put off", step=step.__name__, reason=str(error).strip())
    else:
        if done:
            log.info("housekeeping", step=step.__name__, done=done)


def earlier_clock() -> datetime:
    """The worker's or the database's: one that is ahead must not forget what is to be kept."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        there: datetime = cursor.fetchone()[0]
    return min(there, timezone.now())


@contextmanager
def lock() -> Iterator[bool]:
    """An advisory lock, which ends with the session of a worker that is killed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        is_mine = bool(cursor.fetchone()[0])
    try:
        yield is_mine
    finally:
        if is_mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
