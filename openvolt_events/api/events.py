"""/v1/events: what happened, published by the platform and read by the application that it concerns."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
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
    extend_schema_field,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import generics, serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Application, Scope
from deliveries.channels import Notification
from deliveries.lifecycle import replay
from deliveries.models import Delivery
from deliveries.previewing import Code, Verdict, preview
from deliveries.publishing import (
    Change,
    IdempotencyConflict,
    ItemsRefused,
    Published,
    UnknownEventType,
    checked,
    publish_many,
)
from events.event_types import EVENT_TYPES
from events.idempotency import KEPT_FOR, LONGEST_KEY
from events.models import Event
from events.payloads import PayloadRefused
from events.verbatim import Verbatim
from openvolt_events.api.authentication import (
    HasAnyReadingKey,
    HasApplicationKey,
    HasPlatformKey,
    application_of,
    key_of,
)
from openvolt_events.api.deliveries import DeliverySummary
from openvolt_events.api.fields import (
    AfterFilter,
    AnyJSON,
    BeforeFilter,
    BoundedList,
    EventTypeName,
    OneLine,
    StoredJSON,
    StrictSerializer,
    Timestamp,
)
from openvolt_events.api.ids import Id
from openvolt_events.api.json import BatchJSONParser
from openvolt_events.api.pagination import NewestFirst
from openvolt_events.api.problems import InvalidInput, KeysConflict, NoSuchId, error_at, errors_of
from openvolt_events.api.views import Conditional, OfApplication, StrictList, StrictView, checked_input
from subscriptions.models import Channel, Subscription

MOST_DELIVERIES = 200  # in an event's own answer; /v1/deliveries?event_id= has all
MOST_PAGE_BYTES = 8 * 1024 * 1024  # of payloads
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": f"^[ -~]{{1,{LONGEST_KEY}}}$"},
    OpenApiParameter.HEADER,
    description="Makes it safe to send the same again: what it answered first, with `idempotent-replayed: true`. "
    f"Known for {KEPT_FOR // timedelta(hours=1)} hours.",
)

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


class NewEvent(StrictSerializer):
    application_id = Id()
    type = EventTypeName(max_length=100)
    payload = AnyJSON(
        help_text="Any JSON value that fits the `schema` of its type (`GET /v1/event-types/{name}`), without U+0000."
    )
    occurred_at = Timestamp(required=False)


class EventToPreview(NewEvent):
    """As it would be published. With an application key, `application_id` may be left out."""

    application_id = Id(required=False)


class NewEventOfBatch(NewEvent):
    idempotency_key = OneLine(max_length=LONGEST_KEY, required=False)


class Batch(StrictSerializer):
    events = BoundedList(
        child=NewEventOfBatch(),
        min_length=1,
        max_length=settings.MAX_BATCH_EVENTS,
        error_messages={
            "max_length": "A batch has at most {max_length} events (MAX_BATCH_EVENTS). Send several batches."
        },
    )


PublishedBatch = inline_serializer("PublishedBatch", {"data": PublishedEvent(many=True)})
DeliveriesMade = inline_serializer("DeliveriesMade", {"data": DeliverySummary(many=True)})


class Reason(serializers.Serializer):
    verdict = serializers.ChoiceField(
        [str(one) for one in Verdict],
        source="fate.verdict",
        help_text="`told`: as soon as nothing else has to be waited for, or with a digest; `held`: kept until "
        "what holds it is over; or `not_told`.",
    )
    code = serializers.ChoiceField(
        [str(one) for one in Code], source="fate.code", allow_null=True, help_text="Why not, or not at once."
    )
    reason = serializers.CharField(source="fate.reason", allow_null=True, help_text="The same for people.")


class RecipientPreviewed(Reason):
    email = serializers.EmailField()


class SubscriptionOfPreview(Reason):
    """What would become of the event for one subscription; by email, it is `told` if anybody is."""

    subscription_id = serializers.UUIDField(source="subscription.id")
    channel = serializers.ChoiceField(Channel.choices, source="subscription.channel")
    description = serializers.CharField(source="subscription.description")
    pointer = serializers.CharField(
        source="fate.pointer", allow_null=True, help_text="Where in the payload the filter does not match."
    )
    recipients = RecipientPreviewed(many=True, allow_null=True, help_text="Of emails; null for a webhook.")


@extend_schema_field({"$ref": "#/components/schemas/Notification"})
class NotificationPreviewed(serializers.Field):
    def to_representation(self, value: Notification) -> Any:
        return Verbatim(value.body().decode())


class EventPreviewed(serializers.Serializer):
    """Who would be told, of all subscriptions, newest first."""

    subscriptions = SubscriptionOfPreview(many=True)
    notification = NotificationPreviewed(
        allow_null=True,
        help_text="What would be sent to the first one; to the others with their own `subscription_id`. The "
        "`delivery_id` is made up for this preview: no delivery has it. Null if it is for nobody.",
    )


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


class PreviewOfEvent(StrictView):
    permission_classes = (HasAnyReadingKey,)
    scope = Scope.READ  # it stores nothing

    @extend_schema(
        operation_id="preview_event",
        summary="See who would be told of an event",
        description="The body of a publish, refused as a publish would refuse it: answers which of the application's "
        "subscriptions would be told, which not and why, and the notification. Nothing is stored, nobody is told. A "
        "key of the platform names the application; an application's own needs the scope `read`, and may leave "
        "`application_id` out; another application's answers 404.",
        request=EventToPreview,
        responses={200: EventPreviewed},
    )
    def post(self, request: Request) -> Response:
        own = key_of(request).application
        item: Mapping[str, Any]
        if own:
            applications = {own.id: own}
            item = {"application_id": own.id, **read_event(EventToPreview, request, applications)}
            refuse_foreign(item["application_id"], own)
        else:
            item = read_event(NewEvent, request)
            applications = known_applications({"": item})
        try:
            found = preview(change_of(item, applications), timezone.now())
        except (UnknownEventType, PayloadRefused) as reason:
            raise InvalidInput(list(faults("", reason))) from None
        return Response(EventPreviewed(found).data)


class SingleEvent(OfApplication, generics.RetrieveAPIView, Conditional):
    newest = Delivery.objects.select_related("recipient").order_by("-id")[:MOST_DELIVERIES]

    permission_classes = (HasApplicationKey,)
    queryset = Event.objects.prefetch_related(Prefetch("deliveries", newest, to_attr="newest_deliveries"))
    serializer_class = WholeEvent
    lookup_field = "id"

    @extend_schema(
        operation_id="get_event",
        summary="Get an event",
        description=f"With its payload as it was published, and its {MOST_DELIVERIES} newest deliveries. The `ETag` "
        "stands for all of that: it changes with the deliveries.",
        parameters=[IF_NONE_MATCH],
        responses={200: WholeEvent, 304: NOT_MODIFIED},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class EventReplay(StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="replay_event",
        summary="Tell an event again",
        description="New deliveries, each with a new id, to the subscriptions named, or to every active one that "
        "matches now.",
        request=ReplayTargets,
        responses={202: DeliveriesMade},
    )
    def post(self, request: Request, id: UUID) -> Response:
        application = application_of(request)
        event = generics.get_object_or_404(Event.objects.filter(application=application), id=id)
        wanted = checked_input(ReplayTargets, request).get("subscription_ids")
        if wanted is not None:
            check_subscriptions(application, wanted)
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


def read_event(
    serializer: type[NewEvent], request: Request, known: Mapping[UUID, Application] | None = None
) -> Mapping[str, Any]:
    """The event of the body. Raises InvalidInput with all that is wrong with it; `known` are the applications that
    this key may name, by default every one.
    """
    reader = serializer(data=request.data)
    if not reader.is_valid():
        raise InvalidInput(list(faults_of_items({"": request.data}, {"": reader.errors}, known)))
    event: Mapping[str, Any] = reader.validated_data
    return event


def read_batch(request: Request) -> Mapping[str, Mapping[str, Any]]:
    """The events of the body by their places in it. Raises InvalidInput with all that is wrong with any of them."""
    reader = Batch(data=request.data)
    if reader.is_valid():
        return by_place(reader.validated_data["events"])
    of_batch = dict(reader.errors)
    of_items = of_batch.pop("events", {})
    if not isinstance(request.data, Mapping) or not isinstance(of_items, Mapping):  # no list of events
        raise InvalidInput(list(errors_of(reader.errors)))
    wrong = {place_of(index): found for index, found in of_items.items()}
    raise InvalidInput([*errors_of(of_batch), *faults_of_items(by_place(request.data["events"]), wrong)])


def by_place(items: Sequence[Any]) -> dict[str, Any]:
    return {place_of(index): item for index, item in enumerate(items)}


def place_of(index: int) -> str:
    """The JSON pointer of an item of a batch."""
    return f"/events/{index}"


def faults_of_items(
    items: Mapping[str, Any],
    wrong: Mapping[str, Mapping[str, Any]],
    known: Mapping[UUID, Application] | None = None,
) -> Iterator[dict[str, str]]:
    """What the serializer has found, and what else a publish would: so that nobody has to send it twice to see all."""
    named = [
        id_of(item) for place, item in items.items() if is_there("application_id", item, wrong.get(place, {}))
    ]
    applications = applications_of(set(named)) if known is None else known
    for place, item in items.items():
        found = wrong.get(place, {})
        yield from errors_of(found, place)
        if is_there("application_id", item, found) and id_of(item) not in applications:
            yield no_application(place, id_of(item))
        if is_there("type", item, found) and is_there("payload", item, found):
            try:
                checked(item["type"], item["payload"])
            except (UnknownEventType, PayloadRefused) as reason:
                yield from faults(place, reason)


def is_there(name: str, item: Any, wrong: Mapping[str, Any]) -> bool:
    """Whether the item has the field, and the serializer has nothing against it."""
    return isinstance(item, Mapping) and name in item and name not in wrong


def id_of(item: Mapping[str, Any]) -> UUID:
    return UUID(str(item["application_id"]))


def no_application(place: str, id: UUID) -> dict[str, str]:
    return error_at(f"{place}/application_id", f"There is no application {id}.", "not_found")


def refuse_foreign(id: UUID, own: Application) -> None:
    if id != own.id:
        raise NoSuchId([no_application("", id)])


def publish_items(items: Mapping[str, Mapping[str, Any]], key_of_all: str | None = None) -> list[Published]:
    """Publish all or none, each named by its place in the body: a JSON pointer."""
    applications = known_applications(items)
    changes = [change_of(item, applications) for item in items.values()]
    try:
        return publish_many(changes, timezone.now(), key_of_all)
    except ItemsRefused as refused:
        places = list(items)
        raise problem_of({places[index]: reason for index, reason in refused.reasons.items()}) from None


def known_applications(items: Mapping[str, Mapping[str, Any]]) -> dict[UUID, Application]:
    """The items' own. Raises InvalidInput when there is none of one of them."""
    applications = applications_of({item["application_id"] for item in items.values()})
    if any(item["application_id"] not in applications for item in items.values()):
        raise InvalidInput(list(faults_of_items(items, {}, applications)))
    return applications


def applications_of(ids: Collection[UUID]) -> dict[UUID, Application]:
    """Below the ORM, whose making of this query takes a tenth of a single publish."""
    table = Application._meta.db_table
    found = Application.objects.raw(f"SELECT * FROM {table} WHERE id = ANY(%s)", [list(ids)])  # noqa: S608
    return {one.id: one for one in found}


def change_of(item: Mapping[str, Any], applications: Mapping[UUID, Application]) -> Change:
    return Change(
        application=applications[item["application_id"]],
        type=item["type"],
        payload=item["payload"],
        occurred_at=item.get("occurred_at"),
        idempotency_key=item.get("idempotency_key"),
    )


def problem_of(reasons: Mapping[str, Exception]) -> Exception:
    """Why items were refused, by their places, as the API says it."""
    if any(isinstance(reason, IdempotencyConflict) for reason in reasons.values()):
        return reasons.get("") or KeysConflict(
            [
                error_at(f"{place}/idempotency_key", str(reason), "used_before")
                for place, reason in reasons.items()
            ]
        )
    return InvalidInput([error for place, reason in reasons.items() for error in faults(place, reason)])


def faults(place: str, reason: Exception) -> Iterator[dict[str, str]]:
    match reason:
        case PayloadRefused(errors=errors):
            for error in errors:
                yield error_at(f"{place}/payload{error.pointer}", error.detail, error.code)
        case UnknownEventType():
            yield error_at(f"{place}/type", str(reason), "unknown_type")
        case _:
            raise reason


def idempotency_key(request: Request) -> str | None:
    """From its header; None without one."""
    key = request.headers.get("idempotency-key")
    if key is None or (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        return key
    detail = f"The header Idempotency-Key is not 1 to {LONGEST_KEY} visible ASCII characters; send a UUID."
    raise InvalidInput([error_at("", detail, "idempotency_key")])


def publish_response(document: Mapping[str, Any], replayed: bool) -> Response:
    if replayed:
        return Response(document, HTTPStatus.OK, headers={"idempotent-replayed": "true"})
    return Response(document, HTTPStatus.CREATED)
