"""Reading payloads, which are hostile: whatever their shape, the result is short, clean text, or a moment."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accounts.visible_text import visible

LONGEST_TEXT = 160
LONGEST_NAME = 80
SEPARATOR = " · "
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:/{2,}", re.IGNORECASE)
LINKED = re.compile(rf"(?:{SCHEME.pattern}|\bwww\.)+", re.IGNORECASE)  # whatever comes after it
ADDRESS = re.compile(r"[<(\"']*[\w.+-]+@[\w.-]+[>)\"',.;:!?]*")
DOT_AND_LABEL = re.compile(r"(?<=\w)[.\u3002\uff0e\uff61](?=([^\W\d_]+)(?!\w))")
# All that IANA knew of in October 2026, what RFC 2606 reserves, and how those of other scripts begin in ASCII.
TOP_LEVEL_DOMAINS = frozenset(
    (Path(__file__).parent / "top_level_domains.txt").read_text("utf-8").split()
) | {
    *("example", "invalid", "localhost", "test", "xn"),
}
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
ZERO_WIDTH_SPACE = "\u200b"
RIGHT_TO_LEFT = {"R", "AL", "AN"}
SINGLE = str.maketrans("“”„", "\u2018\u2019\u201a")
ISOLATE, END_ISOLATE = "\u2068", "\u2069"


def clean(value: object, longest: int = LONGEST_TEXT) -> str:
    """One line of visible text, cut with an ellipsis when it is long."""
    return cut(visible(str(value)[: 4 * longest]), longest)


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def fitting(texts: Sequence[str], longest: int = LONGEST_TEXT) -> str:
    """In one line as many of the first as there is room for; only one that is alone is ever cut."""
    while len(texts) > 1 and len(SEPARATOR.join(texts)) > longest:
        texts = texts[:-1]
    return cut(SEPARATOR.join(texts), longest)


def isolated(text: str) -> str:
    """Text that reads from right to left, so that it does not reorder the sentence it stands in (UAX 9)."""
    if text.isascii() or not any(unicodedata.bidirectional(each) in RIGHT_TO_LEFT for each in text):
        return text
    return f"{ISOLATE}{text}{END_ISOLATE}"


def in_quotes(text: str) -> str:
    """What a sentence quotes, with single quotes for its own."""
    return text.translate(SINGLE)


def said(value: object, longest: int = LONGEST_TEXT) -> str:
    """What somebody else chose, as clean text of which no mail program makes a link; people read it as it was.

    Where the dot before a top-level domain is followed by a space of no width, it is none. What only looks like a host,
    as types of events do, can be copied as it is; so can addresses of emails.
    """
    text = LINKED.sub("", clean(value, longest)).strip()
    if not DOT_AND_LABEL.search(text):
        return text
    return " ".join(word if ADDRESS.fullmatch(word) else unlinked(word) for word in text.split(" "))


def unlinked(word: str) -> str:
    return DOT_AND_LABEL.sub(
        lambda dot: f"{dot[0]}{ZERO_WIDTH_SPACE}" if may_end_a_host(dot[1]) else dot[0], word
    )


def may_end_a_host(label: str) -> bool:
    """Of other scripts nearly all; their letters are not all letters to a pattern."""
    return not label[0].isascii() or label.lower() in TOP_LEVEL_DOMAINS


def searchable(subject: str) -> str:
    """As a mailbox is searched for it: mail programs make no links in subjects."""
    return subject.replace(ZERO_WIDTH_SPACE, "")


def name(value: object) -> str:
    return said(value, LONGEST_NAME)


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
