"""The public HTTP API (contract, section 5) as a publisher and as a developer's application use it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import requests

from openvolt_events.demo.account import PublishedEvent, Told
from openvolt_events.demo.day import Change, timestamp

TIMEOUT = timedelta(seconds=30)
PATIENCE = timedelta(seconds=15)  # with a service that is just starting again
AWAY = (502, 503, 504)
PAUSE = timedelta(milliseconds=500)


class NotRunning(Exception):
    """Nothing answers at the address, or something that says that the service is away."""


class Refused(Exception):
    """The service answered with a problem."""


class Client:
    """One key's view of the service. Every call raises `NotRunning` and `Refused`; those that are safe to
    repeat have `PATIENCE` with a service that is away."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy of the environment knows nothing of loopback
        self.session.headers["x-api-key"] = key

    def use_key(self, key: str) -> None:
        self.session.headers["x-api-key"] = key

    def get(self, path: str) -> Any:
        return patiently(lambda: self.call("GET", path))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self.call("POST", path, body)

    def post_once(self, path: str, body: Mapping[str, Any], key: str) -> Any:
        """Post with an idempotency key, which makes it safe to try again."""
        return patiently(lambda: self.call("POST", path, body, {"idempotency-key": key}))

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        url = urljoin(self.url, path)
        try:
            response = self.session.request(
                method, url, json=body, headers=headers, timeout=TIMEOUT.total_seconds()
            )
        except requests.RequestException as error:
            raise NotRunning(f"Nothing answers at {self.url} ({type(error).__name__}).") from None
        return content(response)

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


def patiently(call: Callable[[], Any]) -> Any:
    """Call again while the service is away for a moment. Only for calls that may safely be made twice."""
    gives_up_at = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            return call()
        except NotRunning:
            if time.monotonic() > gives_up_at:
                raise
        time.sleep(PAUSE.total_seconds())


def content(response: requests.Response) -> Any:
    """What an answer says in JSON, or None when it is empty. Raises `NotRunning` and `Refused`."""
    said = f"{response.request.method} {response.url} answered {response.status_code}"
    if response.status_code in AWAY:
        raise NotRunning(f"{said}.")
    if not response.ok:
        raise Refused(f"{said}: {response.text[:500]}")
    try:
        return response.json() if response.content else None
    except requests.JSONDecodeError:
        raise Refused(f"{said} without JSON: {response.text[:500]!r}") from None


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
