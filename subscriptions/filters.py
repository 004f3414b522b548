"""Which payloads a subscription wants, among those of its event types.

A filter is an object: JSON pointers into the payload (RFC 6901), each with the list of the values allowed there.

    {"/0/meter_id": ["m-1", "m-2"], "/0/is_estimated": [false]}

It lets a payload through if at every pointer there is one of the values allowed there. They are strings, numbers, true,
false and null, and are equal as in JSON: 1 and 1.0 are, 1 and "1" or true are not. Null is what is there and null: a
place that the payload does not have lets nothing through, and neither does an object or a list. The empty filter lets
every payload through.
"""

from collections.abc import Hashable, Iterator
from decimal import Decimal
from typing import Any

from events.event_types import PayloadError
from events.payloads import size_of, unrepresentable
from events.pointers import LONGEST_POINTER, POINTER, escaped, value_at

MOST_POINTERS = 10
MOST_VALUES = 100  # at one pointer
MOST_BYTES = 16 * 1024

Filter = dict[str, list[Any]]
Conditions = dict[str, frozenset[Hashable]]


def conditions_of(filter: Filter) -> Conditions:
    """What is looked for at each pointer."""
    return {pointer: frozenset(map(key_of, allowed)) for pointer, allowed in filter.items()}


def unmet(conditions: Conditions, document: Any) -> str | None:
    """The first pointer that does not let the document through; None if all do."""
    for pointer, allowed in conditions.items():
        if key_of(value_at(pointer, document)) not in allowed:
            return pointer
    return None


def key_of(value: Any) -> Hashable:
    """The same for values that are equal in JSON; None for what is never equal: objects, lists, and nothing at all.

    Numbers are compared by what they say in decimals: 1e23 is a float to Python, and the same written out an integer.
    """
    match value:
        case None | bool() | str():
            return type(value), value
        case int():
            return Decimal, value
        case float():
            return Decimal, Decimal(repr(value))
    return None


def faults_of(filter: Any) -> Iterator[PayloadError]:
    """What of it is no filter, with pointers into it."""
    if not isinstance(filter, dict):
        detail = (
            "A filter is an object: JSON pointers into the payload, each with a list of the values allowed."
        )
        yield PayloadError("", detail, "type")
    elif len(filter) > MOST_POINTERS:
        detail = f"The filter has {len(filter)} pointers; use at most {MOST_POINTERS}."
        yield PayloadError("", detail, "limit")
    elif (size := size_of(filter)) > MOST_BYTES:
        yield PayloadError("", f"The filter has {size} bytes; use at most {MOST_BYTES}.", "too_large")
    elif problem := next(unrepresentable(filter), None):
        yield problem
    else:
        for pointer, allowed in filter.items():
            yield from faults_at(pointer, allowed)


def faults_at(pointer: str, allowed: Any) -> Iterator[PayloadError]:
    place = f"/{escaped(pointer)}"
    if fault := pointer_fault(pointer) or list_fault(allowed):
        yield PayloadError(place, *fault)
        return
    for index, value in enumerate(allowed):
        if key_of(value) is None:
            detail = "This is an object or a list; allow strings, numbers, true, false and null."
            yield PayloadError(f"{place}/{index}", detail, "type")


def pointer_fault(pointer: str) -> tuple[str, str] | None:
    if len(pointer) > LONGEST_POINTER:
        return f"The pointer has {len(pointer)} characters; use at most {LONGEST_POINTER}.", "pointer"
    if not POINTER.fullmatch(pointer):
        return (
            "This is no JSON pointer (RFC 6901). It is like /0/meter_id: a / before each step, and within a step "
            "~1 for / and ~0 for ~."
        ), "pointer"
    return None


def list_fault(allowed: Any) -> tuple[str, str] | None:
    if not isinstance(allowed, list):
        return 'The allowed values come in a list, also a single one: ["m-1"].', "type"
    if not allowed:
        return (
            "No value is allowed here, so that nothing would match; name one, or leave the pointer out.",
            "empty",
        )
    if len(allowed) > MOST_VALUES:
        return f"There are {len(allowed)} values; use at most {MOST_VALUES} at one pointer.", "limit"
    return None
