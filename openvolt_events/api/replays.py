"""/v1/…/replays: telling a subscription again of what was published in a span of time, as a job."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from deliveries.models import Replay
from deliveries.replaying import MOST_RUNNING, cancel_replay, estimated_seconds, plan, start
from events.event_types import EVENT_TYPES
from openvolt_events.api.authentication import HasApplicationKey
from openvolt_events.api.fields import (
    BoundedList,
    Choice,
    Nothing,
    StrictSerializer,
    Timestamp,
    TrueOrFalse,
    WebAddress,
)
from openvolt_events.api.subscriptions import found
from openvolt_events.api.views import OfApplication, StrictList, StrictView, checked_input
from subscriptions.models import Channel, Subscription

MATCHED = "How many events are to be told."
SINCE = "What was published from then on (`created_at` of the event)."
UNTIL = "What was published before; at most, and by default, the moment of this call."
ONLY = (
    "`failed`: events of which a delivery to this subscription has failed, and none has succeeded or is unfinished. "
    "`missed`: those, and all that it never had a delivery of, also from before it existed. `all`: every event. "
    "Always those that the subscription wants now, and no tests. With recipients, it is decided for each of them."
)
TYPES = "Only these of the types that the subscription wants; by default all of them."
URL = (
    "Tell this one instead of the subscription's URL, to see what another server makes of it. Signed with the "
    "subscription's secrets, without its own headers and without `openvolt-sequence`, in no order; whether it succeeds "
    "says nothing about the subscription."
)
ESTIMATED = (
    "How long the telling takes, by how long the last 100 attempts of this subscription took (0.1 s while there were "
    "none), how many go out at a time, and its `rate_limit`. Retries are not in it."
)


class ReplayAnswer(serializers.ModelSerializer):
    """A job that tells a subscription again. Each event that it queues gets a new delivery, with a new id."""

    types = serializers.ListField(
        child=serializers.ChoiceField(sorted(EVENT_TYPES)), allow_null=True, help_text=TYPES
    )
    url = serializers.CharField(allow_null=True, help_text=URL)
    since = Timestamp(help_text=SINCE)
    until = Timestamp(help_text=UNTIL)
    matched = serializers.IntegerField(
        allow_null=True, help_text=f"{MATCHED} Null while the job still counts them."
    )
    queued = serializers.IntegerField(help_text="How many of them have their new deliveries by now.")
    created_at = Timestamp()
    finished_at = Timestamp(allow_null=True)

    class Meta:
        model = Replay
        fields: tuple[str, ...] = (
            *("id", "subscription_id", "since", "until", "types", "only", "url"),
            *("status", "matched", "queued", "created_at", "finished_at"),
        )
        read_only_fields = fields

    def to_representation(self, replay: Replay) -> dict[str, Any]:
        answer: dict[str, Any] = super().to_representation(replay)
        return answer | {"types": replay.types or None, "url": replay.url or None}


class DryRun(serializers.Serializer):
    """What a replay would do."""

    since = Timestamp(help_text=SINCE)
    until = Timestamp(help_text=UNTIL)
    matched = serializers.IntegerField(help_text=MATCHED)
    exact = serializers.BooleanField(
        help_text="False: there are more, and to count all of them would keep you waiting. A replay itself counts on."
    )
    estimated_seconds = serializers.IntegerField(help_text=ESTIMATED)


class ReplayWish(StrictSerializer):
    """What to tell again."""

    since = Timestamp(help_text=SINCE)
    until = Timestamp(required=False, help_text=UNTIL)
    types = BoundedList(
        child=Choice(sorted(EVENT_TYPES)),
        required=False,
        min_length=1,
        max_length=len(EVENT_TYPES),
        help_text=TYPES,
    )
    only = Choice(Replay.Only.choices, help_text=ONLY)
    url = WebAddress(required=False, help_text=URL)
    dry_run = TrueOrFalse(default=False, help_text="Only say how many they are. Nothing is stored.")

    @property
    def subscription(self) -> Subscription:
        """Comes as context."""
        subscription: Subscription = self.context["subscription"]
        return subscription

    def validate_since(self, since: datetime) -> datetime:
        if since >= timezone.now():
            raise serializers.ValidationError("This is in the future; nothing was published since.", "range")
        return since

    def validate_types(self, types: list[str]) -> list[str]:
        unwanted = {
            str(index): [serializers.ErrorDetail(f"The subscription does not want {type!r}.", "unwanted")]
            for index, type in enumerate(types)
            if not self.subscription.wants_type(type)
        }
        if unwanted:
            raise serializers.ValidationError(unwanted)
        return list(dict.fromkeys(types))

    def validate_url(self, url: str) -> str:
        if self.subscription.channel != Channel.WEBHOOK:
            detail = "A subscription by email has no URL to tell another instead; leave it out."
            raise serializers.ValidationError(detail, "channel")
        return url

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if "until" in values and values["until"] <= values["since"]:
            detail = "It is not after `since`, so that nothing lies between them."
            raise serializers.ValidationError({"until": [serializers.ErrorDetail(detail, "range")]})
        return values


@extend_schema_view(
    get=extend_schema(operation_id="list_replays", summary="List the replays of a subscription")
)
class Replays(OfApplication, StrictList):
    permission_classes = (HasApplicationKey,)
    queryset = Replay.objects.all()
    serializer_class = ReplayAnswer

    def get_queryset(self) -> QuerySet[Replay]:
        return super().get_queryset().filter(subscription=found(self.request, self.kwargs["id"]))

    @extend_schema(
        operation_id="start_replay",
        summary="Tell a subscription again of what was published in a span of time",
        description="A job, which goes on whatever process dies, the oldest events first and so that what is published "
        "meanwhile is told before. There is no limit to how many events. While the subscription is paused or disabled "
        f"it waits. {MOST_RUNNING} of a subscription may be running at a time. A dry run answers 200, with the count.",
        request=ReplayWish,
        responses={202: ReplayAnswer, 200: DryRun},
    )
    def post(self, request: Request, id: UUID) -> Response:
        subscription = found(request, id)
        wish = dict(checked_input(ReplayWish, request, context={"subscription": subscription}))
        is_dry = wish.pop("dry_run")
        replay = planned(subscription, wish, timezone.now())
        if is_dry:
            return Response(dry_run(replay).data)
        return Response(ReplayAnswer(start(replay)).data, HTTPStatus.ACCEPTED)


def planned(subscription: Subscription, wish: Mapping[str, Any], now: datetime) -> Replay:
    return plan(subscription, **{"until": now, **wish}, now=now)


def dry_run(replay: Replay) -> DryRun:
    matched = replay.counted
    seconds = estimated_seconds(replay.subscription, matched)
    is_exact = replay.matched is not None
    return DryRun(
        {
            "since": replay.since,
            "until": replay.until,
            "matched": matched,
            "exact": is_exact,
            "estimated_seconds": seconds,
        }
    )


@extend_schema_view(
    get=extend_schema(
        operation_id="get_replay",
        summary="Get a replay, with how far it is",
        description="It has `completed` when all its deliveries are made; they may still be on their way.",
    )
)
class SingleReplay(OfApplication, generics.RetrieveAPIView, StrictView):
    permission_classes = (HasApplicationKey,)
    queryset = Replay.objects.all()
    serializer_class = ReplayAnswer


class ReplayCancel(OfApplication, StrictView):
    permission_classes = (HasApplicationKey,)
    queryset = Replay.objects.all()

    @extend_schema(
        operation_id="cancel_replay",
        summary="End a replay",
        description="No further deliveries; those of it that are still to be sent are cancelled. One that has "
        "completed answers 409.",
        request=None,
        responses={200: ReplayAnswer},
    )
    def post(self, request: Request, id: UUID) -> Response:
        replay = self.get_object()
        checked_input(Nothing, request)
        return Response(ReplayAnswer(cancel_replay(replay, timezone.now())).data)
