"""Reading payloads, which are hostile: whatever their shape, the result is short, clean text, or a moment."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

LONGEST_TEXT = 160
LONGEST_NAME = 80
SCHEME = re.compile(r"https?://", re.IGNORECASE)
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")

# Controls, and the marks that turn the reading direction around for what follows; RTL letters need none of them.
TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
RIGHT_TO_LEFT = {"R", "AL", "AN"}
ISOLATE, END_ISOLATE = "\u2068", "\u2069"


def clean(value: object, longest: int = LONGEST_TEXT) -> str:
    """One line of visible text, cut with an ellipsis when it is long."""
    text = " ".join(str(value)[: 4 * longest].split())
    if not (text.isascii() and text.isprintable()):
        text = "".join(character for character in text if is_visible(character))
    return cut(text, longest)


def is_visible(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cs") and character not in TURNING


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def isolated(text: str) -> str:
    """Text that reads from right to left, so that it does not reorder the sentence it stands in (UAX 9)."""
    if text.isascii() or not any(unicodedata.bidirectional(each) in RIGHT_TO_LEFT for each in text):
        return text
    return f"{ISOLATE}{text}{END_ISOLATE}"


def name(value: object) -> str:
    """A name that somebody chose, without what mail programs would make a link of."""
    return SCHEME.sub("", clean(value, LONGEST_NAME)).strip()


def as_moment(value: object) -> datetime | None:
    """An ISO 8601 text with its offset, in UTC; None for anything else."""
    if not isinstance(value, str) or not MOMENT.match(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def at(payload: Any, path: str) -> Any:
    """What is at `a.b.c` of the payload; None when nothing is."""
    for step in path.split("."):
        payload = payload.get(step) if isinstance(payload, dict) else None
    return payload
