"""What a payload may be: JSON that every receiver reads back alike, and that PostgreSQL keeps.

Python's parser lets through what JSON text (RFC 8259) can't say: numbers beyond a double, lone surrogates.
"""

import json
import math
import sys
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import Any

from django.conf import settings

from events.event_types import PayloadError
from events.pointers import escaped
from events.verbatim import Verbatim, dumps

PLAIN = {dict, list, str, int, float, bool, type(None)}
NUL = "\\u0000"  # in JSON text; after another backslash it is none
MOST_BITS = sys.float_info.max_exp  # of an integer that a double can come near to


class PayloadRefused(ValueError):
    """The payload can't be an event's. `errors` point into the payload (RFC 6901)."""

    def __init__(self, errors: list[PayloadError]) -> None:
        super().__init__("; ".join(f"{error.pointer or 'payload'}: {error.detail}" for error in errors))
        self.errors = errors


class Payload:
    """A payload that is JSON text: parsed when it is first looked into, and once."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def value(self) -> Any:
        return json.loads(self.text)


class Number(float):
    """One that Python would spell in another way than it was written: it goes on as it was."""

    __slots__ = ("written",)
    written: str


def number(written: str) -> float:
    """What has a fraction or an exponent, for `json.loads(..., parse_float=number)`."""
    value = float(written)
    if repr(value) != written:
        value = Number(value)
        value.written = written
    return value


def encode(payload: Any) -> str:
    """The payload as compact JSON text: keys in their order, numbers as written. Raises PayloadRefused."""
    try:
        text = dumps(payload)
        size = len(text.encode())
        looks_fine = NUL not in text and is_plain(payload)
    except (TypeError, ValueError, RecursionError):  # no JSON; the look at each value says where
        looks_fine = False
    if not looks_fine:
        if problem := next(unrepresentable(payload), None):
            raise PayloadRefused([problem])
        text = dumps(with_numbers_as_written(payload))
        size = len(text.encode())
    if size > settings.MAX_PAYLOAD_BYTES:
        limit = settings.MAX_PAYLOAD_BYTES
        detail = (
            f"The payload has {size} bytes; the limit (MAX_PAYLOAD_BYTES) is {limit}. Send less in one event."
        )
        raise PayloadRefused([PayloadError("", detail, "too_large")])
    return text


def size_of(value: Any) -> int:
    """The bytes of a parsed JSON value as compact UTF-8, numbers as written."""
    return len(dumps(with_numbers_as_written(value)).encode(errors="surrogatepass"))


def is_plain(payload: Any) -> bool:
    """Whether none of its values needs a closer look; a quick way to find it out of most payloads, level by level."""
    level = [payload]
    for _ in range(settings.MAX_PAYLOAD_DEPTH + 1):
        if not PLAIN.issuperset(map(type, level)):
            return False
        if any(type(value) is int and value.bit_length() > MOST_BITS for value in level):
            return False
        objects = [value for value in level if type(value) is dict]
        if not all(type(key) is str for each in objects for key in each):
            return False
        lists = [value for value in level if type(value) is list]
        level = list(chain.from_iterable([*lists, *(each.values() for each in objects)]))
        if not level:
            return True
    return False


def with_numbers_as_written(value: Any) -> Any:
    if isinstance(value, Number):
        return Verbatim(value.written)
    if isinstance(value, dict):
        return {key: with_numbers_as_written(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_numbers_as_written(item) for item in value]
    return value


def unrepresentable(value: Any, pointer: str = "", depth: int = 0) -> Iterator[PayloadError]:
    """Each place of the payload that JSON, PostgreSQL or a receiver's parser can't hold, in order."""
    if depth > settings.MAX_PAYLOAD_DEPTH:
        limit = settings.MAX_PAYLOAD_DEPTH
        yield PayloadError(pointer, f"This is nested deeper than {limit} (MAX_PAYLOAD_DEPTH).", "too_deep")
    elif isinstance(value, str):
        if problem := text_problem(value):
            yield PayloadError(pointer, *problem)
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield too_large(pointer)
    elif isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            yield too_large(pointer)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield PayloadError(pointer, f"The key {key!r} is not a string.", "key")
            elif problem := text_problem(key):
                yield PayloadError(pointer, *problem)
            else:
                yield from unrepresentable(item, f"{pointer}/{escaped(key)}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from unrepresentable(item, f"{pointer}/{index}", depth + 1)
    elif value is not None:
        yield PayloadError(pointer, f"A {type(value).__name__} is no JSON value; convert it first.", "type")


def too_large(pointer: str) -> PayloadError:
    return PayloadError(pointer, "The number is too large for a double; send it as a string.", "number")


def text_problem(text: str) -> tuple[str, str] | None:
    if "\0" in text:
        return "The text has a NUL character (\\u0000); leave it out.", "nul"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "The text has half of a surrogate pair; send whole characters.", "surrogate"
    return None
