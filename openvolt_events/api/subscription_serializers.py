"""Subscriptions as the API takes and answers them: which fields there are by which channel."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from drf_spectacular.drainage import set_override
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from deliveries.channels.webhook import HIDDEN
from deliveries.fallback import SHORTEST_AFTER
from events.payloads import size_of, unrepresentable
from events.pointers import LONGEST_POINTER
from openvolt_events.api.fields import (
    BoundedList,
    Choice,
    EmailAddress,
    SeveralLines,
    StrictSerializer,
    Text,
    Timestamp,
    TrueOrFalse,
    WebAddress,
    WholeNumber,
)
from openvolt_events.api.subscription_fields import (
    Headers,
    KeptMetadata,
    Metadata,
    PayloadFilter,
    Pointer,
    at_their_places,
    event_types,
)
from subscriptions.custom_headers import WORDS, HeaderRefused, check_headers
from subscriptions.filters import MOST_BYTES, MOST_POINTERS, MOST_VALUES
from subscriptions.models import EVERY_TYPE, HIGHEST_RATE, Channel, Recipient, Subscription

MOST_METADATA_BYTES = 16 * 1024
LONGEST_WAIT = int(settings.LONGEST_RETRIES.total_seconds())
OF_CHANNEL = {
    Channel.WEBHOOK: {
        "url",
        "headers",
        "retry_schedule",
        "rate_limit",
        "ordered",
        "ordering_key",
        "fallback",
    },
    Channel.EMAIL: {"recipients"},
}
NEEDED = {Channel.WEBHOOK: "url", Channel.EMAIL: "recipients"}
ORDERED = (
    "Its deliveries go out one at a time, in the order of publishing; one that fails holds those behind it until it "
    "succeeds, is cancelled, or has used up its attempts. A change is for what is published from then on."
)
ORDERING_KEY = (
    "With `ordered`: a JSON pointer (RFC 6901) into the payload, such as /0/meter_id. Order is kept among deliveries "
    "with the same value there, which do not wait for those with another; null: among all of the subscription's."
)
FILTER = (
    "Narrows the event types by what is in the payload: JSON pointers (RFC 6901), each with the values allowed there. "
    "An event is told if its payload has one of them at every pointer. They are strings, numbers, true, false and "
    'null, equal as in JSON: 1 is 1.0, and neither "1" nor true. What is not there, an object and a list never match; '
    f"null matches what is there and null. At most {MOST_POINTERS} pointers with {MOST_VALUES} values each, "
    f"{MOST_BYTES // 1024} KiB in all; {{}}: every payload. A change is for what is published from then on."
)
FALLBACK = (
    "Whom to tell by email of what the webhook could not tell: when a delivery of these event types fails for good, or "
    "has not arrived after `late_after_seconds`. Once a delivery, and never of tests or of what a replay sends "
    "elsewhere; at most 100 a day. The recipient is asked to confirm first; null: nobody is told."
)


class RecipientAnswer(serializers.ModelSerializer):
    class Meta:
        model = Recipient
        fields: tuple[str, ...] = ("email", "status")
        read_only_fields = fields


class FallbackAnswer(serializers.Serializer):
    """Of a subscription that has one."""

    recipient = serializers.SerializerMethodField()
    event_types = serializers.ListField(child=serializers.CharField(), source="fallback_types")
    late_after_seconds = serializers.SerializerMethodField()

    @extend_schema_field(RecipientAnswer)
    def get_recipient(self, subscription: Subscription) -> dict[str, Any]:
        return RecipientAnswer(subscription.current_recipients[0]).data  # type: ignore[attr-defined]  # prefetched

    @extend_schema_field({"type": ["integer", "null"]})
    def get_late_after_seconds(self, subscription: Subscription) -> int | None:
        after = subscription.fallback_after
        return int(after.total_seconds()) if after else None


class SubscriptionAnswer(serializers.ModelSerializer):
    """A subscription. `recipients` are those of emails; `url`, `headers`, `retry_schedule`, `rate_limit`, `ordered`,
    `ordering_key` and `fallback` webhooks'.
    """

    url = serializers.CharField(allow_null=True)
    headers = serializers.DictField(
        child=serializers.CharField(), allow_null=True, help_text="The values are never shown."
    )
    recipients = RecipientAnswer(many=True, source="current_recipients", allow_null=True)
    filter = PayloadFilter(help_text=FILTER)
    metadata = KeptMetadata()
    ordered = serializers.BooleanField(allow_null=True, help_text=ORDERED)
    ordering_key = serializers.CharField(allow_null=True, help_text=ORDERING_KEY)
    fallback = serializers.SerializerMethodField(help_text=FALLBACK)
    failing_since = Timestamp(
        allow_null=True, help_text="The first attempt that has failed since the last success; null: none."
    )
    last_error = serializers.CharField(help_text="What the last failed attempt since then came to.")
    disable_at = Timestamp(
        allow_null=True,
        help_text="When it is disabled unless an attempt succeeds before; known a day ahead, when the application's "
        "contacts are told.",
    )
    created_at = Timestamp()
    updated_at = Timestamp()

    class Meta:
        model = Subscription
        fields: tuple[str, ...] = (
            *(
                "id",
                "channel",
                "url",
                "recipients",
                "event_types",
                "filter",
                "description",
                "metadata",
                "headers",
            ),
            *(
                "retry_schedule",
                "rate_limit",
                "ordered",
                "ordering_key",
                "fallback",
                "status",
                "status_reason",
                "failing_since",
                "last_error",
                "disable_at",
                "created_at",
                "updated_at",
            ),
        )
        read_only_fields = fields

    @extend_schema_field(FallbackAnswer(allow_null=True))
    def get_fallback(self, subscription: Subscription) -> dict[str, Any] | None:
        return FallbackAnswer(subscription).data if subscription.fallback_types is not None else None

    def to_representation(self, subscription: Subscription) -> dict[str, Any]:
        answer = super().to_representation(subscription)
        others = set().union(*OF_CHANNEL.values()) - OF_CHANNEL[Channel(subscription.channel)]
        shown = {
            "headers": dict.fromkeys(subscription.headers, HIDDEN),
            "ordering_key": subscription.ordering_key or None,
        }
        return answer | shown | dict.fromkeys(others)


class NewSubscriptionAnswer(SubscriptionAnswer):
    secret = serializers.CharField(allow_null=True, help_text="Signs the webhooks; null for emails.")

    class Meta(SubscriptionAnswer.Meta):
        fields: tuple[str, ...] = (*SubscriptionAnswer.Meta.fields, "secret")
        read_only_fields = fields


class Fallback(StrictSerializer):
    recipient = EmailAddress()
    event_types = event_types(required=False)
    late_after_seconds = WholeNumber(
        min_value=int(SHORTEST_AFTER.total_seconds()), max_value=LONGEST_WAIT, required=False, allow_null=True
    )

    def validate_event_types(self, types: list[str]) -> list[str]:
        return list(dict.fromkeys(types))


class SubscriptionChanges(StrictSerializer):
    """What can be changed: `url`, `headers`, `retry_schedule`, `rate_limit`, `ordered`, `ordering_key`, `fallback` by
    webhook, `recipients` by email only.
    """

    url = WebAddress(required=False)
    recipients = BoundedList(
        child=EmailAddress(),
        required=False,
        min_length=1,
        max_length=settings.MAX_RECIPIENTS,
        error_messages={
            "max_length": "A subscription has at most {max_length} recipients (MAX_RECIPIENTS). Make another one."
        },
    )
    event_types = event_types(required=False)
    filter = PayloadFilter(required=False, help_text=FILTER)
    description = SeveralLines(max_length=500, allow_blank=True, required=False)
    metadata = Metadata(
        required=False,
        help_text="Yours: any JSON object up to 16 KiB as compact UTF-8, without U+0000 anywhere.",
    )
    headers = Headers(
        child=Text(),
        required=False,
        help_text="Sent with every webhook, beside the service's own, which can't be replaced. Names are `x-…`, have a "
        f"prefix of yours (`acme-token`), or are one of {', '.join(WORDS)}; what means something in HTTP is refused. "
        f"In a change, {HIDDEN!r} keeps the value that is there.",
    )
    retry_schedule = BoundedList(
        child=WholeNumber(min_value=0, max_value=LONGEST_WAIT),
        required=False,
        allow_null=True,
        max_length=settings.MAX_RETRY_STEPS,
        help_text="Waits between attempts in seconds, 14 days in all; null: the service's own.",
    )
    rate_limit = WholeNumber(
        min_value=1,
        max_value=HIGHEST_RATE,
        required=False,
        allow_null=True,
        help_text="Deliveries a second, of which no second ever sees more; null: no limit.",
    )
    ordered = TrueOrFalse(required=False, help_text=ORDERED)
    ordering_key = Pointer(
        max_length=LONGEST_POINTER, allow_null=True, allow_blank=True, required=False, help_text=ORDERING_KEY
    )

    fallback = Fallback(required=False, allow_null=True, help_text=FALLBACK)

    def validate_event_types(self, types: list[str]) -> list[str]:
        return list(dict.fromkeys(types))

    def validate_metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        if (size := size_of(metadata)) > MOST_METADATA_BYTES:
            detail = f"The metadata has {size} bytes; use at most {MOST_METADATA_BYTES}."
            raise serializers.ValidationError(detail, "too_large")
        if fault := next(unrepresentable(metadata), None):
            raise serializers.ValidationError(at_their_places([fault]))
        return metadata

    def validate_headers(self, headers: dict[str, str]) -> dict[str, str]:
        try:
            check_headers(with_kept_values(headers, self.known))
        except HeaderRefused as refused:
            fault = serializers.ErrorDetail(str(refused), "header")
            places = [fault] if refused.name is None else {refused.name: [fault]}
            raise serializers.ValidationError(places) from None
        return headers

    @property
    def known(self) -> Subscription:
        return self.instance or Subscription()

    def validate_retry_schedule(self, waits: list[int] | None) -> list[int] | None:
        if waits and sum(waits) > LONGEST_WAIT:
            raise serializers.ValidationError(
                f"The waits are more than {LONGEST_WAIT} s, 14 days, in all.", "limit"
            )
        return waits

    def to_internal_value(self, data: Any) -> Any:
        of_channel = self.faults_of_channel(data) if isinstance(data, Mapping) else {}
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({**error.detail, **of_channel}) from None  # type: ignore[dict-item]
        if of_channel:
            raise serializers.ValidationError(of_channel)
        return values

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        order_of(values, self.known)
        return values

    def channel_of(self, sent: Mapping[str, Any]) -> Channel | None:
        return Channel(self.instance.channel) if self.instance else None

    def faults_of_channel(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of another channel, and what a new one lacks: named beside all other faults."""
        if (channel := self.channel_of(sent)) is None:
            return {}
        others = set().union(*OF_CHANNEL.values()) - OF_CHANNEL[channel]
        detail = f"A subscription by {channel} has none; leave it out."
        return {name: [serializers.ErrorDetail(detail, "channel")] for name in sorted(others & set(sent))}


class NewSubscription(SubscriptionChanges):
    """By webhook with a `url`, by email with `recipients`."""

    channel = Choice(Channel.choices)

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = super().get_fields()
        fields["event_types"].required = True
        return fields

    def channel_of(self, sent: Mapping[str, Any]) -> Channel | None:
        """None where it is not said; the field itself complains."""
        channel = sent.get("channel")
        return Channel(channel) if channel in Channel.values else None

    def faults_of_channel(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        found, channel = super().faults_of_channel(sent), self.channel_of(sent)
        if channel and NEEDED[channel] not in sent:
            detail = f"A subscription by {channel} needs it."
            found[NEEDED[channel]] = [serializers.ErrorDetail(detail, "required")]
        return found


class OfOneChannel(NewSubscription):
    """For the document, which has a form a channel."""

    own: Channel

    def get_fields(self) -> dict[str, serializers.Field]:
        others = set().union(*OF_CHANNEL.values()) - OF_CHANNEL[self.own]
        fields = {name: field for name, field in super().get_fields().items() if name not in others}
        one = {"type": "string", "const": self.own.value}
        fields["channel"] = set_override(Choice([self.own]), "field", one)
        fields[NEEDED[self.own]].required = True
        return fields


class NewWebhookSubscription(OfOneChannel):
    """Tell a URL, by signed webhook."""

    own = Channel.WEBHOOK


class NewEmailSubscription(OfOneChannel):
    """Tell people by email, when they have confirmed."""

    own = Channel.EMAIL


def with_kept_values(headers: Mapping[str, str], known: Subscription) -> dict[str, str]:
    """For `HIDDEN` the value that the header has, whatever its name's case."""
    values = {name.lower(): value for name, value in known.headers.items()}
    for name in headers:
        if headers[name] == HIDDEN and name.lower() not in values:
            detail = f"There is no value to keep: the subscription has no header {name[:100]!r}. Send one."
            raise serializers.ValidationError({name: [serializers.ErrorDetail(detail, "header")]})
    return {name: values[name.lower()] if value == HIDDEN else value for name, value in headers.items()}


def order_of(values: Mapping[str, Any], known: Subscription) -> dict[str, Any]:
    """Both fields, when one is sent, since they have to fit."""
    if not {"ordered", "ordering_key"} & set(values):
        return {}
    ordered = values.get("ordered", known.ordered)
    key = values.get("ordering_key", known.ordering_key) or ""
    if key and not ordered:
        raise serializers.ValidationError(keyless("ordering_key" in values, key))
    return {"ordered": ordered, "ordering_key": key}


def keyless(sent: bool, key: str) -> dict[str, Any]:
    """Why there can't be a key without an order: at the key, or at the order that is taken from it."""
    if sent:
        detail = 'A key belongs to an order. Send "ordered": true with it, or leave it out.'
        return {"ordering_key": [serializers.ErrorDetail(detail, "unordered")]}
    detail = (
        f'The subscription has the ordering_key {key!r}, and no order. Send "ordering_key": null with it.'
    )
    return {"ordered": [serializers.ErrorDetail(detail, "unordered")]}


def changes_of(
    sent: Mapping[str, Any], locked: Subscription, now: datetime
) -> tuple[dict[str, Any], list[str] | None]:
    """What was sent as fields of the subscription, as that is now; and whom it names, None if it does not say."""
    values = {**sent, **order_of(sent, locked)}
    if "headers" in values:
        try:
            values["headers"] = with_kept_values(values["headers"], locked)
        except serializers.ValidationError as fault:
            raise serializers.ValidationError({"headers": fault.detail}) from None
    emails = take_emails(values, locked, now)
    return values, emails


def take_emails(values: dict[str, Any], subscription: Subscription, now: datetime) -> list[str] | None:
    """Whom what was sent names; what else it says of a fallback becomes fields of its own."""
    if "fallback" not in values:
        return values.pop("recipients", None)
    fallback = values.pop("fallback") or {}
    after = fallback.get("late_after_seconds")
    values["fallback_types"] = fallback.get("event_types", [EVERY_TYPE]) if fallback else None
    values["fallback_after"] = timedelta(seconds=after) if after else None
    values["fallback_looked_until"] = (subscription.fallback_looked_until or now) if after else None
    return [fallback["recipient"]] if fallback else []
