"""The emails of the look-book: each letter with realistic data, in two languages and zones; then what is hostile."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from html import unescape
from typing import Any
from uuid import UUID

from accounts.models import Application
from deliveries.cases import Person
from deliveries.channels import EmailTarget, Handling, Notification
from deliveries.channels.case_wording import note_wording, notes_wording
from deliveries.channels.digests import digest_message
from deliveries.channels.email import fallback_message, message, notification_message
from deliveries.channels.mime import Email
from deliveries.channels.outages_wording import outages_wording
from deliveries.channels.summary_wording import summary_wording
from deliveries.channels.wording import Wording, confirmation_wording, outage_wording
from deliveries.letters import handling, outages, outages_together
from deliveries.letters.fallback import Missed
from deliveries.letters.reader import Reader
from deliveries.models import Case
from events.event_types import EVENT_TYPES
from events.models import Event
from subscriptions.models import Recipient

PREVIEW = re.compile(r'<div class="preview"[^>]*>([^<]*?)(?:\u2007|&#8199;)')
# At the end of a link: the moment, and the signature.
SIGNED = re.compile(r"\.[0-9A-Za-z]{6}\.[\w-]{43}(?![\w-])")
ALWAYS = f".{'0' * 6}.{'0' * 43}"  # or three letters that a test looks for may be in it, once in many runs
ADDRESS = "ann.reid@greenhomes.example"
DELIVERY = UUID("c9d893a1-11dc-4063-834f-35bff4437ca2")
SUBSCRIPTION = UUID("0318df2f-7b9c-4b2e-bf8d-113919ab1e78")
EVENT = UUID("019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4")
RECIPIENT = UUID("019a4c1e-0000-7d3a-9a51-0c2f6be3a7d4")
NOW = datetime(2026, 11, 2, 16, 5, 44, tzinfo=UTC)
LONDON, BERLIN = Reader("Europe/London", "en"), Reader("Europe/Berlin", "de")
METER = "65a1f0c2b7d94e31a8c05f12"
CONSENT: dict[str, Any] = EVENT_TYPES["hosted_consent.revoked"].example
CUSTOMER = {"_id": CONSENT["customer_id"], "name": "Tom Okafor", "email": "tom.okafor@mail.example"}
MOMENTS = ("revoked_at", "rotated_at", "approved_at", "created_at")

NAMED = ("api_keys.rotated", "customer.created", "user.created")
DESCRIBED = ("hosted_consent.approved", "meter.created")
TRICKY = '<b> & "O\'Neill" https://evil.example/now \u202e '

COLLEAGUE = Handling("tom.byrne@greenhomes.example", NOW + timedelta(minutes=12))
NOTES: dict[str, handling.Writer] = {
    "taken": handling.taken,
    "handed_over": handling.handed_over,
    "done": handling.done,
    "given_back": handling.given_back,
    "unhandled": handling.unhandled,
    "unfinished": handling.unfinished,
}
SEVERAL: dict[str, handling.WriterOfSeveral] = {
    "taken": handling.taken_together,
    "handed_over": handling.handed_over_together,
    "done": handling.done_together,
    "given_back": handling.given_back_together,
    "unhandled": handling.unhandled_together,
    "unfinished": handling.unfinished_together,
}
OUTAGES: dict[str, outages.Writer] = {
    "failing": outages.failing,
    "disabling": outages.disabling,
    "disabled": outages.disabled,
    "gone": outages.gone,
    "recovered": outages.recovered,
}
TOGETHER: dict[str, outages_together.Writer] = {
    "failing": outages_together.failing,
    "disabling": outages_together.disabling,
    "disabled": outages_together.disabled,
    "gone": outages_together.gone,
    "recovered": outages_together.recovered,
}
ENDED = ("disabled", "gone")
GONE = "The receiver answered 410 Gone: it wants no more notifications."
UNAVAILABLE = "The receiver answered 503 Service Unavailable."
OUTAGE: dict[str, Any] = {
    "url": "https://hooks.greenhomes.example/openvolt/events",
    "description": "CRM, production",
    "since": "2026-10-29T09:12:40+00:00",
    "at": "2026-11-02T09:13:02+00:00",
    "disable_at": "2026-11-03T09:12:40+00:00",
    "failures": 1204,
    "last_error": UNAVAILABLE,
    "unfinished": 1001,
    "failed": 212,
    "failed_from": "2026-10-29T09:12:38.114+00:00",
}
NOTHING_LOST = {"failed": 0, "failed_from": ""}
HOSTILE_OUTAGE = {
    "url": "https://" + "subdomain." * 20 + "example/" + "path/" * 60,
    "description": "<script>alert(1)</script> http://evil.example \u202egnp.exe " + "x" * 400,
    "last_error": "The receiver answered 302 Found and points to https://evil.example/<b>?token=secret "
    + "y" * 600
    + "; redirects are not followed, so the subscription's URL must be the final one.",
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


def steady(words: str) -> str:
    """The same in every run, whenever its links were signed."""
    return SIGNED.sub(ALWAYS, words)


@dataclass(frozen=True)
class Sample:
    """One email. `given` is what it was written from: what others said, in whatever language."""

    name: str
    about: str
    email: Email
    given: Any = field(default=(), repr=False)

    @cached_property
    def wording(self) -> Wording:
        parts = (self.email.body, self.email.alternatives[0][0])
        return Wording(str(self.email.subject), *(steady(str(part)) for part in parts))

    @cached_property
    def content(self) -> bytes:
        """What a mail server would be handed."""
        return bytes(self.email.message().as_bytes())

    @property
    def first_line(self) -> str:
        """What a mailbox shows next to the subject."""
        shown = PREVIEW.search(self.wording.html)
        assert shown
        return unescape(shown[1])


@cache
def samples() -> tuple[Sample, ...]:
    """Each in English, in London; and in German, in Berlin."""
    german = (replace(sample, name=f"{sample.name}.de") for sample in Writer(BERLIN).every_letter())
    return (*Writer(LONDON).every_letter(), *german)


@dataclass(frozen=True)
class Writer:
    """Writes to one reader, from one application."""

    reader: Reader
    application: str = "Green Homes"

    @property
    def owner(self) -> Application:
        return Application(id=RECIPIENT, name=self.application)

    @property
    def target(self) -> EmailTarget:
        return EmailTarget(ADDRESS, RECIPIENT, self.application, self.reader.timezone, self.reader.language)

    def every_letter(self) -> Iterator[Sample]:
        for event_type in EVENT_TYPES.values():
            yield self.told(event_type.name, event_type.sentence, event_type.example)
        for name, about, payload in special_payloads():
            yield self.told(name, about, payload)
        yield self.told("user.created.test", "A test.", EVENT_TYPES["user.created"].example, test=True)
        yield self.told("hosted_consent.revoked.replay", "A replay.", CONSENT, trigger="replay")
        yield self.told(
            "hosted_consent.revoked.taken", "Sent when a colleague is on it.", CONSENT, on_it=COLLEAGUE
        )
        yield from self.digests()
        yield self.asked("confirm", ["hosted_consent.revoked", "api_keys.rotated"])
        yield self.asked("confirm.everything", ["*"])
        yield self.asked("confirm.fallback", ["hosted_consent.revoked"], OUTAGE["url"])
        yield from self.fallbacks()
        yield from self.outage_letters()
        for name, write in NOTES.items():
            yield self.case_note(f"case.{name}", write)
        yield self.case_note("case.hostile", handling.done, "<b>&\r\nBcc: a@b.c http://evil.example " * 9)
        for name, write_several in SEVERAL.items():
            yield self.several_cases(f"cases.{name}", write_several, 20)
        yield from self.summaries()

    def told(
        self, name: str, about: str, payload: Any, *, on_it: Handling | None = None, **more: Any
    ) -> Sample:
        """`more` are fields of the notification."""
        event_type = ".".join(name.split(".")[:2])
        notification = replace(self.notification(event_type, payload), handling=on_it, **more)
        return Sample(name, about, notification_message(notification, self.target, NOW), payload)

    def notification(self, event_type: str, payload: Any, nth: int = 0) -> Notification:
        return Notification(
            DELIVERY,
            SUBSCRIPTION,
            UUID(int=EVENT.int + nth),
            event_type,
            happened(payload) - timedelta(minutes=17 * nth),
            json.dumps(payload),
        )

    def digests(self) -> Iterator[Sample]:
        mixed = [(name, EVENT_TYPES[name].example) for name in EVENT_TYPES]
        routine = [each for each in mixed if each[0] not in handling.HANDLED]
        one_meter = [("meter_data.received", months([number])) for number in range(13)]
        backfill = [("meter_data.received", months([number], f"…{number % 4:03}")) for number in range(13)]
        odd = [("meter_data.received", payload) for payload in ([1, None], {"a": 1}, [{"meter_id": 5}], "x")]
        bad = hostile("Zoë O'Neill & Söhne <x> 🏠\r\nBcc: a@b.c" + "x" * 200)
        yield self.digest("digest", "One of each type.", mixed)
        yield self.digest("digest.routine", "Nothing that a person should handle.", routine)
        yield self.digest("digest.taken", "Of two things a colleague is on one.", mixed, on_it=COLLEAGUE)
        yield self.digest("digest.all_taken", "Somebody is on it.", mixed[3:5], on_it=COLLEAGUE)
        yield self.digest(
            "digest.yours", "Its reader is on it.", mixed[3:5], on_it=replace(COLLEAGUE, by=ADDRESS)
        )
        yield self.digest(
            "digest.forty", "Forty events, with thirteen months of data.", backfill + mixed * 3 + mixed[:6]
        )
        yield self.digest("digest.thousand", "More than a thousand events.", routine * 250)
        yield self.digest(
            "digest.backfill", "Thirteen months of one meter, a month an event.", one_meter + mixed[:1]
        )
        yield self.digest("digest.odd", "Payloads that break their schema.", [*odd, *one_meter[:2]])
        yield self.digest("digest.one", "A digest of one is that event's letter.", mixed[3:4])
        yield self.digest(
            "digest.worst",
            "Twelve of each type, all hostile, each meter with every second day.",
            worst_payloads(TRICKY * 9),
        )
        yield self.digest(
            "digest.hostile", "Everything is hostile.", [("customer.created", bad), ("tariff.x", [[1]])] * 12
        )

    def digest(
        self, name: str, about: str, events: Sequence[tuple[str, Any]], on_it: Handling | None = None
    ) -> Sample:
        """`on_it` is who has what is about a consent."""
        notifications = [
            replace(
                self.notification(event_type, payload, nth),
                occurred_at=NOW - timedelta(minutes=17 * nth),
                handling=on_it if event_type == "hosted_consent.revoked" else None,
            )
            for nth, (event_type, payload) in enumerate(events)
        ]
        email = digest_message(notifications, DELIVERY, self.target, NOW)
        return Sample(name, about, email, [payload for _, payload in events])

    def asked(self, name: str, event_types: list[str], webhook: str = "") -> Sample:
        wording = confirmation_wording(
            ADDRESS, self.application, event_types, RECIPIENT, NOW, self.reader, webhook
        )
        return self.own(name, "The question that comes before any other email.", wording)

    def fallbacks(self) -> Iterator[Sample]:
        late = Missed(
            OUTAGE["url"],
            False,
            3,
            NOW - timedelta(minutes=61),
            NOW,
            "The receiver did not begin to answer within 15 s.",
        )
        failed = replace(late, has_failed=True, attempts=10, due_at=NOW - timedelta(hours=75))
        yield self.fallback("fallback.failed", replace(failed, last_error=UNAVAILABLE))
        yield self.fallback("fallback.late", late)
        yield self.fallback("fallback.taken", late, on_it=COLLEAGUE)
        yield self.fallback("fallback.routine", late, "customer.created")
        yield self.fallback(
            "fallback.hostile",
            replace(failed, url=HOSTILE_OUTAGE["url"], last_error=HOSTILE_OUTAGE["last_error"]),
        )

    def fallback(
        self,
        name: str,
        missed: Missed,
        event_type: str = "hosted_consent.revoked",
        payload: Any = None,
        on_it: Handling | None = None,
    ) -> Sample:
        payload = payload or EVENT_TYPES[event_type].example
        if "revoked_at" in payload:
            payload = payload | {"revoked_at": stamp(missed.due_at)}
        notification = replace(
            self.notification(event_type, payload), occurred_at=missed.due_at, handling=on_it
        )
        email = fallback_message(notification, self.target, missed, DELIVERY, NOW)
        return Sample(name, "What a webhook could not tell.", email, [payload, missed.url])

    def outage_letters(self) -> Iterator[Sample]:
        for name, write in OUTAGES.items():
            told = OUTAGE | ({"last_error": GONE} if name == "gone" else {})
            yield self.failing(f"outage.{name}", write, with_case(told) if name in ENDED else told)
        for name in ("failing", "recovered"):
            yield self.failing(f"outage.{name}.nothing_lost", OUTAGES[name], OUTAGE | NOTHING_LOST)
        yield self.failing("outage.failing.hostile", outages.failing, OUTAGE | HOSTILE_OUTAGE)
        for name, together in TOGETHER.items():
            both = [OUTAGE, OUTAGE | {"url": "https://old.greenhomes.example/in", "description": ""}]
            both = [each | {"last_error": GONE} for each in both] if name == "gone" else both
            both = [with_case(each) for each in both] if name in ENDED else both
            yield self.failing_together(f"outages.{name}", together, both)
        yield self.failing_together(
            "outages.disabled.hostile",
            outages_together.disabled,
            [with_case(OUTAGE | HOSTILE_OUTAGE)] * 20,
        )

    def failing(self, name: str, write: outages.Writer, told: dict[str, Any]) -> Sample:
        wording = outage_wording(write, told, ADDRESS, self.owner, str(SUBSCRIPTION), self.reader)
        return self.own(name, "To the contacts of an application.", wording, told)

    def failing_together(
        self, name: str, write: outages_together.Writer, told: Sequence[dict[str, Any]]
    ) -> Sample:
        by_id = {str(UUID(int=SUBSCRIPTION.int + nth)): facts for nth, facts in enumerate(told)}
        wording = outages_wording(write, by_id, ADDRESS, self.owner, self.reader)
        return self.own(name, "To the contacts, of several subscriptions.", wording, told)

    def case_note(
        self, name: str, write: handling.Writer, outcome: str = "", payload: dict[str, Any] = CONSENT
    ) -> Sample:
        """A short note about a case."""
        case, person = self.case(payload), self.person
        case.taken_by, case.taken_at = COLLEAGUE.by, COLLEAGUE.since
        case.outcome = outcome or "They sold the flat; a new consent is on its way."
        case.done_at = NOW + timedelta(hours=2) if write is handling.done else None
        wording = note_wording(write, case, person, COLLEAGUE.by)
        return self.own(name, "A short note about a case.", wording, [payload, case.outcome])

    def several_cases(self, name: str, write: handling.WriterOfSeveral, count: int) -> Sample:
        told = [CONSENT | {"customer": CUSTOMER | {"name": f"Tom Okafor {nth}"}} for nth in range(count)]
        cases = [self.case(payload) for payload in told]
        for case in cases[: 0 if name.endswith(("unhandled", "given_back")) else count]:
            case.taken_by, case.taken_at = COLLEAGUE.by, COLLEAGUE.since
            case.done_at = NOW + timedelta(hours=2) if name.endswith("done") else None
        wording = notes_wording(write, [(case, self.person) for case in cases])
        return self.own(name, "A note about several cases.", wording, told)

    def case(self, payload: dict[str, Any]) -> Case:
        event = Event(type="hosted_consent.revoked", occurred_at=NOW, payload=json.dumps(payload))
        return Case(id=EVENT, kind=event.type, application=self.owner, event=event)

    @property
    def person(self) -> Person:
        recipient = Recipient(
            id=RECIPIENT, email=ADDRESS, timezone=self.reader.timezone, language=self.reader.language
        )
        return Person(RECIPIENT, ADDRESS, recipient)

    def summaries(self) -> Iterator[Sample]:
        well = week(busy=1, failed=0) | {"failing": []}
        yield self.summed_up("summary", "A week in which all went well.", well)
        yield self.summed_up("summary.failed", "Some failed.", week(busy=1, failed=1) | {"failing": []})
        yield self.summed_up("summary.trouble", "A week with trouble.", week(busy=1, failed=1))
        bare = week(busy=0, failed=0) | {"slowest": []}
        yield self.summed_up("summary.bare", "Nothing to send, and two that get nothing.", bare)
        yield self.summed_up("summary.ragged", "Bars of many kinds of cells.", ragged_week())
        yield self.summed_up("summary.hostile", "Everything is hostile.", hostile_week())

    def summed_up(self, name: str, about: str, told: dict[str, Any]) -> Sample:
        return self.own(name, about, summary_wording(told, ADDRESS, self.owner, self.reader), told)

    def own(self, name: str, about: str, wording: Wording, given: Any = ()) -> Sample:
        """An email of the service's own."""
        return Sample(name, about, message(wording, ADDRESS, DELIVERY, NOW, self.target.reply_to), given)


def happened(payload: Any) -> datetime:
    """When the payload says so."""
    said = [payload[name] for name in MOMENTS if payload.get(name)] if isinstance(payload, dict) else []
    try:
        return datetime.fromisoformat(said[0])
    except (IndexError, ValueError, TypeError):
        return NOW


def with_case(told: dict[str, Any]) -> dict[str, Any]:
    return told | {"case": str(EVENT)}


def special_payloads() -> Iterator[tuple[str, str, Any]]:
    yield "hosted_consent.revoked.named", "The payload names the customer.", CONSENT | {"customer": CUSTOMER}
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
        {"tariff": "E-1R", "share": 99.5, "ends": "2027-01-01T00:00:00.000Z"},
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


def worst_payloads(text: str) -> list[tuple[str, Any]]:
    """Twelve of each type, with this text wherever one can be chosen, and bars as ragged as they can be."""
    ragged = [stretch for nth in range(12) for stretch in days(f"{nth} {text}", range(0, 31, 2))]
    consent = CONSENT | {"customer": CUSTOMER | {"name": text}, "description": text, "reason": text}
    payloads = {name: each.example for name, each in EVENT_TYPES.items()}
    payloads |= {"meter_data.received": ragged, "hosted_consent.revoked": consent}
    payloads |= {name: payloads[name] | {"name": text} for name in NAMED}
    payloads |= {name: payloads[name] | {"description": text} for name in DESCRIBED}
    return [each for each in payloads.items() for _ in range(12)]


def hostile(text: str) -> dict[str, Any]:
    return {"_id": text, "name": text, "email": f"{text}@example.org", "address": text, "notes": [text]}


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


def ragged_week() -> dict[str, Any]:
    """As many bars, and as many kinds of cells in each, as a summary can have."""
    days = [day | {"delivered": 40, "failed": 30, "waiting": 30} for day in week(1, 1)["days"]]
    return hostile_week() | {"days": days}


def hostile_week() -> dict[str, Any]:
    bad = {name: HOSTILE_OUTAGE[name] for name in ("url", "description")}
    days = [day | {"delivered": 50_000, "more": True} for day in week(1, 1)["days"]]
    return week(1, 1) | {
        "days": days,
        "failing": [each | bad for each in WEEK_FAILING * 5],
        "more_failing": 77,
        "slowest": [each | bad for each in WEEK_SLOWEST],
    }
