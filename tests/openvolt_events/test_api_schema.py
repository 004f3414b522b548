"""The OpenAPI document: valid, whole, and true. Generated requests look for answers that it does not describe."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.utils import timezone
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from deliveries.models import Attempt, Delivery
from deliveries.publishing import publish
from events.event_types import EVENT_TYPES
from openvolt_events.api.schema import document
from openvolt_events.wsgi import application
from tests.support import factories
from tests.support.api import Api, calls
from tests.support.world import World

DOCUMENT = json.loads(document())
CONFIG = SchemathesisConfig()
CONFIG.projects.default.generation.update(with_security_parameters=False)  # each test sends a key of its own
SCHEMA = schemathesis.openapi.from_wsgi("/v1/openapi.json", application, config=CONFIG)
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


def resolved(schema: Any) -> Any:
    """The same with the components that it refers to in it."""
    whole = {"$defs": DOCUMENT["components"]["schemas"], **schema}
    return json.loads(json.dumps(whole).replace("#/components/schemas/", "#/$defs/"))


def test_the_document_is_valid_openapi_3_1():
    validate_schema(DOCUMENT)

    assert DOCUMENT["openapi"].startswith("3.1")
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_document_is_for_anyone():
    response = Api().get("/v1/openapi.json")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == DOCUMENT


def test_the_document_has_every_call_that_there_is_and_no_other():
    there = {
        (f"/v1/{route.replace('<id:id>', '{id}').replace('<str:name>', '{name}')}", method.lower())
        for method, route in calls()
        if route != "openapi.json"  # a document does not describe itself
    }

    assert set(OPERATIONS) == there


def test_every_call_has_a_name_a_summary_and_says_which_key_it_needs():
    operations = [DOCUMENT["paths"][path][method] for path, method in OPERATIONS]

    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        assert "key" in operation["description"]
        assert "`queryset`" not in operation["description"]
        assert operation["security"] == [{"apiKey": []}, {"bearer": []}]


def test_both_ways_to_send_a_key_are_described():
    schemes = DOCUMENT["components"]["securitySchemes"]

    assert schemes["apiKey"] == {"type": "apiKey", "in": "header", "name": "x-api-key"}
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")


def test_every_reference_leads_somewhere():
    text = json.dumps(DOCUMENT)
    named = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}

    assert named <= set(DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_described_with_its_headers(path, method):
    operation = DOCUMENT["paths"][path][method]

    assert {"$ref": "#/components/parameters/RequestId"} in operation["parameters"]
    assert {"400", "401", "403", "422", "429", "503"} <= set(operation["responses"])
    for status, response in operation["responses"].items():
        headers = response["headers"]
        assert {"X-Request-Id", "RateLimit", "RateLimit-Policy"} <= set(headers)
        assert ("Retry-After" in headers) == (status in ("429", "503"))
    assert DOCUMENT["components"]["headers"]["X-Request-Id"]["required"]


@pytest.mark.parametrize("path", ["events", "deliveries", "subscriptions", "api-keys", "applications"])
def test_a_list_says_that_the_page_before_is_no_feed(path):
    answer = DOCUMENT["paths"][f"/v1/{path}"]["get"]["responses"]["200"]["content"]["application/json"]
    page = DOCUMENT["components"]["schemas"][answer["schema"]["$ref"].rpartition("/")[2]]["properties"]

    assert "older" in page["next"]["description"]
    assert "no feed" in page["previous"]["description"]


def test_an_event_that_has_not_changed_is_described():
    operation = DOCUMENT["paths"]["/v1/events/{id}"]["get"]

    assert "If-None-Match" in {parameter.get("name") for parameter in operation["parameters"]}
    assert "content" not in operation["responses"]["304"]
    assert operation["responses"]["304"]["headers"]["ETag"]["required"]
    assert operation["responses"]["200"]["headers"]["ETag"]["required"]


def test_a_repeated_publish_is_described():
    for path in ("/v1/events", "/v1/events/batch"):
        responses = DOCUMENT["paths"][path]["post"]["responses"]

        assert "idempotent-replayed" in responses["200"]["headers"]
        assert "idempotent-replayed" not in responses["201"]["headers"]


def test_a_subscription_is_described_by_its_channel():
    whole = DOCUMENT["components"]["schemas"]["NewSubscriptionRequest"]
    by_channel = {
        channel: DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]
        for channel, reference in whole["discriminator"]["mapping"].items()
    }
    fits = Draft202012Validator(resolved(whole)).is_valid
    webhook = {"channel": "webhook", "url": "https://example.com/", "event_types": ["*"]}
    email = {"channel": "email", "recipients": ["ann@example.org"], "event_types": ["*"]}

    assert "url" in by_channel["webhook"]["required"]
    assert "recipients" in by_channel["email"]["required"]
    assert [fits(webhook), fits(email)] == [True, True]
    assert not fits(webhook | {"recipients": ["ann@example.org"]})
    assert not fits(email | {"url": "https://example.com/"})
    assert not fits(webhook | {"channel": "email"})


def test_payloads_in_lists_are_described_as_optional():
    operation = DOCUMENT["paths"]["/v1/events"]["get"]
    [expand] = [one for one in operation["parameters"] if one.get("name") == "expand"]
    listed = DOCUMENT["components"]["schemas"]["ListedEvent"]

    assert expand["schema"]["enum"] == ["payload"]
    assert "payload" in listed["properties"]
    assert set(listed["properties"]) - set(listed["required"]) == {"payload"}


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_every_notification_is_described_and_its_example_fits(name):
    operation = DOCUMENT["webhooks"][name]["post"]
    content = operation["requestBody"]["content"]["application/json"]

    Draft202012Validator(resolved(content["schema"])).validate(content["example"])
    assert content["example"]["event_id"] == name
    assert content["example"]["payload"] == EVENT_TYPES[name].example
    headers = {one["name"] for one in operation["parameters"]}
    assert {"webhook-id", "webhook-timestamp", "webhook-signature", "openvolt-event-id"} <= headers


def test_the_notifications_are_those_of_the_catalogue():
    assert set(DOCUMENT["webhooks"]) == set(EVENT_TYPES)


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_what_is_really_sent_fits_its_description(name):
    owner = factories.application()
    factories.webhook(owner)
    publish(owner, name, factories.example(name))
    delivery = Delivery.objects.get()
    Attempt.objects.create(
        delivery=delivery,
        number=1,
        trigger="scheduled",
        started_at=timezone.now(),
        duration_ms=1,
        outcome="succeeded",
    )

    api = Api(factories.application_key(owner))
    sent = json.loads(api.get(f"/v1/deliveries/{delivery.id}").json()["attempts"][0]["request_body"])

    schema = DOCUMENT["webhooks"][name]["post"]["requestBody"]["content"]["application/json"]["schema"]
    Draft202012Validator(resolved(schema)).validate(sent)


@pytest.fixture
def world(db, monkeypatch) -> Iterator[World]:
    """As Django's own test client does, keeps requests from closing the connection of the test's transaction.

    Requests without a key, of which there are many, are not held up.
    """
    monkeypatch.setattr("django.conf.settings.RATE_LIMIT_ADDRESS", 1_000_000)
    monkeypatch.setattr(
        "subscriptions.addresses.resolve", no_such_name
    )  # generated names are nobody's business
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield World()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def no_such_name(*_: Any) -> Any:
    raise OSError("Name or service not known")


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_answer_to_a_good_request_is_as_described(world, path, method):
    operation = SCHEMA[path][method.upper()]
    extras: dict[str, Any] = {}
    if "requestBody" in operation.definition.raw:
        extras = {"body": world.body_of(path, method), "media_type": "application/json"}
    ids = {"id": world.id_in(path)} if "{id}" in path else {"name": "meter.created"}
    case = operation.Case(path_parameters=ids, **extras)

    response = case.call_and_validate(headers={"x-api-key": world.key_for(operation)})

    assert response.status_code < 300


@pytest.mark.django_db
@SCHEMA.parametrize()
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_generated_request_gets_an_answer_that_is_not_described(case, world):
    if is_uuid(case.path_parameters.get("id")):
        case.path_parameters["id"] = world.id_in(case.path)
    if isinstance(case.body, dict) and is_uuid(case.body.get("application_id")):
        case.body["application_id"] = str(world.owner.id)

    # What JSON Schema can't say makes good data bad: the address guard, ids that exist, the rules of a channel.
    case.call_and_validate(
        headers={"x-api-key": world.key_for(case.operation)}, excluded_checks=[positive_data_acceptance]
    )


def is_uuid(text: Any) -> bool:
    try:
        return bool(UUID(text))
    except (ValueError, TypeError, AttributeError):
        return False
