"""/v1/deliveries: who was told what, each attempt, and when the next one is due."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import (
    extend_schema,
    extend_schema_field,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from deliveries.channels import RESPONSE_LIMIT
from deliveries.claiming import notification
from deliveries.lifecycle import cancel, retry
from deliveries.models import Attempt, Delivery, MailEvent, Trigger
from deliveries.partitions import EPOCH, first_id
from deliveries.waiting import why_waiting
from events.event_types import EVENT_TYPES
from openvolt_events.api.authentication import HasApplicationKey
from openvolt_events.api.fields import AfterFilter, BeforeFilter, Nothing, Timestamp
from openvolt_events.api.ids import IdFilter
from openvolt_events.api.views import OfApplication, StrictList, StrictView, checked_input
from subscriptions.models import Channel

MOST_ATTEMPTS = 200
# An id has its time in it, so that the index that lists in the order of ids also finds what was made when. The id is
# made a little after the moment that is `created_at`: when a batch is checked and a pause of the subscription over.
LAG = timedelta(minutes=2)
LATEST = datetime.max.replace(tzinfo=UTC) - LAG


class DeliverySummary(serializers.ModelSerializer):
    """A delivery without its attempts."""

    type = serializers.ChoiceField(sorted(EVENT_TYPES), source="event_type")
    recipient = serializers.EmailField(source="recipient.email", allow_null=True)
    test = serializers.BooleanField()
    next_attempt_at = Timestamp(allow_null=True)
    created_at = Timestamp()
    finished_at = Timestamp(allow_null=True)

    class Meta:
        model = Delivery
        fields: tuple[str, ...] = (
            *("id", "subscription_id", "event_id", "type", "channel", "recipient", "status", "trigger"),
            *(
                "replay_id",
                "test",
                "sequence",
                "attempt_count",
                "next_attempt_at",
                "created_at",
                "finished_at",
            ),
        )
        read_only_fields = fields


DeliveriesMade = inline_serializer("DeliveriesMade", {"data": DeliverySummary(many=True)})


class TimingsOfAttempt(serializers.Serializer):
    dns_ms = serializers.FloatField(allow_null=True)
    connect_ms = serializers.FloatField(allow_null=True)
    tls_ms = serializers.FloatField(allow_null=True)
    first_byte_ms = serializers.FloatField(allow_null=True)
    total_ms = serializers.FloatField(allow_null=True)


class AttemptOfDelivery(serializers.ModelSerializer):
    """One try: what was sent, what came back. Bodies are cut at 16 KiB, and say so."""

    started_at = Timestamp()
    timings = TimingsOfAttempt()
    request_headers = serializers.DictField(child=serializers.CharField())
    request_body = serializers.SerializerMethodField()
    request_truncated = serializers.SerializerMethodField()
    response_headers = serializers.DictField(child=serializers.CharField())

    class Meta:
        model = Attempt
        fields: tuple[str, ...] = (
            *("number", "trigger", "started_at", "duration_ms", "timings", "outcome", "status_code", "error"),
            *("request_headers", "request_body", "request_truncated"),
            *("response_headers", "response_body", "response_truncated", "remote_ip"),
        )
        read_only_fields = fields

    def get_request_body(self, attempt: Attempt) -> str:
        body: bytes = self.context["body"]
        return body[:RESPONSE_LIMIT].decode(errors="ignore")

    def get_request_truncated(self, attempt: Attempt) -> bool:
        return len(self.context["body"]) > RESPONSE_LIMIT


class MailEventOfDelivery(serializers.ModelSerializer):
    """What became of the email after the mail server had accepted it, where the email provider tells."""

    at = Timestamp()

    class Meta:
        model = MailEvent
        fields: tuple[str, ...] = ("kind", "at", "description")
        read_only_fields = fields


class WholeDelivery(DeliverySummary):
    """A delivery with its attempts, the oldest first."""

    waiting = serializers.SerializerMethodField(
        help_text="Why it waits, for a digest for example; null when a retry is due later, or it is finished."
    )
    attempts = serializers.SerializerMethodField()
    mail_events = serializers.SerializerMethodField(
        help_text="Of an email, what its provider has told since it was accepted, the oldest first."
    )

    class Meta(DeliverySummary.Meta):
        fields: tuple[str, ...] = (*DeliverySummary.Meta.fields, "waiting", "attempts", "mail_events")
        read_only_fields = fields

    def get_waiting(self, delivery: Any) -> str | None:
        return why_waiting(delivery, timezone.now())

    @extend_schema_field(MailEventOfDelivery(many=True))
    def get_mail_events(self, delivery: Any) -> Any:
        return MailEventOfDelivery(delivery.newest_mail_events[::-1], many=True).data

    @extend_schema_field(AttemptOfDelivery(many=True))
    def get_attempts(self, delivery: Any) -> Any:
        told = notification(delivery, attempt=0, trigger=Trigger.SCHEDULED)
        body = b"" if delivery.event.is_erased else told.body()
        return AttemptOfDelivery(delivery.newest_attempts[::-1], many=True, context={"body": body}).data


class DeliveryFilter(filters.FilterSet):
    subscription_id = IdFilter("subscription")
    event_id = IdFilter("event")
    replay_id = IdFilter("replay")
    type = filters.ChoiceFilter("event_type", choices=[(name, name) for name in EVENT_TYPES])
    status = filters.ChoiceFilter(choices=Delivery.Status.choices)
    channel = filters.ChoiceFilter(choices=Channel.choices)
    created_after = AfterFilter(method="made_after")
    created_before = BeforeFilter(method="made_before")

    def made_after(self, rows: QuerySet[Delivery], name: str, moment: datetime) -> QuerySet[Delivery]:
        return rows.filter(created_at__gt=moment, id__gte=first_id(within_the_calendar(moment) - LAG))

    def made_before(self, rows: QuerySet[Delivery], name: str, moment: datetime) -> QuerySet[Delivery]:
        return rows.filter(created_at__lt=moment, id__lt=first_id(within_the_calendar(moment) + LAG))


def within_the_calendar(moment: datetime) -> datetime:
    """The moment, or the nearest one that an id can have, with `LAG` to spare."""
    return min(max(moment, EPOCH + LAG), LATEST)


@extend_schema_view(get=extend_schema(operation_id="list_deliveries", summary="List deliveries"))
class Deliveries(OfApplication, StrictList):
    """The application's deliveries, newest first; the attempts are in the single delivery."""

    permission_classes = (HasApplicationKey,)
    queryset = Delivery.objects.select_related("recipient")
    serializer_class = DeliverySummary
    filterset_class = DeliveryFilter


@extend_schema_view(
    get=extend_schema(
        operation_id="get_delivery",
        summary="Get a delivery with its attempts",
        description=f"Oldest first, the last {MOST_ATTEMPTS} of them.",
    )
)
class SingleDelivery(OfApplication, generics.RetrieveAPIView, StrictView):
    newest = Attempt.objects.order_by("-number")[:MOST_ATTEMPTS]
    newest_told = MailEvent.objects.order_by("-at", "-id")[:MOST_ATTEMPTS]

    permission_classes = (HasApplicationKey,)
    queryset = Delivery.objects.select_related("event", "recipient", "subscription").prefetch_related(
        Prefetch("attempts", newest, to_attr="newest_attempts"),
        Prefetch("mail_events", newest_told, to_attr="newest_mail_events"),
    )
    serializer_class = WholeDelivery


class DeliveryRetry(OfApplication, StrictView):
    permission_classes = (HasApplicationKey,)
    queryset = Delivery.objects.select_related("recipient")

    @extend_schema(
        operation_id="retry_delivery",
        summary="Try a delivery again now",
        description="In place of the scheduled attempt; also when it has failed or was cancelled. A succeeded one "
        "answers 409: replay its event.",
        request=None,
        responses={202: DeliverySummary},
    )
    def post(self, request: Request, id: UUID) -> Response:
        delivery = self.get_object()
        checked_input(Nothing, request)
        return Response(DeliverySummary(retry(delivery, timezone.now())).data, HTTPStatus.ACCEPTED)


class DeliveryCancel(OfApplication, StrictView):
    permission_classes = (HasApplicationKey,)
    queryset = Delivery.objects.select_related("recipient")

    @extend_schema(
        operation_id="cancel_delivery",
        summary="Make no further attempt of a delivery",
        request=None,
        responses={200: DeliverySummary},
    )
    def post(self, request: Request, id: UUID) -> Response:
        delivery = self.get_object()
        checked_input(Nothing, request)
        return Response(DeliverySummary(cancel(delivery, timezone.now())).data)
