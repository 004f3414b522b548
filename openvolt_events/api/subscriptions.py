"""/v1/subscriptions: who wants to know, by which channel."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.drainage import set_override
from drf_spectacular.utils import (
    PolymorphicProxySerializer,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from accounts.models import Scope
from deliveries.channels.webhook import HIDDEN
from deliveries.fallback import SHORTEST_AFTER
from deliveries.lifecycle import (
    NotPossible,
    change_subscription,
    create_subscription,
    delete_subscription,
    pause,
    resume,
    rotate_secret,
    send_test,
)
from deliveries.publishing import UnknownEventType
from events.event_types import EVENT_TYPES, PayloadError
from events.payloads import unrepresentable
from events.pointers import LONGEST_POINTER, POINTER, steps
from openvolt_events.api.authentication import HasApplicationKey, application_of
from openvolt_events.api.deliveries import DeliverySummary
from openvolt_events.api.events import DeliveriesMade, EventSummary
from openvolt_events.api.fields import (
    UNSEEN,
    WITHOUT_NUL,
    BoundedList,
    EmailAddress,
    EventTypeName,
    Nothing,
    SeveralLines,
    StrictSerializer,
    Text,
    Timestamp,
    WholeNumber,
    overlap_seconds,
)
from openvolt_events.api.problems import InvalidInput, error_at
from openvolt_events.api.views import OfApplication, StrictList, StrictView, checked_input
from subscriptions.addresses import LONGEST_URL, AddressRefused, check_url
from subscriptions.custom_headers import (
    LONGEST_NAME,
    LONGEST_VALUE,
    NAME,
    VISIBLE,
    WORDS,
    HeaderRefused,
    check_headers,
)
from subscriptions.filters import MOST_BYTES, MOST_POINTERS, MOST_VALUES, faults_of
from subscriptions.models import EVERY_TYPE, HIGHEST_RATE, Channel, Recipient, Subscription
from subscriptions.previewing import MOST_BYTES as MOST_PREVIEWED_BYTES
from subscriptions.previewing import MOST_EVENTS, preview

MOST_METADATA_BYTES = 16 * 1024
OVERLAP_SECONDS = 86400
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
POINTER_PATTERN = "^" + POINTER.pattern.replace("[^~/]", r"[^~/\u0000]") + "$"
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
        return value


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
    metadata = serializers.DictField()
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


class TrueOrFalse(serializers.BooleanField):
    """A JSON boolean; no string or number is one."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


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
    """A URL; what kind of address it may lead to, `check_url` says."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=LONGEST_URL, **options)


def event_types(required: bool) -> BoundedList:
    return BoundedList(
        child=serializers.ChoiceField(
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
        required=False, help_text="Yours: any JSON object up to 16 KiB, without U+0000 anywhere."
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

    def validate_url(self, url: str) -> str:
        try:
            check_url(url)
        except AddressRefused as refused:
            raise serializers.ValidationError(str(refused), "address") from None
        return url

    def validate_event_types(self, types: list[str]) -> list[str]:
        return list(dict.fromkeys(types))

    def validate_metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        size = len(json.dumps(metadata, ensure_ascii=False).encode(errors="replace"))
        if size > MOST_METADATA_BYTES:
            detail = f"The metadata has {size} bytes; use at most {MOST_METADATA_BYTES}."
            raise serializers.ValidationError(detail, "too_large")
        if fault := next(unrepresentable(metadata), None):
            raise serializers.ValidationError(at_their_places([fault]))
        return metadata

    def validate_headers(self, headers: dict[str, str]) -> dict[str, str]:
        kept = {name: self.kept(name) if value == HIDDEN else value for name, value in headers.items()}
        try:
            check_headers(kept)
        except HeaderRefused as refused:
            fault = serializers.ErrorDetail(str(refused), "header")
            places = [fault] if refused.name is None else {refused.name: [fault]}
            raise serializers.ValidationError(places) from None
        return kept

    def kept(self, name: str) -> str:
        """The value that the header of this name has, whatever the name's case."""
        known = self.instance.headers if self.instance else {}
        for other, value in known.items():
            if other.lower() == name.lower():
                return str(value)
        detail = f"There is no value to keep: the subscription has no header {name[:100]!r}. Send one."
        raise serializers.ValidationError({name: [serializers.ErrorDetail(detail, "header")]})

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
        return values | self.order(values)

    def order(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Both fields, when one is sent, since they have to fit."""
        if not {"ordered", "ordering_key"} & set(values):
            return {}
        known = self.instance or Subscription()
        ordered = values.get("ordered", known.ordered)
        key = values.get("ordering_key", known.ordering_key) or ""
        if key and not ordered:
            raise serializers.ValidationError(self.keyless("ordering_key" in values, key))
        return {"ordered": ordered, "ordering_key": key}

    def keyless(self, sent: bool, key: str) -> dict[str, Any]:
        """Why there can't be a key without an order: at the key, or at the order that is taken from it."""
        if sent:
            detail = 'A key belongs to an order. Send "ordered": true with it, or leave it out.'
            return {"ordering_key": [serializers.ErrorDetail(detail, "unordered")]}
        detail = (
            f'The subscription has the ordering_key {key!r}, and no order. Send "ordering_key": null with it.'
        )
        return {"ordered": [serializers.ErrorDetail(detail, "unordered")]}

    def channel_of(self, sent: Mapping[str, Any]) -> Channel | None:
        return Channel(self.instance.channel) if self.instance else None

    def faults_of_channel(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of another channel, and what a new one lacks: named beside all other faults."""
        if (channel := self.channel_of(sent)) is None:
            return {}
        others = set().union(*OF_CHANNEL.values()) - OF_CHANNEL[channel]
        detail = f"A subscription by {channel} has none; leave it out."
        return {name: [serializers.ErrorDetail(detail, "channel")] for name in sorted(others & set(sent))}


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


class NewSubscription(SubscriptionChanges):
    """By webhook with a `url`, by email with `recipients`."""

    channel = serializers.ChoiceField(Channel.choices)

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
        fields["channel"] = set_override(serializers.ChoiceField([self.own]), "field", one)
        fields[NEEDED[self.own]].required = True
        return fields


class NewWebhookSubscription(OfOneChannel):
    """Tell a URL, by signed webhook."""

    own = Channel.WEBHOOK


class NewEmailSubscription(OfOneChannel):
    """Tell people by email, when they have confirmed."""

    own = Channel.EMAIL


def take_emails(values: dict[str, Any], subscription: Subscription, now: datetime) -> list[str] | None:
    """Whom what was sent names, None if it does not say; what else it says of a fallback becomes fields of its own."""
    if "fallback" not in values:
        return values.pop("recipients", None)
    fallback = values.pop("fallback") or {}
    after = fallback.get("late_after_seconds")
    values["fallback_types"] = fallback.get("event_types", [EVERY_TYPE]) if fallback else None
    values["fallback_after"] = timedelta(seconds=after) if after else None
    values["fallback_looked_until"] = (subscription.fallback_looked_until or now) if after else None
    return [fallback["recipient"]] if fallback else []


class SubscriptionToPreview(StrictSerializer):
    event_types = event_types(required=True)
    filter = PayloadFilter(required=False, help_text=FILTER)


SubscriptionPreviewed = inline_serializer(
    "SubscriptionPreviewed",
    {
        "checked": serializers.IntegerField(
            help_text=f"How many of the last events were looked at: {MOST_EVENTS}, or all that there are, or fewer "
            f"when their payloads are more than {MOST_PREVIEWED_BYTES // 1024**2} MiB together."
        ),
        "matched": serializers.IntegerField(help_text="How many of these would have matched."),
        "oldest_checked_at": Timestamp(
            allow_null=True,
            help_text="When the oldest that was looked at was published; null if there was none.",
        ),
        "data": EventSummary(many=True, help_text="Those that would have matched, newest first."),
    },
)


class SecretOverlap(StrictSerializer):
    overlap_seconds = overlap_seconds(default=OVERLAP_SECONDS)


class SecretAnswer(serializers.Serializer):
    secret = serializers.CharField()


class RotatedSecret(SecretAnswer):
    previous_expires_at = Timestamp(help_text="Until then the secret before signs, too.")


class TestChoice(StrictSerializer):
    type = EventTypeName(required=False, help_text="Default: the first that the subscription wants.")


class SubscriptionFilter(filters.FilterSet):
    channel = filters.ChoiceFilter(choices=Channel.choices)
    status = filters.ChoiceFilter(choices=Subscription.Status.choices)


CURRENT_RECIPIENTS = Recipient.objects.filter(removed_at=None).order_by("id")
WITH_RECIPIENTS = Subscription.objects.existing().prefetch_related(
    Prefetch("recipients", CURRENT_RECIPIENTS, to_attr="current_recipients")
)


def subscriptions_of(request: Request) -> QuerySet[Subscription]:
    return WITH_RECIPIENTS.filter(application=application_of(request))


def answer(request: Request, id: UUID) -> dict[str, Any]:
    return dict(SubscriptionAnswer(found(request, id)).data)


@extend_schema_view(get=extend_schema(operation_id="list_subscriptions", summary="List subscriptions"))
class Subscriptions(OfApplication, StrictList):
    permission_classes = (HasApplicationKey,)
    queryset = WITH_RECIPIENTS
    serializer_class = SubscriptionAnswer
    filterset_class = SubscriptionFilter

    @extend_schema(
        operation_id="create_subscription",
        summary="Subscribe, by webhook or by email",
        description="The answer has the signing `secret`; later `…/secret` shows it. Recipients of emails are "
        "asked to confirm.",
        request=PolymorphicProxySerializer(
            "NewSubscription",
            {Channel.WEBHOOK: NewWebhookSubscription, Channel.EMAIL: NewEmailSubscription},
            "channel",
        ),
        responses={201: NewSubscriptionAnswer},
    )
    def post(self, request: Request) -> Response:
        values, now = dict(checked_input(NewSubscription, request)), timezone.now()
        emails = take_emails(values, Subscription(), now) or []
        subscription = Subscription(application=application_of(request), **values)
        secret = create_subscription(subscription, emails, now)
        return Response(answer(request, subscription.id) | {"secret": secret}, HTTPStatus.CREATED)


class SubscriptionPreview(StrictView):
    permission_classes = (HasApplicationKey,)
    scope = Scope.READ  # it stores nothing

    @extend_schema(
        operation_id="preview_subscription",
        summary="See which of the last events a subscription would have got",
        description=f"Of the application's last {MOST_EVENTS} events, without tests and erased ones, those that these "
        "event types and this filter would have let through. Nothing is stored. The key needs the scope `read`.",
        request=SubscriptionToPreview,
        responses={200: SubscriptionPreviewed},
    )
    def post(self, request: Request) -> Response:
        values = checked_input(SubscriptionToPreview, request)
        found = preview(Subscription(application=application_of(request), **values))
        return Response(
            {
                "checked": found.checked,
                "matched": len(found.matched),
                "oldest_checked_at": Timestamp().to_representation(found.oldest_at),
                "data": EventSummary(found.matched, many=True).data,
            }
        )


class SingleSubscription(StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="get_subscription", summary="Get a subscription", responses={200: SubscriptionAnswer}
    )
    def get(self, request: Request, id: UUID) -> Response:
        return Response(answer(request, found(request, id).id))

    @extend_schema(
        operation_id="change_subscription",
        summary="Change a subscription",
        description="Only what is sent changes, the channel never. New recipients are asked to confirm.",
        request=SubscriptionChanges,
        responses={200: SubscriptionAnswer},
    )
    def patch(self, request: Request, id: UUID) -> Response:
        subscription, now = found(request, id), timezone.now()
        values = dict(checked_input(SubscriptionChanges, request, instance=subscription, partial=True))
        emails = take_emails(values, subscription, now)
        change_subscription(subscription, values, emails, now)
        return Response(answer(request, id))

    @extend_schema(
        operation_id="delete_subscription",
        summary="Delete a subscription",
        description="What is unfinished is cancelled; the history of its deliveries stays.",
        responses={204: None},
    )
    def delete(self, request: Request, id: UUID) -> Response:
        delete_subscription(found(request, id), timezone.now())
        return Response(status=HTTPStatus.NO_CONTENT)


def found(request: Request, id: UUID) -> Subscription:
    subscription: Subscription = generics.get_object_or_404(subscriptions_of(request), id=id)
    return subscription


def found_webhook(request: Request, id: UUID) -> Subscription:
    subscription = found(request, id)
    if subscription.channel != Channel.WEBHOOK:
        raise NotPossible("A subscription by email has no signing secret.")
    return subscription


class PauseSubscription(StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="pause_subscription",
        summary="Hold every delivery until resume",
        description="One that is `disabled` is held already, and stays so.",
        request=None,
        responses={200: SubscriptionAnswer},
    )
    def post(self, request: Request, id: UUID) -> Response:
        return act(request, id, pause)


class ResumeSubscription(StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="resume_subscription",
        summary="Make active again, and send what was held",
        request=None,
        responses={200: SubscriptionAnswer},
    )
    def post(self, request: Request, id: UUID) -> Response:
        return act(request, id, resume)


def act(request: Request, id: UUID, act: Callable[..., object]) -> Response:
    subscription = found(request, id)
    checked_input(Nothing, request)
    act(subscription, timezone.now())
    return Response(answer(request, id))


class SubscriptionSecret(StrictView):
    permission_classes = (HasApplicationKey,)
    scope = Scope.WRITE  # who has it can pretend to be us

    @extend_schema(
        operation_id="get_secret",
        summary="Get the signing secret",
        description="The newest one. The key needs the scope `write`.",
        responses={200: SecretAnswer},
    )
    def get(self, request: Request, id: UUID) -> Response:
        newest = found_webhook(request, id).secrets.valid(timezone.now())[0]
        return Response({"secret": newest.secret})


class RotateSecret(StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="rotate_secret",
        summary="Replace the signing secret",
        description="Both the new and the old one sign until the overlap ends. At most "
        f"{settings.MAX_SECRETS} secrets sign at a time; one more answers 409.",
        request=SecretOverlap,
        responses={200: RotatedSecret},
    )
    def post(self, request: Request, id: UUID) -> Response:
        subscription = found_webhook(request, id)
        overlap = timedelta(seconds=checked_input(SecretOverlap, request)["overlap_seconds"])
        now = timezone.now()
        secret = rotate_secret(subscription, overlap, now)
        return Response(RotatedSecret({"secret": secret, "previous_expires_at": now + overlap}).data)


class TestSubscription(StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="test_subscription",
        summary="Send the example of an event type",
        description="A real, signed delivery, marked `test: true`.",
        request=TestChoice,
        responses={202: DeliveriesMade},
    )
    def post(self, request: Request, id: UUID) -> Response:
        subscription = found(request, id)
        type = checked_input(TestChoice, request).get("type")
        try:
            made = send_test(subscription, type, timezone.now())
        except UnknownEventType as unknown:
            raise InvalidInput([error_at("/type", str(unknown), "unknown_type")]) from None
        return Response({"data": DeliverySummary(made, many=True).data}, HTTPStatus.ACCEPTED)
