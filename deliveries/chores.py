"""What one worker of all machines does now and then, in steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

log = structlog.get_logger(__name__)


@contextmanager
def alone(number: int) -> Iterator[bool]:
    """Whether nobody else does the chore of this number now.

    An advisory lock, which ends with the session of a worker that is killed.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        is_mine = bool(cursor.fetchone()[0])
    try:
        yield is_mine
    finally:
        if is_mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


def attempt(step: Callable[[datetime], object], moment: datetime) -> None:
    """A step that fails does not keep the others from being done; it is tried again the next time."""
    try:
        done = step(moment)
    except (DatabaseError, InterfaceError) as error:
        log.warning("a chore is put off", step=step.__name__, reason=str(error).strip())
    else:
        if done:
            log.info("chore", step=step.__name__, done=done)


def earlier_clock() -> datetime:
    """The worker's or the database's: one that is ahead must not do what can't be undone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        there: datetime = cursor.fetchone()[0]
    return min(there, timezone.now())
