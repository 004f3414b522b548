"""A machine that has every address there is: who connects to any of them is seen by the listener there.

In a network namespace of its own (Linux, root), all of IPv4 and IPv6 is local.
`python -m tests.support.everywhere` reads URLs as JSON, sends a webhook to each, and writes the addresses
at which connections arrived.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from threading import Thread
from typing import Any
from uuid import uuid4

from deliveries.channels import Notification, WebhookTarget, webhook
from subscriptions import addresses

SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI="
PORT = 8443
ROUTES = [
    "link set lo up",
    "route add local 0.0.0.0/0 dev lo",
    "-6 route add local ::/0 dev lo",
]
RUN_SECONDS = 120


def is_possible() -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return not subprocess.run(["unshare", "--net", "ip", *ROUTES[0].split()], capture_output=True).returncode


def reached(urls: Sequence[str], names: Mapping[str, Sequence[str]], **settings: str) -> set[str]:
    """The addresses that were connected to by sending to these URLs. `names` lead where they say."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.support.everywhere"],
        env=os.environ
        | {"DJANGO_SETTINGS_MODULE": "openvolt_events.settings", "WEBHOOK_TIMEOUT": "2"}
        | settings,
        input=json.dumps({"urls": urls, "names": names}),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def listen(family: socket.AddressFamily, came: set[str]) -> None:
    listener = socket.create_server(("", PORT), family=family, backlog=128)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            came.add(connection.getsockname()[0])
            connection.close()

    Thread(target=accept, daemon=True).start()


def send_to(urls: Iterable[str], names: Mapping[str, Sequence[str]]) -> None:
    really = addresses.resolve

    def resolve(host: str, port: int, patience: timedelta) -> list[Any]:
        return [ip_address(one) for one in names[host]] if host in names else really(host, port, patience)

    addresses.resolve = resolve
    now = datetime.now(UTC)
    told = Notification(uuid4(), uuid4(), uuid4(), "user.created", now, "{}")
    for url in urls:
        webhook.send(told, WebhookTarget(url, (SECRET,)), now)


def main() -> None:
    for route in ROUTES:
        subprocess.run(["ip", *route.split()], check=True)
    came: set[str] = set()
    listen(socket.AF_INET, came)
    listen(socket.AF_INET6, came)
    given = json.load(sys.stdin)
    send_to(given["urls"], given["names"])
    print(json.dumps(sorted(came)))


if __name__ == "__main__":
    main()
