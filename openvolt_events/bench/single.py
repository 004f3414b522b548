"""How many events a second are published one by one through HTTP, against requests that do nothing."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from urllib.parse import urlsplit

from accounts.models import Application
from openvolt_events.bench.bare_senders import shares
from openvolt_events.bench.figures import AtLeast, Figure, ratio
from openvolt_events.bench.promptness import publisher_key
from openvolt_events.bench.sizes import Sizes
from openvolt_events.bench.stage import NotMeasured, Stage, subscribe
from openvolt_events.load.publishers import PAYLOAD, TYPE

CLIENTS = 8  # with a connection each that is kept; more of them publish no faster
SETTINGS = "openvolt_events.bench.nothing"
HOW = (
    "single events of 1 KB by `POST /v1/events` to the web server as `make run` starts it, with one matching"
    " subscription and the workers off, against the same requests to a DRF view of the same server that has the same"
    " authentication and does nothing, not even read the body; eight clients on kept connections, alternately."
)


@dataclass(frozen=True)
class Asked:
    """The same request, again and again."""

    url: str
    key: str
    body: bytes

    def rate(self, path: str, number: int) -> float:
        """Answers a second."""
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda share: self.in_turn(path, share), shares(number, CLIENTS)))
        return number / (time.perf_counter() - began)

    def in_turn(self, path: str, number: int) -> None:
        headers = {"content-type": "application/json", "x-api-key": self.key}
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=30)) as connection:
            for _ in range(number):
                connection.request("POST", path, self.body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != HTTPStatus.CREATED:
                    raise NotMeasured(f"{path} answered {answer.status}")


def single(stage: Stage, sizes: Sizes) -> list[Figure]:
    ours, nothing = [], []
    with stage.database(), stage.web(DJANGO_SETTINGS_MODULE=SETTINGS) as (_, url):
        application = Application.objects.create(name="single")
        subscribe(application, [stage.receiver.url(stage.group("single"))])
        body = {"application_id": str(application.id), "type": TYPE, "payload": PAYLOAD}
        asked = Asked(url, publisher_key(), json.dumps(body).encode())
        for path in ("/v1/events", "/nothing"):
            asked.rate(path, 20 * CLIENTS)  # so that every thread has its connection
        for _ in range(sizes.rounds):
            nothing.append(asked.rate("/nothing", sizes.requests))
            ours.append(asked.rate("/v1/events", sizes.requests))
    return [
        ratio(
            "publish: single events/s by HTTP, against a view that does nothing",
            ours,
            nothing,
            AtLeast(0.4),
            HOW,
        )
    ]
