"""Numbers are told as they were published: no digit more, no digit less."""

import json
import re

import pytest
from django.conf import settings
from django.utils import timezone

from deliveries.models import Delivery
from deliveries.publishing import publish
from events.models import Event
from events.payloads import PayloadRefused, encode, number
from tests.support import factories
from tests.support.api import Api, pointers_of, problem_of

pytestmark = pytest.mark.django_db

SPELLED = [
    "53.5",
    "53.50",
    "1e2",
    "1E+2",
    "0.1000000000000000055511151231257827",
    "-0.0",
    "0.0",
    "1e-400",
    "12345678901234567890",
    "9" * 308 + ".5",
    "0." + "3" * 50,
]


def body(owner, payload, **more):
    whole = {"application_id": str(owner.id), "type": "user.created", **more}
    return (json.dumps(whole)[:-1] + f',"payload":{payload}}}').encode()


def payload_in(answer):
    """The text of the payload in an answer, which is JSON without white space."""
    found = re.search(r'"payload":({"_id":"x","a":\[.*?\}\]\})', answer.decode())
    assert found, answer
    return found[1]


@pytest.mark.parametrize("spelled", SPELLED)
def test_a_number_is_kept_told_and_shown_as_it_was_published(owner, platform, spelled):
    factories.webhook(owner)
    api = Api(factories.application_key(owner))
    payload = f'{{"_id":"x","a":[{spelled},{{"b":{spelled}}}]}}'

    published = platform.post("/v1/events", body(owner, payload))

    event = Event.objects.get()
    delivery = Delivery.objects.get()
    assert published.status_code == 201
    assert event.payload == payload
    for answer in (
        published,
        api.get(f"/v1/events/{event.id}"),
        api.get("/v1/events?expand=payload"),
        api.post("/v1/events/preview", body(owner, payload)),
    ):
        assert payload_in(answer.content) == payload
        assert json.loads(answer.content)
    assert api.get(f"/v1/deliveries/{delivery.id}").status_code == 200


def test_what_is_around_a_number_is_as_compact_as_ever(owner, platform):
    payload = '{ "_id" : "\\u00e9\\u0022",\n "a\\\\" : [ 1.50 , null, true, "1.50", "\\u001f" ] }'

    platform.post("/v1/events", body(owner, payload))

    assert Event.objects.get().payload == '{"_id":"é\\"","a\\\\":[1.50,null,true,"1.50","\\u001f"]}'


def test_each_event_of_a_batch_keeps_its_own(owner, platform):
    items = [json.loads(body(owner, '{"_id":"x"}')) for _ in range(2)]
    text = (
        json.dumps({"events": items}).replace('"x"}', '"x","a":1.0}', 1).replace('"x"}', '"x","a":1.00}', 1)
    )

    platform.post("/v1/events/batch", text.encode())

    assert [event.payload for event in Event.objects.order_by("id")] == [
        '{"_id":"x","a":1.0}',
        '{"_id":"x","a":1.00}',
    ]


def test_a_publish_is_the_same_again_only_with_the_same_digits(owner, platform):
    def post(spelled):
        return platform.post(
            "/v1/events", body(owner, f'{{"_id":"x","a":{spelled}}}'), idempotency_key="digits"
        ).status_code

    assert [post("0.10000000000000000001"), post("0.10000000000000000001"), post("0.1")] == [201, 200, 409]


def test_a_batch_is_the_same_again_only_with_the_same_digits(owner, platform):
    def post(spelled):
        item = body(owner, f'{{"_id":"x","a":{spelled}}}')
        return platform.post(
            "/v1/events/batch", b'{"events":[%s]}' % item, idempotency_key="digits"
        ).status_code

    assert [post("0.10000000000000000001"), post("0.10000000000000000001"), post("0.1")] == [201, 200, 409]


@pytest.mark.parametrize("spelled", ["1.50", "1.5", "15e-1", "1.5000000000000000000001"])
def test_a_filter_compares_numbers_as_receivers_read_them(owner, platform, spelled):
    factories.webhook(owner, filter={"/a": [1.5]})

    platform.post("/v1/events", body(owner, f'{{"_id":"x","a":{spelled}}}'))

    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("spelled", ["1e400", "-1e400", "9" * 400])
def test_a_number_beyond_a_double_is_refused_with_its_place(owner, platform, spelled):
    answer = platform.post("/v1/events", body(owner, f'{{"_id":"x","a":[1.50,{spelled}]}}'))

    assert pointers_of(answer) == ["/payload/a/1"]


def test_the_limit_of_a_payload_counts_every_digit(owner, platform):
    answer = platform.post("/v1/events", body(owner, f'{{"_id":"x","a":1.5{"0" * 1024 * 1024}}}'))

    assert "MAX_PAYLOAD_BYTES" in problem_of(answer, 422)["detail"]


def test_a_payload_that_is_short_as_it_is_written_is_not_too_large(owner, platform):
    few = settings.MAX_PAYLOAD_BYTES // len("1e22,") - 10

    answer = platform.post("/v1/events", body(owner, '{"_id":"x","a":[' + "1e22," * few + "1]}"))

    assert answer.status_code == 201


def test_python_code_publishes_the_same_text(owner):
    payload = {"_id": "x", "a": [53.5, 100.0, 0.1, -0.0, 1e23, 5]}

    event = publish(owner, "user.created", payload, timezone.now())

    assert event.payload == '{"_id":"x","a":[53.5,100.0,0.1,-0.0,1e+23,5]}'


def test_a_number_that_python_code_has_read_by_our_rule_keeps_its_digits(owner):
    text = '{"_id":"x","a":[53.50,1e2]}'

    assert publish(owner, "user.created", json.loads(text, parse_float=number)).payload == text


def test_of_a_number_of_the_wrong_type_it_is_said_that_it_is_a_number(owner, platform):
    answer = platform.post("/v1/events", body(owner, '{"_id":1.50}'))

    assert "This is number" in problem_of(answer, 422)["errors"][0]["detail"]


@pytest.mark.parametrize("payload", [{"a": (1.5, [2])}, {"a": {"b": None}}, [True, "x", 10**300]])
def test_what_python_writes_as_json_is_taken(payload):
    assert json.loads(encode(payload)) == json.loads(json.dumps(payload))


@pytest.mark.parametrize(
    "payload",
    [{1: "x"}, {"a": {None: 1}}, {"a": {1, 2}}, [float("nan")], ["\0"], ["\ud800"], {"\0": 1}, [10**400]],
    ids=repr,
)
def test_what_json_cannot_say_is_refused(payload):
    with pytest.raises(PayloadRefused):
        encode(payload)
