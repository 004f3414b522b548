"""Claiming: which due deliveries a worker takes, and everything that sending them needs."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Prefetch

from deliveries.channels import EmailTarget, Notification, WebhookTarget
from deliveries.models import Delivery, Trigger
from subscriptions.models import Channel, Recipient, SigningSecret, Subscription

LEASE_MARGIN = timedelta(seconds=10)  # to settle in, after an attempt has used up its whole deadline
CANDIDATES = 512

# `taken` looks up an array of ids, so that no guess of the planner's makes it walk the whole backlog.
CLAIM = """
WITH candidates AS (
    SELECT id, subscription_id, next_attempt_at FROM deliveries_delivery
    WHERE status = 'pending' AND channel = %(lane)s AND next_attempt_at <= %(now)s
        AND (leased_until IS NULL OR leased_until <= %(now)s) AND subscription_id <> ALL(%(full)s)
        AND (%(room_for_probes)s > 0 OR subscription_id NOT IN (
            SELECT id FROM subscriptions_subscription WHERE failing_since IS NOT NULL AND deleted_at IS NULL
        ))
    ORDER BY next_attempt_at LIMIT %(candidates)s
), fair AS (
    SELECT candidates.id, next_attempt_at, failing_since IS NOT NULL AS is_probe,
        row_number() OVER (PARTITION BY subscription_id ORDER BY next_attempt_at)
            + COALESCE((%(in_flight)s::jsonb ->> subscription_id::text)::int, 0) AS place
    FROM candidates JOIN subscriptions_subscription ON subscriptions_subscription.id = subscription_id
), allowed AS (
    SELECT id, is_probe, row_number() OVER (PARTITION BY is_probe ORDER BY next_attempt_at) AS nth FROM fair
    WHERE place <= CASE WHEN is_probe THEN 1 ELSE %(share)s END
), taken AS (
    SELECT id, retry_requested FROM deliveries_delivery
    WHERE id = ANY(ARRAY(SELECT id FROM allowed WHERE NOT is_probe OR nth <= %(room_for_probes)s))
        AND status = 'pending' AND next_attempt_at <= %(now)s AND (leased_until IS NULL OR leased_until <= %(now)s)
    ORDER BY next_attempt_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE deliveries_delivery SET leased_until = %(until)s, lease_id = %(lease)s, retry_requested = FALSE
FROM taken WHERE deliveries_delivery.id = taken.id
RETURNING deliveries_delivery.id, taken.retry_requested
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this worker alone may attempt, until its lease ends."""

    delivery: Delivery
    lease_id: UUID
    trigger: str

    @property
    def subscription(self) -> Subscription:
        return self.delivery.subscription

    @property
    def is_probe(self) -> bool:
        """Whether it finds out if a subscription that fails has recovered."""
        return self.subscription.failing_since is not None

    @property
    def sendable(self) -> bool:
        """Whether its subscription and recipient still want it; a pause may have come since it was due."""
        recipient = self.delivery.recipient
        return self.subscription.is_active and (
            recipient is None
            or (recipient.removed_at is None and recipient.status == Recipient.Status.CONFIRMED)
        )

    def notification(self) -> Notification:
        return notification(self.delivery, self.delivery.attempt_count + 1, self.trigger)

    def target(self) -> WebhookTarget | EmailTarget:
        return target(self.delivery)


def notification(delivery: Delivery, attempt: int, trigger: str) -> Notification:
    event = delivery.event
    return Notification(
        delivery_id=delivery.id,
        subscription_id=delivery.subscription_id,
        event_id=event.id,
        event_type=event.type,
        occurred_at=event.occurred_at,
        payload=event.payload,
        attempt=attempt,
        trigger=trigger,
        test=delivery.test,
    )


def target(delivery: Delivery) -> WebhookTarget | EmailTarget:
    subscription, recipient = delivery.subscription, delivery.recipient
    if recipient is not None:
        return EmailTarget(recipient.email, recipient.id, subscription.application.name)
    secrets = tuple(secret.secret for secret in subscription.secrets.all())
    return WebhookTarget(subscription.url, secrets, subscription.headers)


def attempt_timeout(lane: str) -> timedelta:
    """The deadline of one whole attempt."""
    return settings.WEBHOOK_TIMEOUT if lane == Channel.WEBHOOK else timedelta(seconds=settings.EMAIL_TIMEOUT)


def claim(
    lane: str, now: datetime, *, limit: int, share: int, in_flight: Sequence[Claim] = ()
) -> list[Claim]:
    """Take up to `limit` due deliveries, the longest waiting first.

    With those in flight, at most `share` of one subscription; one of a subscription that fails, and at most
    `share` of all that fail together. Whoever is passed over pays nothing for it.
    """
    lease_id = uuid4()
    counts = Counter(one.delivery.subscription_id for one in in_flight)
    probes = {one.delivery.subscription_id for one in in_flight if one.is_probe}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            CLAIM,
            {
                "lane": lane,
                "now": now,
                "full": list({id for id, count in counts.items() if count >= share} | probes),
                "in_flight": json.dumps({str(id): count for id, count in counts.items()}),
                "room_for_probes": max(share - len(probes), 0),
                "candidates": max(CANDIDATES, limit),
                "share": share,
                "limit": limit,
                "until": now + attempt_timeout(lane) + LEASE_MARGIN,
                "lease": lease_id,
            },
        )
        by_hand = dict(cursor.fetchall())
    return [
        Claim(delivery, lease_id, Trigger.MANUAL if by_hand[delivery.id] else delivery.trigger)
        for delivery in load_readable(by_hand, now)
    ]


def load_readable(ids: Collection[UUID], now: datetime) -> list[Delivery]:
    """Without those whose secrets can't be decrypted: they wait, and hold up nobody, until the key is back."""
    try:
        return load(ids, now)
    except ValueError:
        return [delivery for id in ids for delivery in load_one(id, now)]


def load_one(id: UUID, now: datetime) -> list[Delivery]:
    try:
        return load([id], now)
    except ValueError as reason:
        log.error("delivery waits for an encryption key", delivery=str(id), reason=str(reason))
        return []


def load(ids: Collection[UUID], now: datetime) -> list[Delivery]:
    """The deliveries with all that sending needs, in a fixed number of queries."""
    if not ids:
        return []
    secrets = Prefetch("subscription__secrets", SigningSecret.objects.valid(now))
    related = ("event", "recipient", "subscription__application")
    found = Delivery.objects.filter(id__in=ids).select_related(*related).prefetch_related(secrets)
    return list(found.order_by("next_attempt_at"))
