"""A developer gets a working client from the OpenAPI document with a generator, and uses it against the service."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from deliveries.dispatch import drain
from openvolt_events.api.schema import document
from tests.support import factories
from tests.support.receivers import Receiver

PACKAGE = "openvolt_generated_client"
GENERATE_SECONDS = 120
OPERATIONS = [
    operation for operations in json.loads(document())["paths"].values() for operation in operations.values()
]

pytestmark = pytest.mark.django_db(transaction=True)


class Generated:
    """The client's modules, by their names."""

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{PACKAGE}.{name}")

    def model(self, name: str) -> Any:
        return getattr(self.module("models"), name)

    def call(self, tag: str, operation: str) -> Any:
        return self.module(f"api.{tag}.{operation}").sync

    def client(self, url: str, key: str) -> Any:
        return self.module("client").AuthenticatedClient(
            base_url=url, token=key, prefix="", auth_header_name="x-api-key"
        )


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    """Made as its documentation says, without the formatters that it would run afterwards. Warnings are failures."""
    directory = tmp_path_factory.mktemp("client")
    (directory / "openapi.json").write_bytes(document())
    (directory / "config.yml").write_text("post_hooks: []\n")
    options = ["--meta", "none", "--config", "config.yml", "--output-path", PACKAGE, "--fail-on-warning"]
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", *options],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=GENERATE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(directory))
    yield Generated()
    sys.path.remove(str(directory))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["operationId"])
def test_the_client_has_every_call(generated, operation):
    tag = operation["tags"][0].replace("-", "_")

    assert generated.call(tag, operation["operationId"])


def test_a_developer_subscribes_is_told_and_reads_what_was_delivered(generated, live_server):
    owner = factories.application()
    platform = generated.client(live_server.url, factories.platform_key())
    own = generated.client(live_server.url, factories.application_key(owner))
    types = generated.model("EventTypesEnum")

    with Receiver() as receiver:
        wish = generated.model("NewWebhookSubscriptionRequest")(
            channel="webhook", url=receiver.url, event_types=[types.USER_CREATED]
        )
        subscription = generated.call("subscriptions", "create_subscription")(client=own, body=wish)
        event = generated.model("NewEventRequest")(
            application_id=owner.id,
            type_=generated.model("EventTypeName").USER_CREATED,
            payload=factories.example("user.created"),
        )
        published = generated.call("events", "publish_event")(client=platform, body=event)
        drain("webhook")
        [request] = receiver.wait_for(1)

    assert isinstance(published, generated.model("PublishedEvent"))
    assert subscription.secret.startswith("whsec_")
    assert request.headers["openvolt-event-id"] == str(published.id)

    listed = generated.call("events", "list_events")(client=own, limit=10)
    assert [one.id for one in listed.data] == [published.id]
    whole = generated.call("events", "get_event")(published.id, client=own)
    assert whole.payload == factories.example("user.created")
    assert whole.occurred_at.tzinfo is not None

    deliveries = generated.call("deliveries", "list_deliveries")(client=own, subscription_id=subscription.id)
    [delivery] = deliveries.data
    assert delivery.status is generated.model("DeliveryStatus").SUCCEEDED
    found = generated.call("deliveries", "get_delivery")(delivery.id, client=own)
    [attempt] = found.attempts
    assert (attempt.number, attempt.status_code) == (1, 204)
    assert attempt.outcome is generated.model("Outcome").SUCCEEDED
    assert attempt.timings.tls_ms is None


def test_a_developer_meets_an_error_as_a_type(generated, live_server):
    client = generated.client(live_server.url, factories.application_key(factories.application()))
    unknown = UUID("0192c5f1-7b60-7d3a-9a51-0c2f6be3a7d4")
    wish = generated.model("NewWebhookSubscriptionRequest")(
        channel="webhook",
        url="https://10.0.0.5/",
        event_types=[generated.model("EventTypesEnum").VALUE_0],
    )

    missing = generated.call("events", "get_event")(unknown, client=client)
    refused = generated.call("subscriptions", "create_subscription")(client=client, body=wish)

    assert isinstance(missing, generated.model("Problem"))
    assert missing.status == 404
    assert isinstance(refused, generated.model("Problem"))
    assert [(error.pointer, error.code) for error in refused.errors] == [("/url", "address")]


def test_a_developer_without_a_key_meets_the_same_type(generated, live_server):
    problem = generated.call("events", "list_events")(client=generated.client(live_server.url, "nonsense"))

    assert isinstance(problem, generated.model("Problem"))
    assert (problem.status, problem.title) == (401, "Unauthorized")
