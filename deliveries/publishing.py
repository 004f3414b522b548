"""The one flow begins: a change is validated, recorded as an event, and fanned out, all in one transaction."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from accounts.audit import acting_key
from accounts.models import Application
from deliveries.cases import open_cases
from deliveries.digests import due_for
from deliveries.locking import lock_matching
from deliveries.models import Delivery, Trigger
from deliveries.ordering import give_key, put_in_order
from deliveries.wakeup import wake
from deliveries.writing import save_new
from events.event_types import EVENT_TYPES
from events.idempotency import KEPT_FOR, KEY, WHAT_A_KEY_IS
from events.models import Event, IdempotencyKey
from events.payloads import Payload, PayloadRefused, encode
from subscriptions.models import Channel, Recipient, Subscription


class UnknownEventType(ValueError):
    """The catalogue has no such event type."""

    def __init__(self, name: object) -> None:
        super().__init__(
            f"There is no event type {str(name)[:100]!r}. Choose one of: {', '.join(EVENT_TYPES)}."
        )


class IdempotencyConflict(ValueError):
    """The idempotency key was used before, for something else."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The idempotency key {key!r} was used before with another body. Send the same body, or a new key."
        )
        self.key = key


@dataclass(frozen=True)
class Change:
    """One change to be published. `occurred_at` is aware; None means now."""

    application: Application
    type: str
    payload: Any
    occurred_at: datetime | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Published:
    """An event that is recorded, and whether an earlier publish with the same key recorded it."""

    event: Event
    replayed: bool = False


class ItemsRefused(ValueError):
    """Some of several changes can't be published: why not, by their index."""

    def __init__(self, reasons: Mapping[int, Exception]) -> None:
        super().__init__("; ".join(f"item {index}: {reason}" for index, reason in reasons.items()))
        self.reasons = reasons


def publish(
    application: Application,
    type: str,
    payload: Any,
    occurred_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> Event:
    """Record a change and see to it that every active subscription that matches is told.

    Joins the caller's transaction: rolled back, nothing is left and nothing is sent. `occurred_at` is an
    aware datetime (default: now). The same `idempotency_key`, of 1 to 255 visible ASCII characters, again returns the
    first event.

    Raises UnknownEventType, PayloadRefused (with a JSON pointer to each fault), IdempotencyConflict, or else ValueError
    for a moment or a key that is none.
    """
    change = Change(application, type, payload, occurred_at, idempotency_key)
    try:
        return publish_many([change], timezone.now())[0].event
    except ItemsRefused as refused:
        raise refused.reasons[0] from None


def publish_many(
    changes: Sequence[Change], now: datetime, idempotency_key: str | None = None
) -> list[Published]:
    """Publish all of the changes or none, in order.

    `idempotency_key` names them all together, beside those that they have of their own. Raises ItemsRefused, or
    IdempotencyConflict for that key.
    """
    prepared = prepare_all(changes, now)
    with transaction.atomic():
        published = reserve_keys(changes, prepared, idempotency_key)
        events = [one.event for one in published if not one.replayed]
        deliveries = fan_out(events, now)
        create_deliveries(deliveries, events)
    return published


def prepare_all(changes: Sequence[Change], now: datetime) -> list[Event]:
    prepared, reasons = [], {}
    for index, change in enumerate(changes):
        try:
            prepared.append(prepare(change, now))
        except ValueError as reason:
            reasons[index] = reason
    if reasons:
        raise ItemsRefused(reasons)
    return prepared


def prepare(change: Change, now: datetime) -> Event:
    """The change as an event that is not saved yet. Raises UnknownEventType, PayloadRefused or another ValueError."""
    check_key(change.idempotency_key)
    return Event(
        application=change.application,
        type=change.type,
        occurred_at=now if change.occurred_at is None else in_utc(change.occurred_at),
        created_at=now,
        payload=checked(change.type, change.payload),
        published_by=acting_key(),
        names_customer=EVENT_TYPES[change.type].customer_named_in(change.payload),
    )


def check_key(key: object) -> None:
    if key is None or (isinstance(key, str) and KEY.fullmatch(key)):
        return
    raise ValueError(f"The idempotency key {key!r:.300} is not {WHAT_A_KEY_IS}.")


def in_utc(occurred_at: object) -> datetime:
    if not isinstance(occurred_at, datetime) or occurred_at.utcoffset() is None:
        raise ValueError(f"occurred_at is no datetime with a time zone: {occurred_at!r:.100}.")
    try:
        return occurred_at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"occurred_at is in no year from 1 to 9999 in UTC: {occurred_at!r:.100}.") from None


def checked(type: object, payload: Any) -> str:
    """The payload as JSON text, after it has met the type's schema."""
    event_type = EVENT_TYPES.get(type) if isinstance(type, str) else None
    if event_type is None:
        raise UnknownEventType(type)
    text = encode(payload)
    if errors := event_type.errors(payload):
        raise PayloadRefused(errors)
    return text


def reserve_keys(
    changes: Sequence[Change], events: Sequence[Event], key_of_all: str | None
) -> list[Published]:
    """Each event, or the one that was published under its idempotency key before, here or earlier."""
    keys = [own_key(change, event) for change, event in zip(changes, events, strict=True)]
    if not (key_of_all and events):
        return published_under(keys, reserve([key for key in keys if key]), events)
    said_in_all = "\n".join(["batch", *map(said_with_key, changes, events)])
    batch = known_by(key_of_all, hashed(said_in_all), events[0])
    return reserve_together(batch, keys, events)


def reserve_together(
    batch: IdempotencyKey, keys: Sequence[IdempotencyKey | None], events: Sequence[Event]
) -> list[Published]:
    """The same, of events that one key names together: it finds those again, too, that have no key of their own."""
    within = f"batch {hashed(batch.key)}"
    each = [
        key or known_by(f"{within} {index}", batch.fingerprint, event)
        for index, (key, event) in enumerate(zip(keys, events, strict=True))
    ]
    holders = reserve([batch, *each])
    if is_conflict(batch, holders):
        raise IdempotencyConflict(batch.key)
    published = published_under(each, holders, events)
    if holders[batch.key] is batch and published[0].replayed:  # the event that its row names is not stored
        IdempotencyKey.objects.filter(key=batch.key).update(event=published[0].event)
    return published


def published_under(
    keys: Sequence[IdempotencyKey | None], holders: Mapping[str, IdempotencyKey], events: Sequence[Event]
) -> list[Published]:
    """Each event, or that of the row that holds its key. Raises ItemsRefused."""
    conflicts = {
        index: IdempotencyConflict(key.key)
        for index, key in enumerate(keys)
        if key and is_conflict(key, holders)
    }
    if conflicts:
        raise ItemsRefused(conflicts)
    return [
        Published(holders[key.key].event, replayed=holders[key.key] is not key) if key else Published(event)
        for key, event in zip(keys, events, strict=True)
    ]


def is_conflict(key: IdempotencyKey, holders: Mapping[str, IdempotencyKey]) -> bool:
    """Whether another body was sent with it before."""
    return holders[key.key].fingerprint != key.fingerprint


def own_key(change: Change, event: Event) -> IdempotencyKey | None:
    if change.idempotency_key is None:
        return None
    return known_by(change.idempotency_key, hashed(said(change, event)), event)


def known_by(key: str, fingerprint: str, event: Event) -> IdempotencyKey:
    return IdempotencyKey(key=key, fingerprint=fingerprint, event=event, created_at=event.created_at)


def reserve(asked: Sequence[IdempotencyKey]) -> dict[str, IdempotencyKey]:
    """For each key the row that holds it: the first that asks for it here, or an earlier one that is still known.

    The primary key decides between two at the same time: the second waits for the first to commit. They go in
    in order, so that two batches can't wait for each other. The event's row may come after its key's, since
    PostgreSQL checks this foreign key at the commit.
    """
    first = {one.key: one for one in reversed(asked)}
    rows = [(one.key, one.fingerprint, one.event_id, one.created_at) for _, one in sorted(first.items())]
    if not rows:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {IdempotencyKey._meta.db_table} AS known (key, fingerprint, event_id, created_at)"  # noqa: S608
            " SELECT * FROM unnest(%s::varchar[], %s::varchar[], %s::uuid[], %s::timestamptz[])"
            " ON CONFLICT (key) DO UPDATE SET (fingerprint, event_id, created_at)"
            " = (excluded.fingerprint, excluded.event_id, excluded.created_at)"
            " WHERE known.created_at <= excluded.created_at - %s::interval RETURNING key",
            [*(list(column) for column in zip(*rows, strict=True)), str(KEPT_FOR)],
        )
        taken = {row[0] for row in cursor.fetchall()}
    earlier = IdempotencyKey.objects.select_related("event__application").in_bulk(first.keys() - taken)
    return first | earlier


def said(change: Change, event: Event) -> str:
    """What the publisher said, beside the key; a moment that was left out is not part of it."""
    occurred_at = change.occurred_at and event.occurred_at.isoformat()
    return f"{event.application_id}\n{event.type}\n{occurred_at}\n{event.payload}"


def said_with_key(change: Change, event: Event) -> str:
    return f"{change.idempotency_key!r}\n{said(change, event)}"


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def fan_out(events: Sequence[Event], now: datetime) -> list[Delivery]:
    """The unsaved deliveries of new events, one for every subscription that matches. Each event counts its own."""
    by_application = defaultdict(list)
    for event in events:
        by_application[event.application_id].append(event)
    deliveries = []
    for application_id, its_events in by_application.items():
        subscriptions = lock_matching(application_id, {event.type for event in its_events})
        recipients = recipients_of(subscriptions)
        for event in its_events:
            deliveries += first_deliveries(event, subscriptions, recipients, now)
    for delivery in deliveries:
        delivery.event.delivery_count += 1
    return deliveries


def recipients_of(subscriptions: Iterable[Subscription]) -> dict[UUID, list[Recipient]]:
    """For each email subscription the recipients for whom events are kept."""
    ids = [subscription.id for subscription in subscriptions if subscription.channel == Channel.EMAIL]
    return by_subscription(Recipient.objects.filter(subscription__in=ids) if ids else [])


def by_subscription(recipients: Iterable[Recipient]) -> dict[UUID, list[Recipient]]:
    """Without those who want no email."""
    found = defaultdict(list)
    for recipient in recipients:
        if recipient.wants_email:
            found[recipient.subscription_id].append(recipient)
    return found


def first_deliveries(
    event: Event,
    subscriptions: Iterable[Subscription],
    recipients: dict[UUID, list[Recipient]],
    now: datetime,
) -> list[Delivery]:
    """The unsaved deliveries of a new event to those of the subscriptions that want it."""
    payload = Payload(event.payload)
    return [
        give_key(delivery, payload)
        for subscription in subscriptions
        if subscription.wants(event.type, payload)
        for delivery in new_deliveries(event, subscription, recipients, Trigger.SCHEDULED, now)
    ]


def new_deliveries(
    event: Event,
    subscription: Subscription,
    recipients: dict[UUID, list[Recipient]],
    trigger: Trigger,
    now: datetime,
) -> list[Delivery]:
    """The unsaved deliveries of one event to one subscription: one, or one for each recipient."""
    people: list[Recipient | None] = [None]
    if subscription.channel == Channel.EMAIL:
        known = recipients.get(subscription.id, [])
        people = [one for one in known if trigger == Trigger.TEST or one.wants(event.type)]
    return [new_delivery(event, subscription, person, trigger, now) for person in people]


def new_delivery(
    event: Event, subscription: Subscription, recipient: Recipient | None, trigger: Trigger, now: datetime
) -> Delivery:
    """Due now, or with a digest, unless something holds it."""
    due = held_by(subscription, recipient) is None
    at, digest = due_for(recipient, trigger, now)
    return Delivery(
        application_id=event.application_id,
        event=event,
        subscription=subscription,
        recipient=recipient,
        channel=subscription.channel,
        event_type=event.type,
        status=Delivery.Status.PENDING if due else Delivery.Status.HELD,
        trigger=trigger,
        next_attempt_at=at if due else None,
        digest=digest if due else None,
        created_at=now,
    )


def held_by(subscription: Subscription, recipient: Recipient | None) -> str | None:
    """The state that holds deliveries: that of a subscription that is not active, or of a recipient who has not
    confirmed; None if nothing does.
    """
    if not subscription.is_active:
        return subscription.status
    if recipient is not None and recipient.status != Recipient.Status.CONFIRMED:
        return recipient.status
    return None


def create_deliveries(deliveries: list[Delivery], events: Sequence[Event] = ()) -> list[Delivery]:
    """Save new deliveries, which stand in the order of publishing, after their events if those are new, too, and wake
    those who send them.
    """
    put_in_order(deliveries)
    save_new(events, deliveries)
    open_cases(deliveries)
    wake({delivery.channel for delivery in deliveries if delivery.status == Delivery.Status.PENDING})
    return deliveries
