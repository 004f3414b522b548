"""django-q2's broker, with PostgreSQL as the clock: its queue, and the deliveries that come due.

The ORM broker asks its table five times a second. The clock waits on LISTEN until somebody publishes, or until
the next delivery is due, and then hands out a drain of that lane. Nothing is lost with a hand-out: what is
due is in the table, and the next look finds it.

The clock sits on any broker of q2's whose `dequeue` does not wait: here its table, in redis_broker.py Redis.
"""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Min
from django.utils import timezone
from django_q.brokers import Broker
from django_q.brokers.orm import ORM
from django_q.signing import SignedPackage

from deliveries.models import Delivery, Notice, Replay
from deliveries.resting import next_due_beside, resting
from deliveries.slots import free_slots
from deliveries.stopping import stopping
from deliveries.wakeup import NOTIFY_CHANNEL, wake
from subscriptions.models import Channel

LONGEST_WAIT = timedelta(seconds=2)  # what a lost notification waits at most
BETWEEN_DRAINS = timedelta(milliseconds=50)  # of one lane: time for the one before to take its slot
BETWEEN_LOOKS = timedelta(milliseconds=200)  # for a slot, while something is due and all of them are taken
DRAIN = "deliveries.dispatch.drain"
BEAT = "deliveries.heartbeat.beat"
HOUSEKEEPING = "deliveries.housekeeping.keep_house"
FAILING = "deliveries.failing.sweep"
SUMMARIES = "deliveries.summaries.sweep"
REMINDERS = "deliveries.reminding.sweep"
LATE = "deliveries.fallback.sweep"
PAUSES = {
    BEAT: timedelta(seconds=30),
    HOUSEKEEPING: timedelta(hours=1),
    FAILING: timedelta(minutes=1),
    SUMMARIES: timedelta(minutes=5),
    REMINDERS: timedelta(minutes=1),
    LATE: timedelta(minutes=1),
}  # of what is handed out whatever is due

REPLAYS = "deliveries.replaying.work_off"
BETWEEN_REPLAYS = timedelta(seconds=1)  # one task at a time does it, and stays while there is something to do

log = structlog.get_logger(__name__)


class Clock(Broker):
    """Hands out q2's own tasks first, then drains of the lanes that have something due and a worker free."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.handed_out_at: dict[str, float] = {}

    def enqueue(self, task: str) -> object:
        """Queue a task of q2's, and wake who waits on LISTEN."""
        id = super().enqueue(task)
        wake([self.list_key])
        return id

    def dequeue(self) -> list[tuple[object, str]] | None:
        if stopping.is_set():
            time.sleep(0.1)  # the pusher asks in a loop until the sentinel ends it
            return None
        try:
            if tasks := super().dequeue() or self.own_tasks():
                return tasks
            self.wait()
        except (OperationalError, InterfaceError) as error:
            log.warning("the queue waits for the database", reason=str(error).strip())
            connection.close()
            time.sleep(1)
        return None

    def own_tasks(self) -> list[tuple[object, str]]:
        """A heartbeat and the chores now and then, a drain of each lane that needs one, and replays that are due."""
        tasks, now = [], timezone.now()
        for function, pause in PAUSES.items():
            if self.rested(function, pause):
                self.handed_out_at[function] = time.monotonic()
                tasks.append(task(function))
        for lane in settings.DRAINS:
            if self.rested(lane, BETWEEN_DRAINS) and is_due(lane, now) and free_slots(lane):
                self.handed_out_at[lane] = time.monotonic()
                tasks.append(task(DRAIN, lane))
        if self.rested(REPLAYS, BETWEEN_REPLAYS) and Replay.objects.due(now).exists():
            self.handed_out_at[REPLAYS] = time.monotonic()
            tasks.append(task(REPLAYS))
        return [(None, packed) for packed in tasks]

    def rested(self, what: str, pause: timedelta) -> bool:
        last = self.handed_out_at.get(what)
        return last is None or time.monotonic() - last >= pause.total_seconds()

    def wait(self) -> None:
        """Until somebody publishes or the next delivery comes due."""
        due = next_due()
        rested = all(self.rested(lane, BETWEEN_DRAINS) for lane in settings.DRAINS)
        shortest = BETWEEN_LOOKS if rested else BETWEEN_DRAINS
        wait = LONGEST_WAIT if due is None else min(max(due - timezone.now(), shortest), LONGEST_WAIT)
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {NOTIFY_CHANNEL}")
        with connection.wrap_database_errors:
            for _ in connection.connection.notifies(timeout=wait.total_seconds(), stop_after=1):
                pass


class ClockBroker(Clock, ORM):
    """The clock on q2's queue in PostgreSQL."""


def task(function: str, *args: str) -> str:
    """A task of q2, packed as q2 packs its own."""
    return SignedPackage.dumps(
        {
            "id": uuid4().hex,
            "name": " ".join([function.rpartition(".")[2], *args]),
            "func": function,
            "args": args,
            "kwargs": {},
            "started": timezone.now(),
            "ack_failure": True,
        }
    )


def is_due(lane: str, now: datetime) -> bool:
    if Delivery.objects.due(now).filter(channel=lane).exists() and is_due_beside_resting(lane, now):
        return True
    return lane == Channel.EMAIL and Notice.objects.due(now).exists()


def is_due_beside_resting(lane: str, now: datetime) -> bool:
    rests = resting(now)
    due_at = next_due_beside(rests, lane, now) if rests else now
    return due_at is not None and due_at <= now


def next_due() -> datetime | None:
    """When the next attempt of any lane should begin. The end of a lease is noticed by looking now and then."""
    return min((moment for moment in due_times() if moment), default=None)


def due_times() -> Iterator[datetime | None]:
    now = timezone.now()
    rests = resting(now)
    yield min(rests.values(), default=None)
    for lane in settings.DRAINS:
        if rests:
            yield next_due_beside(rests, lane, now)
        else:
            idle = Delivery.objects.pending().filter(channel=lane, behind=False, leased_until=None)
            yield idle.aggregate(at=Min("next_attempt_at"))["at"]
    yield Notice.objects.aggregate(at=Min("due_at"))["at"]
    yield Replay.objects.aggregate(at=Min("due_at"))["at"]
