"""Telling a subscription again of what was published in a span of time: a job that outlives whoever works on it.

A step looks at the next events behind the job's cursor, makes the deliveries that are to be made, and moves the cursor,
all in one transaction: a worker that is killed leaves everything as it was before or after it, and so nothing is told
twice by one job, nor left out. What is told is decided by the step: what has succeeded meanwhile is not told again.

No more than a few deliveries of a job wait at a time, as many as its receiver takes in a second or so; so what is
published now finds hardly anything before it. Locks are taken in the order subscription, replay, events, deliveries.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import accumulate, takewhile
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Avg, Min, OuterRef, Q, Subquery
from django.utils import timezone

from accounts.audit import picture, record
from deliveries.chores import alone, number_of
from deliveries.digests import due_with_others
from deliveries.dispatch import THREADS, over_after
from deliveries.lifecycle import NotPossible, cancel_and_let_go, refuse_deleted
from deliveries.locking import lock_beside_publishers, lock_shared
from deliveries.models import Attempt, Delivery, Replay, Trigger
from deliveries.ordering import key_in
from deliveries.partitions import EPOCH, first_id
from deliveries.publishing import create_deliveries, new_delivery, recipients_of
from deliveries.wakeup import wake
from events.models import ERASED, Event
from events.payloads import Payload
from subscriptions.models import Channel, Recipient, Subscription

REPLAYS = "replays"
MOST_RUNNING = 10  # of a subscription
LOOKED_AT = 2000  # events at a time
PAYLOADS_LOOKED_AT = 100  # where payloads decide: each may have a mebibyte
LAG = timedelta(minutes=2)  # that an event's id may be made after the moment that is its `created_at`
COMMITTED_AFTER = timedelta(
    seconds=5
)  # by then who publishes has committed, and no cursor passes its events by
LEAST_PACE, MOST_PACE = 8, 512  # deliveries that wait for their first attempt at a time
QUICK, SLOW = timedelta(seconds=0.5), timedelta(seconds=2)  # for half of them
BETWEEN_STEPS, LONGEST_PAUSE = timedelta(seconds=0.1), timedelta(seconds=5)
AT_HAND = 0.5  # seconds; the task stays for a step that is due by then
LONGEST_TASK = timedelta(seconds=10)
MOST_STEPS = 50  # before it is looked again whose turn it is
PUT_OFF = timedelta(minutes=1)  # after a fault of our own
COUNTING = 2.0  # seconds that who asks waits for the count
MOST_FORGOTTEN = 1000  # at a time
KNOWN_ATTEMPTS = 100
SECONDS_AN_ATTEMPT = 0.1  # while there were none
USABLE_RATE = 10 / 11  # of a rate limit (pacing.py)

GOT = {Delivery.Status.PENDING, Delivery.Status.HELD, Delivery.Status.SUCCEEDED}
CHANGED = (
    *("status", "matched", "queued", "counted", "count_cursor", "cursor"),
    *("pace", "paced_at", "due_at", "finished_at"),
)

Person = Recipient | None  # None stands for the one whom a webhook tells

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What was found by looking at the next events: who is to be told of which, and how far the look went.

    `keys` are those that were seen on the way, of payloads that were looked into.
    """

    found: Mapping[UUID, Sequence[Person]]
    keys: Mapping[UUID, str | None]
    cursor: UUID
    is_last: bool

    def up_to(self, most: int) -> "Look":
        """The first of it, so that no more than `most` deliveries come of it, but one event at least."""
        sizes = accumulate(len(people) for people in self.found.values())
        count = max(sum(1 for _ in takewhile(lambda size: size <= most, sizes)), 1)
        if count >= len(self.found):
            return self
        kept = list(self.found)[:count]
        return replace(self, found={id: self.found[id] for id in kept}, cursor=kept[-1], is_last=False)


def plan(
    subscription: Subscription,
    *,
    since: datetime,
    until: datetime,
    only: str,
    types: Sequence[str] = (),
    url: str = "",
    now: datetime,
) -> Replay:
    """The job, not saved, with its count as far as there was time for it."""
    first = first_id(max(since, EPOCH + LAG) - LAG)
    replay = Replay(
        application_id=subscription.application_id,
        subscription=subscription,
        since=since,
        until=min(until, now),
        types=list(types),
        only=only,
        url=url,
        count_cursor=first,
        cursor=first,
        due_at=now,
        created_at=now,
    )
    ends_at = time.monotonic() + COUNTING
    while replay.matched is None and time.monotonic() < ends_at:
        count_on(replay, subscription)
    return replay


def start(replay: Replay) -> Replay:
    """Save the job, which is worked off from then on.

    Raises SubscriptionDeleted, and NotPossible when the subscription has enough of them.
    """
    with transaction.atomic():
        refuse_deleted(lock_beside_publishers(replay.subscription_id))
        if Replay.objects.running().filter(subscription=replay.subscription_id).count() >= MOST_RUNNING:
            raise NotPossible(
                f"{MOST_RUNNING} replays of this subscription are running. Wait for one of them, or cancel one."
            )
        replay.save(force_insert=True)
        record("replay.started", replay, after=picture(replay))
        wake([REPLAYS])
    return replay


def cancel_replay(replay: Replay, now: datetime) -> Replay:
    """No further deliveries; those that no worker holds are cancelled. Raises NotPossible when it has completed."""
    with transaction.atomic():
        lock_beside_publishers(replay.subscription_id)
        locked = Replay.objects.select_for_update().get(pk=replay.pk)
        if locked.status == Replay.Status.CANCELLED:
            return locked
        if locked.status == Replay.Status.COMPLETED:
            raise NotPossible(
                "This replay has completed: all its deliveries are made. Cancel those that are still to be sent."
            )
        before = picture(locked)
        locked.status, locked.due_at, locked.finished_at = Replay.Status.CANCELLED, None, now
        locked.save(update_fields=["status", "due_at", "finished_at"])
        cancel_and_let_go(Q(subscription=locked.subscription_id, replay=locked), now)
        wake([Channel.WEBHOOK])
        record("replay.cancelled", locked, before, picture(locked))
    return locked


def work_off(clock: Callable[[], datetime] = timezone.now) -> None:
    """The task: make the steps that are due, for some seconds. Does nothing while another worker does it."""
    with alone(number_of(REPLAYS)) as is_mine:
        is_over = over_after(LONGEST_TASK)
        while is_mine and not is_over() and (pause := until_next_step(clock())) is not None:
            time.sleep(pause)
            make_steps(clock)


def until_next_step(now: datetime) -> float | None:
    """In seconds; None if there is none at hand."""
    due_at = Replay.objects.aggregate(at=Min("due_at"))["at"]
    seconds = max((due_at - now).total_seconds(), 0) if due_at else AT_HAND
    return seconds if seconds < AT_HAND else None


def make_steps(clock: Callable[[], datetime]) -> None:
    due = Replay.objects.due(clock()).values_list("id", "subscription_id")
    for id, subscription_id in list(due[:MOST_STEPS]):
        try:
            step(id, subscription_id, clock())
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            log.exception("replay put off", replay=str(id))
            Replay.objects.running().filter(pk=id).update(due_at=clock() + PUT_OFF)


def step(replay_id: UUID, subscription_id: UUID, now: datetime) -> None:
    """Go on with the job, if it is due and nobody else is at it."""
    with transaction.atomic():
        subscriptions = lock_shared([subscription_id])
        due = Replay.objects.running().due(now).select_for_update(skip_locked=True)
        replay = due.filter(pk=replay_id).first()
        if not subscriptions or replay is None:
            return
        go_on(replay, subscriptions[0], now)
        replay.save(update_fields=CHANGED)


def go_on(replay: Replay, subscription: Subscription, now: datetime) -> None:
    """Both are locked."""
    if not subscription.is_active:
        replay.due_at = None  # a resume sets it
    elif replay.matched is None:
        count_on(replay, subscription)
        replay.due_at = now
    else:
        queue_on(replay, subscription, now)


def count_on(replay: Replay, subscription: Subscription) -> None:
    seen = look(replay, subscription, replay.count_cursor, first_id(latest_made(replay)))
    replay.counted += len(seen.found)
    replay.count_cursor = seen.cursor
    if seen.is_last:
        replay.matched = replay.counted


def queue_on(replay: Replay, subscription: Subscription, now: datetime) -> None:
    """Make more deliveries, if half of those before are gone; and say when to look again."""
    new = Delivery.objects.pending().filter(replay=replay, attempt_count=0)
    waiting = new.filter(next_attempt_at__lte=now).count()  # what gathers for a digest is in nobody's way
    age = now - replay.paced_at if replay.paced_at else QUICK
    pace = next_pace(replay.pace, waiting, age)
    if waiting <= replay.pace // 2:
        seen = look(replay, subscription, replay.cursor, visible_end(replay, now)).up_to(pace - waiting)
        replay.queued += tell(replay, subscription, seen, now)
        replay.cursor, replay.paced_at = seen.cursor, now
        replay.due_at = now + BETWEEN_STEPS
        if seen.is_last:
            end(replay, now)
    else:
        replay.paced_at = replay.paced_at if pace == replay.pace else now
        replay.due_at = now + min(max(age / 8, BETWEEN_STEPS), LONGEST_PAUSE)
    replay.pace = pace


def next_pace(pace: int, waiting: int, age: timedelta) -> int:
    """How many may wait: more when half are gone soon after the last were added, fewer when that takes long."""
    if waiting > pace // 2:
        return max(pace // 2, LEAST_PACE) if age > SLOW else pace
    return min(pace * 2, MOST_PACE) if age < QUICK else pace


def visible_end(replay: Replay, now: datetime) -> UUID:
    """Behind the last event that is committed for sure."""
    return first_id(min(latest_made(replay), now - COMMITTED_AFTER))


def latest_made(replay: Replay) -> datetime:
    """When the id of the last event of its span may have been made."""
    return max(replay.until + LAG, EPOCH)


def end(replay: Replay, now: datetime) -> None:
    """Nothing is left; but while publishers may still commit, it is looked at once more."""
    if now < replay.until + COMMITTED_AFTER:
        replay.due_at = replay.until + COMMITTED_AFTER
    else:
        replay.status, replay.due_at, replay.finished_at = Replay.Status.COMPLETED, None, now


def look(replay: Replay, subscription: Subscription, cursor: UUID, end: UUID) -> Look:
    """At the next events behind the cursor and before the end, whatever they are: so it never takes long."""
    most = PAYLOADS_LOOKED_AT if needs_payloads(subscription) else LOOKED_AT
    events = Event.objects.filter(application=replay.application_id, id__gt=cursor, id__lt=end, test=False)
    rows = events.exclude(payload=ERASED).order_by("id").values_list("id", "type", "created_at")[:most]
    seen = list(rows)
    ids = [
        id
        for id, type, created_at in seen
        if replay.since <= created_at < replay.until
        and subscription.wants_type(type)
        and type in (replay.types or (type,))
    ]
    keys = let_through(subscription, ids) if subscription.filter else dict.fromkeys(ids)
    found = to_tell(replay, subscription, list(keys))
    return Look(found, keys, seen[-1][0] if seen else cursor, len(seen) < most)


def needs_payloads(subscription: Subscription) -> bool:
    return bool(subscription.filter or subscription.ordering_key)


def let_through(subscription: Subscription, ids: Collection[UUID]) -> dict[UUID, str | None]:
    """Those whose payloads its filter lets through, with their keys. They are many, and come a few at a time."""
    events = Event.objects.filter(pk__in=ids).order_by("id").values_list("id", "type", "payload")
    payloads = ((id, type, Payload(text)) for id, type, text in events.iterator(chunk_size=20))
    return {
        id: key_in(payload, subscription)
        for id, type, payload in payloads
        if subscription.wants(type, payload)
    }


def to_tell(replay: Replay, subscription: Subscription, ids: Sequence[UUID]) -> dict[UUID, list[Person]]:
    """Who is to be told of which of these events, by what has become of their deliveries so far."""
    people = people_of(subscription)
    if replay.only == Replay.Only.ALL:
        return dict.fromkeys(ids, people) if people else {}
    history = history_of(subscription, ids)
    found = {
        id: [one for one in people if is_wanted(replay.only, history[id, one.pk if one else None])]
        for id in ids
    }
    return {id: some for id, some in found.items() if some}


def people_of(subscription: Subscription) -> list[Person]:
    if subscription.channel == Channel.WEBHOOK:
        return [None]
    return list(recipients_of([subscription]).get(subscription.id, []))


def history_of(
    subscription: Subscription, ids: Sequence[UUID]
) -> Mapping[tuple[UUID, UUID | None], set[str]]:
    """The states of the deliveries that each was told by. What went elsewhere told them nothing."""
    history: dict[tuple[UUID, UUID | None], set[str]] = defaultdict(set)
    if not ids:
        return history
    deliveries = Delivery.objects.filter(event__in=ids, subscription=subscription, elsewhere=False).order_by()
    for event_id, recipient_id, status in deliveries.values_list("event_id", "recipient_id", "status"):
        history[event_id, recipient_id].add(status)
    return history


def is_wanted(only: str, states: Collection[str]) -> bool:
    """Whether who has deliveries in these states is to be told again."""
    if only == Replay.Only.ALL:
        return True
    got = any(state in GOT for state in states)
    return not got and (only == Replay.Only.MISSED or Delivery.Status.FAILED in states)


def tell(replay: Replay, subscription: Subscription, seen: Look, now: datetime) -> int:
    """Make the deliveries; returns of how many events. What is just being erased or forgotten is left out."""
    if not seen.found:
        return 0
    kept = Event.objects.filter(pk__in=list(seen.found)).exclude(payload=ERASED)
    locked = kept.select_for_update(no_key=True)
    has_keys_to_see = subscription.ordering_key and not subscription.filter
    events = sorted(locked if has_keys_to_see else locked.defer("payload"), key=lambda event: event.id)
    deliveries = [
        new_delivery(event, subscription, one, Trigger.REPLAY, now)
        for event in events
        for one in seen.found[event.id]
    ]
    for delivery in deliveries:
        delivery.replay, delivery.elsewhere = replay, replay.is_elsewhere
        delivery.ordering_key = None if replay.is_elsewhere else seen.keys[delivery.event_id]
        if delivery.recipient and delivery.status == Delivery.Status.PENDING:
            delivery.next_attempt_at, delivery.digest = due_with_others(replay, delivery.recipient, now)
    create_deliveries(deliveries)
    return len(events)


def forget_replays(before: datetime) -> int:
    """Delete those that ended before and have no deliveries left; returns how many of them that were."""
    one_left = Delivery.objects.filter(replay=OuterRef("pk")).order_by().values("pk")[:1]
    ended = Replay.objects.filter(finished_at__lt=before).alias(one_left=Subquery(one_left))
    bare = ended.filter(one_left=None).order_by("finished_at").values_list("pk", flat=True)
    return Replay.objects.filter(pk__in=list(bare[:MOST_FORGOTTEN])).delete()[0]


def estimated_seconds(subscription: Subscription, matched: int) -> int:
    """How long it takes to tell so many, by how long the last attempts took; retries are not in it."""
    latest = Delivery.objects.filter(subscription=subscription).order_by("-id").values_list("id", flat=True)
    attempts = Attempt.objects.filter(delivery__in=list(latest[:KNOWN_ATTEMPTS]))
    took = attempts.aggregate(ms=Avg("duration_ms"))["ms"]
    seconds = max(took / 1000, 0.001) if took is not None else SECONDS_AN_ATTEMPT
    rate = at_a_time(subscription) / seconds
    if subscription.rate_limit:
        rate = min(rate, subscription.rate_limit * USABLE_RATE)
    return round(matched * max(len(people_of(subscription)), 1) / rate)


def at_a_time(subscription: Subscription) -> int:
    """Attempts that can be in flight."""
    if subscription.ordered and not subscription.ordering_key:
        return 1
    return settings.DRAINS[subscription.channel] * THREADS[subscription.channel]
