"""What customers are called of whom events tell by an id alone: as the newest event that named them did."""

import json
from collections.abc import Iterable
from typing import Protocol
from uuid import UUID

from django.db import connection

from deliveries.models import Case
from events.event_types import EVENT_TYPES, is_customer_id
from events.pointers import steps

BY_ID_ALONE = ("hosted_consent.approved", "hosted_consent.revoked")
LONGEST = 400  # characters of a name, before it is cleaned
PATHS = {
    name: steps(each.names_customer["name"]) for name, each in EVENT_TYPES.items() if each.names_customer
}
CALLED = f"""
SELECT asked.application, asked.customer, (
    SELECT left(payload::json #>> CASE type {" ".join(["WHEN %s THEN %s::text[]"] * len(PATHS))} END, {LONGEST})
    FROM events_event
    WHERE application_id = asked.application AND names_customer = asked.customer
    ORDER BY id DESC LIMIT 1
) FROM unnest(%s::uuid[], %s::text[]) AS asked (application, customer)
"""  # noqa: S608 - nothing from outside is in it


class Telling(Protocol):
    """An event, as far as it matters here."""

    @property
    def id(self) -> UUID: ...
    @property
    def type(self) -> str: ...
    @property
    def payload(self) -> str: ...


def customers_of(told: Iterable[tuple[UUID, Telling]]) -> dict[UUID, str]:
    """By the event's id the name, where it is known; of events with their applications, in one query at most."""
    asked = {
        event.id: (application, customer)
        for application, event in told
        if event.type in BY_ID_ALONE and (customer := customer_id(event.payload))
    }
    called = names(set(asked.values())) if asked else {}
    return {id: called[customer] for id, customer in asked.items() if customer in called}


def customers_in(cases: Iterable[Case]) -> dict[UUID, str]:
    """The same by the case's id, which is its event's."""
    return customers_of((case.application_id, case.event) for case in cases if case.event)


def customer_id(payload: str) -> str | None:
    try:
        value = json.loads(payload)["customer_id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return value if is_customer_id(value) else None


def names(asked: set[tuple[UUID, str]]) -> dict[tuple[UUID, str], str]:
    paths = [each for path in PATHS.items() for each in path]
    applications, customers = map(list, zip(*sorted(asked), strict=True))
    with connection.cursor() as cursor:
        cursor.execute(CALLED, [*paths, applications, customers])
        return {(application, customer): name for application, customer, name in cursor.fetchall() if name}
