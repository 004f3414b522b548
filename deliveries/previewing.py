"""Who would be told of an event, and who would not and why: by what publishing itself does, with nothing stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from accounts.models import Application
from deliveries.channels import Notification
from deliveries.claiming import notification
from deliveries.models import Delivery, Trigger
from deliveries.publishing import Change, by_subscription, first_deliveries, held_by, prepare
from events.payloads import Payload
from subscriptions.models import Channel, Recipient, Subscription

Made = Mapping[tuple[UUID, UUID | None], Delivery]


class Verdict(StrEnum):
    TOLD = "told"
    HELD = "held"
    NOT_TOLD = "not_told"


class Code(StrEnum):
    """Why somebody is not told, or not at once."""

    EVENT_TYPE = "event_type"
    FILTER = "filter"
    NO_RECIPIENTS = "no_recipients"
    PAUSED = "paused"
    DISABLED = "disabled"
    UNCONFIRMED = "unconfirmed"
    UNSUBSCRIBED = "unsubscribed"
    SUPPRESSED = "suppressed"
    NOT_CHOSEN = "not_chosen"


@dataclass(frozen=True)
class Fate:
    """What would become of it, and why; `pointer` is that of the filter which does not match."""

    verdict: Verdict
    code: Code | None = None
    reason: str | None = None
    pointer: str | None = None


@dataclass(frozen=True)
class PersonPreview:
    email: str
    fate: Fate


@dataclass(frozen=True)
class SubscriptionPreview:
    """`recipients` are those of emails, None for a webhook."""

    subscription: Subscription
    fate: Fate
    recipients: list[PersonPreview] | None


@dataclass(frozen=True)
class EventPreview:
    """The notification is that of the first delivery: the others have their own `subscription_id` and `delivery_id`."""

    subscriptions: list[SubscriptionPreview]
    notification: Notification | None


TOLD = Fate(Verdict.TOLD)
UNCONFIRMED = Fate(
    Verdict.HELD,
    Code.UNCONFIRMED,
    "The recipient has not confirmed the address; it is sent once that is done.",
)
NOBODY = Fate(Verdict.NOT_TOLD, Code.NO_RECIPIENTS, "It has no recipient who can be sent anything; add one.")
WANT_NOTHING = {
    Recipient.Status.UNSUBSCRIBED: Fate(
        Verdict.NOT_TOLD,
        Code.UNSUBSCRIBED,
        "The recipient has unsubscribed; only they themselves can change that.",
    ),
    Recipient.Status.SUPPRESSED: Fate(
        Verdict.NOT_TOLD,
        Code.SUPPRESSED,
        "The address is suppressed: what was sent there was refused for good.",
    ),
}


NOT_CHOSEN = Fate(
    Verdict.NOT_TOLD,
    Code.NOT_CHOSEN,
    "The recipient has chosen which events to get; this type is not among them.",
)


def preview(change: Change, now: datetime) -> EventPreview:
    """What publishing the change would do. Raises UnknownEventType or PayloadRefused, as publishing does."""
    event = prepare(change, now)
    subscriptions, people = existing(change.application)
    deliveries = first_deliveries(event, subscriptions, by_subscription(people), now)
    made = {(one.subscription_id, one.recipient_id): one for one in deliveries}
    payload = Payload(event.payload)
    found = [
        preview_of(
            one, [person for person in people if person.subscription_id == one.id], made, event.type, payload
        )
        for one in subscriptions
    ]
    return EventPreview(found, example(deliveries))


def existing(application: Application) -> tuple[list[Subscription], list[Recipient]]:
    """The application's subscriptions, newest first, and who is on them."""
    subscriptions = application.subscriptions.existing().order_by("-id").defer("encrypted_headers")
    people = Recipient.objects.filter(
        subscription__application=application, subscription__deleted_at=None, removed_at=None
    )
    return list(subscriptions), list(people)


def preview_of(
    subscription: Subscription, people: Sequence[Recipient], made: Made, event_type: str, payload: Payload
) -> SubscriptionPreview:
    unwanted = fate_unwanted(subscription, event_type, payload)
    if subscription.channel != Channel.EMAIL:
        return SubscriptionPreview(subscription, unwanted or fate_of(made[subscription.id, None]), None)
    found = [
        PersonPreview(
            person.email, unwanted or fate_of_person(person, made.get((subscription.id, person.id)))
        )
        for person in people
    ]
    return SubscriptionPreview(subscription, unwanted or fate_of_all(found), found)


def fate_unwanted(subscription: Subscription, event_type: str, payload: Payload) -> Fate | None:
    """Why the subscription does not want the event; None if it does."""
    if subscription.wants(event_type, payload):
        return None
    if not subscription.wants_type(event_type):
        reason = f"It does not want events of the type {event_type}; see its event_types."
        return Fate(Verdict.NOT_TOLD, Code.EVENT_TYPE, reason)
    pointer = subscription.unmet_condition(payload)
    reason = f"Its filter does not match: the payload has at {pointer or 'its root'} none of the values allowed there."
    return Fate(Verdict.NOT_TOLD, Code.FILTER, reason, pointer)


def fate_of(delivery: Delivery) -> Fate:
    """Of a delivery that publishing would make."""
    if delivery.status == Delivery.Status.PENDING:
        return TOLD
    holder = held_by(delivery.subscription, delivery.recipient)
    if holder == Recipient.Status.UNCONFIRMED:
        return UNCONFIRMED
    why = f" ({delivery.subscription.status_reason})" if delivery.subscription.status_reason else ""
    return Fate(Verdict.HELD, Code(str(holder)), f"The subscription is {holder}{why}; it is sent on resume.")


def fate_of_person(person: Recipient, delivery: Delivery | None) -> Fate:
    return fate_of(delivery) if delivery else WANT_NOTHING.get(Recipient.Status(person.status), NOT_CHOSEN)


def fate_of_all(people: Sequence[PersonPreview]) -> Fate:
    """Told if anybody is; held if nobody is, and it is for somebody."""
    for verdict in (Verdict.TOLD, Verdict.HELD):
        for person in people:
            if person.fate.verdict == verdict:
                return person.fate
    return NOBODY


def example(deliveries: Sequence[Delivery]) -> Notification | None:
    """Of one that would go out at once, if there is any."""
    by_status = sorted(deliveries, key=lambda one: one.status != Delivery.Status.PENDING)
    return notification(by_status[0], 1, Trigger.SCHEDULED) if by_status else None
