"""schemathesis, with all its checks, against the whole service as `make run` starts it, over real HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import requests

from openvolt_events.api.schema import document
from tests.support import factories
from tests.support.running import REPOSITORY, Running, free_port, new_directory

# Generated requests are many, and most have no key; nothing else about the service is other than in production.
SETTINGS = dict.fromkeys(("RATE_LIMIT_ADDRESS", "RATE_LIMIT_APPLICATION", "RATE_LIMIT_PLATFORM"), "1000000")
LISTED = ("events", "subscriptions", "deliveries", "api-keys")
# What JSON Schema can't say makes good data bad for these: the address guard, ids that exist, a payload by its type,
# the rules of the channel that a subscription has, moments that have passed, what else is no address for emails.
RULES_BEYOND_THE_SCHEMA = (
    "publish_event",
    "publish_events",
    "preview_event",
    "create_subscription",
    "change_subscription",
    "start_replay",
    "create_api_key",
    "create_application",
)
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "422", "429"]


@contextmanager
def service() -> Iterator[Running]:
    with new_directory() as directory:
        running = Running(directory / "var", free_port(), SETTINGS)
        try:
            running.wait_until_up()
            furnish(running)
            yield running
        finally:
            running.end()


def furnish(running: Running) -> None:
    """Some of everything, so that requests find something behind each kind of id."""
    own, platform = (callers(running)[kind] for kind in ("application", "platform"))
    webhook = {"channel": "webhook", "url": "http://127.0.0.1:9/", "event_types": ["*"]}
    email = {"channel": "email", "recipients": ["ann@example.org"], "event_types": ["user.created"]}
    for subscription in (webhook, email):
        id = own("POST", "subscriptions", subscription)["id"]
    for _ in range(3):
        event = {
            "application_id": running.keys["OPENVOLT_APPLICATION_ID"],
            "type": "user.created",
            "payload": factories.example("user.created"),
        }
        platform("POST", "events", event)
    own("POST", f"subscriptions/{id}/replays", {"since": "2026-01-01T00:00:00Z", "only": "all"})
    own("POST", "api-keys", {"name": "spare"})


def callers(running: Running) -> dict[str, Callable[..., Any]]:
    """For each kind of key, what calls the API with it."""
    keys = {"application": "OPENVOLT_API_KEY", "platform": "OPENVOLT_PLATFORM_KEY"}
    return {kind: partial(call, running.port, running.keys[name]) for kind, name in keys.items()}


def call(port: int, key: str, method: str, path: str, body: Any = None) -> Any:
    url = f"http://localhost:{port}/v1/{path}"
    response = requests.request(method, url, json=body, headers={"x-api-key": key}, timeout=10)
    response.raise_for_status()
    return response.json()


def ids(running: Running) -> dict[str, list[str]]:
    """What there is, but for the key that the requests are sent with."""
    own = callers(running)["application"]
    found = {kind: [row["id"] for row in own("GET", kind)["data"]] for kind in LISTED}
    replays = [own("GET", f"subscriptions/{id}/replays")["data"] for id in found["subscriptions"]]
    found["replays"] = [row["id"] for rows in replays for row in rows]
    found["api-keys"].remove(own_key(running))
    return {**found, "applications": [running.keys["OPENVOLT_APPLICATION_ID"]]}


def fuzz(running: Running, *options: str, **process: Any) -> subprocess.CompletedProcess[str]:
    """What schemathesis says of it. `options` are those of its command line."""
    configuration = running.var / "schemathesis.toml"
    configuration.write_text(configured(running.keys))
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(configuration),
        "run",
    ]
    return subprocess.run(
        [*command, f"http://localhost:{running.port}/v1/openapi.json", "--checks", "all", *options],
        cwd=running.var,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
            "PYTHONPATH": str(REPOSITORY),
            "FUZZ_KEY_ID": own_key(running),
            "FUZZ_IDS": json.dumps(ids(running)),
        },
        text=True,
        **process,
    )


def own_key(running: Running) -> str:
    """The id of the key that the requests are sent with."""
    key = running.keys["OPENVOLT_API_KEY"]
    rows = callers(running)["application"]("GET", "api-keys")["data"]
    return next(str(row["id"]) for row in rows if key.startswith(row["prefix"]))


def configured(keys: Mapping[str, str]) -> str:
    """Which key each operation needs, and which of them have rules beyond the schema."""
    parts = [f'headers = {{ "x-api-key" = "{keys["OPENVOLT_API_KEY"]}" }}']
    for name, operation in operations():
        lines = []
        if "a platform key" in operation["description"]:
            lines.append(f'headers = {{ "x-api-key" = "{keys["OPENVOLT_PLATFORM_KEY"]}" }}')
        if operation["operationId"] in RULES_BEYOND_THE_SCHEMA:
            lines.append(f"checks.positive_data_acceptance.expected-statuses = {json.dumps(ACCEPTED)}")
        if lines:
            parts.append("\n".join(["[[operations]]", f'include-name = "{name}"', *lines]))
    return "\n\n".join(parts) + "\n"


def operations() -> Sequence[tuple[str, dict[str, Any]]]:
    paths = json.loads(document())["paths"]
    return [
        (f"{method.upper()} {path}", operation)
        for path, some in paths.items()
        for method, operation in some.items()
    ]
