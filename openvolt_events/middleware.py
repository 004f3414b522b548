"""What every answer carries."""

import re
from collections.abc import Callable
from uuid import uuid4

from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bind_contextvars, unbind_contextvars

# No inline script or style, nothing from another host; `data:` is for the icons in stylesheets.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

Handler = Callable[[HttpRequest], HttpResponse]


class RequestIdMiddleware:
    """Gives each request an id, the caller's own (`X-Request-Id`) if it can stand in a log line as it is."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get("x-request-id", "")
        id = sent if REQUEST_ID.fullmatch(sent) else str(uuid4())
        bind_contextvars(request_id=id)
        response = self.get_response(request)
        response.headers["X-Request-Id"] = id
        return response


@receiver(request_finished)
def forget_request_id(**_: object) -> None:
    """Only now: Django logs answers that tell of a fault when all middleware is done."""
    unbind_contextvars("request_id")


class HeadMiddleware:
    """Answers HEAD with the headers that GET has, and no body: the web server warns of one."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.method == "HEAD" and not response.streaming:
            response.headers.setdefault("Content-Length", str(len(response.content)))
            response.content = b""
        return response


class ContentSecurityPolicyMiddleware:
    """The policy, for every answer that has none of its own (admin_emails.py)."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("content-security-policy", CONTENT_SECURITY_POLICY)
        return response
