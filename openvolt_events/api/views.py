"""What all calls have in common: nothing that was sent is passed over in silence."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.http import parse_etags
from django_filters import FilterSet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.openapi import AutoSchema
from rest_framework import generics
from rest_framework.exceptions import (
    AuthenticationFailed,
    MethodNotAllowed,
    NotAuthenticated,
    PermissionDenied,
)
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts.query_limits import query_limit
from events.pointers import escaped
from openvolt_events.api.authentication import application_of
from openvolt_events.api.fields import Nothing
from openvolt_events.api.pagination import NewestFirst
from openvolt_events.api.problems import InvalidInput, LengthRequired, error_at
from openvolt_events.api.throttling import count_stranger, headers_of

METHODS_WITH_BODY = ("POST", "PUT", "PATCH")


class NamingTheKey(AutoSchema):
    """Says in each call's description which key it needs."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is not None:
            wanted = [getattr(permission, "wanted", None) for permission in self.view.get_permissions()]
            needed = [f"Needs {key}." for key in wanted if key]
            operation["description"] = " ".join([operation.get("description", ""), *needed]).strip()
        return operation


class StrictView(APIView):
    """Refuses query parameters that the call does not know, or that can be read in two ways."""

    http_method_names = [name for name in APIView.http_method_names if name != "options"]
    schema = NamingTheKey()
    query_parameters: Iterable[str] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        refuse_what_came_in_the_clear(request)
        try:
            super().initial(request, *args, **kwargs)
        except (AuthenticationFailed, NotAuthenticated):
            count_stranger(request, timezone.now())
            raise
        if request.method not in self.allowed_methods:
            raise MethodNotAllowed(str(request.method))
        self.refuse_what_is_not_known(request)

    def refuse_what_is_not_known(self, request: Request) -> None:
        if "transfer-encoding" in request.headers:
            # Django reads no further than Content-Length: without one the body would seem to be empty.
            raise LengthRequired("The body came in chunks, without its length; send Content-Length.")
        known = set(self.query_parameters)
        sent = [(name, fault(name, values, known)) for name, values in request.query_params.lists()]
        if errors := [error_at(f"/{escaped(name[:100])}", *found) for name, found in sent if found]:
            raise InvalidInput(errors)
        if request.method not in METHODS_WITH_BODY and request.stream:
            checked_input(Nothing, request)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        for name, value in headers_of(request, timezone.now()).items():
            final.headers[name] = value
        final.headers.setdefault("Cache-Control", "no-store")  # keys and secrets are shown once
        return final


class Conditional(StrictView):
    """Answers 304 to who has what it would answer already, and says so (`If-None-Match`)."""

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if final.status_code != HTTPStatus.OK:
            return final
        if hasattr(final, "render"):  # a plain HttpResponse is rendered
            final.render()
        final.headers["ETag"] = f'"{sha256(final.content).hexdigest()[:32]}"'
        final.headers["Cache-Control"] = "private, no-cache"  # keep it, and ask whether it is still so
        if matches(request.headers.get("if-none-match", ""), final.headers["ETag"]):
            final.headers["Content-Length"] = str(len(final.content))  # of the 200, also here (RFC 9110, 8.6)
            final.status_code, final.content = HTTPStatus.NOT_MODIFIED.value, b""
            del final.headers["Content-Type"]
        return final


def matches(if_none_match: str, etag: str) -> bool:
    """By the weak comparison that RFC 9110 (13.1.2) has for it."""
    sent = parse_etags(if_none_match)
    return sent == ["*"] or etag in (one.removeprefix("W/") for one in sent)


def refuse_what_came_in_the_clear(request: Request) -> None:
    """A proxy says that it was asked by http: the key can have been read on its way."""
    forwarded = "x-forwarded-proto" in request.headers
    if settings.SECURE_HTTPS and forwarded and not request.is_secure():
        raise PermissionDenied(
            f"This came by http, where anybody on the way can read the key. Send it to {settings.PUBLIC_URL}, and "
            "rotate the key."
        )


def fault(name: str, values: Sequence[str], known: set[str]) -> tuple[str, str] | None:
    """What is wrong with a query parameter, and the word for it; None if nothing is."""
    if name not in known:
        mend = f"known are {', '.join(sorted(known))}" if known else "this call takes none"
        return f"There is no query parameter {name[:100]!r}; {mend}.", "unknown"
    if len(values) > 1:
        return f"The parameter comes {len(values)} times; send it once.", "repeated"
    if "\0" in values[0]:
        return "The value has a NUL character; leave it out.", "nul"
    if not values[0]:
        return "The value is empty; leave the parameter out.", "empty"
    return None


class StrictList(generics.ListAPIView, StrictView):
    """A list with filters (`filterset_class`), newest first."""

    pagination_class: type[NewestFirst] = NewestFirst
    filter_backends = (DjangoFilterBackend,)
    filterset_class: type[FilterSet] | None = None

    @property
    def query_parameters(self) -> Iterable[str]:  # type: ignore[override]
        if self.request.method not in ("GET", "HEAD"):
            return ()
        filters = self.filterset_class.base_filters if self.filterset_class else ()
        return (*self.pagination_class.query_parameters, *filters)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with query_limit(settings.READ_TIMEOUT):
            return super().list(request, *args, **kwargs)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return super().filter_queryset(queryset) if self.filterset_class else queryset


class OfApplication(generics.GenericAPIView):
    """Shows, of its `queryset`, the rows of the key's own application; to any other, they are not there."""

    lookup_field = "id"

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().filter(application=application_of(self.request))


def checked_input(serializer: type[Serializer], request: Request, **options: Any) -> Mapping[str, Any]:
    """The body as the serializer understands it. Raises ValidationError."""
    reader = serializer(data=request.data, **options)
    reader.is_valid(raise_exception=True)
    found: Mapping[str, Any] = reader.validated_data
    return found
