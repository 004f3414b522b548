"""The OpenAPI document: what drf-spectacular reads off the views, and what only we can say."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerFieldExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.plumbing import get_lib_doc_excludes
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from events.event_types import EVENT_TYPES, EventType
from openvolt_events.api.authentication import ApiKeyAuthentication
from openvolt_events.api.examples import NOTIFICATIONS
from openvolt_events.api.fields import StrictSerializer, Text
from openvolt_events.api.problems import LONGEST_QUOTE, MEDIA_TYPE
from openvolt_events.api.throttling import SECONDS
from openvolt_events.api.views import Conditional, OfApplication, StrictList, StrictView

EVENT_TYPE_CHOICES = [(name, name) for name in sorted(EVENT_TYPES)]
MALFORMED = "The request is malformed, or its body is not JSON."
TOO_MANY = (
    "The key, or without a valid one the address, has sent too many requests; try again after `Retry-After`."
)
NO_KEY = "No key was sent, or two different ones, or it is unknown, expired or revoked."
BEARER = "The same key as in x-api-key. One of both is enough; a different one in each is refused (401)."
WRONG_KEY = "The key is of the other kind, or lacks the scope."
NOT_FOUND = "There is no such thing, or it belongs to another application."
CONFLICT = "What was asked for doesn't fit the state that it finds; `detail` says why, and what to do."
TOO_LARGE = (
    f"The body has more than {{}} bytes, or more than {settings.MAX_BODY_VALUES} values; send less at a time."
)
INVALID = "The input was refused, and nothing stored; `errors` name each place."

POINTER_OF_ERROR = (
    f"JSON pointer (RFC 6901) into what was sent. Of a name that has more than {LONGEST_QUOTE} characters it has the "
    "first of them, and then …."
)
POINTED_ERROR = {
    "type": "object",
    "required": ["pointer", "detail", "code"],
    "properties": {
        "pointer": {"type": "string", "description": POINTER_OF_ERROR},
        "detail": {"type": "string", "description": "What is wrong, and how to mend it."},
        "code": {"type": "string", "description": "For programs."},
    },
}
PROBLEM = {
    "type": "object",
    "description": "An error, as RFC 9457 has it.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Names the kind of error: `urn:openvolt:problem:…`."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/PointedError"}},
    },
}
REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "description": "Your own name for this request: up to 128 of `A-Z a-z 0-9 . _ -`. Anything else is passed over.",
    "schema": {"type": "string"},
}
TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}
ANSWER_HEADERS = {
    "X-Request-Id": {
        "description": "Names this request in our logs: tell it when you ask about it. Yours, if you sent one.",
        "required": True,
        "schema": TEXT,
    },
    "RateLimit-Policy": {
        "description": f'How many requests (`q`) in how many seconds (`w`): `"key";q=5000;w={SECONDS}`.',
        "schema": TEXT,
    },
    "RateLimit": {
        "description": "How many of them remain (`r`) for how many seconds (`t`), then they are all there again: "
        '`"key";r=4998;t=4`.',
        "schema": TEXT,
    },
}
RETRY_AFTER = {"description": "Seconds after which to try again.", "required": True, "schema": NUMBER}
ETAG = {"description": "Stands for this answer; for `If-None-Match`.", "required": True, "schema": TEXT}
REPLAYED = {"description": "`true`: this is what was answered before.", "required": True, "schema": TEXT}
NOTIFICATION = {
    "type": "object",
    "description": "What is sent: exactly these five keys.",
    "additionalProperties": False,
    "required": ["subscription_id", "event_id", "event_timestamp", "delivery_id", "payload"],
    "properties": {
        "subscription_id": {"type": "string", "format": "uuid"},
        "event_id": {
            "type": "string",
            "description": "The event's *type*. Its unique id is in `openvolt-event-id`.",
        },
        "event_timestamp": {"type": "string", "format": "date-time", "description": "When it happened, UTC."},
        "delivery_id": {"type": "string", "format": "uuid", "description": "Deduplicate by it."},
        "payload": {"description": "As it was published."},
    },
}
HEADERS = {
    "webhook-id": "The `delivery_id`: the same on every retry, new on a replay.",
    "webhook-timestamp": "Unix seconds of this attempt.",
    "webhook-signature": "Standard Webhooks: `v1,<base64 HMAC-SHA256>`, one for every secret that is valid now.",
    "openvolt-event-id": "The unique id of the event: `GET /v1/events/{id}`.",
    "openvolt-sequence": "1, 2, 3 … for this subscription's deliveries, without a gap: who has every number has missed "
    "nothing. Given at the first attempt and kept on retries, so that numbers may arrive out of order. "
    "A replay to another URL has none.",
    "openvolt-attempt": "1, 2, 3 …",
    "openvolt-trigger": "Why this attempt: `scheduled`, `manual`, `replay` or `test`.",
}


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = ApiKeyAuthentication
    name = ["apiKey", "bearer"]

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[str]]]:
        return [{name: []} for name in self.name]  # one of them, not both

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return [
            {"type": "apiKey", "in": "header", "name": "x-api-key"},
            {"type": "http", "scheme": "bearer", "description": BEARER},
        ]


class TextScheme(OpenApiSerializerFieldExtension):
    target_class = Text
    match_subclasses = True

    def map_serializer_field(self, auto_schema: object, direction: object) -> dict[str, Any]:
        return {"type": "string", "pattern": self.target.pattern}


class OpenApi(Conditional):
    """The document, for anyone."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(document(), content_type="application/json")


@cache
def document() -> bytes:
    schema = SchemaGenerator().get_schema(request=None, public=True)
    rendered: bytes = OpenApiJsonRenderer2().render(schema, renderer_context={})
    return rendered


def whose_words_are_not_for_readers() -> list[type]:
    """The classes whose docstrings are for us, not for the document's readers."""
    return [*get_lib_doc_excludes(), StrictView, Conditional, StrictList, OfApplication, StrictSerializer]


def only_api(endpoints: Sequence[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/v1/")]


def close_requests(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """What is sent may have no other fields than these: `StrictSerializer` refuses them."""
    for name, schema in result["components"]["schemas"].items():
        if name.endswith("Request") and "properties" in schema:
            schema["additionalProperties"] = False
            schema["properties"] = {key: in_one_form(field) for key, field in schema["properties"].items()}
    return result


def in_one_form(field: dict[str, Any]) -> dict[str, Any]:
    """A text that may be empty, without the form of its own that drf-spectacular adds: it would fit both."""
    match field.get("oneOf"):
        case [form, {"type": "string", "maxLength": 0}]:
            return {**form, **{name: value for name, value in field.items() if name != "oneOf"}}
    return field


def describe_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Every call's errors, by what the call takes."""
    result["components"]["schemas"] |= {"Problem": PROBLEM, "PointedError": POINTED_ERROR}
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            for status, description in errors_of(path, method, operation):
                operation["responses"].setdefault(status, problem_response(description))
    return result


def describe_headers(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """What each answer has in its headers, and the one header that each request may have."""
    result["components"]["headers"] = dict(ANSWER_HEADERS)
    result["components"]["parameters"] = {"RequestId": REQUEST_ID}
    for operations in result["paths"].values():
        for operation in operations.values():
            operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/RequestId"})
            for status, response in operation["responses"].items():
                response["headers"] = dict(headers_of(status, operation))
    return result


def headers_of(status: str, operation: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in ANSWER_HEADERS:
        yield name, {"$ref": f"#/components/headers/{name}"}
    if status in ("429", "503"):
        yield "Retry-After", RETRY_AFTER
    if "304" in operation["responses"] and status in ("200", "304"):
        yield "ETag", ETAG
    if {"200", "201"} <= operation["responses"].keys() and status == "200":
        yield "idempotent-replayed", REPLAYED


def errors_of(path: str, method: str, operation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "400", MALFORMED
    if operation.get("security"):
        yield "401", NO_KEY
        yield "403", WRONG_KEY
    if "{" in path or operation["operationId"] == "preview_event":
        yield "404", NOT_FOUND
    if method in ("post", "patch") or operation["operationId"] == "get_secret":
        yield "409", CONFLICT
    yield "411", "The body came without its length."
    yield (
        "413",
        TOO_LARGE.format(settings.MAX_BATCH_BYTES if path.endswith("/batch") else settings.MAX_BODY_BYTES),
    )
    yield "415", "The body is not `application/json`, or compressed."
    yield "422", INVALID
    yield "429", TOO_MANY
    yield "503", "The database can't be reached; try again."


def problem_response(description: str) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": description, "content": content}


def describe_notifications(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """What receivers get, under `webhooks`: one entry an event type."""
    result["components"]["schemas"]["Notification"] = NOTIFICATION
    result["webhooks"] = {name: {"post": webhook(event_type)} for name, event_type in EVENT_TYPES.items()}
    return result


def webhook(event_type: EventType) -> dict[str, Any]:
    payload = {key: value for key, value in event_type.schema.items() if key != "$schema"}
    body = {
        "allOf": [{"$ref": "#/components/schemas/Notification"}],
        "properties": {"event_id": {"const": event_type.name}, "payload": payload},
    }
    return {
        "operationId": f"notify_{event_type.name.replace('.', '_')}",
        "summary": event_type.sentence,
        "description": event_type.description,
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": name != "openvolt-sequence",
                "description": description,
                "schema": {"type": "string"},
            }
            for name, description in HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body, "example": NOTIFICATIONS.get(event_type.name)}},
        },
        "responses": {
            "2XX": {"description": "Received. Any other answer, and none in time, is a failed attempt."},
            "410": {"description": "Tell no more: disables the subscription at once."},
        },
        "security": [],
    }
