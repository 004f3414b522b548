"""How much one call takes: bytes, and values, which cost more to read than bytes. What fits a payload is taken."""

import json

import pytest
from django.conf import settings

from events.models import Event
from openvolt_events.api.json import DEEPEST, Malformed, has_too_many_values, parsed
from tests.openvolt_events.test_api_bad_input import event, raw
from tests.support import factories
from tests.support.api import Api, path_of, problem_of

pytestmark = pytest.mark.django_db

BATCH = "events/batch"


@pytest.mark.parametrize(
    "route",
    [
        "events",
        "events/preview",
        "subscriptions",
        "subscriptions/preview",
        "api-keys",
    ],
)
def test_a_call_takes_no_more_than_one_event_needs(owner, platform, route):
    key = platform.key if route == "events" else factories.application_key(owner)

    response = raw(path_of(route), key, CONTENT_LENGTH=str(settings.MAX_BODY_BYTES + 1))

    assert f"{settings.MAX_BODY_BYTES} bytes (MAX_BODY_BYTES)" in problem_of(response, 413)["detail"]


def test_a_batch_may_be_larger(platform):
    larger = {"events": [], "x": "x" * settings.MAX_BODY_BYTES}
    response = raw(path_of(BATCH), platform.key, CONTENT_LENGTH=str(settings.MAX_BATCH_BYTES + 1))

    assert f"{settings.MAX_BATCH_BYTES} bytes (MAX_BATCH_BYTES)" in problem_of(response, 413)["detail"]
    assert problem_of(platform.post(path_of(BATCH), larger), 422)


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
def test_the_largest_payload_is_taken_however_it_is_escaped(owner, platform, character):
    room = settings.MAX_PAYLOAD_BYTES - len('{"_id":""}')
    text = character * (room // len(character.encode()))
    units = text.encode("utf-16-be")
    escaped = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))

    response = platform.post("/v1/events", event(owner, b'{"_id":"%s"}' % escaped.encode()))

    assert response.status_code == 201
    assert Event.objects.get().payload == f'{{"_id":"{text}"}}'


@pytest.mark.parametrize("values", ["[],", "{},", "1,"])
def test_the_payload_with_the_most_values_is_taken(owner, platform, values):
    room = settings.MAX_PAYLOAD_BYTES - len('{"_id":"x","a":[]}')
    payload = '{"_id":"x","a":[' + (values * (room // len(values)))[:-1] + "]}"

    assert platform.post("/v1/events", event(owner, payload.encode())).status_code == 201


def test_a_batch_of_far_too_many_values_is_refused_and_told_how_many_are_taken(owner, platform):
    events = [{"application_id": str(owner.id), "type": "user.created", "payload": {"_id": "x", "a": []}}]
    one = json.dumps(events)[1:-1].replace("[]", "[" + "[]," * 240_000 + "[]]")
    body = '{"events":[' + ",".join([one] * 30) + "]}"

    response = platform.post(path_of(BATCH), body.encode())

    assert f"{settings.MAX_BODY_VALUES} values (MAX_BODY_VALUES)" in problem_of(response, 413)["detail"]
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "body",
    ["[" + "[]," * 900_000 + "[]]", '{"event_types":[' + "{}," * 900_000 + "{}]}", "[" + '"",' * 2_000_000],
    ids=["lists", "objects", "texts"],
)
def test_a_reading_key_cannot_have_millions_of_values_read(owner, body):
    api = Api(factories.application_key(owner, scopes=["read"]))

    response = api.post("/v1/subscriptions/preview", body.encode())

    assert "MAX_BODY_VALUES" in problem_of(response, 413)["detail"]


@pytest.mark.parametrize(
    "text", [",[{" * 400_000, '\\"' + ",[{" * 400_000, '\\\\\\",' * 1_200_000, "\\\\", "\\u0022,"]
)
def test_what_only_stands_in_a_text_is_no_value(text):
    body = '{"a":"' + text + '","b":"' + ",[{" * 400_000 + '"}'

    assert json.loads(body)
    assert not has_too_many_values(body.encode())


def test_a_text_does_not_hide_what_comes_after_it():
    values = "[]," * settings.MAX_BODY_VALUES

    assert has_too_many_values(('["\\\\",' + values + '"\\""]').encode())
    assert has_too_many_values(('["\\"",' + values + '"\\\\"]').encode())


def test_as_deep_as_may_be_is_taken_and_one_deeper_is_not():
    nested = "[" * (DEEPEST - 2) + '{"a":[]}' + "]" * (DEEPEST - 2)

    assert parsed(nested)
    with pytest.raises(Malformed, match="nested deeper"):
        parsed(f"[{nested}]")
