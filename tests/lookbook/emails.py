"""The emails of the look-book: each type with realistic data, in two languages and zones; then the odd and hostile."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from deliveries.channels import EmailTarget, Notification
from deliveries.channels.email import message, notification_message
from deliveries.channels.wording import Wording, confirmation_wording, notification_wording
from deliveries.letters.reader import Reader
from events.event_types import EVENT_TYPES

DELIVERY = UUID("c9d893a1-11dc-4063-834f-35bff4437ca2")
SUBSCRIPTION = UUID("0318df2f-7b9c-4b2e-bf8d-113919ab1e78")
EVENT = UUID("019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4")
RECIPIENT = UUID("019a4c1e-0000-7d3a-9a51-0c2f6be3a7d4")
NOW = datetime(2026, 11, 2, 16, 5, 44, tzinfo=UTC)
LONDON, BERLIN = ("Europe/London", "en"), ("Europe/Berlin", "de")
METER = "65a1f0c2b7d94e31a8c05f12"
CONSENT: dict[str, Any] = EVENT_TYPES["hosted_consent.revoked"].example


@dataclass(frozen=True)
class Sample:
    """One email. `content` is what a mail server would be handed."""

    name: str
    about: str
    wording: Wording
    content: bytes

    @property
    def first_line(self) -> str:
        return self.wording.text.split("\n", 1)[0]


def samples() -> Iterator[Sample]:
    for event_type in EVENT_TYPES.values():
        yield told(event_type.name, f"{event_type.sentence} In London.", event_type.example, LONDON)
        yield told(f"{event_type.name}.de", "The same in German, in Berlin.", event_type.example, BERLIN)
    yield from (told(name, about, payload) for name, about, payload in special_payloads())
    yield told("user.created.test", "A test.", EVENT_TYPES["user.created"].example, test=True)
    yield told("meter_data.received.many.de", "Forty meters, in German.", forty_meters(), BERLIN)
    yield asked("confirm", ["hosted_consent.revoked", "api_keys.rotated"], LONDON)
    yield asked("confirm.everything.de", ["*"], BERLIN)


def special_payloads() -> Iterator[tuple[str, str, Any]]:
    customer = {"_id": CONSENT["customer_id"], "name": "Tom Okafor", "email": "tom.okafor@mail.example"}
    yield "hosted_consent.revoked.named", "The payload names the customer.", CONSENT | {"customer": customer}
    yield "meter_data.received.backfill", "Thirteen months of one meter.", months(range(13))
    yield (
        "meter_data.received.gaps",
        "Months with gaps.",
        months([0, 1, 2, 5, 6, 9, 12]) + months([12], "…f77"),
    )
    yield (
        "meter_data.received.days",
        "Eight days of two meters.",
        days(METER, range(8)) + days("…f77", [0, 3, 7]),
    )
    yield "meter_data.received.hours", "Gaps of a day that were filled.", gaps_of_a_day()
    yield "meter_data.received.many", "Forty meters.", forty_meters()
    yield "meter_data.received.none", "No meter at all.", []
    yield (
        "tariff.changed",
        "A type that nobody knows yet.",
        {"tariff": "E-1R", "ends": "2027-01-01T00:00:00.000Z"},
    )
    yield (
        "meter.created.odd",
        "A payload that breaks its schema.",
        {"meter_number": 7, "deep": [{"a": [1, {}]}]},
    )
    yield (
        "customer.created.hostile",
        "Everything is hostile.",
        hostile("Zoë O'Neill & Söhne <x> 🏠\r\nBcc: a@b.c"),
    )
    yield "customer.created.rtl", "A name that reads from right to left.", hostile("משפחת כהן 12 شقة")
    yield "customer.created.long", "Names without end.", hostile("Gesellschaftsversicherungsverein" * 9)
    yield "user.created.bare", "Nothing but an id.", {"_id": "65c3d5e2f9a16b53c0e27f41"}


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stretch(meter: str, start: datetime, end: datetime) -> dict[str, str]:
    return {"meter_id": meter, "start_interval": stamp(start), "end_interval": stamp(end)}


def month(number: int) -> datetime:
    return datetime(2025 + (9 + number) // 12, (9 + number) % 12 + 1, 1, 0, 30, tzinfo=UTC)


def months(numbers: Any, meter: str = METER) -> list[dict[str, str]]:
    """As the platform sends them: from half past midnight to midnight."""
    return [stretch(meter, month(each), month(each + 1) - timedelta(minutes=30)) for each in numbers]


def days(meter: str, numbers: Any) -> list[dict[str, str]]:
    first = datetime(2026, 10, 22, 0, 30, tzinfo=UTC)
    return [
        stretch(meter, first + timedelta(days=each), first + timedelta(days=each, hours=23.5))
        for each in numbers
    ]


def gaps_of_a_day() -> list[dict[str, str]]:
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    filled = [(2, 3), (7.5, 9), (17, 22)]
    return [
        stretch(METER, midnight + timedelta(hours=start), midnight + timedelta(hours=end))
        for start, end in filled
    ]


def forty_meters() -> list[dict[str, str]]:
    return [
        each
        for number in range(40)
        for each in days(f"65a1f0c2b7d94e31a8c05f{number:02}", range(number % 3 + 1))
    ]


def hostile(text: str) -> dict[str, Any]:
    return {"_id": text, "name": text, "email": f"{text}@example.org", "address": text, "notes": [text]}


def told(
    name: str, about: str, payload: Any, reader: tuple[str, str] = ("UTC", "en"), *, test: bool = False
) -> Sample:
    event_type = ".".join(name.split(".")[:2])
    notification = Notification(
        DELIVERY, SUBSCRIPTION, EVENT, event_type, NOW, json.dumps(payload, ensure_ascii=False), test=test
    )
    target = EmailTarget("ann.reid@greenhomes.example", RECIPIENT, "Green Homes", *reader)
    content = notification_message(notification, target, NOW).message().as_bytes()
    return Sample(name, about, notification_wording(notification, target), content)


def asked(name: str, event_types: list[str], reader: tuple[str, str]) -> Sample:
    wording = confirmation_wording(
        "ann.reid@greenhomes.example", "Green Homes", event_types, RECIPIENT, NOW, Reader(*reader)
    )
    content = message(wording, "ann.reid@greenhomes.example", DELIVERY, NOW).message().as_bytes()
    return Sample(name, "The question that comes before any other email.", wording, content)
