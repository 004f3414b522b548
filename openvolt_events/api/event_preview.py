"""/v1/events/preview: who would be told of an event, who would not and why, and the notification."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Application, Scope
from deliveries.channels import Notification
from deliveries.previewing import Code, Verdict, preview
from deliveries.publishing import UnknownEventType
from events.payloads import PayloadRefused
from events.verbatim import Verbatim
from openvolt_events.api.authentication import HasAnyReadingKey, key_of
from openvolt_events.api.ids import Id
from openvolt_events.api.problems import InvalidInput, NoSuchId
from openvolt_events.api.publishing import (
    NewEvent,
    change_of,
    faults,
    known_applications,
    no_application,
    read_event,
)
from openvolt_events.api.views import StrictView
from subscriptions.models import Channel


class EventToPreview(NewEvent):
    """As it would be published. With an application key, `application_id` may be left out."""

    application_id = Id(required=False)


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


def refuse_foreign(id: UUID, own: Application) -> None:
    if id != own.id:
        raise NoSuchId([no_application("", id)])
