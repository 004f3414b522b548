"""The public HTTP API (contract, section 5) as a publisher and as a developer's application use it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import requests

from openvolt_events.demo.account import PublishedEvent, Told
from openvolt_events.demo.day import Change, timestamp

TIMEOUT = timedelta(seconds=30)
PATIENCE = timedelta(seconds=20)  # with a service that is just starting again
PAUSE = timedelta(milliseconds=500)


class NotRunning(Exception):
    """Nothing answers at the address."""


class Refused(Exception):
    """The service answered with a problem."""


@dataclass(frozen=True)
class NewSubscription:
    """What the creation answers; `secret` is empty for emails."""

    id: str
    secret: str


class Client:
    """One key's view of the service. Raises `NotRunning` and `Refused` from every call."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy of the environment knows nothing of loopback
        self.session.headers["x-api-key"] = key

    def use_key(self, key: str) -> None:
        self.session.headers["x-api-key"] = key

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self.call("POST", path, body)

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        url = urljoin(self.url, path)
        try:
            response = self.session.request(
                method, url, json=body, headers=headers, timeout=TIMEOUT.total_seconds()
            )
        except requests.RequestException as error:
            raise NotRunning(f"Nothing answers at {self.url} ({type(error).__name__}).") from None
        if not response.ok:
            raise Refused(f"{method} {url} answered {response.status_code}: {response.text[:500]}")
        return response.json() if response.content else None

    def post_once(self, path: str, body: Any, key: str) -> Any:
        """Post with an idempotency key: safe to try again while the service is away for a moment."""
        gives_up_at = time.monotonic() + PATIENCE.total_seconds()
        while True:
            try:
                return self.call("POST", path, body, {"idempotency-key": key})
            except NotRunning:
                if time.monotonic() > gives_up_at:
                    raise
                time.sleep(PAUSE.total_seconds())

    def pages(self, path: str) -> Iterator[Any]:
        """Every item of a list, over all of its pages."""
        next_page = path
        while next_page:
            page = self.get(next_page)
            yield from page["data"]
            next_page = page["next"]

    def deliveries(self) -> dict[str, list[Told]]:
        """All deliveries of the application, by the id of their subscription."""
        found: dict[str, list[Told]] = {}
        for item in self.pages("/v1/deliveries?limit=200"):
            told = Told(item["id"], item["event_id"], item["status"], item["attempt_count"])
            found.setdefault(item["subscription_id"], []).append(told)
        return found


def publish(client: Client, application_id: str, changes: Sequence[Change], key: str) -> list[PublishedEvent]:
    """Publish one change as an event, several as a batch; `key` makes it safe to try again."""
    items = [
        {
            "application_id": application_id,
            "type": change.type,
            "occurred_at": timestamp(change.occurred_at),
            "payload": change.payload,
        }
        for change in changes
    ]
    if len(items) == 1:
        answers = [client.post_once("/v1/events", items[0], key)]
    else:
        keyed = [item | {"idempotency_key": f"{key}-{nth}"} for nth, item in enumerate(items)]
        answers = client.post_once("/v1/events/batch", {"events": keyed}, key)["data"]
    return [
        PublishedEvent(answer["id"], change.type, change.payload)
        for answer, change in zip(answers, changes, strict=True)
    ]
