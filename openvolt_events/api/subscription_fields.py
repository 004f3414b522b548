"""What a subscription is made of, as the API takes it: its filter, headers and metadata."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.settings import api_settings

from events.event_types import EVENT_TYPES, PayloadError
from events.payloads import with_numbers_as_written
from events.pointers import LONGEST_POINTER, POINTER, steps
from openvolt_events.api.fields import WITHOUT_NUL, BoundedList, Choice, Text
from subscriptions.custom_headers import LONGEST_NAME, LONGEST_VALUE, NAME, VISIBLE
from subscriptions.filters import MOST_POINTERS, MOST_VALUES, faults_of
from subscriptions.models import EVERY_TYPE

POINTER_PATTERN = "^" + POINTER.pattern.replace("[^~/]", r"[^~/\u0000]") + "$"


@extend_schema_field(
    {
        "type": "object",
        "maxProperties": MOST_POINTERS,
        "propertyNames": {"maxLength": LONGEST_POINTER, "pattern": POINTER_PATTERN},
        "additionalProperties": {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_VALUES,
            "items": {"type": ["string", "number", "boolean", "null"], "pattern": WITHOUT_NUL},
        },
        "examples": [{"/0/meter_id": ["m-1", "m-2"]}],
    }
)
class PayloadFilter(serializers.Field):
    """Which payloads are wanted; what a filter may be, subscriptions/filters.py says."""

    def to_internal_value(self, data: Any) -> dict[str, list[Any]]:
        if faults := list(faults_of(data)):
            raise serializers.ValidationError(at_their_places(faults))
        filter: dict[str, list[Any]] = data
        return filter

    def to_representation(self, value: Any) -> Any:
        return with_numbers_as_written(value)


class KeptMetadata(serializers.DictField):
    """What was given, as it was written."""

    def to_representation(self, value: Any) -> Any:
        return with_numbers_as_written(value)


def at_their_places(faults: Iterable[PayloadError]) -> dict[str, Any]:
    """Error details of DRF's, each at its place below a field."""
    found: dict[str, Any] = {}
    for fault in faults:
        *way, last = steps(fault.pointer) or [api_settings.NON_FIELD_ERRORS_KEY]
        place = found
        for step in way:
            place = place.setdefault(step, {})
        place[last] = [serializers.ErrorDetail(fault.detail, fault.code)]
    return found


@extend_schema_field(
    {
        "type": "object",
        "maxProperties": settings.MAX_HEADERS,
        "propertyNames": {"maxLength": LONGEST_NAME, "pattern": f"^{NAME.pattern}$"},
        "additionalProperties": {
            "type": "string",
            "maxLength": LONGEST_VALUE,
            "pattern": f"^{VISIBLE.pattern}$",
        },
    }
)
class Headers(serializers.DictField):
    """Headers, which are counted before any of them is looked at."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, Mapping) and len(data) > settings.MAX_HEADERS:
            detail = f"There are {len(data)} headers; use at most {settings.MAX_HEADERS} (MAX_HEADERS)."
            raise serializers.ValidationError(detail, "limit")
        value: dict[str, Any] = super().to_internal_value(data)
        return value


@extend_schema_field(
    {
        "type": "object",
        "propertyNames": {"pattern": WITHOUT_NUL},
        "additionalProperties": {"pattern": WITHOUT_NUL},
    }
)
class Metadata(serializers.DictField):
    """Any JSON object; `validate_metadata` says how large."""


@extend_schema_field({"type": "string", "maxLength": LONGEST_POINTER, "pattern": POINTER_PATTERN})
class Pointer(Text):
    """A JSON pointer (RFC 6901). The empty one points to everything."""

    def to_internal_value(self, data: Any) -> str:
        pointer = super().to_internal_value(data)
        if not POINTER.fullmatch(pointer):
            raise serializers.ValidationError(
                "This is no JSON pointer (RFC 6901). It is like /0/meter_id: a / before each step, and within "
                "a step ~1 for / and ~0 for ~.",
                "pointer",
            )
        return pointer


def event_types(required: bool) -> BoundedList:
    return BoundedList(
        child=Choice(
            [EVERY_TYPE, *EVENT_TYPES],
            error_messages={
                "invalid_choice": "There is no event type {input!r}. Choose from: "
                + ", ".join([EVERY_TYPE, *EVENT_TYPES])
            },
        ),
        required=required,
        min_length=1,
        max_length=len(EVENT_TYPES) + 1,
    )
