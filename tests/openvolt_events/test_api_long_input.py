"""An error says what is wrong with the input, and does not send it back."""

from typing import Any

import pytest

from tests.support import factories
from tests.support.api import Api, problem_of

pytestmark = pytest.mark.django_db

LONG = "long/~" + "x" * 100_000
LONG_IN_16_KIB = "long/~" + "x" * 5_000
CUT = "long/~" + "x" * 94
BY_WEBHOOK = {"channel": "webhook", "url": "http://127.0.0.1:9/", "event_types": ["*"]}


@pytest.fixture
def webhook_id(owner) -> str:
    return str(factories.webhook(owner).id)


def errors_of(response: Any) -> list[dict[str, str]]:
    document = problem_of(response, 422)
    assert len(response.content) < 4_000
    assert len(document["detail"]) < 1_500
    assert not [error for error in document["errors"] if LONG[:200] in str(error)]
    errors: list[dict[str, str]] = document["errors"]
    return errors


@pytest.mark.parametrize(
    "value", [LONG, [LONG], {"a": LONG}, {LONG: [1]}], ids=["text", "list", "object", "name"]
)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("subscriptions", lambda value: {**BY_WEBHOOK, "channel": value}),
        ("subscriptions", lambda value: {**BY_WEBHOOK, "event_types": [value]}),
        ("subscriptions", lambda value: {**BY_WEBHOOK, "fallback": {"recipient": value}}),
        ("subscriptions", lambda value: {**BY_WEBHOOK, "url": value}),
        ("subscriptions", lambda value: {**BY_WEBHOOK, "description": value}),
        ("subscriptions", lambda value: {**BY_WEBHOOK, "ordered": value}),
        ("subscriptions", lambda value: {**BY_WEBHOOK, "rate_limit": value}),
        ("subscriptions", lambda value: {**BY_WEBHOOK, "retry_schedule": [value]}),
        ("subscriptions", lambda value: {**BY_WEBHOOK, "ordering_key": value}),
        ("subscriptions", lambda value: {**BY_WEBHOOK, "filter": value}),
        ("subscriptions/<id>/test", lambda value: {"type": value}),
        ("subscriptions/<id>/replays", lambda value: {"since": value, "only": value, "types": [value], "url": value}),
        ("subscriptions/<id>/rotate-secret", lambda value: {"overlap_seconds": value}),
        ("subscriptions/preview", lambda value: {"event_types": [value]}),
        ("events/preview", lambda value: {"application_id": value, "type": value, "payload": value}),
        ("api-keys", lambda value: {"scopes": [value]}),
        ("api-keys", lambda value: {"name": value, "expires_at": value}),
    ],
)  # fmt: skip
def test_a_long_value_is_not_sent_back(api: Api, webhook_id, path, body, value) -> None:
    assert errors_of(api.post("/v1/" + path.replace("<id>", webhook_id), body(value)))


@pytest.mark.parametrize("value", [LONG, [LONG], {LONG: [1]}], ids=["text", "list", "name"])
def test_neither_to_the_platform(platform: Api, value) -> None:
    event = {"application_id": value, "type": value, "payload": value, "occurred_at": value}

    assert errors_of(platform.post("/v1/events", event))
    assert errors_of(platform.post("/v1/events/batch", {"events": [{**event, "idempotency_key": value}]}))
    assert errors_of(platform.post("/v1/applications", {"name": value, "contacts": [value]}))


def test_of_a_wrong_choice_its_beginning_is_said_and_what_there_is(api: Api) -> None:
    [error] = errors_of(api.post("/v1/subscriptions", {**BY_WEBHOOK, "event_types": [LONG]}))

    assert f"{CUT}…" in error["detail"]
    assert "Choose from: *, " in error["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**BY_WEBHOOK, LONG: 1}, "/{}"),
        ({**BY_WEBHOOK, "fallback": {"recipient": "ann@example.org", LONG: 1}}, "/fallback/{}"),
        ({**BY_WEBHOOK, "headers": {LONG: "1"}}, "/headers/{}"),
        ({**BY_WEBHOOK, "headers": {LONG: "(not shown)"}}, "/headers/{}"),
        ({**BY_WEBHOOK, "filter": {"/" + LONG_IN_16_KIB.replace("/~", "~0~1"): 1}}, "/filter/~1{}"),
        ({**BY_WEBHOOK, "metadata": {"a": {LONG_IN_16_KIB: {"b": "\0"}}}}, "/metadata/a/{}/b"),
    ],
    ids=["field", "inner field", "header", "kept header", "filter", "metadata"],
)
def test_of_a_long_name_the_pointer_has_its_beginning(api: Api, body, pointer) -> None:
    [error] = errors_of(api.post("/v1/subscriptions", body))

    before, after = pointer.split("{}")
    step = error["pointer"].removeprefix(before).removesuffix(after)
    assert error["pointer"] == f"{before}{step}{after}"
    assert step.startswith("long~1~0xxx") or step.startswith("long~00~01xxx")
    assert step.endswith("x…")
    assert len(step.replace("~0", "~").replace("~1", "/")) <= 101


def test_so_has_that_of_a_payloads_key(owner, api: Api) -> None:
    payload = {"_id": "x", LONG: {"deep": "\0"}}

    [error] = errors_of(api.post("/v1/events/preview", {"type": "user.created", "payload": payload}))

    assert error["pointer"] == "/payload/" + CUT.replace("~", "~0").replace("/", "~1") + "…/deep"
