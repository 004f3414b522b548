"""/v1/subscriptions/{id}/sequence: every number that a subscription's deliveries have, to find what is missing."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from deliveries.models import Delivery, SequenceNumber
from openvolt_events.api.authentication import HasApplicationKey
from openvolt_events.api.pagination import DEFAULT_LIMIT, NewestFirst, read_limit
from openvolt_events.api.problems import InvalidInput, error_at
from openvolt_events.api.subscriptions import found
from openvolt_events.api.views import StrictView

MOST_SINCE = 2**63 - 1


def read_since(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len(str(MOST_SINCE)) and int(text) <= MOST_SINCE:
        return int(text)
    detail = f"The number is {text[:20]!r}; send the last `openvolt-sequence` that you have seen, or 0."
    raise InvalidInput([error_at("/since", detail, "since")])


class FromNumber(NewestFirst):
    """Pages by the numbers themselves, which have no gap: the lowest first, after `since`."""

    query_parameters = ("since", "limit")
    next_description = "The page of the numbers above; null: there are none yet."
    previous_description = "The page of the numbers below; null: there are none."

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.url = request.build_absolute_uri()
        self.limit = read_limit(request.query_params.get("limit", str(DEFAULT_LIMIT)))
        self.since = read_since(request.query_params.get("since", "0"))
        rows = list(queryset.filter(number__gt=self.since).order_by("number")[: self.limit + 1])
        self.is_more, self.page = len(rows) > self.limit, rows[: self.limit]
        return self.page

    def get_paginated_response(self, data: Sequence[Any]) -> Response:
        after = self.from_number(self.page[-1].number) if self.is_more else None
        before = self.from_number(max(self.since - self.limit, 0)) if self.since else None
        return Response({"data": data, "next": after, "previous": before})

    def from_number(self, since: int) -> str:
        return replace_query_param(self.url, "since", str(since))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        number = {"type": "integer", "minimum": 0, "maximum": MOST_SINCE, "default": 0}
        since = {"name": "since", "in": "query", "description": "Only numbers above.", "schema": number}
        limit, _ = super().get_schema_operation_parameters(view)
        return [since, limit]


class NumberedDelivery(serializers.ModelSerializer):
    """A number, the delivery that has it, and what has become of that."""

    delivery_id = serializers.UUIDField()
    status = serializers.ChoiceField(Delivery.Status.choices, source="delivery.status")

    class Meta:
        model = SequenceNumber
        fields: tuple[str, ...] = ("number", "delivery_id", "status")
        read_only_fields = fields


@extend_schema_view(
    get=extend_schema(
        operation_id="list_sequence",
        summary="List the numbers of a subscription's deliveries",
        description="The lowest first. A delivery gets its number (`openvolt-sequence`) at its first attempt or just "
        "before, and keeps it; a replay is a new delivery with a new number. The numbers have no gap: one that has "
        "not arrived is here, with the delivery it belongs to. Only those of deliveries whose retention has ended are "
        "gone. The order of numbers is not the order of arrival: retries come later.",
    )
)
class SubscriptionSequence(generics.ListAPIView, StrictView):
    permission_classes = (HasApplicationKey,)
    queryset = SequenceNumber.objects.none()
    serializer_class = NumberedDelivery
    pagination_class = FromNumber
    query_parameters = FromNumber.query_parameters

    def get_queryset(self) -> QuerySet[SequenceNumber]:
        subscription = found(self.request, self.kwargs["id"])
        return subscription.sequence.select_related("delivery").only("number", "delivery__status")
