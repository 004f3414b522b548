"""Where everything is measured: databases, a receiver, and processes of the service that end with their block."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from socket import AF_INET
from uuid import uuid4

import dj_database_url
import psycopg
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from psycopg import sql

from accounts.models import Application
from deliveries.lifecycle import create_subscription
from deliveries.models import Delivery, Heartbeat
from deliveries.publishing import Change, publish_many
from openvolt_events.load.figures import steady_rate
from openvolt_events.load.publishers import PAYLOAD, TYPE
from openvolt_events.load.receiver import Arrival, Receiver
from openvolt_events.postgres import EmbeddedPostgres
from openvolt_events.processes import Child
from openvolt_events.serve import bound, wait_for_web, web_server
from subscriptions.models import Subscription

REPOSITORY = Path(__file__).resolve().parent.parent.parent
ADDRESS = ("NAME", "HOST", "PORT", "USER", "PASSWORD")  # and the options, which have the socket's directory
SUBSCRIPTIONS = 10  # that each event of a throughput measure is told to
PATIENCE_SECONDS = 300
LOOK_AGAIN_SECONDS = 0.1
LAST_WORDS = 5  # lines of the log, when something does not come to its end


class NotMeasured(Exception):
    """A measure did not come to its end; the text says what it waited for."""


class Stage:
    """`postgres` runs. Measures work on copies of one migrated database, one each, so that none sees another's rows."""

    def __init__(self, directory: Path, postgres: EmbeddedPostgres, receiver: Receiver) -> None:
        self.log = directory / "bench.log"
        self.postgres = postgres
        self.receiver = receiver
        self.numbers = count(1)
        self.template = self.create("template0")
        with self.using(self.template):
            call_command("migrate", verbosity=0)

    def create(self, template: str) -> str:
        """A new database; its name."""
        name = f"bench_{uuid4().hex}"
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return name

    def execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as server:
            server.execute(statement)

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Make it the database of this process, all threads of it, and of the children that it starts."""
        before, url = dict(connection.settings_dict), os.environ["DATABASE_URL"]
        os.environ["DATABASE_URL"] = self.postgres.url(name)
        chosen = dj_database_url.parse(os.environ["DATABASE_URL"])
        connection.close()
        connection.settings_dict.update({key: value for key, value in chosen.items() if key in ADDRESS})
        connection.settings_dict["OPTIONS"] = {**before["OPTIONS"], **chosen["OPTIONS"]}
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict.update(before)
            os.environ["DATABASE_URL"] = url

    @contextmanager
    def database(self) -> Iterator[None]:
        """Work on an empty database, which is dropped at the end."""
        name = self.create(self.template)
        try:
            with self.using(name):
                yield
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def workers(self, **environment: str) -> Iterator[Child]:
        """`manage.py qcluster`, killed at the end: what it should have done, was waited for."""
        with self.log.open("ab") as output:
            cluster = Child(
                "workers",
                [sys.executable, REPOSITORY / "manage.py", "qcluster"],
                os.environ | environment,
                output=output,
            )
            try:
                cluster.start()
                yield cluster
            finally:
                cluster.kill()

    @contextmanager
    def web(self, **environment: str) -> Iterator[tuple[Child, str]]:
        """The web server as `make run` starts it, and its URL."""
        with bound(AF_INET, "127.0.0.1", 0) as listener, self.log.open("ab") as output:
            web = web_server([listener], os.environ | environment)
            web.output = output
            port = listener.getsockname()[1]
            try:
                web.start()
                wait_for_web(web, port)
                yield web, f"http://127.0.0.1:{port}"
            finally:
                web.kill()

    @contextmanager
    def service(self) -> Iterator[tuple[Sequence[Child], str]]:
        """All of it on an empty database, at work: its processes and its URL."""
        with self.database(), self.workers() as workers, self.web() as (web, url):
            self.until(Heartbeat.objects.exists, "the first heartbeat")
            database = self.postgres.child
            yield [child for child in (workers, web, database) if child], url

    def until(
        self, condition: Callable[[], object], waited_for: str, seconds: float = PATIENCE_SECONDS
    ) -> None:
        ends_at = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > ends_at:
                raise NotMeasured(f"waited {seconds:g} s for {waited_for}{self.last_words()}")
            time.sleep(LOOK_AGAIN_SECONDS)

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "".join(f"\n    {line}" for line in lines[-LAST_WORDS:])

    def group(self, name: str) -> str:
        """A group of endpoints that nothing was sent to yet."""
        return f"{name}-{next(self.numbers)}"

    def arrivals(self, group: str, number: int) -> list[Arrival]:
        """All that the group has accepted, once it is so many."""
        self.until(lambda: self.receiver.accepted(group) >= number, f"{number} webhooks")
        return [one for one in self.receiver.take() if one.group == group and one.accepted]

    def rate(self, group: str, number: int) -> float:
        return steady_rate([arrival.at for arrival in self.arrivals(group, number)])

    def until_settled(self) -> None:
        self.until(lambda: not Delivery.objects.pending().exists(), "the last delivery to be settled")


def subscribe(application: Application, urls: Sequence[str], **fields: object) -> list[Subscription]:
    """A subscription to everything for each URL."""
    made = [
        Subscription(application=application, channel="webhook", url=url, event_types=["*"], **fields)
        for url in urls
    ]
    for subscription in made:
        create_subscription(subscription, [], timezone.now())
    return made


def publish(application: Application, events: int) -> None:
    for start in range(0, events, 1000):
        changes = [Change(application, TYPE, PAYLOAD)] * min(1000, events - start)
        publish_many(changes, timezone.now())


def publish_deliveries(stage: Stage, group: str, deliveries: int) -> int:
    """An application whose events make so many deliveries to this group, about; returns how many they are."""
    application = Application.objects.create(name=group)
    subscribe(application, [stage.receiver.url(group, number) for number in range(SUBSCRIPTIONS)])
    events = max(deliveries // SUBSCRIPTIONS, 1)
    publish(application, events)
    return events * SUBSCRIPTIONS
