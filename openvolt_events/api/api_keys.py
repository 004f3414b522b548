"""/v1/api-keys: the application's own keys. A key itself is shown once; afterwards only its first letters."""

from collections.abc import Collection
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import ApiKey, Scope
from deliveries.api_keys import issue_api_key, rotate_api_key
from openvolt_events.api.authentication import HasApplicationKey, application_of, key_of
from openvolt_events.api.fields import (
    BoundedList,
    Choice,
    OneLine,
    StrictSerializer,
    Timestamp,
    overlap_seconds,
)
from openvolt_events.api.views import OfApplication, StrictList, StrictView, checked_input


class ApiKeyAnswer(serializers.ModelSerializer):
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices))
    created_at = Timestamp()
    last_used_at = Timestamp(allow_null=True)
    expires_at = Timestamp(allow_null=True)

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "id",
            "name",
            "prefix",
            "scopes",
            "created_at",
            "last_used_at",
            "expires_at",
        )
        read_only_fields = fields


class NewApiKeyAnswer(ApiKeyAnswer):
    api_key = serializers.CharField(help_text="The key, shown only now.")

    class Meta(ApiKeyAnswer.Meta):
        fields: tuple[str, ...] = (*ApiKeyAnswer.Meta.fields, "api_key")
        read_only_fields = fields


class NewApiKey(StrictSerializer):
    name = OneLine(max_length=200, default="", allow_blank=True)
    scopes = BoundedList(
        child=Choice(Scope.choices),
        required=False,
        min_length=1,
        max_length=len(Scope),
        help_text="Not more than the key has that makes it. Default: the same.",
    )
    expires_at = Timestamp(default=None, allow_null=True, help_text="A moment to come; null: never.")

    def validate_scopes(self, scopes: list[str]) -> list[str]:
        return list(dict.fromkeys(scopes))

    def validate_expires_at(self, moment: datetime | None) -> datetime | None:
        if moment is not None and moment <= timezone.now():
            raise serializers.ValidationError("This moment has passed; choose a later one.", "past")
        return moment


class KeyOverlap(StrictSerializer):
    overlap_seconds = overlap_seconds(default=0)


def refuse_more_than_own(request: Request, scopes: Collection[str]) -> None:
    """A key must not make itself one that may do more."""
    own = key_of(request).scopes
    if more := [scope for scope in scopes if scope not in own]:
        raise PermissionDenied(
            f"The answer would have a key with the scope {' and '.join(more)}, which the key that was sent has not: "
            f"it has {' and '.join(own)}. Send one that has."
        )


def made(row: ApiKey, key: str) -> dict[str, Any]:
    return {**ApiKeyAnswer(row).data, "api_key": key}


class OfValidKeys(OfApplication):
    queryset = ApiKey.objects.all()

    def get_queryset(self) -> QuerySet[ApiKey]:
        return super().get_queryset() & ApiKey.objects.valid(timezone.now())


@extend_schema_view(get=extend_schema(operation_id="list_api_keys", summary="List the keys that are valid"))
class ApiKeys(OfValidKeys, StrictList):
    permission_classes = (HasApplicationKey,)
    serializer_class = ApiKeyAnswer

    @extend_schema(
        operation_id="create_api_key",
        summary="Make a key",
        request=NewApiKey,
        responses={201: NewApiKeyAnswer},
    )
    def post(self, request: Request) -> Response:
        values = {"scopes": key_of(request).scopes, **checked_input(NewApiKey, request)}
        refuse_more_than_own(request, values["scopes"])
        row, key = issue_api_key(application_of(request), timezone.now(), **values)
        return Response(made(row, key), HTTPStatus.CREATED)


class SingleApiKey(OfValidKeys, StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="revoke_api_key",
        summary="Revoke a key",
        description="It is refused from now on.",
        responses={204: None},
    )
    def delete(self, request: Request, id: UUID) -> Response:
        self.get_object().revoke(timezone.now())
        return Response(status=HTTPStatus.NO_CONTENT)


class RotateApiKey(OfValidKeys, StrictView):
    permission_classes = (HasApplicationKey,)

    @extend_schema(
        operation_id="rotate_api_key",
        summary="Replace a key by a new one",
        description="The old key lives on for `overlap_seconds`, beside the limit of "
        f"{settings.MAX_API_KEYS} keys: up to {settings.MAX_ROTATING_API_KEYS} are valid meanwhile, and a rotation "
        "beyond that, with an overlap, answers 409. So does one of a key that was replaced before: rotate the new one. "
        "Publishes `api_keys.rotated`.",
        request=KeyOverlap,
        responses={200: NewApiKeyAnswer},
    )
    def post(self, request: Request, id: UUID) -> Response:
        key = self.get_object()
        refuse_more_than_own(request, key.scopes)
        overlap = timedelta(seconds=checked_input(KeyOverlap, request)["overlap_seconds"])
        by = f"API key {request.auth}"
        return Response(made(*rotate_api_key(key, overlap, by, timezone.now())))
