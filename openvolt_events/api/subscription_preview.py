"""/v1/subscriptions/preview: which of the last events a subscription would have got."""

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from openvolt_events.api.authentication import HasApplicationKey, application_of
from openvolt_events.api.events import EventSummary
from openvolt_events.api.fields import StrictSerializer, Timestamp
from openvolt_events.api.subscription_fields import PayloadFilter, event_types
from openvolt_events.api.subscription_serializers import FILTER
from openvolt_events.api.views import StrictView, checked_input
from subscriptions.models import Subscription
from subscriptions.previewing import MOST_BYTES, MOST_EVENTS, preview


class SubscriptionToPreview(StrictSerializer):
    event_types = event_types(required=True)
    filter = PayloadFilter(required=False, help_text=FILTER)


SubscriptionPreviewed = inline_serializer(
    "SubscriptionPreviewed",
    {
        "checked": serializers.IntegerField(
            help_text=f"How many of the last events were looked at: {MOST_EVENTS}, or all that there are, or fewer "
            f"when their payloads are more than {MOST_BYTES // 1024**2} MiB together."
        ),
        "matched": serializers.IntegerField(help_text="How many of these would have matched."),
        "oldest_checked_at": Timestamp(
            allow_null=True,
            help_text="When the oldest that was looked at was published; null if there was none.",
        ),
        "data": EventSummary(many=True, help_text="Those that would have matched, newest first."),
    },
)


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
