"""Fields and serializers that speak the API's words: strict about what comes in, exact about what goes out."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from django.core.exceptions import ValidationError as FormError
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import IsoDateTimeFilter
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from accounts import names
from accounts.email_addresses import EmailRefused, check_email_address
from deliveries.channels import event_timestamp
from events.event_types import EVENT_TYPES
from events.verbatim import Verbatim
from openvolt_events.api.problems import MOST_ERRORS, beginning
from subscriptions.addresses import LONGEST_URL, AddressRefused, check_url

# Patterns that mean the same in ECMA 262, which JSON Schema has, and in Python. Each has its own idea of what \s is.
UNSEEN = r"\u0001-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
WITHOUT_NUL = r"^[^\u0000]*$"
BLANK = re.compile(f"[{UNSEEN}]*")
RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:(?P<second>[0-5]\d|60)(\.\d+)?"
    r"(?P<offset>[Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
)


class StrictSerializer(serializers.Serializer):
    """Refuses fields that it does not know, beside all other faults."""

    def to_internal_value(self, data: Any) -> Any:
        names = set(data) - set(self.fields) if isinstance(data, Mapping) else set()
        first = sorted(names)[: MOST_ERRORS + 1]
        unknown = {name: [ErrorDetail(self.unknown(name), "unknown")] for name in first}
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


class Text(serializers.CharField):
    """A JSON string, kept as it came; a number is none."""

    refused = r"\u0000"  # as a pattern has it between brackets
    default_error_messages = {"control": names.REFUSED}

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    @property
    def pattern(self) -> str:
        any = f"[^{self.refused}]*"
        return f"^{any}$" if self.allow_blank else f"^{any}[^{self.refused}{UNSEEN}]{any}$"

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if not self.allow_blank and BLANK.fullmatch(data):
            self.fail("blank")
        if found := re.search(f"[{self.refused}]", data):
            self.fail("control", character=names.written(found[0]))
        value: str = super().to_internal_value(data)
        return value


class OneLine(Text):
    """A name: it neither ends a line nor moves the cursor of who reads it in a terminal."""

    refused = names.CONTROL


class SeveralLines(Text):
    """A description: the same, but it may have lines and tabs."""

    refused = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"


@extend_schema_field(
    {
        "type": "string",
        "format": "email",
        "description": "At a domain, with at most 64 characters before the @, the first of them neither - nor |.",
    }
)
class EmailAddress(serializers.EmailField):
    """Where emails may go. Those that are there already are shown by a plain `EmailField`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=254, **options)

    def run_validators(self, value: Any) -> None:
        super().run_validators(value)
        try:
            check_email_address(value)
        except EmailRefused as refused:
            raise ValidationError(str(refused), "email") from None


@extend_schema_field({"type": "string", "enum": sorted(EVENT_TYPES)})
class EventTypeName(Text):
    """The name of an event type. Whether there is such a one, publishing says itself."""


class WholeNumber(serializers.IntegerField):
    """A JSON number without a fraction; a string of digits is none."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, str):
            self.fail("invalid")
        value: int = super().to_internal_value(data)
        return value


class TrueOrFalse(serializers.BooleanField):
    """A JSON boolean; no string or number is one."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


@extend_schema_field(
    {
        "type": "string",
        "format": "uri",
        "maxLength": LONGEST_URL,
        # Without credentials, fragment, backslash and white space.
        "pattern": rf"^https?://[^/?#@\\\u0000{UNSEEN}]+([/?][^#\\\u0000{UNSEEN}]*)?$",
    }
)
class WebAddress(Text):
    """A URL. Where it may lead, `check_url` says."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=LONGEST_URL, **options)

    def run_validators(self, value: Any) -> None:
        super().run_validators(value)
        try:
            check_url(value)
        except AddressRefused as refused:
            raise ValidationError(str(refused), "address") from None


class Choice(serializers.ChoiceField):
    """One of a few words. Of what is none, an error has the beginning."""

    def fail(self, key: str, **of: Any) -> NoReturn:
        super().fail(key, **{name: beginning(str(value)) for name, value in of.items()})


class BoundedList(serializers.ListField):
    """A list whose items are counted before any of them is looked at."""

    def __init__(self, *, max_length: int, **options: Any) -> None:
        super().__init__(max_length=max_length, **options)
        self.most = max_length

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and len(data) > self.most:
            self.fail("max_length", max_length=self.most)
        value: list[Any] = super().to_internal_value(data)
        return value


class Nothing(StrictSerializer):
    """The body of a call that takes none."""


class Timestamp(serializers.DateTimeField):
    """RFC 3339. In: with its offset from UTC. Out: UTC, milliseconds, Z."""

    default_error_messages = {
        "naive": "The time has no offset from UTC; end it with Z, like 2026-10-25T00:30:00.000Z.",
        "invalid": "This is no RFC 3339 time; send one like 2026-10-25T00:30:00.000Z. In a query, + is written %2B.",
        "leap_second": "This is a leap second, which clocks here don't have; send the second before it.",
        "overflow": "This time is too far away.",
    }

    def to_internal_value(self, data: Any) -> datetime:
        written = RFC_3339.fullmatch(data) if isinstance(data, str) else None
        if not written:
            self.fail("invalid")
        if written["second"] == "60":
            self.fail("leap_second")
        if not written["offset"]:
            self.fail("naive")
        try:
            return datetime.fromisoformat(data.upper()).astimezone(UTC)
        except OverflowError:
            self.fail("overflow")
        except ValueError:  # a day that its month doesn't have, or the year 0
            self.fail("invalid")

    def to_representation(self, value: Any) -> Any:
        return event_timestamp(value) if value else None


class MomentField(IsoDateTimeField):
    """A time in a query, by the same rules as a `Timestamp` in a body: the first microsecond of its millisecond."""

    def to_python(self, value: Any) -> datetime | None:
        if value in self.empty_values:
            return None
        try:
            moment = Timestamp().to_internal_value(value)
        except ValidationError as error:
            fault: Any = next(iter(error.detail))
            raise FormError("%(fault)s", fault.code, {"fault": fault}) from None
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class EndOfMomentField(MomentField):
    """The last microsecond of its millisecond."""

    def to_python(self, value: Any) -> datetime | None:
        moment = super().to_python(value)
        return moment and moment.replace(microsecond=moment.microsecond + 999)


# Answers show milliseconds of the microseconds that are stored: what is at a time that was answered is neither before
# nor after it.


class BeforeFilter(IsoDateTimeFilter):
    field_class = MomentField


class AfterFilter(IsoDateTimeFilter):
    field_class = EndOfMomentField


@extend_schema_field({"description": "Any JSON value.", "examples": [EVENT_TYPES["user.created"].example]})
class AnyJSON(serializers.Field):
    """Any JSON value, null included, exactly as it came."""

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return (True, None) if data is None else super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class StoredJSON(AnyJSON):
    """JSON text, which goes out as it is."""

    def to_representation(self, value: str) -> Verbatim:
        return Verbatim(value)


LONGEST_OVERLAP = 7 * 86400


def overlap_seconds(default: int) -> serializers.IntegerField:
    """For how long the old one lives on beside the new one."""
    return WholeNumber(min_value=0, max_value=LONGEST_OVERLAP, default=default)
