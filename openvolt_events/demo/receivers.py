"""Sample receivers: real HTTP servers on loopback that verify and remember every webhook they get."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass(frozen=True)
class Answer:
    """What a receiver says, and how long it thinks before."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    after: timedelta = timedelta(0)

    @property
    def accepts(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Receipt:
    """One notification that arrived. `verified` is None where there is no signature to verify (emails)."""

    webhook_id: str
    event_id: str
    attempt: str
    accepted: bool
    verified: bool | None
    document: Any


# A behaviour answers a request by how often this webhook-id has come, and how many different ones have.
Behaviour = Callable[[int, int], Answer]


def healthy(_times: int, _different: int) -> Answer:
    return Answer(204)


def flaky(times: int, different: int) -> Answer:
    """Every other notification is told to come back later, in one second or two; then all is well."""
    if times > 1 or different % 2:
        return Answer(204)
    return Answer(503, {"retry-after": str(1 + different // 2 % 2)})


def down(_times: int, _different: int) -> Answer:
    return Answer(500)


def slow(_times: int, different: int) -> Answer:
    return Answer(200, after=timedelta(seconds=1 + different % 4 / 4))


class Receiver:
    """A server on a free port of 127.0.0.1. Give it the subscription's `secret` before anything is published."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.secret = ""
        self.closing = Event()
        self._lock = Lock()
        self._receipts: list[Receipt] = []
        self._times: Counter[str] = Counter()
        self._server = Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}/webhooks"

    def start(self) -> None:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def stop(self) -> None:
        """Only after `start`."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def receipts(self) -> list[Receipt]:
        with self._lock:
            return list(self._receipts)

    def receive(self, headers: dict[str, str], body: bytes) -> Answer:
        """Verify and remember a request, whatever the answer will be. Header names are in small letters."""
        webhook_id, verified = headers.get("webhook-id", ""), self.verifies(headers, body)
        with self._lock:
            self._times[webhook_id] += 1
            answer = self.behaviour(self._times[webhook_id], len(self._times))
            receipt = Receipt(
                webhook_id=webhook_id,
                event_id=headers.get("openvolt-event-id", ""),
                attempt=headers.get("openvolt-attempt", ""),
                accepted=answer.accepts,
                verified=verified,
                document=json.loads(body) if verified else None,
            )
            self._receipts.append(receipt)
        return answer

    def verifies(self, headers: dict[str, str], body: bytes) -> bool:
        if not self.secret:
            return False
        try:
            Webhook(self.secret).verify(body, headers)
        except (WebhookVerificationError, ValueError):  # ValueError: what it makes of a broken header or body
            return False
        return True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.receiver = receiver


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.receiver.receive(headers, body)
        self.server.receiver.closing.wait(answer.after.total_seconds())
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal belongs to the progress."""
