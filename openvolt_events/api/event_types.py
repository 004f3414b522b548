"""/v1/event-types: the catalogue."""

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from events.event_types import EVENT_TYPES
from openvolt_events.api.authentication import HasAnyKey
from openvolt_events.api.fields import AnyJSON
from openvolt_events.api.views import StrictView


class EventTypeEntry(serializers.Serializer):
    """One kind of change: what it means, what its payload holds. `assumed` says what of it is not published yet."""

    name = serializers.CharField()
    description = serializers.CharField()
    sentence = serializers.CharField()
    assumed = serializers.CharField(allow_blank=True)
    schema = serializers.JSONField()
    example = AnyJSON()


Catalogue = inline_serializer(
    "Catalogue",
    {
        "data": EventTypeEntry(many=True),
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
    },
)


class EventTypes(StrictView):
    permission_classes: tuple[type[BasePermission], ...] = (HasAnyKey,)

    @extend_schema(
        operation_id="list_event_types",
        summary="List the event types",
        description="The whole catalogue on one page.",
        responses={200: Catalogue},
    )
    def get(self, request: Request) -> Response:
        entries = EventTypeEntry(list(EVENT_TYPES.values()), many=True).data
        return Response({"data": entries, "next": None, "previous": None})


class SingleEventType(StrictView):
    permission_classes: tuple[type[BasePermission], ...] = (HasAnyKey,)

    @extend_schema(
        operation_id="get_event_type", summary="Get an event type", responses={200: EventTypeEntry}
    )
    def get(self, request: Request, name: str) -> Response:
        if name not in EVENT_TYPES:
            raise NotFound(f"There is no event type {name[:100]!r}. There are: {', '.join(EVENT_TYPES)}.")
        return Response(EventTypeEntry(EVENT_TYPES[name]).data)
