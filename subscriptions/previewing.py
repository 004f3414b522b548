"""Before a subscription is saved: of which of the last events it would have been told."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Case, F, TextField, Value, When

from events.models import ERASED, Event
from events.payloads import Payload
from subscriptions.models import EVERY_TYPE, Subscription

MOST_EVENTS = 1000
MOST_BYTES = 64 * 1024 * 1024  # of payloads
AT_A_TIME = 8  # payloads in memory


@dataclass
class Preview:
    """How many events were looked at, which of them matched, newest first, and when the oldest looked at was made."""

    checked: int = 0
    matched: list[Event] = field(default_factory=list)
    oldest_at: datetime | None = None


def preview(subscription: Subscription) -> Preview:
    """Looks at the application's last events, without tests, until their payloads are too many bytes."""
    found, size = Preview(), 0
    with (
        transaction.atomic()
    ):  # or the database would read all of them at once, for a cursor that outlives it
        for event in last_events(subscription).iterator(chunk_size=AT_A_TIME):
            payload, event.looked_into = Payload(event.looked_into), ""
            size += len(payload.text.encode())
            if size > MOST_BYTES:
                break
            found.checked, found.oldest_at = found.checked + 1, event.created_at
            if subscription.wants(event.type, payload):
                found.matched.append(event)
    return found


def last_events(subscription: Subscription) -> Any:
    """The last ones of its application. `looked_into` is the payload, where the filter looks into it."""
    events = Event.objects.filter(application=subscription.application_id, test=False).exclude(payload=ERASED)
    looked_into = events.annotate(looked_into=what_is_looked_into(subscription))
    return looked_into.defer("payload").order_by("-id")[:MOST_EVENTS]


def what_is_looked_into(subscription: Subscription) -> F | Case | Value:
    if not subscription.filter:
        return Value("")
    if EVERY_TYPE in subscription.event_types:
        return F("payload")
    wanted = When(type__in=subscription.event_types, then=F("payload"))
    return Case(wanted, default=Value(""), output_field=TextField())
