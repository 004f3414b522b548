"""schemathesis, with all its checks, against the whole service as `make run` starts it, over real HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from openvolt_events.api.schema import document
from tests.support import factories
from tests.support.running import REPOSITORY, Running, free_port, new_directory

# Generated requests are many, and most have no key; nothing else about the service is other than in production.
SETTINGS = dict.fromkeys(("RATE_LIMIT_ADDRESS", "RATE_LIMIT_APPLICATION", "RATE_LIMIT_PLATFORM"), "1000000")
# What JSON Schema can't say makes good data bad for these: the address guard, ids that exist, a payload by its type,
# the rules of a channel, moments that have passed.
RULES_BEYOND_THE_SCHEMA = (
    "publish_event",
    "publish_events",
    "preview_event",
    "create_subscription",
    "change_subscription",
    "preview_subscription",
    "start_replay",
    "create_api_key",
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
    """An event, a subscription and a delivery that requests can find."""
    keys = running.keys
    subscription = {"channel": "webhook", "url": "http://127.0.0.1:9/", "event_types": ["*"]}
    event = {
        "application_id": keys["OPENVOLT_APPLICATION_ID"],
        "type": "user.created",
        "payload": factories.example("user.created"),
    }
    for path, body, key in [
        ("subscriptions", subscription, keys["OPENVOLT_API_KEY"]),
        ("events", event, keys["OPENVOLT_PLATFORM_KEY"]),
    ]:
        url = f"http://localhost:{running.port}/v1/{path}"
        requests.post(url, json=body, headers={"x-api-key": key}, timeout=10).raise_for_status()


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
        },
        text=True,
        **process,
    )


def own_key(running: Running) -> str:
    """The id of the key that the requests are sent with."""
    url, key = f"http://localhost:{running.port}/v1/api-keys", running.keys["OPENVOLT_API_KEY"]
    rows = requests.get(url, headers={"x-api-key": key}, timeout=10).json()["data"]
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
