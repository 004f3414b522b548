"""Claiming: which due deliveries a worker takes, and everything that sending them needs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection
from django.db.models import Prefetch

from deliveries.channels import EmailTarget, Notification, WebhookTarget
from deliveries.models import Delivery, Trigger, schedule_of
from subscriptions.models import Channel, Recipient, SigningSecret, Subscription

LEASE_MARGIN = timedelta(
    seconds=10
)  # to begin and to settle in, around an attempt that uses up its whole deadline
CANDIDATES = 512

# The look at the front is bounded: a backlog of one subscription may be long.
FRONT = """
    SELECT id, subscription_id, next_attempt_at FROM deliveries_delivery
    WHERE status = 'pending' AND NOT behind AND channel = %(lane)s AND next_attempt_at <= %(now)s
        AND (leased_until IS NULL OR leased_until <= %(now)s)
    ORDER BY next_attempt_at LIMIT %(candidates)s
"""
# From one subscription with something pending to the next: an index jump each, however long their backlogs are.
WAITING = """
    WITH RECURSIVE waiting AS (
        (SELECT subscription_id AS id FROM deliveries_delivery WHERE status = 'pending' AND NOT behind AND channel = %(lane)s
            ORDER BY subscription_id LIMIT 1)
        UNION ALL
        SELECT (
            SELECT subscription_id FROM deliveries_delivery
            WHERE status = 'pending' AND NOT behind AND channel = %(lane)s AND subscription_id > waiting.id
            ORDER BY subscription_id LIMIT 1
        ) FROM waiting WHERE waiting.id IS NOT NULL
    )
"""
PAST_THE_FRONT = f"""
    {WAITING}
    SELECT due.* FROM waiting CROSS JOIN LATERAL (
        SELECT id, subscription_id, next_attempt_at FROM deliveries_delivery
        WHERE status = 'pending' AND NOT behind AND channel = %(lane)s AND next_attempt_at <= %(now)s
            AND (leased_until IS NULL OR leased_until <= %(now)s) AND subscription_id = waiting.id
        ORDER BY next_attempt_at LIMIT %(share)s
    ) AS due
    WHERE waiting.id IS NOT NULL AND waiting.id <> ALL(%(full)s)
"""  # noqa: S608 - nothing from outside is in it
# `taken` looks up an array of ids, so that no guess of the planner's makes it walk the whole backlog.
# `counted` locks the counters until the commit, so that no number is left out, and in the order of their
# subscriptions, so that two claims can't wait for each other. No index of the delivery's has the sequence: the
# claim rewrites the row in its page (HOT), and the numbers are found through a narrow table that only grows.
CLAIM = """
WITH candidates AS ({candidates}), fair AS (
    SELECT candidates.id, next_attempt_at, failing_since IS NOT NULL AS is_probe,
        row_number() OVER (PARTITION BY subscription_id ORDER BY next_attempt_at) AS place
    FROM candidates JOIN subscriptions_subscription ON subscriptions_subscription.id = subscription_id
    WHERE subscription_id <> ALL(%(full)s)
), allowed AS (
    SELECT id, is_probe, row_number() OVER (PARTITION BY is_probe ORDER BY next_attempt_at) AS nth FROM fair
    WHERE place <= CASE WHEN is_probe THEN 1 ELSE %(share)s END
), taken AS (
    SELECT id, subscription_id, next_attempt_at, retry_requested, sequence FROM deliveries_delivery
    WHERE id = ANY(ARRAY(
            SELECT id FROM allowed WHERE nth <= CASE WHEN is_probe THEN %(probes)s ELSE %(limit)s END
        )) AND status = 'pending' AND next_attempt_at <= %(now)s
        AND (leased_until IS NULL OR leased_until <= %(now)s)
    FOR UPDATE SKIP LOCKED
), counted AS (
    INSERT INTO deliveries_sequencecounter AS counter (subscription_id, last)
    SELECT subscription_id, count(*) FROM taken WHERE sequence IS NULL
    GROUP BY subscription_id ORDER BY subscription_id
    ON CONFLICT (subscription_id) DO UPDATE SET last = counter.last + excluded.last
    RETURNING subscription_id, last
), numbered AS (
    SELECT id, subscription_id, retry_requested, sequence IS NULL AS is_new, coalesce(
        sequence, last + 1 - row_number() OVER (
            PARTITION BY subscription_id, sequence IS NULL ORDER BY next_attempt_at DESC, id DESC
        )) AS number
    FROM taken LEFT JOIN counted USING (subscription_id)
), given AS (
    INSERT INTO deliveries_sequencenumber (subscription_id, number, delivery_id)
    SELECT subscription_id, number, id FROM numbered WHERE is_new
)
UPDATE deliveries_delivery AS delivery
SET leased_until = %(until)s, lease_id = %(lease)s, retry_requested = FALSE, sequence = numbered.number
FROM numbered WHERE delivery.id = numbered.id
RETURNING delivery.id, delivery.event_id, delivery.subscription_id, delivery.recipient_id, delivery.trigger,
    delivery.attempt_count, delivery.sequence, numbered.retry_requested, delivery.next_attempt_at
"""
EVENTS = "SELECT id, type, occurred_at, payload FROM events_event WHERE id = ANY(%s)"


log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ClaimedEvent:
    """Of an event, what is told."""

    id: UUID
    type: str
    occurred_at: datetime
    payload: str


@dataclass(slots=True)
class ClaimedDelivery:
    """A row of Delivery as sending needs it; an object of the model costs more than the sending of it."""

    id: UUID
    event: ClaimedEvent
    subscription: Subscription
    subscription_id: UUID
    recipient: Recipient | None
    channel: str
    trigger: str
    attempt_count: int
    sequence: int

    @property
    def test(self) -> bool:
        return self.trigger == Trigger.TEST

    @property
    def schedule(self) -> list[timedelta]:
        return schedule_of(self.channel, self.subscription)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this worker alone may attempt, until its lease ends."""

    delivery: ClaimedDelivery
    lease_id: UUID
    trigger: str
    target: WebhookTarget | EmailTarget
    begin_by: datetime

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


def notification(delivery: Delivery | ClaimedDelivery, attempt: int, trigger: str) -> Notification:
    event = delivery.event
    return Notification(
        delivery_id=delivery.id,
        subscription_id=delivery.subscription_id,
        event_id=event.id,
        event_type=event.type,
        occurred_at=event.occurred_at,
        payload=event.payload,
        sequence=delivery.sequence or 0,
        attempt=attempt,
        trigger=trigger,
        test=delivery.test,
    )


def attempt_timeout(lane: str) -> timedelta:
    """The deadline of one whole attempt."""
    return settings.WEBHOOK_TIMEOUT if lane == Channel.WEBHOOK else timedelta(seconds=settings.EMAIL_TIMEOUT)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much to claim: `limit` in all, `share` of one subscription, nothing of those that are `full`.

    Of each subscription that fails it is one, to find out whether it has recovered, and `probes` of these in all.
    """

    limit: int
    share: int
    full: Collection[UUID] = ()
    probes: int = 1000


def claim(lane: str, now: datetime, limits: Limits) -> list[Claim]:
    """Take what has been due for longest, within the limits. Whoever is passed over pays nothing for it."""
    return claim_among(FRONT, lane, now, limits)


def claim_past_the_front(lane: str, now: datetime, limits: Limits) -> list[Claim]:
    """Take of each subscription what has been due for longest: no backlog hides another. Slower than `claim`."""
    return claim_among(PAST_THE_FRONT, lane, now, limits)


def claim_among(candidates: str, lane: str, now: datetime, limits: Limits) -> list[Claim]:
    lease_id = uuid4()
    parameters: dict[str, Any] = {
        "lane": lane,
        "now": now,
        "limit": limits.limit,
        "share": limits.share,
        "full": list(limits.full),
        "probes": limits.probes,
        "candidates": CANDIDATES,
        "until": now + attempt_timeout(lane) + LEASE_MARGIN,
        "lease": lease_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(CLAIM.format(candidates=candidates), parameters)
        rows = sorted(cursor.fetchall(), key=lambda row: row[-1])
    return claims(lane, rows, lease_id, now) if rows else []


def claims(lane: str, rows: list[Any], lease_id: UUID, now: datetime) -> list[Claim]:
    """The claimed rows with all that sending them needs, in a fixed number of queries."""
    events = events_of({row[1] for row in rows})
    subscriptions = subscriptions_of({row[2] for row in rows}, now)
    recipients = (
        Recipient.objects.in_bulk({row[3] for row in rows if row[3]}) if lane == Channel.EMAIL else {}
    )
    webhooks = {id: webhook_target(subscription) for id, subscription in subscriptions.items()}
    begin_by, found = now + LEASE_MARGIN / 2, []
    for id, event_id, subscription_id, recipient_id, trigger, *counts, retry_requested, _ in rows:
        if subscription_id not in subscriptions:
            continue
        subscription, recipient = subscriptions[subscription_id], recipients.get(recipient_id)
        delivery = ClaimedDelivery(
            id, events[event_id], subscription, subscription_id, recipient, lane, trigger, *counts
        )
        target = email_target(subscription, recipient) if recipient else webhooks[subscription_id]
        found.append(
            Claim(delivery, lease_id, Trigger.MANUAL if retry_requested else trigger, target, begin_by)
        )
    return found


def events_of(ids: Collection[UUID]) -> Mapping[UUID, ClaimedEvent]:
    with connection.cursor() as cursor:
        cursor.execute(EVENTS, [list(ids)])
        return {row[0]: ClaimedEvent(*row) for row in cursor.fetchall()}


def subscriptions_of(ids: Collection[UUID], now: datetime) -> dict[UUID, Subscription]:
    """Without those whose secrets can't be decrypted: they wait, and hold up nobody, until the key is back."""
    secrets = Prefetch("secrets", SigningSecret.objects.valid(now))
    wanted = Subscription.objects.select_related("application").prefetch_related(secrets)
    try:
        return wanted.in_bulk(list(ids))
    except ValueError as reason:
        if len(ids) > 1:
            return {id: one for single in ids for id, one in subscriptions_of([single], now).items()}
        log.error("subscription waits for an encryption key", subscription=str(*ids), reason=str(reason))
        return {}


def webhook_target(subscription: Subscription) -> WebhookTarget:
    secrets = tuple(secret.secret for secret in subscription.secrets.all())
    return WebhookTarget(subscription.url, secrets, subscription.headers)


def email_target(subscription: Subscription, recipient: Recipient) -> EmailTarget:
    return EmailTarget(recipient.email, recipient.id, subscription.application.name)
