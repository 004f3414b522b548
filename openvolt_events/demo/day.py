"""What happens on the platform in the demo: a pure plan, the same for the same run id.

The first day begins with people, customers, consents and meters; then data arrives all day long, every day.
On the last day one customer withdraws the consent, and a developer rotates the API key.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from openvolt_events.demo.half_hours import HALF_HOUR, half_hours, london

BATCH = 6  # half hours that arrive together
LAG = timedelta(minutes=5)  # from the end of a batch's last half hour to its arrival
CUSTOMERS = (
    ("Alder Bakery Ltd", "energy@alderbakery.example", "3 Mill Lane, Leeds", 2),
    ("Priya Shah", "priya.shah@mail.example", "Flat 2, 18 Harbour Road, Bristol", 1),
    ("Tom Okafor", "tom.okafor@mail.example", "71 Station Street, Inverness", 1),
)
USERS = (
    ("Ann Reid", "ann.reid@greenhomes.example", "owner"),
    ("Ben Cole", "ben.cole@greenhomes.example", "developer"),
)


@dataclass(frozen=True)
class Change:
    """One change that the platform publishes. `occurred_at` is aware, UTC."""

    type: str
    occurred_at: datetime
    payload: Any


@dataclass(frozen=True)
class Publish:
    """Changes that the platform publishes together, at a moment of the simulated day (UTC)."""

    at: datetime
    changes: Sequence[Change]


@dataclass(frozen=True)
class RotateKey:
    """A developer rotates the application's API key; the service publishes that by itself."""

    at: datetime


Step = Publish | RotateKey


@dataclass(frozen=True)
class Meter:
    """A meter that is read while there is consent; `read_until` is None when nobody withdraws it."""

    id: str
    read_from: datetime
    read_until: datetime | None = None


@dataclass(frozen=True)
class Batch:
    """Stretches of half hours that arrive together. Each is (start, end), UTC, the end exclusive."""

    arrives_at: datetime
    stretches: Sequence[tuple[datetime, datetime]]


@dataclass(frozen=True)
class Story:
    """All that becomes of one customer, but for the data of the meters."""

    changes: Sequence[Change]
    meters: Sequence[Meter]


def plan(run: str, days: Sequence[date]) -> list[Step]:
    """Everything that happens on these London days, in order. `run` makes the ids of one demo its own."""
    first, last = days[0], days[-1]
    stories = [customer_story(run, number, first) for number in range(len(CUSTOMERS) - 1)]
    stories.append(revoked(customer_story(run, len(CUSTOMERS) - 1, first), london(last, 14, 30)))
    changes = [*users(run, first), *(change for story in stories for change in story.changes)]
    meters = [meter for story in stories for meter in story.meters]
    steps: list[Step] = [Publish(change.occurred_at, [change]) for change in changes]
    steps += [step for day in days for step in data_steps(day, meters)]
    steps.append(RotateKey(london(last, 16)))
    return sorted(steps, key=lambda step: step.at)


def object_id(run: str, name: str) -> str:
    """24 hex characters, as the platform's own ids."""
    return hashlib.sha256(f"{run} {name}".encode()).hexdigest()[:24]


def timestamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def users(run: str, day: date) -> Iterator[Change]:
    for number, (name, email, role) in enumerate(USERS):
        payload = {"_id": object_id(run, email), "name": name, "email": email, "role": role}
        yield Change("user.created", london(day, 7, 40 + 10 * number), payload)


def customer_story(run: str, number: int, day: date) -> Story:
    """From the first contact on the morning of a London day to the last meter."""
    name, email, address, meter_count = CUSTOMERS[number]
    began = london(day, 8, 10) + number * timedelta(minutes=25)
    approved_at = began + timedelta(minutes=35)
    customer = customer_object(run, began, name, email, address)
    consent = consent_object(run, customer, approved_at)
    meters = [
        meter_object(run, customer, consent, 2 * number + nth, approved_at + timedelta(minutes=5 + nth))
        for nth in range(meter_count)
    ]
    return Story(
        [
            Change("customer.created", began, customer),
            Change("hosted_consent.approved", approved_at, consent | {"approved_at": timestamp(approved_at)}),
            *(Change("meter.created", moment(meter["created_at"]), meter) for meter in meters),
        ],
        [Meter(meter["_id"], moment(meter["created_at"])) for meter in meters],
    )


def revoked(story: Story, at: datetime) -> Story:
    """The customer withdraws the consent, so that the meters are read no longer."""
    approved = next(change for change in story.changes if change.type == "hosted_consent.approved")
    payload = approved.payload | {
        "revoked_at": timestamp(at),
        "reason": "The customer moves to another supplier.",
    }
    return Story(
        [*story.changes, Change("hosted_consent.revoked", at, payload)],
        [replace(meter, read_until=at) for meter in story.meters],
    )


def customer_object(run: str, created_at: datetime, name: str, email: str, address: str) -> dict[str, Any]:
    return {
        "_id": object_id(run, email),
        "object": "customer",
        "account": object_id(run, "account"),
        "name": name,
        "email": email,
        "address": address,
        "notes": [],
        "created_at": timestamp(created_at),
    }


def consent_object(run: str, customer: dict[str, Any], approved_at: datetime) -> dict[str, Any]:
    return {
        "_id": object_id(run, f"consent of {customer['_id']}"),
        "customer_id": customer["_id"],
        "flow_type": "gb.residential.specific",
        "expiry": timestamp(approved_at + timedelta(days=365)),
        "redirect_url": "https://app.greenhomes.example/return",
        "description": f"Electricity at {customer['address']}",
    }


def meter_object(
    run: str, customer: dict[str, Any], consent: dict[str, Any], number: int, created_at: datetime
) -> dict[str, Any]:
    return {
        "_id": object_id(run, f"meter {number}"),
        "object": "meter",
        "account": customer["account"],
        "meter_number": str(9999999999995 + number % 5),  # the platform's test meters
        "customer": customer,
        "consent_id": consent["_id"],
        "description": customer["name"],
        "address": customer["address"],
        "update_frequency": "daily",
        "data_source": "dcc",
        "status": "active",
        "notes": [],
        "created_at": timestamp(created_at),
    }


def data_steps(day: date, meters: Sequence[Meter]) -> Iterator[Publish]:
    """For each batch of the day, one change for each meter that is read; what a new meter missed comes first."""
    arrivals = defaultdict(list)
    for meter in meters:
        for batch in batches(day, meter.read_from):
            if meter.read_until is None or batch.arrives_at < meter.read_until:
                arrivals[batch.arrives_at].append(data_change(meter, batch))
    yield from (Publish(at, changes) for at, changes in arrivals.items())


def batches(day: date, read_from: datetime) -> Iterator[Batch]:
    """The half hours of a London day as they arrive at a meter that is read from then on (UTC)."""
    starts = half_hours(day)
    edges = [*starts[::BATCH], starts[-1] + HALF_HOUR]
    arrivals = defaultdict(list)
    for start, end in pairwise(edges):
        arrivals[max(end, read_from) + LAG].append((start, end))
    yield from (Batch(at, stretches) for at, stretches in arrivals.items())


def data_change(meter: Meter, batch: Batch) -> Change:
    payload = [
        {"meter_id": meter.id, "start_interval": timestamp(start), "end_interval": timestamp(end)}
        for start, end in batch.stretches
    ]
    return Change("meter_data.received", batch.arrives_at, payload)
