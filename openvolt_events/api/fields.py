"""Fields and serializers that speak the API's words: strict about what comes in, exact about what goes out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from deliveries.channels import event_timestamp


class StrictSerializer(serializers.Serializer):
    """Refuses fields that it does not know, beside all other faults."""

    def to_internal_value(self, data: Any) -> Any:
        names = set(data) - set(self.fields) if isinstance(data, Mapping) else set()
        unknown = {name: [ErrorDetail(self.unknown(name), "unknown")] for name in sorted(names)}
        try:
            value = super().to_internal_value(data)
        except ValidationError as error:
            raise ValidationError({**error.detail, **unknown}) from None  # type: ignore[dict-item]
        if unknown:
            raise ValidationError(unknown)
        return value

    def unknown(self, name: str) -> str:
        known = f"known are {', '.join(self.fields)}" if self.fields else "this call takes none"
        return f"There is no field {name[:100]!r}; {known}."


class Nothing(StrictSerializer):
    """The body of a call that takes none."""


class Timestamp(serializers.DateTimeField):
    """ISO 8601. In: with its offset from UTC. Out: UTC, milliseconds, Z."""

    default_error_messages = {
        "naive": "The time has no offset from UTC; end it with Z, like 2026-10-25T00:30:00.000Z.",
        "invalid": "This is no ISO 8601 time; send one like 2026-10-25T00:30:00.000Z.",
        "overflow": "This time is too far away.",
    }

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            self.fail("naive")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            self.fail("overflow")

    def to_representation(self, value: Any) -> Any:
        return event_timestamp(value) if value else None


@extend_schema_field(OpenApiTypes.ANY)
class AnyJSON(serializers.Field):
    """Any JSON value, null included, exactly as it came."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_null=True, **options)

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


LONGEST_OVERLAP = 7 * 86400


def overlap_seconds(default: int) -> serializers.IntegerField:
    """For how long the old one lives on beside the new one."""
    return serializers.IntegerField(min_value=0, max_value=LONGEST_OVERLAP, default=default)
