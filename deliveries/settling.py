"""Settling: what an attempt came to is written down, and decides when, and whether, the next one is due."""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from json import dumps
from typing import Any
from uuid import UUID

import structlog
from django.db import DataError, connection, transaction

from accounts.ids import uuid7
from deliveries.channels import Report, Timings
from deliveries.claiming import Claim
from deliveries.digests import digest_at
from deliveries.failing import tell_gone, tell_recovered
from deliveries.fallback import tell_failed
from deliveries.lifecycle import hold_all, mark
from deliveries.locking import lock_all_beside_publishers
from deliveries.models import Attempt, Delivery, Trigger
from deliveries.ordering import keys_of, let_next_go
from subscriptions.models import LONGEST_COOLING, Channel, Recipient, Subscription

JITTER = 0.2
FAILURES_BEFORE_COOLING = 5
MOST_HELD = 1000  # in the settling of a 410, which everybody's drain waits for
SHORTEST_COOLING = timedelta(seconds=5)
LONGEST_RETRY_AFTER = timedelta(hours=24)
TIMINGS = [one.name for one in fields(Timings)]
UNSTORABLE = (DataError, ValueError)  # ValueError: half a surrogate pair does not even reach the database
SETTLED = {
    "id": "uuid",
    "status": "text",
    "attempt_count": "integer",
    "next_attempt_at": "timestamptz",
    "retry_requested": "boolean",
    "leased_until": "timestamptz",
    "lease_id": "uuid",
    "finished_at": "timestamptz",
    "digest": "uuid",
}
SUCCEED = """
UPDATE deliveries_delivery AS delivery
SET status = 'succeeded', attempt_count = delivery.attempt_count + 1, next_attempt_at = NULL, leased_until = NULL,
    lease_id = NULL, retry_requested = FALSE, finished_at = %(now)s
FROM unnest(%(ids)s::uuid[], %(leases)s::uuid[], %(counts)s::integer[]) AS claimed (id, lease_id, attempt_count)
WHERE delivery.id = ANY(%(ids)s::uuid[]) AND delivery.id = claimed.id AND delivery.lease_id = claimed.lease_id
    AND delivery.attempt_count = claimed.attempt_count
"""
WRITTEN = "SELECT id FROM deliveries_attempt WHERE delivery_id = ANY(%s::uuid[]) AND id = ANY(%s::uuid[])"
LOCK = f"""
SELECT {", ".join(SETTLED)} FROM deliveries_delivery WHERE id = ANY(%s::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""  # noqa: S608 - nothing from outside is in it
WRITE = f"""
UPDATE deliveries_delivery SET {", ".join(f"{name} = settled.{name}" for name in SETTLED if name != "id")}
FROM unnest({", ".join(f"%s::{kind}[]" for kind in SETTLED.values())}) AS settled ({", ".join(SETTLED)})
WHERE deliveries_delivery.id = ANY(%s::uuid[]) AND deliveries_delivery.id = settled.id
"""  # noqa: S608
UNSENT = """
WITH unsent AS (
    SELECT id FROM deliveries_delivery
    WHERE id = ANY(%(ids)s::uuid[])
        AND (id, lease_id) IN (SELECT * FROM unnest(%(ids)s::uuid[], %(leases)s::uuid[]) AS unsent (id, lease_id))
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE deliveries_delivery SET leased_until = NULL, lease_id = NULL
WHERE id = ANY(%(ids)s::uuid[]) AND id IN (SELECT id FROM unsent)
"""
RENEWED = UNSENT.replace("SET leased_until = NULL, lease_id = NULL", "SET leased_until = %(until)s")
POSTPONED = UNSENT.replace("SET", "SET next_attempt_at = %(at)s,")
HISTORY = """
COPY deliveries_attempt (id, delivery_id, number, trigger, started_at, duration_ms, timings, outcome, status_code,
    request_headers, response_headers, response_body, response_truncated, error, remote_ip) FROM STDIN
"""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Tried:
    """One attempt that was made. `started_at` is aware; `duration` is the whole attempt's."""

    claim: Claim
    report: Report
    started_at: datetime
    duration: timedelta
    attempt_id: UUID = field(default_factory=uuid7)

    @property
    def says_of_receiver(self) -> bool:
        """Whether it tells how the subscription's own receiver is; what went elsewhere does not."""
        return self.claim.delivery.detour is None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the delivery itself changes by it."""
        return self.report.succeeded and not (self.claim.is_probe or self.claim.is_awaited)

    @property
    def each(self) -> list["Tried"]:
        """Of a digest, the attempt of every delivery in it."""
        others = [Tried(claim, self.report, self.started_at, self.duration) for claim in self.claim.others]
        return [self, *others]


def next_wait(
    schedule: Sequence[timedelta], attempt: int, retry_after: timedelta | None, chance: float
) -> timedelta | None:
    """How long after failed attempt number `attempt` the next one is due; None when there is none left.

    `chance` from 0 to 1 spreads the wait by ±20 %. `retry_after` moves it later, to at most 24 hours.
    """
    if attempt > len(schedule):
        return None
    spread = schedule[attempt - 1] * (1 + JITTER * (2 * chance - 1))
    return max(spread, min(retry_after or timedelta(0), LONGEST_RETRY_AFTER))


def settle(tried: Sequence[Tried], now: datetime) -> None:
    """Write all attempts and what becomes of their deliveries, in one transaction.

    If the database refuses the lot for its data, each is settled by itself, at worst without what came back:
    an attempt that can't be written must not be made again and again.
    """
    try:
        settle_together(tried, now)
    except UNSTORABLE:
        for one in tried:
            settle_alone(one, now)


def settle_alone(one: Tried, now: datetime) -> None:
    try:
        settle_together([one], now)
    except UNSTORABLE as error:
        log.error("attempt kept without its answer", delivery=str(one.claim.delivery.id), reason=str(error))
        bare = Report(
            succeeded=one.report.succeeded,
            error=one.report.error and "The attempt failed; the answer could not be stored.",
            permanent=one.report.permanent,
            gone=one.report.gone,
            status_code=one.report.status_code,
        )
        settle_together([replace(one, report=bare)], now)


class Overtaken(Exception):
    """A delivery is not as this worker claimed it: its lease ran out, and others had it."""


def settle_together(tried: Sequence[Tried], now: datetime) -> None:
    """Plain successes, which nearly all are, without a look at their rows; all of them with one, if that fails."""
    plain = [one for one in tried if one.is_plain]
    others = [one for one in tried if not one.is_plain]
    healthy = {
        one.claim.delivery.subscription_id for one in tried if one.report.succeeded and one.says_of_receiver
    }
    try:
        with transaction.atomic():
            subscriptions = lock_affected(tried)
            succeed(plain, now)
            look_and_settle(others, subscriptions, healthy, now)
            let_next_go(keys_of(one.claim.delivery for one in tried))
    except Overtaken:
        with transaction.atomic():
            look_and_settle(tried, lock_affected(tried), healthy, now)
            let_next_go(keys_of(one.claim.delivery for one in tried))


def succeed(tried: Sequence[Tried], now: datetime) -> None:
    """Raises Overtaken if one of them is not as it was claimed."""
    if not tried:
        return
    claimed = {
        "ids": array(one.claim.delivery.id for one in tried),
        "leases": array(one.claim.lease_id for one in tried),
        "counts": array(one.claim.delivery.attempt_count for one in tried),
    }
    with connection.cursor() as cursor:
        cursor.execute(SUCCEED, {**claimed, "now": now})
        if cursor.rowcount != len(tried):
            raise Overtaken
    insert_attempts(attempt_row(one, one.claim.delivery.attempt_count + 1) for one in tried)


def array(values: Iterable[UUID | int]) -> str:
    """A literal of PostgreSQL's; psycopg takes ten times as long to write one."""
    return f"{{{','.join(map(str, values))}}}"


def look_and_settle(
    tried: Sequence[Tried],
    subscriptions: dict[UUID, Subscription],
    healthy: Collection[UUID],
    now: datetime,
) -> None:
    """`subscriptions` are locked; `healthy` are those of which an attempt has just succeeded."""
    if not tried or not (tried := unwritten(tried)):
        return
    deliveries = lock_deliveries([one.claim for one in tried])
    attempts = []
    for one in tried:
        delivery = deliveries[one.claim.delivery.id]
        delivery.attempt_count += 1
        attempts.append(attempt_row(one, delivery.attempt_count))
        if delivery.lease_id == one.claim.lease_id:
            conclude(delivery, one, subscriptions, now)
    insert_attempts(attempts)
    write(deliveries.values())
    failed = [one.claim.delivery for one in tried if deliveries[one.claim.delivery.id].has_failed]
    tell_failed(failed, subscriptions, now)
    note_health(tried, subscriptions, healthy, now)
    gone_ids = {
        one.claim.delivery.subscription_id for one in tried if one.report.gone and one.says_of_receiver
    }
    for gone in gone_ids:
        disable_gone(subscriptions[gone], now)


def unwritten(tried: Sequence[Tried]) -> Sequence[Tried]:
    """Without those that are in the history: the answer to a commit may get lost, and settling is tried again."""
    ids = [array(one.claim.delivery.id for one in tried), array(one.attempt_id for one in tried)]
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN, ids)
        written = {row[0] for row in cursor.fetchall()}
    return [one for one in tried if one.attempt_id not in written]


def disable_gone(locked: Subscription, now: datetime) -> None:
    """Under the lock it has: one that waits for publishers would keep this drain waiting as long as they like.

    What they add meanwhile, and what is beyond the first of a long backlog, is held when it is claimed.
    """
    if locked.deleted_at is None:
        is_news = locked.status != Subscription.Status.DISABLED
        reason = "The receiver answered 410 Gone: it wants no more notifications."
        mark(locked, Subscription.Status.DISABLED, reason)
        waiting = Delivery.objects.filter(subscription=locked).pending().idle(now)
        hold_all(Delivery.objects.filter(id__in=list(waiting.values_list("id", flat=True)[:MOST_HELD])))
        if is_news:
            tell_gone(locked, now)


@dataclass(slots=True)
class LockedDelivery:
    """What settling looks at, and all that it changes, of a row of Delivery. An object of the model costs more."""

    id: UUID
    status: str
    attempt_count: int
    next_attempt_at: datetime | None
    retry_requested: bool
    leased_until: datetime | None
    lease_id: UUID | None
    finished_at: datetime | None
    digest: UUID | None
    recipient: Recipient | None = None

    @property
    def has_failed(self) -> bool:
        return self.status == Delivery.Status.FAILED


def write(deliveries: Collection[LockedDelivery]) -> None:
    """One UPDATE for all; `bulk_update` takes longer to write its SQL than PostgreSQL to run this."""
    columns = [[getattr(delivery, name) for delivery in deliveries] for name in SETTLED]
    with connection.cursor() as cursor:
        cursor.execute(WRITE, [*columns, array(delivery.id for delivery in deliveries)])


def lock_affected(tried: Sequence[Tried]) -> dict[UUID, Subscription]:
    """The subscriptions whose health or whose waiting deliveries this settling may change, as they are now."""
    ids = {
        one.claim.delivery.subscription_id
        for one in tried
        if not one.is_plain or one.claim.delivery.position is not None
    }
    return lock_all_beside_publishers(ids) if ids else {}


def lock_deliveries(claims: Sequence[Claim]) -> dict[UUID, LockedDelivery]:
    """The rows, and their recipients, as they are now."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [array(claim.delivery.id for claim in claims)])
        locked = {row[0]: LockedDelivery(*row) for row in cursor.fetchall()}
    told = {claim.delivery.id: claim.delivery.recipient.id for claim in claims if claim.delivery.recipient}
    recipients = Recipient.objects.in_bulk(set(told.values())) if told else {}
    for delivery_id, recipient_id in told.items():
        locked[delivery_id].recipient = recipients[recipient_id]
    return locked


def insert_attempts(rows: Iterable[Sequence[Any]]) -> None:
    """By COPY, which costs a fraction of INSERT."""
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(HISTORY) as copy:
        for row in rows:
            copy.write_row(row)


def attempt_row(one: Tried, number: int) -> tuple[Any, ...]:
    """The values of an Attempt, in the order of HISTORY."""
    report = one.report
    return (
        one.attempt_id,
        one.claim.delivery.id,
        number,
        str(one.claim.trigger),
        one.started_at,
        round(one.duration.total_seconds() * 1000, 1),
        dumps({name: getattr(report.timings, name) for name in TIMINGS}),
        str(Attempt.Outcome.SUCCEEDED if report.succeeded else Attempt.Outcome.FAILED),
        report.status_code,
        dumps(report.request_headers),
        dumps(report.response_headers),
        report.response_body,
        report.response_truncated,
        report.error,
        report.remote_ip,
    )


def conclude(
    delivery: LockedDelivery, one: Tried, subscriptions: Mapping[UUID, Subscription], now: datetime
) -> None:
    """What becomes of the delivery after this attempt. `subscriptions` has those of failed attempts."""
    is_by_hand = one.claim.trigger == Trigger.MANUAL
    wait = timedelta(0) if delivery.retry_requested and not is_by_hand else wait_after(delivery, one)
    delivery.retry_requested &= not is_by_hand
    if one.report.succeeded:
        finish(delivery, Delivery.Status.SUCCEEDED, now)
    elif wait is None:
        finish(delivery, Delivery.Status.FAILED, now)
    else:
        put_back(delivery, subscriptions[one.claim.delivery.subscription_id], now + wait, now)


def put_back(delivery: LockedDelivery, subscription: Subscription, at: datetime, now: datetime) -> None:
    """Due at `at`, unless its subscription or recipient does not want it now (held), or no longer (cancelled)."""
    delivery.leased_until = delivery.lease_id = None
    delivery.next_attempt_at = at
    recipient = delivery.recipient
    if subscription.deleted_at is not None or (recipient is not None and not recipient.wants_email):
        finish(delivery, Delivery.Status.CANCELLED, now)
    elif not subscription.is_active or (recipient and recipient.status != Recipient.Status.CONFIRMED):
        delivery.status, delivery.next_attempt_at = Delivery.Status.HELD, None
    elif recipient is not None and recipient.rhythm.is_quiet(at):
        wait_for_quiet_to_end(delivery, recipient, at)


def wait_for_quiet_to_end(delivery: LockedDelivery, recipient: Recipient, at: datetime) -> None:
    """What was never tried joins what else has gathered by then; a retry is the email that it was."""
    delivery.next_attempt_at = recipient.rhythm.awake(at)
    if delivery.digest is None and not delivery.attempt_count and not delivery.retry_requested:
        delivery.digest = digest_at(recipient.id, delivery.next_attempt_at)


def wait_after(delivery: LockedDelivery, one: Tried) -> timedelta | None:
    if one.report.permanent:
        return None
    chance = chance_of(one.claim.delivery.digest, delivery.attempt_count)
    return next_wait(one.claim.delivery.schedule, delivery.attempt_count, one.report.retry_after, chance)


def chance_of(digest: UUID | None, attempt: int) -> float:
    """The same for all of a digest, which is tried again as a whole."""
    chances = random.Random(f"{digest} {attempt}") if digest else random  # noqa: S311 - spreads load, guards nothing
    return chances.random()


def finish(delivery: LockedDelivery, status: str, now: datetime) -> None:
    delivery.status = status
    delivery.next_attempt_at = delivery.leased_until = delivery.lease_id = None
    delivery.retry_requested = False
    delivery.finished_at = now


def note_health(
    tried: Sequence[Tried],
    subscriptions: Mapping[UUID, Subscription],
    healthy: Collection[UUID],
    now: datetime,
) -> None:
    """A webhook subscription is failing from its first failed attempt until one succeeds."""
    changed: dict[UUID, Subscription] = {}
    for one in tried:
        subscription = subscriptions.get(one.claim.delivery.subscription_id)
        if subscription is None or subscription.channel != Channel.WEBHOOK or not one.says_of_receiver:
            continue
        if subscription.id not in healthy:
            note_failure(subscription, one, now)
            changed[subscription.id] = subscription
        elif subscription.failing_since is not None or subscription.told_failing_since is not None:
            tell_recovered(subscription, now)
            subscription.forget_failures()
            changed[subscription.id] = subscription
    for subscription in changed.values():
        subscription.save(update_fields=[*Subscription.health, "told_failing_since"])


def note_failure(subscription: Subscription, one: Tried, now: datetime) -> None:
    """After one that a person asked for, the others that they asked for follow at once."""
    subscription.failing_since = subscription.failing_since or one.started_at
    subscription.failure_count += 1
    subscription.last_failed_at, subscription.last_error = one.started_at, one.report.error
    is_enough = subscription.failure_count >= FAILURES_BEFORE_COOLING
    if is_enough and one.claim.trigger != Trigger.MANUAL and not subscription.is_cooling(now):
        chance = random.random()  # noqa: S311 - spreads load, guards nothing
        subscription.cooling_until = now + cooling(now - subscription.failing_since, chance)


def cooling(failing: timedelta, chance: float) -> timedelta:
    """How long no attempt is made: as long again as it has been failing, spread by ±20 % (`chance` from 0 to 1)."""
    pause = min(max(failing, SHORTEST_COOLING), LONGEST_COOLING / (1 + JITTER))
    return max(pause * (1 + JITTER * (2 * chance - 1)), SHORTEST_COOLING)


def hold(claims: Sequence[Claim], now: datetime) -> None:
    """Put back, without an attempt, what was claimed but is not wanted now: held, or cancelled for good.

    Subscriptions and recipients are looked at again under lock: a resume may have come in between.
    """
    claims = each_of(claims)
    with transaction.atomic():
        subscriptions = lock_all_beside_publishers({claim.delivery.subscription_id for claim in claims})
        deliveries = lock_deliveries(claims)
        for claim in claims:
            delivery = deliveries[claim.delivery.id]
            if delivery.lease_id == claim.lease_id:
                put_back(delivery, subscriptions[claim.delivery.subscription_id], now, now)
        write(deliveries.values())
        let_next_go(keys_of(claim.delivery for claim in claims))


def put_back_unsent(claims: Sequence[Claim]) -> None:
    """Let others have what was claimed and not sent: due as before, at no cost."""
    with connection.cursor() as cursor:
        cursor.execute(UNSENT, held_by_us(claims))


def postpone(claims: Sequence[Claim], at: datetime) -> None:
    """Due again at `at`, which is soon, at no cost: what was claimed and is better sent a little later."""
    with connection.cursor() as cursor:
        cursor.execute(POSTPONED, {**held_by_us(claims), "at": at})


def renew(claims: Sequence[Claim], until: datetime) -> None:
    """Keep what is under way for longer, as far as it is ours yet."""
    with connection.cursor() as cursor:
        cursor.execute(RENEWED, {**held_by_us(claims), "until": until})


def held_by_us(claims: Sequence[Claim]) -> dict[str, str]:
    each = each_of(claims)
    return {"ids": array(one.delivery.id for one in each), "leases": array(one.lease_id for one in each)}


def each_of(claims: Sequence[Claim]) -> list[Claim]:
    return [each for one in claims for each in one.each]
