"""Who is calling: the key in `x-api-key`, or as a bearer token, and what it may do here."""

from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.audit import act_as
from accounts.keys import mode_of
from accounts.models import ApiKey, Application, Scope
from accounts.throttling import RequestsOfRow
from openvolt_events.actors import by_key
from openvolt_events.api.throttling import count_key


class ApiKeyAuthentication(BaseAuthentication):
    """Sets `request.auth` to the valid ApiKey that came along, and counts it; without a key it stays None."""

    def authenticate(self, request: Request) -> tuple[None, ApiKey] | None:
        if not (key := sent_key(request)):
            return None
        now = timezone.now()
        row = ApiKey.objects.annotate(requests=RequestsOfRow(now)).authenticate(key, now)
        if row is None:
            raise AuthenticationFailed(why_refused(key))
        act_as(by_key(request, row))
        count_key(request, row, row.requests, now)  # type: ignore[attr-defined]
        return None, row

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="openvolt-events"'


def why_refused(key: str) -> str:
    """What is wrong with a key that opens nothing; the key itself is never said again."""
    mode = mode_of(key)
    if mode is None:
        return "This is no API key, or not the whole of one: its checksum does not fit. Copy it again."
    if mode != settings.API_KEY_MODE:
        return f"This is a {mode} key; this service takes {settings.API_KEY_MODE} keys only."
    return "This API key is unknown, expired or revoked."


def sent_key(request: Request) -> str:
    """Empty if none was sent. Raises AuthenticationFailed for two: which of them is meant is not for us to guess."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    key = request.headers.get("x-api-key", "").strip()
    if key and bearer and key != bearer:
        raise AuthenticationFailed(
            "Two keys were sent, one in x-api-key and another as a bearer token; send one of them."
        )
    return key or bearer


class NeedsKey(BasePermission):
    """A key of the right kind, with the scope that the call needs (`scope` of the view, else by the method)."""

    kind: str
    wanted: str

    def has_permission(self, request: Request, view: Any) -> bool:
        key = request.auth
        if not isinstance(key, ApiKey):
            raise NotAuthenticated(f"Send {self.wanted}, in the header x-api-key.")
        if key.kind != self.kind:
            raise PermissionDenied(
                f"This call needs {self.wanted}; the key that was sent is of the other kind."
            )
        self.check_scope(key, request, view)
        return True

    def check_scope(self, key: ApiKey, request: Request, view: Any) -> None:
        needed = getattr(view, "scope", None) or (
            Scope.READ if request.method in SAFE_METHODS else Scope.WRITE
        )
        if needed not in key.scopes:
            given = " and ".join(key.scopes) or "none"
            raise PermissionDenied(f"This call needs the scope {str(needed)!r}; the key has {given}.")


class HasApplicationKey(NeedsKey):
    kind = ApiKey.Kind.APPLICATION
    wanted = "an application key"


class HasPlatformKey(NeedsKey):
    """A platform key; these have no scopes."""

    kind = ApiKey.Kind.PLATFORM
    wanted = "a platform key"

    def check_scope(self, key: ApiKey, request: Request, view: Any) -> None:
        pass


class HasAnyKey(BasePermission):
    """What every kind of key may read."""

    wanted = "an API key, of either kind"

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.auth, ApiKey):
            raise NotAuthenticated(f"Send {self.wanted}, in the header x-api-key.")
        return True


class HasAnyReadingKey(NeedsKey):
    """A platform key, or an application key with the scope `read`."""

    wanted = "an API key, of either kind"

    def has_permission(self, request: Request, view: Any) -> bool:
        key = key_of(request)
        if key.kind == ApiKey.Kind.APPLICATION:
            self.check_scope(key, request, view)
        return True


def key_of(request: Request) -> ApiKey:
    """The key that was sent; only behind one of the permissions above."""
    if not isinstance(request.auth, ApiKey):
        raise NotAuthenticated("Send an API key, in the header x-api-key.")
    return request.auth


def application_of(request: Request) -> Application:
    """Whose key was sent; only behind HasApplicationKey."""
    key = request.auth
    if not isinstance(key, ApiKey) or key.application is None:
        raise PermissionDenied("This call needs an application key.")
    return key.application
