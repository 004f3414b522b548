"""The emails of the look-book: each type with realistic data, in two languages and zones; then the odd and hostile."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from accounts.models import Application
from deliveries.cases import Person
from deliveries.channels import EmailTarget, Handling, Notification
from deliveries.channels.case_wording import note_wording
from deliveries.channels.digests import digest_message
from deliveries.channels.email import fallback_message, message, notification_message
from deliveries.channels.summary_wording import summary_wording
from deliveries.channels.wording import (
    Wording,
    confirmation_wording,
    digest_wording,
    fallback_wording,
    notification_wording,
    outage_wording,
)
from deliveries.letters import handling, outages
from deliveries.letters.fallback import Missed
from deliveries.letters.reader import Reader
from deliveries.models import Case
from events.event_types import EVENT_TYPES
from events.models import Event
from subscriptions.models import Recipient

DELIVERY = UUID("c9d893a1-11dc-4063-834f-35bff4437ca2")
SUBSCRIPTION = UUID("0318df2f-7b9c-4b2e-bf8d-113919ab1e78")
EVENT = UUID("019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4")
RECIPIENT = UUID("019a4c1e-0000-7d3a-9a51-0c2f6be3a7d4")
NOW = datetime(2026, 11, 2, 16, 5, 44, tzinfo=UTC)
LONDON, BERLIN = ("Europe/London", "en"), ("Europe/Berlin", "de")
METER = "65a1f0c2b7d94e31a8c05f12"
CONSENT: dict[str, Any] = EVENT_TYPES["hosted_consent.revoked"].example

COLLEAGUE = Handling("tom.byrne@greenhomes.example", NOW + timedelta(minutes=12))
NOTES: dict[str, handling.Writer] = {
    "taken": handling.taken,
    "handed_over": handling.handed_over,
    "done": handling.done,
    "unhandled": handling.unhandled,
}
OUTAGES: dict[str, outages.Writer] = {
    "failing": outages.failing,
    "disabling": outages.disabling,
    "disabled": outages.disabled,
    "gone": outages.gone,
    "recovered": outages.recovered,
}
OUTAGE: dict[str, Any] = {
    "url": "https://hooks.greenhomes.example/openvolt/events",
    "description": "CRM, production",
    "since": "2026-10-29T09:12:40+00:00",
    "at": "2026-11-02T09:13:02+00:00",
    "disable_at": "2026-11-03T09:12:40+00:00",
    "failures": 1204,
    "last_error": "The receiver answered 503 Service Unavailable.",
    "unfinished": 1001,
}
HOSTILE_OUTAGE = {
    "url": "https://" + "subdomain." * 20 + "example/" + "path/" * 60,
    "description": "<script>alert(1)</script> http://evil.example \u202egnp.exe " + "x" * 400,
    "last_error": "The receiver answered 302 Found and points to https://evil.example/<b>?token=secret "
    + "y" * 900,
}


WEEK_FAILING: list[dict[str, Any]] = [
    {
        "url": OUTAGE["url"],
        "description": "CRM, production",
        "since": OUTAGE["since"],
        "disabled": False,
    },
    {
        "url": "https://old.greenhomes.example/in",
        "description": "",
        "since": "2026-10-21T09:12:40+00:00",
        "disabled": True,
    },
]
WEEK_SLOWEST: list[dict[str, Any]] = [
    {
        "url": "https://reports.greenhomes.example/in",
        "description": "Reports",
        "attempts": 700,
        "median_ms": 2210.4,
        "p95_ms": 9120.9,
    },
    {"url": OUTAGE["url"], "description": "", "attempts": 1204, "median_ms": 410.2, "p95_ms": 1402.0},
    {
        "url": "https://fast.greenhomes.example/",
        "description": "Billing",
        "attempts": 512,
        "median_ms": 18.1,
        "p95_ms": 44.6,
    },
]


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
    yield from digests()
    yield asked("confirm", ["hosted_consent.revoked", "api_keys.rotated"], LONDON)
    yield asked("confirm.everything.de", ["*"], BERLIN)
    yield from fallbacks()
    for name, write in OUTAGES.items():
        yield failing(f"outage.{name}", write)
        yield failing(f"outage.{name}.de", write, BERLIN)
    yield failing("outage.failing.hostile", outages.failing, hostile=True)
    yield from cases()
    yield summed_up("summary", "A week in which all went well.", {"failing": []}, failed=0)
    yield summed_up("summary.trouble", "A week with trouble.", {})
    yield summed_up("summary.trouble.de", "The same in German.", {}, BERLIN)
    yield summed_up("summary.bare", "Nothing to send, and one that fails.", {"slowest": []}, busy=0, failed=0)
    yield summed_up("summary.hostile", "Everything is hostile.", hostile_week())


def cases() -> Iterator[Sample]:
    """What is said when somebody is on it, or nobody is."""
    for name, write in NOTES.items():
        yield case_note(f"case.{name}", write, LONDON)
        yield case_note(f"case.{name}.de", write, BERLIN)
    yield case_note(
        "case.hostile", handling.done, LONDON, hostile("<b>&\r\nBcc: a@b.c http://evil.example ")["name"] * 9
    )
    yield told(
        "hosted_consent.revoked.taken", "Sent when a colleague is on it.", CONSENT, LONDON, handled=True
    )
    mixed = [(name, EVENT_TYPES[name].example) for name in EVENT_TYPES]
    yield digest("digest.taken", "Of two things a colleague is on one.", mixed, LONDON, handled=True)


def case_note(name: str, write: handling.Writer, reader: tuple[str, str], outcome: str = "") -> Sample:
    event = Event(type="hosted_consent.revoked", occurred_at=NOW, payload=json.dumps(CONSENT))
    person = Recipient(
        id=RECIPIENT, email="ann.reid@greenhomes.example", timezone=reader[0], language=reader[1]
    )
    case = Case(id=EVENT, kind=event.type, application=Application(name="Green Homes"), event=event)
    case.taken_by, case.taken_at = COLLEAGUE.by, COLLEAGUE.since
    case.outcome = outcome or "They sold the flat; a new consent is on its way."
    case.done_at = NOW if write is handling.done else None
    wording = note_wording(write, case, Person(RECIPIENT, person.email, person), COLLEAGUE.by)
    content = message(wording, person.email, DELIVERY, NOW).message().as_bytes()
    return Sample(name, "A short note about a case.", wording, content)


def digests() -> Iterator[Sample]:
    mixed = [(name, EVENT_TYPES[name].example) for name in EVENT_TYPES]
    yield digest("digest", "A small one.", mixed[:3] + mixed[:1], LONDON)
    yield digest("digest.de", "One of each type, in German.", mixed, BERLIN)
    backfill = [("meter_data.received", months([number], f"…{number % 4:03}")) for number in range(13)]
    yield digest(
        "digest.forty", "Forty events, with thirteen months of data.", backfill + mixed * 3 + mixed[:6]
    )
    one_meter = [("meter_data.received", months([number])) for number in range(13)]
    yield digest(
        "digest.backfill", "Thirteen months of one meter, a month an event.", one_meter + mixed[:1], LONDON
    )
    odd = [("meter_data.received", payload) for payload in ([1, None], {"a": 1}, [{"meter_id": 5}], "x")]
    yield digest("digest.odd", "Payloads that break their schema.", [*odd, *one_meter[:2]])
    yield digest("digest.one", "A digest of one is that event's letter.", mixed[3:4], LONDON)
    bad = hostile("Zoë O'Neill & Söhne <x> 🏠\r\nBcc: a@b.c" + "x" * 200)
    yield digest(
        "digest.hostile", "Everything is hostile.", [("customer.created", bad), ("tariff.x", [[1]])] * 12
    )


def digest(
    name: str,
    about: str,
    events: list[tuple[str, Any]],
    reader: tuple[str, str] = ("UTC", "en"),
    *,
    handled: bool = False,
) -> Sample:
    target = EmailTarget("ann.reid@greenhomes.example", RECIPIENT, "Green Homes", *reader)
    notifications = [
        Notification(
            DELIVERY,
            SUBSCRIPTION,
            EVENT,
            event_type,
            NOW - timedelta(minutes=17 * nth),
            json.dumps(payload),
            handling=COLLEAGUE if handled and event_type == "hosted_consent.revoked" else None,
        )
        for nth, (event_type, payload) in enumerate(events)
    ]
    content = digest_message(notifications, DELIVERY, target, NOW).message().as_bytes()
    if len(notifications) == 1:
        return Sample(name, about, notification_wording(notifications[0], target), content)
    return Sample(name, about, digest_wording(notifications, DELIVERY, target), content)


def fallbacks() -> Iterator[Sample]:
    failed = Missed(
        OUTAGE["url"],
        True,
        10,
        NOW - timedelta(hours=75),
        NOW,
        "The receiver answered 503 Service Unavailable.",
    )
    late = Missed(
        OUTAGE["url"], False, 3, NOW - timedelta(minutes=61), NOW, "The receiver did not answer in 15 s."
    )
    bad = Missed(HOSTILE_OUTAGE["url"], True, 1, NOW, NOW, HOSTILE_OUTAGE["last_error"])
    yield fallback("fallback.failed", failed, LONDON)
    yield fallback("fallback.failed.de", failed, BERLIN)
    yield fallback("fallback.late", late, LONDON)
    yield fallback("fallback.late.de", late, BERLIN)
    yield fallback("fallback.hostile", bad, ("UTC", "en"))
    yield asked("confirm.fallback", ["hosted_consent.revoked"], LONDON, OUTAGE["url"])
    yield asked("confirm.fallback.de", ["*"], BERLIN, OUTAGE["url"])


def fallback(name: str, missed: Missed, reader: tuple[str, str]) -> Sample:
    notification = Notification(
        DELIVERY, SUBSCRIPTION, EVENT, "hosted_consent.revoked", missed.due_at, json.dumps(CONSENT)
    )
    target = EmailTarget("ann.reid@greenhomes.example", RECIPIENT, "Green Homes", *reader)
    content = fallback_message(notification, target, missed, DELIVERY, NOW).message().as_bytes()
    return Sample(
        name, "What a webhook could not tell.", fallback_wording(notification, target, missed), content
    )


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
    name: str,
    about: str,
    payload: Any,
    reader: tuple[str, str] = ("UTC", "en"),
    *,
    test: bool = False,
    handled: bool = False,
) -> Sample:
    event_type = ".".join(name.split(".")[:2])
    notification = Notification(
        DELIVERY,
        SUBSCRIPTION,
        EVENT,
        event_type,
        NOW,
        json.dumps(payload, ensure_ascii=False),
        test=test,
        handling=COLLEAGUE if handled else None,
    )
    target = EmailTarget("ann.reid@greenhomes.example", RECIPIENT, "Green Homes", *reader)
    content = notification_message(notification, target, NOW).message().as_bytes()
    return Sample(name, about, notification_wording(notification, target), content)


def asked(name: str, event_types: list[str], reader: tuple[str, str], webhook: str = "") -> Sample:
    wording = confirmation_wording(
        "ann.reid@greenhomes.example", "Green Homes", event_types, RECIPIENT, NOW, Reader(*reader), webhook
    )
    content = message(wording, "ann.reid@greenhomes.example", DELIVERY, NOW).message().as_bytes()
    return Sample(name, "The question that comes before any other email.", wording, content)


def failing(
    name: str, write: outages.Writer, reader: tuple[str, str] = ("UTC", "en"), *, hostile: bool = False
) -> Sample:
    told = OUTAGE | (HOSTILE_OUTAGE if hostile else {})
    if write in (outages.disabled, outages.gone):
        told = told | {"case": str(EVENT)}
    to = "ann.reid@greenhomes.example"
    wording = outage_wording(write, told, to, "Green Homes", str(SUBSCRIPTION), Reader(*reader))
    content = message(wording, to, DELIVERY, NOW).message().as_bytes()
    return Sample(name, "To the contacts of an application.", wording, content)


def summed_up(
    name: str,
    about: str,
    changed: dict[str, Any],
    reader: tuple[str, str] = ("UTC", "en"),
    *,
    busy: int = 1,
    failed: int = 1,
) -> Sample:
    told = week(busy, failed) | changed
    application = Application(id=RECIPIENT, name="Green Homes")
    to = "ann.reid@greenhomes.example"
    wording = summary_wording(told, to, application, Reader(*reader))
    return Sample(name, about, wording, message(wording, to, DELIVERY, NOW).message().as_bytes())


def week(busy: int, failed: int) -> dict[str, Any]:
    start = datetime(2026, 10, 26, tzinfo=UTC)
    sizes = [(1204, 0, 0), (1530, 12, 0), (980, 340, 0), (1712, 3, 0), (1490, 0, 4), (212, 0, 9), (0, 0, 0)]
    return {
        "start": start.isoformat(),
        "days": [
            {
                "start": (start + nth * timedelta(days=1)).isoformat(),
                "delivered": delivered * busy,
                "failed": refused * failed,
                "waiting": waiting * busy,
                "more": False,
            }
            for nth, (delivered, refused, waiting) in enumerate(sizes)
        ],
        "counted": 50_000,
        "failing": WEEK_FAILING,
        "more_failing": 0,
        "slowest": WEEK_SLOWEST,
        "sampled": 100,
    }


def hostile_week() -> dict[str, Any]:
    bad = {name: HOSTILE_OUTAGE[name] for name in ("url", "description")}
    days = [day | {"delivered": 50_000, "more": True} for day in week(1, 1)["days"]]
    return {
        "days": days,
        "failing": [each | bad for each in WEEK_FAILING * 5],
        "more_failing": 77,
        "slowest": [each | bad for each in WEEK_SLOWEST],
    }
