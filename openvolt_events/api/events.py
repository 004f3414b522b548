"""/v1/events: what happened, published by the platform and read by the application that it concerns."""

from collections.abc import Sequence
from http import HTTPStatus
from itertools import accumulate
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Func, IntegerField, Prefetch
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import generics, serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Application
from deliveries.lifecycle import replay
from deliveries.models import Delivery
from events.event_types import EVENT_TYPES
from events.models import Event
from openvolt_events.api.authentication import HasApplicationKey, HasPlatformKey, application_of
from openvolt_events.api.deliveries import DeliveriesMade, DeliverySummary
from openvolt_events.api.fields import (
    AfterFilter,
    BeforeFilter,
    BoundedList,
    StoredJSON,
    StrictSerializer,
    Timestamp,
)
from openvolt_events.api.ids import Id
from openvolt_events.api.json import BatchJSONParser
from openvolt_events.api.pagination import NewestFirst
from openvolt_events.api.problems import InvalidInput, NoSuchId, error_at
from openvolt_events.api.publishing import (
    IDEMPOTENCY_KEY,
    Batch,
    NewEvent,
    idempotency_key,
    publish_items,
    publish_response,
    read_batch,
    read_event,
)
from openvolt_events.api.views import Conditional, OfApplication, StrictList, StrictView, checked_input
from subscriptions.models import Subscription

MOST_DELIVERIES = 200  # in an event's own answer; /v1/deliveries?event_id= has all
MOST_PAGE_BYTES = 8 * 1024 * 1024  # of payloads
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of an answer that you have: if it still stands, the answer is 304, without a body.",
)
NOT_MODIFIED = OpenApiResponse(description="What you have still stands (`If-None-Match`).")


class EventSummary(serializers.ModelSerializer):
    type = serializers.ChoiceField(sorted(EVENT_TYPES))
    occurred_at = Timestamp()
    created_at = Timestamp()

    class Meta:
        model = Event
        fields: tuple[str, ...] = ("id", "application_id", "type", "occurred_at", "created_at", "test")
        read_only_fields = fields


class PublishedEvent(EventSummary):
    payload = StoredJSON()

    class Meta(EventSummary.Meta):
        fields: tuple[str, ...] = (*EventSummary.Meta.fields, "payload")
        read_only_fields = fields


class ListedEvent(EventSummary):
    """An event in a list: `payload` is there if it was asked for (`expand=payload`)."""

    payload = StoredJSON(required=False)

    class Meta(EventSummary.Meta):
        fields: tuple[str, ...] = (*EventSummary.Meta.fields, "payload")
        read_only_fields = fields


class WholeEvent(PublishedEvent):
    deliveries = DeliverySummary(many=True, source="newest_deliveries")

    class Meta(PublishedEvent.Meta):
        fields: tuple[str, ...] = (*PublishedEvent.Meta.fields, "deliveries")
        read_only_fields = fields


PublishedBatch = inline_serializer("PublishedBatch", {"data": PublishedEvent(many=True)})


class ReplayTargets(StrictSerializer):
    subscription_ids = BoundedList(
        child=Id(),
        required=False,
        min_length=1,
        max_length=settings.MAX_SUBSCRIPTIONS,
    )


class EventFilter(filters.FilterSet):
    type = filters.ChoiceFilter(choices=[(name, name) for name in EVENT_TYPES])
    occurred_after = AfterFilter("occurred_at", "gt")
    occurred_before = BeforeFilter("occurred_at", "lt")


def wants_payload(request: Request) -> bool:
    wanted = request.query_params.get("expand", "payload")
    if wanted != "payload":
        detail = f"There is no {wanted[:100]!r} to expand; there is 'payload'."
        raise InvalidInput([error_at("/expand", detail, "expand")])
    return "expand" in request.query_params


SIZE = Func("payload", function="octet_length", output_field=IntegerField())


class EventPages(NewestFirst):
    """With `expand=payload` the payloads come along, and a page ends where they would be too much for one answer."""

    query_parameters = (*NewestFirst.query_parameters, "expand")

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.is_expanded = wants_payload(request)
        if self.is_expanded:
            queryset = queryset.annotate(size=SIZE)
        return super().paginate_queryset(queryset, request, view)

    def fitting(self, rows: list[Any]) -> list[Any]:
        if not self.is_expanded:
            return rows
        sizes = accumulate(row.size for row in rows)
        page = [row for index, (row, size) in enumerate(zip(rows, sizes, strict=True)) if fits(index, size)]
        payloads = dict(Event.objects.filter(id__in=[row.id for row in page]).values_list("id", "payload"))
        for row in page:
            row.payload = payloads[row.id]
        return page

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        expand = {
            "name": "expand",
            "in": "query",
            "description": "`payload`: with each event's payload. A page then has fewer events than `limit` when "
            f"their payloads are more than {MOST_PAGE_BYTES // 1024**2} MiB together; `next` leads on.",
            "schema": {"type": "string", "enum": ["payload"]},
        }
        return [*super().get_schema_operation_parameters(view), expand]


def fits(index: int, size: int) -> bool:
    return index == 0 or size <= MOST_PAGE_BYTES


@extend_schema_view(
    get=extend_schema(
        operation_id="list_events",
        summary="List events",
        responses={200: ListedEvent(many=True)},
    )
)
class Events(OfApplication, StrictList):
    """What happened to the application, newest first; the payload is in the single event, or in `expand=payload`."""

    queryset = Event.objects.defer("payload")
    pagination_class = EventPages
    filterset_class = EventFilter

    def get_serializer_class(self) -> type[serializers.BaseSerializer]:
        return PublishedEvent if wants_payload(self.request) else EventSummary

    def get_permissions(self) -> list[BasePermission]:
        return [HasPlatformKey() if self.request.method == "POST" else HasApplicationKey()]

    @extend_schema(
        operation_id="publish_event",
        summary="Publish an event",
        description="Answers once the event and its deliveries are committed.",
        request=NewEvent,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: PublishedEvent, 200: PublishedEvent},
    )
    def post(self, request: Request) -> Response:
        item = read_event(NewEvent, request)
        [published] = publish_items({"": {**item, "idempotency_key": idempotency_key(request)}})
        return publish_response(PublishedEvent(published.event).data, published.replayed)


class EventBatch(StrictView):
    parser_classes = (BatchJSONParser,)
    permission_classes = (HasPlatformKey,)

    @extend_schema(
        operation_id="publish_events",
        summary="Publish up to 1000 events, all or none",
        description="A payload that breaks its schema refuses the whole batch; `errors` point at the items. The header "
        "`Idempotency-Key` stands for the whole batch, beside the `idempotency_key` that an item may have of its own.",
        request=Batch,
        parameters=[IDEMPOTENCY_KEY],
        responses={201: PublishedBatch, 200: PublishedBatch},
    )
    def post(self, request: Request) -> Response:
        items = read_batch(request)
        published = publish_items(items, idempotency_key(request))
        data = PublishedEvent([one.event for one in published], many=True).data
        return publish_response({"data": data}, all(one.replayed for one in published))


@extend_schema_view(
    get=extend_schema(
        operation_id="get_event",
        summary="Get an event",
        description=f"With its payload as it was published, and its {MOST_DELIVERIES} newest deliveries. The `ETag` "
        "stands for all of that: it changes with the deliveries.",
        parameters=[IF_NONE_MATCH],
        responses={200: WholeEvent, 304: NOT_MODIFIED},
    )
)
class SingleEvent(OfApplication, generics.RetrieveAPIView, Conditional):
    newest = Delivery.objects.select_related("recipient").order_by("-id")[:MOST_DELIVERIES]

    permission_classes = (HasApplicationKey,)
    queryset = Event.objects.prefetch_related(Prefetch("deliveries", newest, to_attr="newest_deliveries"))
    serializer_class = WholeEvent


class EventReplay(OfApplication, StrictView):
    permission_classes = (HasApplicationKey,)
    queryset = Event.objects.all()

    @extend_schema(
        operation_id="replay_event",
        summary="Tell an event again",
        description="New deliveries, each with a new id, to the subscriptions named, or to every active one that "
        "matches now.",
        request=ReplayTargets,
        responses={202: DeliveriesMade},
    )
    def post(self, request: Request, id: UUID) -> Response:
        event = self.get_object()
        wanted = checked_input(ReplayTargets, request).get("subscription_ids")
        if wanted is not None:
            check_subscriptions(application_of(request), wanted)
        made = replay(event, wanted, timezone.now())
        return Response({"data": DeliverySummary(made, many=True).data}, HTTPStatus.ACCEPTED)


def check_subscriptions(application: Application, ids: Sequence[UUID]) -> None:
    own = Subscription.objects.existing().filter(application=application, id__in=ids)
    known = set(own.values_list("id", flat=True))
    errors = [
        error_at(f"/subscription_ids/{index}", f"There is no subscription {id}.", "not_found")
        for index, id in enumerate(ids)
        if id not in known
    ]
    if errors:
        raise NoSuchId(errors)
