"""The catalogue: what can happen. One JSON file a type in `events/catalogue/`; adding a type is adding a file."""

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError

from events.pointers import escaped, value_at

CATALOGUE = Path(__file__).parent / "catalogue"
MOST_ERRORS = 20
LONGEST_CUSTOMER_ID = 100


@dataclass(frozen=True)
class PayloadError:
    """One fault of a payload: where (RFC 6901), what in a plain sentence, and a word for programs."""

    pointer: str
    detail: str
    code: str


@dataclass(frozen=True)
class EventType:
    """One entry of the catalogue. `assumed` says what of the payload the platform has not published.

    `names_customer` are the pointers to a customer's `id` and `name`, where payloads tell how a customer is called.
    """

    name: str
    description: str
    sentence: str
    assumed: str
    schema: dict[str, Any]
    example: Any
    names_customer: dict[str, str] | None = None

    @cached_property
    def validator(self) -> Draft202012Validator:
        return Draft202012Validator(self.schema)

    def errors(self, payload: Any) -> list[PayloadError]:
        """What of the payload breaks the schema, the first faults of many; empty when it fits."""
        return list(map(described, islice(self.validator.iter_errors(payload), MOST_ERRORS)))

    def customer_named_in(self, payload: Any) -> str | None:
        """The id of the customer whose name this payload tells; None where it tells none."""
        if self.names_customer is None:
            return None
        id, name = (value_at(self.names_customer[key], payload) for key in ("id", "name"))
        is_told = isinstance(name, str) and name.strip()
        return id if is_told and is_customer_id(id) else None


def is_customer_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_CUSTOMER_ID


def described(fault: ValidationError) -> PayloadError:
    """A fault of jsonschema in our words. It quotes no value: payloads can be large."""
    pointer = "".join(f"/{escaped(step)}" for step in fault.absolute_path)
    rule: Any = fault.validator_value
    match fault.validator:
        case "required":
            name = next(name for name in rule if fault.message.startswith(repr(name)))
            return PayloadError(f"{pointer}/{name}", f"{name!r} is missing; add it.", "required")
        case "type":
            wanted = rule if isinstance(rule, str) else " or ".join(rule)
            return PayloadError(pointer, f"This is {json_type(fault.instance)}; send {wanted}.", "type")
        case "anyOf":
            choices = sorted({repr(name) for choice in rule for name in choice.get("required", [])})
            return PayloadError(pointer, f"One of {', '.join(choices)} is missing; add it.", "required")
    return PayloadError(
        pointer, f"This breaks the rule {fault.validator!r} of the schema.", str(fault.validator)
    )


def json_type(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "null")


def load(path: Path) -> EventType:
    """One file of the catalogue. Raises ValueError that names the file when it doesn't hold together."""
    try:
        event_type = EventType(**json.loads(path.read_text()))
        Draft202012Validator.check_schema(event_type.schema)
    except (ValueError, TypeError, SchemaError) as error:
        raise ValueError(f"events/catalogue/{path.name} can't be read: {error}") from None
    if event_type.name != path.stem:
        raise ValueError(f"events/catalogue/{path.name} names {event_type.name!r}; file and name must agree.")
    if errors := event_type.errors(event_type.example):
        raise ValueError(f"events/catalogue/{path.name}: the example breaks the schema: {errors[0]}")
    return event_type


EVENT_TYPES = {event_type.name: event_type for event_type in map(load, sorted(CATALOGUE.glob("*.json")))}
