"""The closing account: each event that a subscription asked for against what the service says, and what arrived."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from openvolt_events.demo.receivers import Receipt

ARRIVED = ("succeeded", "held")
TRIED = ("scheduled", "held")


@dataclass(frozen=True)
class PublishedEvent:
    """An event that the service answered for with 201."""

    id: str
    type: str
    payload: Any


@dataclass(frozen=True)
class Told:
    """A delivery as the service's API shows it."""

    id: str
    event_id: str
    status: str
    attempts: int

    @property
    def place(self) -> str:
        """Its status, but `scheduled` when it was tried before and is to be tried again."""
        return "scheduled" if self.status == "pending" and self.attempts else self.status


@dataclass(frozen=True)
class Account:
    """One subscription's events and where they are. It balances when there are no problems."""

    name: str
    published: int
    delivered: int
    scheduled: int
    held: int
    received: int
    accepted: int
    requests: int
    verified: int | None
    bad_signatures: int | None
    problems: Sequence[str]


def wanted(events: Collection[PublishedEvent], event_types: Collection[str]) -> list[PublishedEvent]:
    return [event for event in events if "*" in event_types or event.type in event_types]


def account(
    name: str,
    subscription_id: str,
    events: Collection[PublishedEvent],
    deliveries: Collection[Told],
    receipts: Sequence[Receipt],
    ends: Collection[str],
) -> Account:
    """Compare the events that a subscription asked for with its deliveries, and these with what arrived.

    `ends` are the places where a delivery may be at the end: ARRIVED, or TRIED for a receiver that is down.
    """
    accepted = {receipt.webhook_id for receipt in receipts if receipt.accepted}
    signatures = [receipt.verified for receipt in receipts if receipt.verified is not None]
    return Account(
        name=name,
        published=len(events),
        delivered=sum(told.place == "succeeded" for told in deliveries),
        scheduled=sum(told.place == "scheduled" for told in deliveries),
        held=sum(told.place == "held" for told in deliveries),
        received=len({receipt.webhook_id for receipt in receipts}),
        accepted=len(accepted),
        requests=len(receipts),
        verified=sum(signatures) if signatures else None,
        bad_signatures=signatures.count(False) if signatures else None,
        problems=[
            *unaccounted(events, deliveries, accepted, ends),
            *unasked(events, deliveries),
            *wrong(subscription_id, events, deliveries, receipts),
        ],
    )


def unaccounted(
    events: Collection[PublishedEvent],
    deliveries: Collection[Told],
    accepted: Collection[str],
    ends: Collection[str],
) -> Iterator[str]:
    """What is amiss with events that should have been told, or kept for later."""
    by_event = {told.event_id: told for told in deliveries}
    for event in events:
        told = by_event.get(event.id)
        if told is None:
            yield f"{event.type} {event.id} has no delivery"
        elif told.place not in ends:
            yield f"{event.type} {event.id} is {told.status} after {told.attempts} attempts (delivery {told.id})"
        elif told.status == "succeeded" and told.id not in accepted:
            yield f"{event.type} {event.id} is said to be delivered, and never arrived (delivery {told.id})"
        elif told.status != "succeeded" and told.id in accepted:
            yield f"{event.type} {event.id} has arrived, and is {told.status} (delivery {told.id})"


def unasked(events: Collection[PublishedEvent], deliveries: Collection[Told]) -> Iterator[str]:
    """Deliveries that nobody asked for, and those that tell an event a second time."""
    known = {event.id for event in events}
    for told in deliveries:
        if told.event_id not in known:
            yield f"delivery {told.id} tells event {told.event_id}, which was not asked for"
    for event_id, times in Counter(told.event_id for told in deliveries).items():
        if times > 1:
            yield f"event {event_id} has {times} deliveries"


def wrong(
    subscription_id: str,
    events: Collection[PublishedEvent],
    deliveries: Collection[Told],
    receipts: Collection[Receipt],
) -> Iterator[str]:
    """What arrived and should not have, or says something else than was published."""
    by_id = {event.id: event for event in events}
    by_delivery = {told.id: by_id.get(told.event_id) for told in deliveries}
    for receipt in receipts:
        event = by_delivery.get(receipt.webhook_id)
        if receipt.verified is False:
            yield f"notification {receipt.webhook_id} (attempt {receipt.attempt}) has a bad signature"
        elif event is None:
            yield f"notification {receipt.webhook_id} arrived, and is no delivery of this subscription"
        elif receipt.event_id not in ("", event.id):
            yield f"notification {receipt.webhook_id} names event {receipt.event_id}, not {event.id}"
        elif not says(receipt, subscription_id, event):
            yield f"notification {receipt.webhook_id} differs from what was published as {event.type} {event.id}"


def says(receipt: Receipt, subscription_id: str, event: PublishedEvent) -> bool:
    """Whether the document has exactly the five keys (contract, section 4), and the values of this event."""
    document = receipt.document
    return isinstance(document, dict) and {**document, "event_timestamp": None} == {
        "subscription_id": subscription_id,
        "event_id": event.type,
        "event_timestamp": None,
        "delivery_id": receipt.webhook_id,
        "payload": event.payload,
    }
