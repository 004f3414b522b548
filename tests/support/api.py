"""The HTTP API as a program with a key sees it, without a socket in between."""

import json
from typing import Any

from django.test import Client


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
            method, path, data, content_type=given.pop("content-type", "application/json"), headers=key | given
        )
