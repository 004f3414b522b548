"""Baseline: senders without a database. They sign and post, and keep nothing: what the machine can send at all."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import requests
from standardwebhooks import Webhook

from deliveries.channels import Notification
from openvolt_events.processes import Child

REPOSITORY = Path(__file__).resolve().parent.parent.parent
THREADS = 16  # 8 to 32 do as well, more do worse
TIMEOUT_SECONDS = 15


def send_from_processes(processes: int, url: str, secret: str, payload: str, total: int) -> None:
    """Send `total` webhooks in all; return when the last one is answered."""
    command = [sys.executable, "-m", "openvolt_events.bench.bare_senders", url, secret, payload]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    senders = [
        Child(f"sender {nth}", [*command, str(share)], environment)
        for nth, share in enumerate(shares(total, processes))
    ]
    try:
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.wait()
    finally:
        for sender in senders:
            sender.kill()


def shares(total: int, among: int) -> Iterator[int]:
    yield from (total // among + (nth < total % among) for nth in range(among))


def send(url: str, secret: str, payload: str, total: int) -> None:
    """One process's share, from as many threads as serve best."""
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda number: send_in_turn(url, secret, payload, number), shares(total, THREADS)))


def send_in_turn(url: str, secret: str, payload: str, number: int) -> None:
    """One thread's share, on one connection that is kept."""
    subscription, signer = uuid4(), Webhook(secret)
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(number):
            notification = Notification(
                uuid4(), subscription, uuid4(), "user.created", datetime.now(UTC), payload
            )
            post(session, url, signer, notification).raise_for_status()


def post(
    session: requests.Session, url: str, signer: Webhook, notification: Notification
) -> requests.Response:
    body, moment, webhook_id = notification.body(), datetime.now(UTC), str(notification.delivery_id)
    headers = {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signer.sign(webhook_id, moment, body.decode()),
        "openvolt-event-id": str(notification.event_id),
    }
    return session.post(url, data=body, headers=headers, timeout=TIMEOUT_SECONDS)


if __name__ == "__main__":
    url, secret, payload, total = sys.argv[1:]
    send(url, secret, payload, int(total))
