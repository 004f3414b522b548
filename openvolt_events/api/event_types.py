"""/v1/event-types: the catalogue."""

from collections.abc import Sequence

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from events.event_types import EVENT_TYPES
from openvolt_events.api.authentication import HasAnyKey
from openvolt_events.api.fields import AnyJSON
from openvolt_events.api.pagination import DEFAULT_LIMIT, MOST, NewestFirst, no_such_cursor, read_limit
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


NAME = {"type": "string", "enum": sorted(EVENT_TYPES)}


class EventTypes(StrictView):
    permission_classes: tuple[type[BasePermission], ...] = (HasAnyKey,)
    query_parameters = NewestFirst.query_parameters

    @extend_schema(
        operation_id="list_event_types",
        summary="List the event types",
        description="By name.",
        parameters=[
            OpenApiParameter(
                "limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT}
            ),
            OpenApiParameter("cursor", NAME, description="From the `next` or `previous` of a page."),
        ],
        responses={200: Catalogue},
    )
    def get(self, request: Request) -> Response:
        limit = read_limit(request.query_params.get("limit", str(DEFAULT_LIMIT)))
        names = sorted(EVENT_TYPES)
        start = place(request.query_params.get("cursor", names[0]), names)
        end = start + limit
        data = EventTypeEntry([EVENT_TYPES[name] for name in names[start:end]], many=True).data
        following = page_from(request, names[end]) if end < len(names) else None
        before = page_from(request, names[max(start - limit, 0)]) if start else None
        return Response({"data": data, "next": following, "previous": before})


def place(cursor: str, names: Sequence[str]) -> int:
    """Where a page begins: the catalogue is short and the same for all, so a name is cursor enough."""
    if cursor not in names:
        raise no_such_cursor()
    return names.index(cursor)


def page_from(request: Request, name: str) -> str:
    return str(replace_query_param(request.build_absolute_uri(), "cursor", name))


class SingleEventType(StrictView):
    permission_classes: tuple[type[BasePermission], ...] = (HasAnyKey,)

    @extend_schema(
        operation_id="get_event_type",
        summary="Get an event type",
        parameters=[OpenApiParameter("name", NAME, OpenApiParameter.PATH)],
        responses={200: EventTypeEntry},
    )
    def get(self, request: Request, name: str) -> Response:
        if name not in EVENT_TYPES:
            raise NotFound(f"There is no event type {name[:100]!r}. There are: {', '.join(EVENT_TYPES)}.")
        return Response(EventTypeEntry(EVENT_TYPES[name]).data)
