"""Settling: what an attempt came to is written down, and decides when, and whether, the next one is due."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import DataError, transaction

from deliveries.channels import Report
from deliveries.claiming import Claim
from deliveries.lifecycle import disable
from deliveries.models import Attempt, Delivery
from subscriptions.models import Channel, Recipient, Subscription

JITTER = 0.2
LONGEST_RETRY_AFTER = timedelta(hours=24)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt that was made. `started_at` is aware; `duration` is the whole attempt's."""

    claim: Claim
    report: Report
    started_at: datetime
    duration: timedelta


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
    except DataError:
        for one in tried:
            settle_alone(one, now)


def settle_alone(one: Tried, now: datetime) -> None:
    try:
        settle_together([one], now)
    except DataError as error:
        log.error("attempt kept without its answer", delivery=str(one.claim.delivery.id), reason=str(error))
        bare = Report(
            succeeded=one.report.succeeded,
            error=one.report.error and "The attempt failed; the answer could not be stored.",
            permanent=one.report.permanent,
            gone=one.report.gone,
            status_code=one.report.status_code,
        )
        settle_together([replace(one, report=bare)], now)


def settle_together(tried: Sequence[Tried], now: datetime) -> None:
    with transaction.atomic():
        subscriptions = lock_affected(tried)
        deliveries = lock_deliveries(one.claim.delivery.id for one in tried)
        attempts = []
        for one in tried:
            delivery = deliveries[one.claim.delivery.id]
            delivery.attempt_count += 1
            attempts.append(attempt_of(one, delivery.attempt_count))
            if delivery.lease_id == one.claim.lease_id:
                conclude(delivery, one, subscriptions.get(delivery.subscription_id), now)
        Attempt.objects.bulk_create(attempts)
        Delivery.objects.bulk_update(deliveries.values(), SETTLED_FIELDS)
        note_health(tried, subscriptions)
        for gone in {one.claim.delivery.subscription_id for one in tried if one.report.gone}:
            disable(
                subscriptions[gone], now, "The receiver answered 410 Gone: it wants no more notifications."
            )


SETTLED_FIELDS = [
    "status",
    "attempt_count",
    "next_attempt_at",
    "retry_requested",
    "leased_until",
    "lease_id",
    "finished_at",
]


def lock_affected(tried: Sequence[Tried]) -> dict[UUID, Subscription]:
    """The subscriptions whose health or whose waiting deliveries this settling may change, as they are now.

    Publishers share the row with this lock; a pause waits for it.
    """
    ids = {
        one.claim.delivery.subscription_id
        for one in tried
        if not one.report.succeeded or one.claim.subscription.failing_since
    }
    locked = Subscription.objects.select_for_update(no_key=True).filter(id__in=ids).order_by("id")
    return {subscription.id: subscription for subscription in locked} if ids else {}


def lock_deliveries(ids: Iterable[UUID]) -> dict[UUID, Delivery]:
    locked = Delivery.objects.select_for_update(of=("self",), no_key=True).select_related("recipient")
    return {delivery.id: delivery for delivery in locked.filter(id__in=list(ids)).order_by("id")}


def attempt_of(one: Tried, number: int) -> Attempt:
    report = one.report
    return Attempt(
        delivery_id=one.claim.delivery.id,
        number=number,
        trigger=one.claim.trigger,
        started_at=one.started_at,
        duration_ms=round(one.duration.total_seconds() * 1000, 1),
        timings=asdict(report.timings),
        outcome=Attempt.Outcome.SUCCEEDED if report.succeeded else Attempt.Outcome.FAILED,
        status_code=report.status_code,
        request_headers=report.request_headers,
        response_headers=report.response_headers,
        response_body=report.response_body,
        response_truncated=report.response_truncated,
        error=report.error,
        remote_ip=report.remote_ip,
    )


def conclude(delivery: Delivery, one: Tried, subscription: Subscription | None, now: datetime) -> None:
    """What becomes of the delivery after this attempt. `subscription` is there when the attempt failed."""
    delivery.leased_until = delivery.lease_id = None
    if one.report.succeeded:
        finish(delivery, Delivery.Status.SUCCEEDED, now)
    elif subscription is not None and subscription.deleted_at is not None:
        finish(delivery, Delivery.Status.CANCELLED, now)
    elif delivery.retry_requested:
        delivery.next_attempt_at = now
    elif wait := wait_after(delivery, one):
        delivery.next_attempt_at = now + wait
        if subscription is not None and not subscription.is_active:
            delivery.status, delivery.next_attempt_at = Delivery.Status.HELD, None
    else:
        finish(delivery, Delivery.Status.FAILED, now)


def wait_after(delivery: Delivery, one: Tried) -> timedelta | None:
    if one.report.permanent:
        return None
    chance = random.random()  # noqa: S311 - spreads load, guards nothing
    return next_wait(one.claim.delivery.schedule, delivery.attempt_count, one.report.retry_after, chance)


def finish(delivery: Delivery, status: str, now: datetime) -> None:
    delivery.status = status
    delivery.next_attempt_at = None
    delivery.retry_requested = False
    delivery.finished_at = now


def note_health(tried: Sequence[Tried], subscriptions: dict[UUID, Subscription]) -> None:
    """A webhook subscription is failing from its first failed attempt until one succeeds."""
    healthy = {one.claim.delivery.subscription_id for one in tried if one.report.succeeded}
    for one in tried:
        subscription = subscriptions.get(one.claim.delivery.subscription_id)
        if subscription is None or subscription.channel != Channel.WEBHOOK:
            continue
        before = subscription.failing_since
        subscription.failing_since = None if subscription.id in healthy else before or one.started_at
        if subscription.failing_since != before:
            subscription.save(update_fields=["failing_since"])


def hold(claims: Sequence[Claim], now: datetime) -> None:
    """Put back, without an attempt, what was claimed but is not wanted now: held, or cancelled for good.

    Subscriptions and recipients are looked at again under lock: a resume may have come in between.
    """
    with transaction.atomic():
        ids = {claim.delivery.subscription_id for claim in claims}
        locked = Subscription.objects.select_for_update(no_key=True).filter(id__in=ids).order_by("id")
        subscriptions = {subscription.id: subscription for subscription in locked}
        deliveries = lock_deliveries(claim.delivery.id for claim in claims)
        for claim in claims:
            delivery = deliveries[claim.delivery.id]
            if delivery.lease_id == claim.lease_id:
                put_back(delivery, subscriptions[delivery.subscription_id], now)
        Delivery.objects.bulk_update(deliveries.values(), SETTLED_FIELDS)


def put_back(delivery: Delivery, subscription: Subscription, now: datetime) -> None:
    delivery.leased_until = delivery.lease_id = None
    recipient = delivery.recipient
    if subscription.deleted_at is not None or (recipient is not None and not recipient.wants_email):
        finish(delivery, Delivery.Status.CANCELLED, now)
    elif not subscription.is_active or (recipient and recipient.status != Recipient.Status.CONFIRMED):
        delivery.status, delivery.next_attempt_at = Delivery.Status.HELD, None
