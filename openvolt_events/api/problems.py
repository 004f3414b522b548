"""Errors as RFC 9457 problem documents: one shape for everything under /v1 that goes wrong."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views import defaults
from psycopg.errors import QueryCanceled
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings

from accounts.limits import LimitReached
from deliveries.lifecycle import NotPossible, SubscriptionDeleted
from deliveries.publishing import IdempotencyConflict
from events.pointers import escaped, steps

MEDIA_TYPE = "application/problem+json"
CONFLICTS = (NotPossible, LimitReached, IdempotencyConflict)
DATABASE_AWAY = (OperationalError, InterfaceError)
RETRY_SECONDS = "5"
MOST_ERRORS = 100
LONGEST_QUOTE = 100  # characters of the input that an error repeats
LONGEST_DETAIL = 1000

log = structlog.get_logger(__name__)


def error_at(pointer: str, detail: str, code: str) -> dict[str, str]:
    return {"pointer": short_pointer(pointer), "detail": beginning(detail, LONGEST_DETAIL), "code": code}


def short_pointer(pointer: str) -> str:
    """Each step of it cut, as a whole character (`~1` is one)."""
    if len(pointer) <= LONGEST_QUOTE:
        return pointer
    return "".join(f"/{escaped(beginning(step))}" for step in steps(pointer))


def beginning(text: str, longest: int = LONGEST_QUOTE) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


class InvalidInput(exceptions.APIException):
    """Input that parses, and can't be accepted: 422, with the place of each fault (`error_at`)."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    default_code = "invalid-input"

    def __init__(self, errors: Sequence[dict[str, str]]) -> None:
        super().__init__()
        self.errors = list(errors)


class NoSuchId(exceptions.NotFound):
    """An id inside the body names nothing that this key may see."""

    def __init__(self, errors: Sequence[dict[str, str]]) -> None:
        super().__init__("An id in the request names nothing that this key may see.")
        self.errors = list(errors)


class KeysConflict(exceptions.APIException):
    """Items of a batch whose idempotency keys were used before, for something else."""

    status_code = HTTPStatus.CONFLICT
    default_code = "idempotency-conflict"

    def __init__(self, errors: Sequence[dict[str, str]]) -> None:
        super().__init__(in_short(errors))
        self.errors = list(errors)[:MOST_ERRORS]


class NotJSON(exceptions.APIException):
    status_code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    default_code = "not-json"


class LengthRequired(exceptions.APIException):
    status_code = HTTPStatus.LENGTH_REQUIRED
    default_code = "length-required"


class BodyTooLarge(exceptions.APIException):
    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_code = "too-large"


def problem(status: int, detail: str, code: str = "", **members: Any) -> dict[str, Any]:
    """The document. `code` ends its `type`; without one it is the status's own name."""
    phrase = HTTPStatus(status).phrase
    return {
        "type": f"urn:openvolt:problem:{code or phrase.lower().replace(' ', '-')}",
        "title": phrase,
        "status": status,
        "detail": detail,
        **members,
    }


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """What a view that raised answers; None leaves it to Django, which logs it and answers 500."""
    document, headers = described(error)
    if document is None:
        return None
    return Response(document, document["status"], headers=headers, content_type=MEDIA_TYPE)


def described(error: Exception) -> tuple[dict[str, Any] | None, dict[str, str]]:
    if isinstance(error, exceptions.ValidationError):
        error = InvalidInput(list(errors_of(error.detail)))
    if isinstance(error, InvalidInput):
        errors = error.errors[:MOST_ERRORS]
        return problem(error.status_code, in_short(error.errors), "invalid-input", errors=errors), {}
    if isinstance(error, Http404 | SubscriptionDeleted):
        error = exceptions.NotFound("There is no such thing here, or it belongs to another application.")
    if isinstance(error, CONFLICTS):
        code = "idempotency-conflict" if isinstance(error, IdempotencyConflict) else "conflict"
        return problem(HTTPStatus.CONFLICT, str(error), code), {}
    if isinstance(error.__cause__, QueryCanceled):
        log.error("a query took too long", reason=str(error).strip())
        return too_slow(), {"Retry-After": RETRY_SECONDS}
    if isinstance(error, DATABASE_AWAY):
        log.error("the database can't be reached", reason=str(error).strip())
        return unavailable(), {"Retry-After": RETRY_SECONDS}
    if isinstance(error, RequestDataTooBig):
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.", "too-large"), {}
    if isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        return of_api_exception(error), headers_of(error)
    return None, {}


def of_api_exception(error: exceptions.APIException) -> dict[str, Any]:
    detail = error.detail if isinstance(error.detail, str) else "The request can't be served."
    code = error.default_code.replace("_", "-")
    members = {"errors": error.errors} if hasattr(error, "errors") else {}
    if isinstance(error, exceptions.ParseError):
        members = {"errors": [error_at("", detail, "json")]}
    return problem(error.status_code, str(detail), code, **members)


def headers_of(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(ceil(wait))
    return headers


def unavailable() -> dict[str, Any]:
    detail = (
        "The service can't reach its database just now; try again. Whether a change was stored is not known: "
        "publish it again under the same Idempotency-Key, and it is stored once."
    )
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, "unavailable")


def too_slow() -> dict[str, Any]:
    detail = (
        f"The database took longer than {settings.READ_TIMEOUT.total_seconds():g} s (READ_TIMEOUT) for this. Ask for "
        "less: a narrower filter, a smaller limit. If it was busy with something else, try again later."
    )
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, "too-slow")


def errors_of(detail: Any, pointer: str = "") -> Iterator[dict[str, str]]:
    """DRF's nested error details, each with the JSON pointer to its place."""
    if isinstance(detail, Mapping):
        for name, nested in detail.items():
            here = pointer if name == api_settings.NON_FIELD_ERRORS_KEY else f"{pointer}/{escaped(name)}"
            yield from errors_of(nested, here)
    elif isinstance(detail, list):
        for index, nested in enumerate(detail):
            yield from errors_of(
                nested, f"{pointer}/{index}" if isinstance(nested, Mapping | list) else pointer
            )
    else:
        yield error_at(pointer, str(detail), str(getattr(detail, "code", "invalid")))


def in_short(errors: Sequence[Mapping[str, str]]) -> str:
    """The first fault, for a log line or a person in a hurry, and how many more there are."""
    first = (
        f"{errors[0]['pointer'] or 'The body'}: {errors[0]['detail']}" if errors else "The input is invalid."
    )
    seen = "see errors" if len(errors) <= MOST_ERRORS else f"errors has the first {MOST_ERRORS}"
    return f"{first} ({len(errors) - 1} more, {seen}.)" if len(errors) > 1 else first


def json_response(document: dict[str, Any]) -> JsonResponse:
    return JsonResponse(document, status=document["status"], content_type=MEDIA_TYPE)


def is_api(request: HttpRequest) -> bool:
    return request.path == "/v1" or request.path.startswith("/v1/")


# What Django itself answers, outside of every view. The names and arguments are Django's (`handler404` in urls).


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse | HttpResponseBase:
    if is_api(request):
        return json_response(
            problem(HTTPStatus.BAD_REQUEST, "The request is malformed, or its Host is not ours.")
        )
    return defaults.bad_request(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse | HttpResponseBase:
    if is_api(request):
        detail = f"There is nothing at {request.path[:200]}. The paths are in /v1/openapi.json."
        return json_response(problem(HTTPStatus.NOT_FOUND, detail))
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse | HttpResponseBase:
    if is_api(request):
        detail = "The service failed. It is written down on our side; try again."
        return json_response(problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
    return defaults.server_error(request)
