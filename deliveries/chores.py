"""What one worker of all machines does now and then: in steps, and what there is of a kind in batches."""

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from deliveries.stopping import stopping

Step = Callable[[datetime], object]
Row = TypeVar("Row", bound=Model)

LONGEST_STEP = timedelta(seconds=30)

log = structlog.get_logger(__name__)


def do(chore: str, *steps: Step) -> None:
    """Does nothing while another worker does it, on whatever machine."""
    with alone(number_of(chore)) as is_mine:
        if is_mine:
            now = earlier_clock()
            for step in steps:
                attempt(step, now)


def number_of(chore: str) -> int:
    """Of the lock that whoever does it holds."""
    return zlib.crc32(f"openvolt {chore}".encode())


@contextmanager
def alone(*number: int) -> Iterator[bool]:
    """Whether nobody else holds the lock of this number now, which may be in two halves.

    An advisory lock, which ends with the session of a worker that is killed.
    """
    places = ", ".join(["%s"] * len(number))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock({places})", number)
        is_mine = bool(cursor.fetchone()[0])
    try:
        yield is_mine
    finally:
        if is_mine:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT pg_advisory_unlock({places})", number)


def attempt(step: Step, moment: datetime) -> None:
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


def in_batches(due: QuerySet[Row], size: int, act: Callable[[Sequence[Row]], object]) -> int:
    """Act on what is due, and is not any more then; returns how many they were.

    Ends when none is left, when the workers are told to stop, or after half a minute: one worker does all chores.
    Each batch is locked and in a transaction of its own; publishers go on meanwhile. If one fails, those that are left
    are done one by one, without what fails by itself. That, and what somebody else holds, is left to the next sweep.
    """
    free = due.select_for_update(of=("self",), skip_locked=True, no_key=True)
    done, ends_at = 0, time.monotonic() + LONGEST_STEP.total_seconds()
    failed: list[object] = []
    while not stopping.is_set() and time.monotonic() < ends_at:
        locked: list[Row] = []
        try:
            with transaction.atomic():
                if locked := list(free.exclude(pk__in=failed)[:size]):
                    act(locked)
        except Exception:
            if not locked:
                raise
            if len(locked) == 1:
                log.exception("put off", what=str(locked[0].pk))
                failed.append(locked[0].pk)
            size = 1
            continue
        done += len(locked)
        if len(locked) < size:
            break
    return done
