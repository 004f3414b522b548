"""Who is calling: the key in `x-api-key`, or as a bearer token, and what it may do here."""

from typing import Any

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.models import ApiKey, Application, Scope


class ApiKeyAuthentication(BaseAuthentication):
    """Sets `request.auth` to the valid ApiKey that came along; without a key it stays None."""

    def authenticate(self, request: Request) -> tuple[None, ApiKey] | None:
        if not (key := sent_key(request)):
            return None
        row = ApiKey.objects.authenticate(key, timezone.now())
        if row is None:
            raise AuthenticationFailed("This API key is unknown, expired or revoked.")
        return None, row

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="openvolt-events"'


def sent_key(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return request.headers.get("x-api-key", "").strip() or bearer


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


def application_of(request: Request) -> Application:
    """Whose key was sent; only behind HasApplicationKey."""
    key = request.auth
    if not isinstance(key, ApiKey) or key.application is None:
        raise PermissionDenied("This call needs an application key.")
    return key.application
