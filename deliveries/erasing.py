"""Forgetting a customer: what an application's events say of them is blanked, and that something happened stays.

An event that mentions the customer keeps its id, its type and its times; its payload becomes `null`. Of the attempts to
tell of it, what was sent and what came back goes; that it was tried, when, and what it came to stays. Deliveries that
are still to be sent are cancelled first: their receiver must not get what is to be forgotten, and could make nothing of
an empty payload. So the ledger stays whole.

A subscription's filter may name the customer, too. That of a deleted one goes; one that is in use is its owner's to
change, since without the value it would let through something else.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from accounts.audit import record
from accounts.models import Application
from deliveries.lifecycle import NotPossible, cancel
from deliveries.models import Attempt, Case, Delivery, MailEvent
from events.models import ERASED, Event
from subscriptions.models import Subscription

BATCH = 200  # events
SHORTEST, LONGEST = 8, 1000  # characters of what is looked for: less is in every other time or number
BLANK = {"request_headers": {}, "response_headers": {}, "response_body": ""}


@dataclass
class Erased:
    """How many rows an erasure changed."""

    events: int = 0
    attempts: int = 0
    cancelled: int = 0
    filters: int = 0


def mentions(application: Application, customer: str) -> QuerySet[Event]:
    """The application's events whose payload has this as a word of its own: a value, a name, or in a text."""
    return Event.objects.filter(application=application, payload__regex=word(customer))


def in_filters(application: Application, customer: str) -> QuerySet[Subscription]:
    """The application's subscriptions whose filter has it likewise, also those that were deleted."""
    subscriptions = Subscription.objects.filter(application=application)
    return subscriptions.alias(text=Cast("filter", TextField())).filter(text__regex=word(customer))


def word(customer: str) -> str:
    written = re.escape(json.dumps(customer, ensure_ascii=False)[1:-1])
    return f"(^|[^0-9A-Za-z]){written}($|[^0-9A-Za-z])"


def erase(application: Application, customer: str, now: datetime) -> Erased:
    """Blank what mentions the customer, a few events at a time. Cut short, it is simply done again.

    What was erased before is looked at again: an attempt that was under way then has been written since.
    """
    said = {"customer_sha256": sha256(customer.encode()).hexdigest()}
    record("customer.erasure_begun", application, after=said)
    erased = Erased()
    for ids in batches(mentions(application, customer) | blanked(application)):
        erased.cancelled += cancel_all(ids, now)
        with transaction.atomic(), erasure():
            events = Event.objects.filter(application=application, pk__in=ids).exclude(payload=ERASED)
            erased.events += events.update(payload=ERASED, names_customer=None)
            mail_events(ids).update(description="")
            Case.objects.filter(event__in=ids).update(outcome="")
            erased.attempts += told(ids).exclude(**BLANK).update(**BLANK)
        erased.cancelled += cancel_all(ids, now)  # of a replay that came in between
    erased.filters = in_filters(application, customer).exclude(deleted_at=None).update(filter={})
    record("customer.erased", application, after={**said, **vars(erased)})
    return erased


def blanked(application: Application) -> QuerySet[Event]:
    return Event.objects.filter(application=application, payload=ERASED)


def batches(events: QuerySet[Event]) -> Iterator[list[UUID]]:
    last = UUID(int=0)
    while ids := list(events.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:BATCH]):
        yield ids
        last = ids[-1]


def cancel_all(events: Sequence[UUID], now: datetime) -> int:
    """Cancel what is unfinished, also what a worker holds; returns how many that were."""
    return sum(is_cancelled(one, now) for one in Delivery.objects.filter(event__in=events).unfinished())


def is_cancelled(delivery: Delivery, now: datetime) -> bool:
    try:
        return cancel(delivery, now).status == Delivery.Status.CANCELLED
    except NotPossible:  # it has been finished meanwhile
        return False


def told(events: Sequence[UUID]) -> QuerySet[Attempt]:
    deliveries = list(Delivery.objects.filter(event__in=events).values_list("pk", flat=True))
    return Attempt.objects.filter(Q(delivery__in=deliveries))


def mail_events(events: Sequence[UUID]) -> QuerySet[MailEvent]:
    return MailEvent.objects.filter(delivery__in=Delivery.objects.filter(event__in=events).values("pk"))


@contextmanager
def erasure() -> Iterator[None]:
    """Let rows of events and attempts be blanked, in this transaction. Their triggers refuse every other change."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL openvolt.erasure = 'on'")
        yield
        cursor.execute("SET LOCAL openvolt.erasure = ''")
