"""/v1/subscriptions: who wants to know, by which channel."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema, extend_schema_view
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from deliveries.lifecycle import (
    change_subscription,
    create_subscription,
    delete_subscription,
    lock_existing,
    pause,
    resume,
    send_test,
)
from deliveries.publishing import UnknownEventType
from openvolt_events.api.authentication import HasApplicationKey, application_of
from openvolt_events.api.deliveries import DeliveriesMade, DeliverySummary
from openvolt_events.api.fields import EventTypeName, Nothing, StrictSerializer
from openvolt_events.api.problems import InvalidInput, error_at
from openvolt_events.api.subscription_serializers import (
    NewEmailSubscription,
    NewSubscription,
    NewSubscriptionAnswer,
    NewWebhookSubscription,
    SubscriptionAnswer,
    SubscriptionChanges,
    changes_of,
)
from openvolt_events.api.views import OfApplication, StrictList, StrictView, checked_input
from subscriptions.models import Channel, Recipient, Subscription


class TestChoice(StrictSerializer):
    type = EventTypeName(required=False, help_text="Default: the first that the subscription wants.")


class SubscriptionFilter(filters.FilterSet):
    channel = filters.ChoiceFilter(choices=Channel.choices)
    status = filters.ChoiceFilter(choices=Subscription.Status.choices)


CURRENT_RECIPIENTS = Prefetch(
    "recipients", Recipient.objects.filter(removed_at=None).order_by("id"), to_attr="current_recipients"
)
WITH_RECIPIENTS = Subscription.objects.existing().prefetch_related(CURRENT_RECIPIENTS)


def subscriptions_of(request: Request) -> QuerySet[Subscription]:
    return WITH_RECIPIENTS.filter(application=application_of(request))


def found(request: Request, id: UUID) -> Subscription:
    subscription: Subscription = generics.get_object_or_404(subscriptions_of(request), id=id)
    return subscription


def answer(subscription: Subscription) -> dict[str, Any]:
    """As a call has left it, whatever others do to it since."""
    prefetch_related_objects([subscription], CURRENT_RECIPIENTS)
    return dict(SubscriptionAnswer(subscription).data)


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
        sent, now = checked_input(NewSubscription, request), timezone.now()
        values, emails = changes_of(sent, Subscription(), now)
        subscription = Subscription(application=application_of(request), **values)
        secret = create_subscription(subscription, emails or [], now)
        return Response(answer(subscription) | {"secret": secret}, HTTPStatus.CREATED)


class SingleSubscription(StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="get_subscription", summary="Get a subscription", responses={200: SubscriptionAnswer}
    )
    def get(self, request: Request, id: UUID) -> Response:
        return Response(answer(found(request, id)))

    @extend_schema(
        operation_id="change_subscription",
        summary="Change a subscription",
        description="Only what is sent changes, each field as a whole, whatever is inside it; the channel never "
        "changes. New recipients are asked to confirm.",
        request=SubscriptionChanges,
        responses={200: SubscriptionAnswer},
    )
    def patch(self, request: Request, id: UUID) -> Response:
        sent, now = checked_input(SubscriptionChanges, request, instance=found(request, id)), timezone.now()
        with transaction.atomic():
            locked = lock_existing(id)
            values, emails = changes_of(sent, locked, now)
            change_subscription(locked, values, emails, now)
            return Response(answer(locked))

    @extend_schema(
        operation_id="delete_subscription",
        summary="Delete a subscription",
        description="What is unfinished is cancelled; the history of its deliveries stays.",
        responses={204: None},
    )
    def delete(self, request: Request, id: UUID) -> Response:
        delete_subscription(found(request, id), timezone.now())
        return Response(status=HTTPStatus.NO_CONTENT)


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


def act(request: Request, id: UUID, move: Callable[[Subscription, datetime], Subscription]) -> Response:
    subscription = found(request, id)
    checked_input(Nothing, request)
    return Response(answer(move(subscription, timezone.now())))


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
