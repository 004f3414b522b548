"""Two ways to publish: in this process, and through the HTTP API. Each makes it safe to publish the same again."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import requests
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from accounts.models import Application
from deliveries.publishing import Change, publish_many

TYPE = "user.created"
PAYLOAD = {"_id": "65c3d5e2f9a16b53c0e27f41", "name": "x" * 780}  # the notification has 1 KB
TIMEOUT_SECONDS = 30


class Unavailable(Exception):
    """Nobody knows whether it was published; publish the same again, with the same keys."""


class Publisher(Protocol):
    def publish(self, application: Application, keys: Sequence[str]) -> list[str]:
        """Publish an event for each idempotency key; return their ids, in order. Raises `Unavailable`."""

    def close(self) -> None:
        """At the end of each thread that has published."""


class InProcess:
    """As Python code publishes: in a transaction on the database of DATABASE_URL."""

    def publish(self, application: Application, keys: Sequence[str]) -> list[str]:
        changes = [Change(application, TYPE, PAYLOAD, idempotency_key=key) for key in keys]
        try:
            return [str(published.event.id) for published in publish_many(changes, timezone.now())]
        except (OperationalError, InterfaceError) as error:
            connection.close()
            raise Unavailable(str(error).strip()) from None

    def close(self) -> None:
        connection.close()


class OverHTTP:
    """As the platform publishes, with a platform key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = f"{url.rstrip('/')}/v1/events/batch"
        self.headers = {"x-api-key": key}

    def publish(self, application: Application, keys: Sequence[str]) -> list[str]:
        items = [item(application, key) for key in keys]
        try:
            answer = requests.post(
                self.url, json={"events": items}, headers=self.headers, timeout=TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise Unavailable(str(error)) from None
        if answer.status_code >= 500:
            raise Unavailable(f"{self.url} answered {answer.status_code}.")
        answer.raise_for_status()
        return [event["id"] for event in answer.json()["data"]]

    def close(self) -> None:
        """Nothing is kept open."""


def item(application: Application, key: str) -> Mapping[str, Any]:
    return {
        "application_id": str(application.id),
        "type": TYPE,
        "payload": PAYLOAD,
        "idempotency_key": key,
    }
