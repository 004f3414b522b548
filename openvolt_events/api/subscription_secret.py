"""/v1/subscriptions/{id}/secret: what a subscription's webhooks are signed with."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from deliveries.lifecycle import NotPossible, rotate_secret
from openvolt_events.api.authentication import HasApplicationKey
from openvolt_events.api.fields import StrictSerializer, Timestamp, overlap_seconds
from openvolt_events.api.subscriptions import found
from openvolt_events.api.views import StrictView, checked_input
from subscriptions.models import Channel, Subscription

OVERLAP_SECONDS = 86400


class SecretOverlap(StrictSerializer):
    overlap_seconds = overlap_seconds(default=OVERLAP_SECONDS)


class SecretAnswer(serializers.Serializer):
    secret = serializers.CharField()


class RotatedSecret(SecretAnswer):
    previous_expires_at = Timestamp(help_text="Until then the secret before signs, too.")


def found_webhook(request: Request, id: UUID) -> Subscription:
    subscription = found(request, id)
    if subscription.channel != Channel.WEBHOOK:
        raise NotPossible("A subscription by email has no signing secret.")
    return subscription


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
