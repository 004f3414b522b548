"""How many emails a second, against a bare loop that sends rendered ones."""

import json
import smtplib
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle, islice
from uuid import uuid4

from accounts.models import Application
from deliveries.channels import EmailTarget, Notification
from deliveries.channels.email import notification_message
from deliveries.dispatch import THREADS
from deliveries.lifecycle import create_subscription
from openvolt_events.bench.bare_senders import shares
from openvolt_events.bench.figures import AtLeast, Figure, ratio
from openvolt_events.bench.sizes import Sizes
from openvolt_events.bench.stage import REPOSITORY, Stage, publish
from openvolt_events.load.publishers import PAYLOAD, TYPE
from openvolt_events.processes import Child
from subscriptions.models import Recipient, Subscription

RECIPIENTS = 40  # of each event
RENDERED = 200  # emails, sent again and again by the bare loop
HOW = (
    "a backlog of emails of 1 KB of payload, rendered and sent to one SMTP server (aiosmtpd) on the same machine,"
    " worked off by `qcluster`, against as many threads as its drain has, each of which sends such emails, ready-made,"
    " over one connection. Both are the rate from the first to the last that the server took."
)


def emails(stage: Stage, sizes: Sizes) -> list[Figure]:
    bare, ours = [], []
    for _ in range(sizes.rounds):
        bare.append(by_bare_loop(stage, sizes.emails))
        ours.append(by_workers(stage, sizes.emails))
    return [ratio("emails/s, against a bare loop of rendered ones", ours, bare, AtLeast(0.7), HOW)]


@contextmanager
def sink(stage: Stage) -> Iterator[int]:
    """A mail server; its port."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = int(unused.getsockname()[1])
    server = Child(
        "mail sink", [sys.executable, REPOSITORY / "openvolt_events/bench/mail_sink.py", str(port)], {}
    )
    try:
        server.start()
        stage.until(lambda: is_listening(port), "the mail sink", seconds=20)
        yield port
    finally:
        server.kill()


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def taken(port: int) -> tuple[int, float]:
    """How many emails the server has, and the seconds from the first to the last."""
    with smtplib.SMTP("127.0.0.1", port) as server:
        count, seconds = server.docmd("STAT")[1].split()
    return int(count), float(seconds)


def rate(stage: Stage, port: int, number: int) -> float:
    stage.until(lambda: taken(port)[0] >= number, f"{number} emails")
    count, seconds = taken(port)
    return (count - 1) / seconds


def by_bare_loop(stage: Stage, number: int) -> float:
    threads = THREADS["email"]
    messages = [rendered() for _ in range(min(RENDERED, number))]
    with sink(stage) as port, ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda share: send_in_turn(port, messages, share), shares(number, threads)))
        return rate(stage, port, number)


def rendered() -> bytes:
    now = datetime.now(UTC)
    told = Notification(uuid4(), uuid4(), uuid4(), TYPE, now, json.dumps(PAYLOAD))
    target = EmailTarget("ann@example.org", uuid4(), "emails")
    content: bytes = notification_message(told, target, now).message().as_bytes(linesep="\r\n")
    return content


def send_in_turn(port: int, messages: Sequence[bytes], number: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as server:
        for content in islice(cycle(messages), number):
            server.sendmail("events@openvolt.example", ["ann@example.org"], content)


def by_workers(stage: Stage, number: int) -> float:
    """The backlog is there before the workers start."""
    recipients = min(RECIPIENTS, number)
    with stage.database(), sink(stage) as port:
        subscribe_people(recipients)
        publish(Application.objects.get(), -(-number // recipients))
        with stage.workers(EMAIL_URL=f"smtp://127.0.0.1:{port}"):
            return rate(stage, port, number)


def subscribe_people(number: int) -> None:
    application = Application.objects.create(name="emails")
    subscription = Subscription(application=application, channel="email", event_types=["*"])
    now = datetime.now(UTC)
    create_subscription(subscription, [f"ann@{nth}.example" for nth in range(number)], now)
    subscription.notices.all().delete()
    Recipient.objects.update(status=Recipient.Status.CONFIRMED, confirmed_at=now)
