"""How the templates of emails read payloads: whatever their shape, the result is short, clean text."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template

LONGEST_TEXT = 160
MOST_FACTS = 24
MOST_METERS = 12
DEEPEST = 3
SCHEME = re.compile(r"https?://", re.IGNORECASE)
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
SKIPPED = {"object", "__v"}
LABELS = {
    "account": "account ID",
    "expiry": "ends",
    "flow_type": "kind of consent",
    "old_key_expires_at": "old key works until",
    "prefix": "begins with",
    "redirect_url": "return page URL",
    "rotated_at": "replaced at",
    "rotated_by": "replaced by",
}
WORDS = {"id": "ID", "url": "URL", "api": "API"}

# Controls, and the marks that turn the reading direction around for what follows; RTL letters need none of them.
TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}

register = template.Library()


def clean(value: object, longest: int = LONGEST_TEXT) -> str:
    """One line of visible text, cut with an ellipsis when it is long."""
    text = " ".join(str(value)[: 4 * longest].split())
    text = "".join(
        character
        for character in text
        if unicodedata.category(character) not in ("Cc", "Cs") and character not in TURNING
    )
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def name(value: object) -> str:
    """A name that somebody chose, without what mail programs would make a link of."""
    return SCHEME.sub("", clean(value, 80)).strip()


def as_moment(value: object) -> datetime | None:
    """An ISO 8601 text with its offset, in UTC; None for anything else."""
    if not isinstance(value, str) or not MOMENT.match(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def day(moment: datetime) -> str:
    return f"{moment.day} {moment:%b %Y}"


def moment_text(moment: datetime) -> str:
    return f"{day(moment)}, {moment:%H:%M} UTC"


def shown(value: object) -> str:
    """A scalar as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    moment = as_moment(value)
    return moment_text(moment) if moment else clean(value)


@register.filter
def field(payload: Any, path: str) -> str:
    """The text at `a.b.c` of the payload; empty when there is none."""
    for step in path.split("."):
        payload = payload.get(step) if isinstance(payload, dict) else None
    return shown(payload) if isinstance(payload, str | int | float) else ""


@dataclass(frozen=True)
class Fact:
    """One line of the details."""

    label: str
    value: str


@register.filter
def facts(payload: Any) -> list[Fact]:
    """What the payload says, as lines for a table: what people read first, ids and addresses of pages last."""
    lines = []
    for path, value in leaves(payload, ()):
        lines.append(Fact(label(path), shown(value)))
        if len(lines) > 4 * MOST_FACTS:
            break
    lines.sort(key=lambda fact: fact.label.endswith(("ID", "URL")))
    return lines[:MOST_FACTS]


def leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and len(path) < DEEPEST:
        for key, item in value.items():
            if key not in SKIPPED:
                yield from leaves(item, (*path, str(key)))
    elif isinstance(value, list) and value and not any(isinstance(item, dict | list) for item in value[:20]):
        yield path, ", ".join(shown(item) for item in value[:20])
    elif isinstance(value, dict | list):
        if value:
            yield path, f"{len(value)} {'entry' if len(value) == 1 else 'entries'}, see notification.json"
    elif value is not None and value != "":
        yield path, value


def label(path: tuple[str, ...]) -> str:
    """`("customer", "created_at")` as "Customer: created at"."""
    parts = [LABELS.get(step) or words(step) for step in path] or ["content"]
    return clean(": ".join([parts[0][:1].upper() + parts[0][1:], *parts[1:]]), 40)


def words(key: str) -> str:
    return " ".join(WORDS.get(word, word) for word in key.strip("_").split("_"))


@dataclass(frozen=True)
class MeterData:
    """What one meter got: `stretches` of time, from the first start to the last end."""

    meter: str
    stretches: int
    first: str
    last: str


@dataclass(frozen=True)
class NewData:
    """A payload of meter_data.received by meter; at most the first twelve are listed."""

    meters: list[MeterData]
    count: int
    days: str

    @property
    def more(self) -> int:
        return self.count - len(self.meters)


@register.filter
def by_meter(payload: Any) -> NewData:
    stretches = defaultdict(list)
    for stretch in payload if isinstance(payload, list) else []:
        if isinstance(stretch, dict):
            stretches[clean(stretch.get("meter_id", "without an ID"))].append(stretch)
    listed = [of_meter(meter, own) for meter, own in list(stretches.items())[:MOST_METERS]]
    every = [stretch for own in stretches.values() for stretch in own]
    return NewData(listed, len(stretches), days(*bounds(every)))


def of_meter(meter: str, stretches: list[dict[str, Any]]) -> MeterData:
    first, last = bounds(stretches)
    return MeterData(
        meter,
        len(stretches),
        moment_text(first) if first else clean(stretches[0].get("start_interval", "?")),
        moment_text(last) if last else clean(stretches[-1].get("end_interval", "?")),
    )


def bounds(stretches: list[dict[str, Any]]) -> tuple[datetime | None, datetime | None]:
    """The earliest and the latest moment; a stretch's end may lie before its start."""
    moments = [
        moment
        for stretch in stretches
        for key in ("start_interval", "end_interval")
        if (moment := as_moment(stretch.get(key)))
    ]
    return (min(moments), max(moments)) if moments else (None, None)


def days(first: datetime | None, last: datetime | None) -> str:
    """The days in words. A local day of Britain begins at 23:00 UTC in summer: up to 25 hours are one day."""
    if first is None or last is None:
        return ""
    last_day = last - timedelta(microseconds=1) if last > first else last
    if last - first <= timedelta(hours=25) or first.date() == last_day.date():
        return day(last_day)
    return f"{day(first)} to {day(last_day)}"
