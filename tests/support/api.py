"""The HTTP API as a program with a key sees it, without a socket in between."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client

from accounts.models import Application
from openvolt_events.api.urls import urlpatterns
from tests.support import factories

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
FLOORS = ("accounts", "events", "subscriptions", "deliveries")
READING = 3  # queries of every list, around its own: a transaction whose queries are limited (READ_TIMEOUT)


class Api:
    """One key's view. Every call answers the response; `response.json()` is its document."""

    def __init__(self, key: str = "") -> None:
        self.client = Client(raise_request_exception=False)
        self.key = key

    def get(self, path: str, **headers: str) -> Any:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.call("POST", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self.call("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self.call("DELETE", path, **headers)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """`body` is sent as JSON; bytes as they are. Header names are written with underscores."""
        key = {"x-api-key": self.key} if self.key else {}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.generic(
            method,
            path,
            data,
            content_type=given.pop("content-type", "application/json"),
            headers=key | given,
        )


@pytest.fixture
def api(owner: Application) -> Api:
    return Api(factories.application_key(owner))


@pytest.fixture
def platform() -> Api:
    return Api(factories.platform_key())


def calls() -> Iterator[tuple[str, str]]:
    """Every call that the API has: method and path, like ("POST", "events/<id:id>/replay")."""
    for pattern in urlpatterns:
        view: Any = pattern.callback.view_class  # type: ignore[attr-defined]
        for method in METHODS:
            if hasattr(view, method.lower()):
                yield method, str(pattern.pattern)


def path_of(route: str, id: Any = "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4") -> str:
    """A path of this route, with this id in it."""
    return "/v1/" + re.sub("<id:[a-z]+>", str(id), route).replace("<str:name>", "meter.created")


def problem_of(response: Any, status: int) -> dict[str, Any]:
    """The problem document that was answered, after a look at its form (RFC 9457)."""
    assert response.status_code == status, response.content
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(response.content)
    assert document["type"].startswith("urn:openvolt:problem:")
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    if status == 422:
        assert document["errors"]
    for error in document.get("errors", []):
        assert error.keys() == {"pointer", "detail", "code"}
        assert all(isinstance(value, str) for value in error.values())
    return document


def pointers_of(response: Any, status: int = 422) -> list[str]:
    """Where the input is wrong, as the answer says it."""
    return [error["pointer"] for error in problem_of(response, status)["errors"]]


def rows_stored() -> dict[str, int]:
    """How many rows each table of ours has."""
    models = [model for floor in FLOORS for model in apps.get_app_config(floor).get_models()]
    counts = [f"SELECT '{model.__name__}', count(*) FROM {model._meta.db_table}" for model in models]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(counts))  # one query, as some tests ask before and after each call
        return dict(cursor.fetchall())
