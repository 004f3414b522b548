"""Claiming: which due deliveries a worker takes, and everything that sending them needs."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Prefetch

from deliveries.channels import EmailTarget, Notification, WebhookTarget
from deliveries.models import Delivery
from subscriptions.models import Channel, Recipient, SigningSecret, Subscription

LEASE_MARGIN = timedelta(seconds=10)  # to settle in, after an attempt has used up its whole deadline
CANDIDATES = 512

CLAIM = """
WITH candidates AS (
    SELECT id, subscription_id, next_attempt_at FROM deliveries_delivery
    WHERE status = 'pending' AND channel = %(lane)s AND next_attempt_at <= %(now)s
        AND (leased_until IS NULL OR leased_until <= %(now)s) AND subscription_id <> ALL(%(busy)s)
    ORDER BY next_attempt_at LIMIT %(candidates)s
), fair AS (
    SELECT id, row_number() OVER (PARTITION BY subscription_id ORDER BY next_attempt_at) AS place FROM candidates
), taken AS (
    SELECT id FROM deliveries_delivery
    WHERE id IN (SELECT id FROM fair WHERE place <= %(share)s)
        AND status = 'pending' AND next_attempt_at <= %(now)s AND (leased_until IS NULL OR leased_until <= %(now)s)
    ORDER BY next_attempt_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE deliveries_delivery SET leased_until = %(until)s, lease_id = %(lease)s, retry_requested = FALSE
FROM taken WHERE deliveries_delivery.id = taken.id
RETURNING deliveries_delivery.id, (SELECT retry_requested FROM deliveries_delivery AS was WHERE was.id = taken.id)
"""


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


def claim(lane: str, now: datetime, *, limit: int, share: int, busy: Collection[UUID] = ()) -> list[Claim]:
    """Take up to `limit` due deliveries, the longest waiting first, at most `share` of one subscription.

    Subscriptions in `busy` are passed over, at no cost to their deliveries.
    """
    lease_id = uuid4()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            CLAIM,
            {
                "lane": lane,
                "now": now,
                "busy": list(busy),
                "candidates": max(CANDIDATES, limit),
                "share": share,
                "limit": limit,
                "until": now + attempt_timeout(lane) + LEASE_MARGIN,
                "lease": lease_id,
            },
        )
        manual = dict(cursor.fetchall())
    return [
        Claim(delivery, lease_id, "manual" if manual[delivery.id] else delivery.trigger)
        for delivery in load(manual, now)
    ]


def load(ids: Collection[UUID], now: datetime) -> list[Delivery]:
    """The deliveries with all that sending needs, in a fixed number of queries."""
    if not ids:
        return []
    secrets = Prefetch("subscription__secrets", SigningSecret.objects.valid(now))
    related = ("event", "recipient", "subscription__application")
    found = Delivery.objects.filter(id__in=ids).select_related(*related).prefetch_related(secrets)
    return list(found.order_by("next_attempt_at"))
