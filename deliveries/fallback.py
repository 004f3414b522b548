"""Fallback: what a webhook could not tell, or not in time, a person is told by email.

A webhook subscription may name one person for that, who confirms the address like any recipient. Of a delivery that
person is told once: by the settling that sees it fail for good, in its transaction; or by a task, which every minute
looks at those that have become late since the last time. Right before the email goes out it is looked at again.

Nobody is told of tests, nor of what a replay sends elsewhere.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import connection
from django.db.models import F, Value

from deliveries.cases import open_missed
from deliveries.chores import do, in_batches
from deliveries.claiming import ClaimedDelivery
from deliveries.letters.handling import HANDLED
from deliveries.models import Delivery, Notice
from deliveries.notices import MOST_FALLBACKS, add, not_pestered
from deliveries.partitions import first_id
from subscriptions.models import Recipient, Subscription, SubscriptionQuerySet

SHORTEST_AFTER = timedelta(minutes=1)
BATCH = 50
# By the ids, which rise with the time that deliveries were made at: what is looked at once is not looked at again.
LATE = """
SELECT subscription.id, late.id FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS span (id, since, until)
JOIN subscriptions_subscription AS subscription ON subscription.id = span.id
JOIN subscriptions_recipient AS person
    ON person.subscription_id = span.id AND person.status = 'confirmed' AND person.removed_at IS NULL
CROSS JOIN LATERAL (
    SELECT delivery.id FROM deliveries_delivery AS delivery
    WHERE delivery.subscription_id = span.id AND delivery.id >= span.since AND delivery.id < span.until
        AND delivery.status IN ('pending', 'held') AND delivery.trigger <> 'test' AND NOT delivery.elsewhere
        AND subscription.fallback_types && ARRAY[delivery.event_type, '*']::varchar[]
        AND (person.types = '{}' OR delivery.event_type = ANY(person.types))
    ORDER BY delivery.id LIMIT %s
) AS late
"""


def tell_failed(
    failed: Sequence[ClaimedDelivery], subscriptions: Mapping[UUID, Subscription], now: datetime
) -> None:
    """Of those that have failed for good; `subscriptions` are locked."""
    told = [
        one
        for one in failed
        if not one.test
        and one.detour is None
        and subscriptions[one.subscription_id].falls_back_on(one.event.type)
    ]
    if told:
        people = people_of({one.subscription_id for one in told})
        wanted = [
            (one.subscription_id, one.id)
            for one in told
            if one.subscription_id in people and people[one.subscription_id].wants(one.event.type)
        ]
        tell(wanted, people, now)


def people_of(subscriptions: Collection[UUID]) -> dict[UUID, Recipient]:
    """On whom these webhook subscriptions fall back; without those who have not confirmed."""
    people = Recipient.objects.filter(
        subscription__in=subscriptions, removed_at=None, status=Recipient.Status.CONFIRMED
    )
    return {one.subscription_id: one for one in people.select_related("subscription__application")}


def tell(late: Sequence[tuple[UUID, UUID]], people: Mapping[UUID, Recipient], now: datetime) -> None:
    """A notice of each delivery, named with its subscription, after the quiet hours of the person."""
    notices = [
        Notice(
            kind=Notice.Kind.FALLBACK,
            application_id=people[subscription_id].application_id,
            email=people[subscription_id].email,
            recipient=people[subscription_id],
            subscription_id=subscription_id,
            occasion=str(delivery_id),
            facts={"delivery": str(delivery_id)},
            due_at=people[subscription_id].rhythm.awake(now),
            created_at=now,
        )
        for subscription_id, delivery_id in late
    ]
    if notices:
        add(told := not_pestered(notices, now))
        open_their_cases(told, now)


def open_their_cases(notices: Sequence[Notice], now: datetime) -> None:
    people = {UUID(one.occasion): one.recipient for one in notices}
    deliveries = Delivery.objects.filter(pk__in=people, event_type__in=HANDLED)
    open_missed([(one, person) for one in deliveries if (person := people[one.id])], now)


def sweep() -> None:
    do("late deliveries", tell_late)


def tell_late(now: datetime) -> int:
    """Tell of what has become late since the last look; returns how many subscriptions were looked at."""
    return in_batches(to_look_at(now), BATCH, partial(look, now=now))


def to_look_at(now: datetime) -> SubscriptionQuerySet:
    late = Subscription.objects.existing().filter(
        fallback_after__isnull=False, fallback_looked_until__lt=Value(now) - F("fallback_after")
    )
    return late.defer("encrypted_headers").order_by("fallback_looked_until")


def look(locked: Sequence[Subscription], now: datetime) -> None:
    looked_until = {one.id: now - (one.fallback_after or timedelta(0)) for one in locked}
    tell(late_in(locked, looked_until), people_of(looked_until), now)
    for one in locked:
        one.fallback_looked_until = looked_until[one.id]
    Subscription.objects.bulk_update(locked, ["fallback_looked_until"])


def late_in(locked: Sequence[Subscription], until: Mapping[UUID, datetime]) -> list[tuple[UUID, UUID]]:
    """Subscription and delivery of what has become late since the last look; of each no more than are told in a day."""
    ids = [one.id for one in locked]
    since = [first_id(one.fallback_looked_until) for one in locked if one.fallback_looked_until]
    with connection.cursor() as cursor:
        cursor.execute(LATE, [ids, since, [first_id(until[id]) for id in ids], MOST_FALLBACKS])
        return cursor.fetchall()


def why_not_told(notice: Notice) -> str:
    """Why it is not to be sent any more, in a plain sentence; empty if it is."""
    recipient, subscription = notice.recipient, notice.subscription
    if recipient is None or recipient.removed_at or subscription is None or subscription.deleted_at:
        return "The recipient or the subscription was removed."
    if recipient.status != Recipient.Status.CONFIRMED:
        return f"The recipient is {recipient.status}."
    delivery = Delivery.objects.filter(pk=notice.facts["delivery"]).select_related("event").first()
    if delivery is None or delivery.event.is_erased:
        return "The delivery is forgotten, or its payload was erased."
    if delivery.status in (Delivery.Status.SUCCEEDED, Delivery.Status.CANCELLED):
        return f"The delivery has {delivery.status} meanwhile."
    return ""
