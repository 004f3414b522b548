"""Records what the API answers, and makes it the same in every run: ids, times, keys and secrets become fixed ones."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Self
from uuid import UUID

from django.utils import timezone

from accounts.keys import ALPHABET, PREFIX_LENGTH
from deliveries.channels import event_timestamp
from events.event_types import EVENT_TYPES
from openvolt_events.api.pagination import Cursor
from openvolt_events.api.schema import document
from tests.support.api import Api

FIRST_MOMENT = datetime(2026, 10, 26, 9, 0, tzinfo=UTC)
BETWEEN = timedelta(seconds=15)  # from one call to the next, as the examples tell it
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KEY = re.compile(r"ovk_(?:test|live)_[0-9A-Za-z]{8}(?:[0-9A-Za-z]{41})?")
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")
SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]{43}=")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
CURSOR = re.compile(r"(?<=cursor=)A[\w-]{22}")
SERVER = re.compile(r"BaseHTTP/[\d.]+ Python/[\d.]+")
WAIT = re.compile(r"in \d+ s\b")
GIVEN = json.dumps([type.example for type in EVENT_TYPES.values()])  # what is in it was never ours
MILLISECONDS = {"dns_ms": 1.4, "connect_ms": 8.2, "tls_ms": 17.9, "first_byte_ms": 41.6}
WHOLE_MS = 42.3


class Recorder:
    """`call` is what a developer would do; `recorded` is all that came of it, made stable."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """`places` are texts of this run and what stands for them, such as the port of a receiver."""
        self.places = dict(places)
        self.routes = routes()
        self.keys: dict[str, str] = {}
        self.calls: list[tuple[str, int, dict[str, Any]]] = []
        self.notifications: dict[str, Any] = {}
        self.moments: list[datetime] = []

    def tick(self) -> None:
        """What is dated from here on happened at the next of the examples' moments."""
        self.moments.append(timezone.now().replace(microsecond=timezone.now().microsecond // 1000 * 1000))

    def call(
        self,
        operation_id: str,
        summary: str,
        key: str = "application",
        *,
        body: Any = None,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        status: int = 200,
        **ids: str,
    ) -> Any:
        """Call the operation and keep it as an example; answers the document. `key` names one in `keys`."""
        method, path = self.routes[operation_id]
        more = {name.replace("-", "_"): value for name, value in (headers or {}).items()}
        self.tick()
        response = Api(self.keys.get(key, "")).call(method, path.format(**ids) + query, body, **more)
        assert response.status_code == status, (operation_id, summary, response.status_code, response.content)
        answer = json.loads(response.content) if response.content else None
        sent = body.decode() if isinstance(body, bytes) else body
        asked = {"key": key, "path": ids, "query": query, "headers": dict(headers or {}), "body": sent}
        example = {"summary": summary, "request": asked, "status": status, "answer": answer}
        self.calls.append((operation_id, len(self.moments), example))
        return answer

    def recorded(self) -> dict[str, Any]:
        """By operation, in the order of the document, and the notifications by event type."""
        stable = Stable(self.places, self.moments)
        told = [(name, stable.at(index).value(example)) for name, index, example in self.calls]
        calls = {name: [example for other, example in told if other == name] for name in self.routes}
        notifications = {name: stable.value(sent) for name, sent in sorted(self.notifications.items())}
        return {"calls": {name: some for name, some in calls.items() if some}, "notifications": notifications}


def routes() -> dict[str, tuple[str, str]]:
    """Method and path of each operation."""
    paths = json.loads(document())["paths"]
    return {
        operation["operationId"]: (method.upper(), path)
        for path, operations in paths.items()
        for method, operation in operations.items()
    }


class Stable:
    """Takes what differs from run to run for something of the same form that does not."""

    def __init__(self, places: Mapping[str, str], moments: Sequence[datetime]) -> None:
        self.places = places
        self.moments = moments
        self.reached = len(moments)
        self.seen: dict[str, dict[str, int]] = {}

    def at(self, reached: int) -> Self:
        """From here on, it is told what was known when so many moments were reached."""
        self.reached = reached
        return self

    def value(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return self.object(value)
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if isinstance(value, str):
            return self.text(value)
        if name.endswith("_ms") and value is not None:
            return MILLISECONDS.get(name, WHOLE_MS)
        return value

    def object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        found = {self.text(name): self.value(one, name) for name, one in value.items()}
        if "webhook-timestamp" in found.get("request_headers", {}):
            began = datetime.fromisoformat(found["started_at"])
            found["request_headers"]["webhook-timestamp"] = str(int(began.timestamp()))
            found["response_headers"] |= {"date": format_datetime(began, usegmt=True)}
        return found

    def text(self, text: str) -> str:
        for own, stands_for_it in self.places.items():
            text = text.replace(own, stands_for_it)
        text = SERVER.sub("nginx", WAIT.sub("in 4 s", text))
        text = CURSOR.sub(lambda found: self.cursor(found[0]), text)
        text = ID.sub(lambda found: self.id(found[0]), text)
        text = KEY.sub(lambda found: self.key(found[0]), text)
        text = SECRET.sub(lambda found: "whsec_" + self.base64("secret", found[0]), text)
        text = SIGNATURE.sub(lambda found: "v1," + self.base64("signature", found[0]), text)
        return TIME.sub(lambda found: self.time(found[0]), text)

    def number(self, kind: str, value: str) -> int:
        """1, 2, 3 … in the order in which values of a kind are first seen."""
        known = self.seen.setdefault(kind, {})
        return known.setdefault(value, len(known) + 1)

    def digest(self, kind: str, value: str) -> bytes:
        return hashlib.sha256(f"{kind} {self.number(kind, value)}".encode()).digest()

    def id(self, id: str) -> str:
        """A UUIDv7 of the examples' time."""
        if id in GIVEN:
            return id
        moment = FIRST_MOMENT + self.number("id", id) * BETWEEN
        digest = int.from_bytes(self.digest("id", id)[:10], "big")
        low = 0x7 << 76 | (digest & 0xFFF) << 64 | 0b10 << 62 | (digest >> 16) & (1 << 62) - 1
        return str(UUID(int=int(moment.timestamp() * 1000) << 80 | low))

    def cursor(self, text: str) -> str:
        cursor = Cursor.read(text)
        return str(Cursor(UUID(self.id(str(cursor.id))), cursor.newer))

    def key(self, key: str) -> str:
        """No real key: its checksum is none. The first letters alone stand for the same key."""
        if key in GIVEN:
            return key
        digest = self.digest("key", key[:PREFIX_LENGTH]) * 2
        letters = "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest)
        start = len("ovk_test_")
        return ("ovk_test_" + letters)[: start + 49 if len(key) > PREFIX_LENGTH else PREFIX_LENGTH]

    def base64(self, kind: str, value: str) -> str:
        return base64.b64encode(self.digest(kind, value)).decode()

    def time(self, text: str) -> str:
        """The moment that it belongs to. What was given stays, and what is to come is as far away as it was."""
        moment = datetime.fromisoformat(text)
        if moment < self.moments[0] or text in GIVEN:
            return text
        index = sum(moment >= began for began in self.moments[: self.reached]) - 1
        ahead = timedelta(seconds=5 * round((moment - self.moments[index]).total_seconds() / 5))
        return event_timestamp(FIRST_MOMENT + index * BETWEEN + ahead)
