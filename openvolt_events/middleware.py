"""What every answer carries."""

import re
import sys
import time
from collections.abc import Callable
from uuid import uuid4

import structlog
from django.conf import settings
from django.core.signals import request_finished
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bind_contextvars, unbind_contextvars

from openvolt_events.callers import client_address

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
ASKED_FOR_ALL_THE_TIME = (
    "/static/",
    "/healthz",
    "/readyz",
    "/metrics",
)  # by machines: such lines tell nobody anything
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class StandardError:
    """The standard error as it is when a line is written."""

    def info(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


Handler = Callable[[HttpRequest], HttpResponse]


class RequestIdMiddleware:
    """Gives each request an id, the caller's own (`X-Request-Id`) if it can stand in a log line as it is, and one line
    in the log by which it is found.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self.log = structlog.BoundLogger(StandardError(), settings.LOG_LINE, {"logger": __name__})

    def __call__(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers.get("x-request-id", "")
        id = sent if REQUEST_ID.fullmatch(sent) else str(uuid4())
        bind_contextvars(request_id=id)
        started = time.perf_counter()
        response = self.get_response(request)
        response.headers["X-Request-Id"] = id
        if not request.path.startswith(ASKED_FOR_ALL_THE_TIME):
            self.log.info("request", **described(request, response, time.perf_counter() - started))
        return response


def described(request: HttpRequest, response: HttpResponse, seconds: float) -> dict[str, object]:
    """Without the path, which may be a link from an email, and without what was asked for in the query."""
    route = request.resolver_match.route if request.resolver_match else None
    key = getattr(request, "auth", None)  # of a call of the API
    return {
        "method": request.method,
        "route": route,
        "status": response.status_code,
        "duration_ms": round(seconds * 1000, 1),
        "client": client_address(request),
        **({"key": key.prefix} if key else {}),
    }


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
