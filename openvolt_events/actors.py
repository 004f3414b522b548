"""Who acts in a request, for the audit log: known to the API by the key, to the operators' pages by the session."""

import os
import socket
from collections.abc import Callable

import psutil
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import get_contextvars

from accounts.audit import Actor, AuditEntry, acting
from accounts.models import ApiKey, User
from openvolt_events.callers import UNKNOWN, client_address


class ActorMiddleware:
    """Forgets at the end of a request who has acted in it: the thread goes on to somebody else's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with acting(None):
            return self.get_response(request)


def known_address(request: HttpRequest) -> str | None:
    address = client_address(request)
    return None if address == UNKNOWN else address


def by_key(request: HttpRequest, key: ApiKey) -> Actor:
    return actor(request, AuditEntry.ActorKind.API_KEY, str(key.id), str(key))


def by_staff(request: HttpRequest, user: User) -> Actor:
    return actor(request, AuditEntry.ActorKind.STAFF, str(user.pk), user.get_username())


def actor(request: HttpRequest, kind: str, id: str, name: str) -> Actor:
    return Actor(kind, id, name, known_address(request), str(get_contextvars().get("request_id", "")))


def by_command(name: str) -> Actor:
    """Whoever runs `manage.py NAME`, as far as their machine knows."""
    person = psutil.Process(os.getpid()).username()
    return Actor(AuditEntry.ActorKind.COMMAND, "", f"manage.py {name}, {person}@{socket.gethostname()}"[:250])
