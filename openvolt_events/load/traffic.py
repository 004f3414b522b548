"""A load under way: threads that publish at a rate, endpoints that are told, and what of it is known so far."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Lock, Thread
from typing import Self
from uuid import UUID, uuid4

from django.db import connection
from django.utils import timezone

from accounts.models import Application
from deliveries.lifecycle import create_subscription, delete_subscription
from openvolt_events.load.presets import Endpoints, Preset, Tenants
from openvolt_events.load.publishers import Publisher, Unavailable
from openvolt_events.load.receiver import Arrival, Conduct, Receiver
from subscriptions.models import Subscription

TICK_SECONDS = 0.05
MOST_AT_ONCE = 1000
PAUSE_SECONDS = 0.2  # before what was not answered is published again
PATIENCE_SECONDS = 60  # with a service that is away, after the stop


@dataclass(frozen=True, slots=True)
class Answered:
    """An event that the service has taken over: its publish was answered, at this moment of `time.monotonic`."""

    event_id: str
    application_id: UUID
    at: float


@dataclass(frozen=True)
class Endpoint:
    """One subscription and the group that it belongs to."""

    subscription: Subscription
    group: str


class Flow:
    """Publishes for the applications of one tenant after the other, at a rate that may change at any time."""

    def __init__(
        self, name: str, rate: float, applications: Sequence[Application], publisher: Publisher
    ) -> None:
        self.rate = rate
        self.applications = applications
        self.publisher = publisher
        self.keys = (f"load-{name}-{uuid4().hex[:8]}-{number}" for number in count())
        self.stopping = Event()
        self.gives_up = Event()
        self.published = self.unanswered = 0
        self.failure: Exception | None = None
        self.refusals = 0
        self._answered: list[Answered] = []
        self._lock = Lock()
        self._thread = Thread(target=self.run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Publish nothing new, and end what is under way, or not answered. Raises what went wrong."""
        self.stopping.set()
        self._thread.join(PATIENCE_SECONDS)
        self.gives_up.set()
        self._thread.join()
        if self.failure:
            raise self.failure

    def take(self) -> list[Answered]:
        """What was answered since the last time."""
        with self._lock:
            taken, self._answered = self._answered, []
        return taken

    def run(self) -> None:
        try:
            self.keep_the_rate()
        except Exception as failure:
            self.failure = failure
        finally:
            self.publisher.close()

    def keep_the_rate(self) -> None:
        """What a slow answer has kept from being published is published after it."""
        owed, last = 0.0, time.monotonic()
        for turn in count():
            if self.stopping.wait(TICK_SECONDS):
                return
            now = time.monotonic()
            owed, last = owed + self.rate * (now - last), now
            if batch := min(int(owed), MOST_AT_ONCE):
                owed -= batch
                self.publish(self.applications[turn % len(self.applications)], batch)

    def publish(self, application: Application, number: int) -> None:
        keys = [next(self.keys) for _ in range(number)]
        self.unanswered += number
        while not self.gives_up.is_set():
            try:
                ids = self.publisher.publish(application, keys)
            except Unavailable:
                self.refusals += 1
                self.gives_up.wait(PAUSE_SECONDS)
                continue
            self.note(application, ids)
            return

    def note(self, application: Application, ids: Sequence[str]) -> None:
        now = time.monotonic()
        with self._lock:
            self._answered += [Answered(id, application.id, now) for id in ids]
            self.published += len(ids)
            self.unanswered -= len(ids)


@dataclass
class Traffic:
    """All flows of a preset. Inside the block everything is subscribed and published; after it nothing is retried."""

    preset: Preset
    publisher: Publisher
    receiver: Receiver
    flows: dict[str, Flow] = field(default_factory=dict)
    endpoints: list[Endpoint] = field(default_factory=list)
    conducts: dict[str, Conduct] = field(default_factory=dict)
    answered: list[Answered] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)

    def __enter__(self) -> Self:
        for tenants in self.preset.tenants:
            self.prepare(tenants)
        for flow in self.flows.values():
            flow.start()
        return self

    def __exit__(self, *_: object) -> None:
        for flow in self.flows.values():
            flow.stopping.set()
            flow.gives_up.set()
        for endpoint in self.endpoints:
            delete_subscription(endpoint.subscription, timezone.now())
        connection.close()

    def prepare(self, tenants: Tenants) -> None:
        names = [f"Load: {tenants.name} {number + 1}" for number in range(tenants.applications)]
        applications = Application.objects.bulk_create([Application(name=name) for name in names])
        for endpoints in tenants.endpoints:
            self.change_conduct(endpoints.name, endpoints.conduct)
            for application in applications:
                self.subscribe(application, endpoints)
        self.flows[tenants.name] = Flow(tenants.name, tenants.rate, applications, self.publisher)

    def subscribe(self, application: Application, endpoints: Endpoints) -> None:
        url = self.receiver.url if endpoints.listening else self.receiver.refusing_url
        for number in range(endpoints.subscriptions):
            subscription = Subscription(
                application=application,
                channel="webhook",
                url=url(endpoints.name, number),
                event_types=["*"],
            )
            create_subscription(subscription, [], timezone.now())
            self.endpoints.append(Endpoint(subscription, endpoints.name))

    def change_rate(self, tenants: str, rate: float) -> None:
        """Events a second from now on. Raises KeyError for tenants that are not in the preset."""
        self.flows[tenants].rate = rate

    def change_conduct(self, group: str, conduct: Conduct) -> None:
        """How the endpoints of this name behave from now on."""
        self.conducts[group] = conduct
        self.receiver.conduct(group, conduct)

    def gather(self) -> tuple[list[Answered], list[Arrival]]:
        """What was answered, and what arrived, since the last time; kept for the account, too."""
        arrivals = list(self.receiver.take())
        answered = [one for flow in self.flows.values() for one in flow.take()]
        self.arrivals += arrivals
        self.answered += answered
        return answered, arrivals

    def stop_publishing(self) -> None:
        """Raises what kept a flow from publishing on."""
        for flow in self.flows.values():
            flow.stopping.set()
        for flow in self.flows.values():
            flow.stop()

    @property
    def unanswered(self) -> int:
        """Events of which nobody knows whether the service has them."""
        return sum(flow.unanswered for flow in self.flows.values())
