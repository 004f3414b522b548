"""Publishing events, listing them page by page, and telling them again."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain
from threading import Barrier

import pytest
import time_machine
from django.conf import settings
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from deliveries.lifecycle import delete_subscription, pause
from deliveries.models import Delivery
from deliveries.publishing import publish
from events.event_types import EVENT_TYPES
from events.idempotency import forget_idempotency_keys
from events.models import Event, IdempotencyKey
from tests.support import factories
from tests.support.api import READING, Api, pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 3, 10, 30, tzinfo=UTC)


def body(owner, type="user.created", **fields):
    return {"application_id": str(owner.id), "type": type, "payload": factories.example(type), **fields}


def events_of(owner, count, type="user.created"):
    return [publish(owner, type, factories.example(type)) for _ in range(count)]


def ids(rows):
    return [str(row.id) for row in rows]


def listed(response):
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["data"]]


def walk(api, url, direction):
    """Every page from this one on, as the lists of their ids."""
    pages = []
    while url:
        response = api.get(url)
        pages.append(listed(response))
        url = response.json()[direction]
    return pages


def test_publishing_answers_201_with_the_event_once_its_deliveries_are_stored(owner, platform):
    factories.webhook(owner)
    factories.webhook(owner, types=["meter.created"])
    payload = {"z": 1, "_id": "u1", "name": "Zoë", "nested": {"b": [None, True, 1.5], "a": {}}}

    response = platform.post(
        "/v1/events", body(owner, payload=payload, occurred_at="2024-05-02T13:31:26.257+01:00")
    )

    assert response.status_code == 201
    answer = response.json()
    event = Event.objects.get()
    assert answer == {
        "id": str(event.id),
        "application_id": str(owner.id),
        "type": "user.created",
        "occurred_at": "2024-05-02T12:31:26.257Z",
        "created_at": answer["created_at"],
        "test": False,
        "payload": payload,
    }
    assert list(answer["payload"]) == list(payload)
    assert Delivery.objects.filter(event=event).due(timezone.now()).count() == 1


def test_an_event_without_a_moment_happened_when_it_was_published(owner, platform):
    answer = platform.post("/v1/events", body(owner)).json()

    assert answer["occurred_at"] == answer["created_at"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"])
def test_the_first_and_the_last_moment_of_the_calendar_are_kept(owner, platform, api, moment):
    id = platform.post("/v1/events", body(owner, occurred_at=moment)).json()["id"]

    assert api.get(f"/v1/events/{id}").json()["occurred_at"][:19] == moment[:19]


@pytest.mark.parametrize("type", sorted(EVENT_TYPES))
def test_every_example_of_the_catalogue_can_be_published(owner, platform, type):
    assert platform.post("/v1/events", body(owner, type)).status_code == 201


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"type": "meter.melted"}, "/type"),
        ({"type": "user.created "}, "/type"),
        ({"type": None}, "/type"),
        ({"type": 5}, "/type"),
        ({"application_id": "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"}, "/application_id"),
        ({"application_id": "me"}, "/application_id"),
        ({"payload": None}, "/payload"),
        ({"payload": {"name": "no id"}}, "/payload/_id"),
        ({"payload": {"_id": 5}}, "/payload/_id"),
        ({"payload": {"_id": "x", "a/b": {"~": "\0"}}}, "/payload/a~1b/~0"),
        ({"payload": {"_id": "x" * 1024 * 1024}}, "/payload"),
        ({"occurred_at": "yesterday"}, "/occurred_at"),
        ({"occurred_at": "2026-10-25T00:30:00"}, "/occurred_at"),
        ({"occurred_at": "2026-10-25"}, "/occurred_at"),
        ({"occurred_at": 1761352200}, "/occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "/occurred_at"),
        ({"occurred_at": "9999-12-31T23:59:59-14:00"}, "/occurred_at"),
        ({"idempotency_key": "in a header, please"}, "/idempotency_key"),
        ({"a/b": 1}, "/a~1b"),
    ],
)
def test_an_event_that_breaks_a_rule_is_refused_with_the_place_and_nothing_is_stored(
    owner, platform, change, pointer
):
    factories.webhook(owner)
    before = rows_stored()

    response = platform.post("/v1/events", {**body(owner), **change})

    assert pointers_of(response) == [pointer]
    assert rows_stored() == before


@pytest.mark.parametrize("missing", ["application_id", "type", "payload"])
def test_what_an_event_needs_is_named_when_it_is_missing(owner, platform, missing):
    whole = body(owner)
    del whole[missing]

    assert pointers_of(platform.post("/v1/events", whole)) == [f"/{missing}"]


def test_every_fault_of_an_event_is_named_at_once(owner, platform):
    response = platform.post("/v1/events", {"application_id": "x", "occurred_at": "y", "colour": "blue"})

    assert set(pointers_of(response)) == {"/application_id", "/type", "/payload", "/occurred_at", "/colour"}


def test_a_payload_that_is_too_large_names_the_limit(owner, platform):
    response = platform.post("/v1/events", body(owner, payload={"_id": "x" * settings.MAX_PAYLOAD_BYTES}))

    assert "MAX_PAYLOAD_BYTES" in problem_of(response, 422)["detail"]


def test_the_same_idempotency_key_and_body_answer_the_first_event_again(owner, platform):
    factories.webhook(owner)
    first = platform.post("/v1/events", body(owner), idempotency_key="import-7")

    second = platform.post("/v1/events", body(owner), idempotency_key="import-7")

    assert (first.status_code, second.status_code) == (201, 200)
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.json() == first.json()
    assert (Event.objects.count(), Delivery.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": {"_id": "another"}},
        {"type": "meter.created", "payload": factories.example("meter.created")},
        {"occurred_at": "2026-01-01T00:00:00Z"},
    ],
)
def test_the_same_idempotency_key_with_another_body_is_a_conflict(owner, platform, change):
    platform.post("/v1/events", body(owner), idempotency_key="import-7")

    response = platform.post("/v1/events", {**body(owner), **change}, idempotency_key="import-7")

    document = problem_of(response, 409)
    assert document["type"] == "urn:openvolt:problem:idempotency-conflict"
    assert "import-7" in document["detail"]
    assert Event.objects.count() == 1


def test_the_same_idempotency_key_for_another_application_is_a_conflict(owner, platform):
    platform.post("/v1/events", body(owner), idempotency_key="import-7")

    response = platform.post("/v1/events", body(factories.application()), idempotency_key="import-7")

    assert problem_of(response, 409)


def test_a_refused_publish_leaves_its_idempotency_key_free(owner, platform):
    problem_of(platform.post("/v1/events", body(owner, payload={}), idempotency_key="k"), 422)

    assert platform.post("/v1/events", body(owner), idempotency_key="k").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "schlüssel"])
def test_an_idempotency_key_that_is_no_short_visible_text_is_refused(owner, platform, key):
    response = platform.post("/v1/events", body(owner), idempotency_key=key)

    assert "Idempotency-Key" in problem_of(response, 422)["detail"]
    assert not Event.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_fifty_publishers_at_once_with_one_idempotency_key_make_one_event(owner, platform):
    factories.webhook(owner)
    together = Barrier(50)

    def publish_once(_):
        api = Api(platform.key)
        together.wait(timeout=30)
        try:
            return api.post("/v1/events", body(owner), idempotency_key="race")
        finally:
            connection.close()

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(publish_once, range(50)))

    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert (Event.objects.count(), Delivery.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_two_publishers_at_once_with_one_idempotency_key_and_different_bodies_make_one_event(owner, platform):
    together = Barrier(2)

    def publish_once(number):
        api = Api(platform.key)
        together.wait(timeout=30)
        try:
            return api.post("/v1/events", body(owner, payload={"_id": f"u{number}"}), idempotency_key="race")
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(publish_once, range(2)))

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert Event.objects.count() == 1


def test_a_batch_is_published_in_its_order(owner, platform):
    other = factories.application("Another")
    factories.webhook(owner)
    items = [body(owner), body(other, "meter.created"), body(owner, "meter.created")]

    response = platform.post("/v1/events/batch", {"events": items})

    assert response.status_code == 201
    data = response.json()["data"]
    assert [(one["application_id"], one["type"]) for one in data] == [
        (str(owner.id), "user.created"),
        (str(other.id), "meter.created"),
        (str(owner.id), "meter.created"),
    ]
    assert [one["id"] for one in data] == sorted(one["id"] for one in data)
    assert data[1]["payload"] == factories.example("meter.created")
    assert Delivery.objects.count() == 2


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"payload": {"_id": 5}}, "/events/1/payload/_id"),
        ({"payload": {"_id": "x" * 1024 * 1024}}, "/events/1/payload"),
        ({"type": "meter.melted"}, "/events/1/type"),
        ({"application_id": "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"}, "/events/1/application_id"),
        ({"colour": "blue"}, "/events/1/colour"),
        ({"occurred_at": "soon"}, "/events/1/occurred_at"),
        ({"idempotency_key": ""}, "/events/1/idempotency_key"),
        ({"idempotency_key": "x" * 256}, "/events/1/idempotency_key"),
    ],
)
def test_one_bad_item_refuses_the_whole_batch_and_is_pointed_at(owner, platform, change, pointer):
    factories.webhook(owner)
    before = rows_stored()

    response = platform.post("/v1/events/batch", {"events": [body(owner), {**body(owner), **change}]})

    assert pointers_of(response) == [pointer]
    assert rows_stored() == before


@pytest.mark.parametrize("events", [[], {}, None, "x", [5], [[]]])
def test_a_batch_that_is_empty_or_no_list_of_events_is_refused(platform, events):
    response = platform.post("/v1/events/batch", {"events": events})

    assert pointers_of(response)[0].startswith("/events")


def test_a_thousand_events_are_a_batch_and_one_more_is_too_many(owner, platform):
    factories.webhook(owner)
    items = [body(owner, payload={"_id": str(number)}) for number in range(1001)]

    refused = platform.post("/v1/events/batch", {"events": items})
    accepted = platform.post("/v1/events/batch", {"events": items[:1000]})

    assert "MAX_BATCH_EVENTS" in problem_of(refused, 422)["detail"]
    assert [one["payload"]["_id"] for one in accepted.json()["data"]] == [str(n) for n in range(1000)]
    assert (Event.objects.count(), Delivery.objects.count()) == (1000, 1000)


def test_a_batch_that_is_wrong_everywhere_names_the_first_hundred_faults(platform):
    document = problem_of(platform.post("/v1/events/batch", {"events": [{}] * 1000}), 422)

    assert len(document["errors"]) == 100
    assert "2999 more, errors has the first 100" in document["detail"]


def test_items_with_known_idempotency_keys_answer_their_first_events(owner, platform):
    first = platform.post("/v1/events", body(owner), idempotency_key="one").json()

    mixed = platform.post(
        "/v1/events/batch",
        {"events": [body(owner, idempotency_key="one"), body(owner, idempotency_key="two")]},
    )
    again = platform.post(
        "/v1/events/batch",
        {"events": [body(owner, idempotency_key="one"), body(owner, idempotency_key="two")]},
    )

    assert mixed.status_code == 201
    assert "idempotent-replayed" not in mixed.headers
    assert mixed.json()["data"][0] == first
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == mixed.json()
    assert Event.objects.count() == 2


def test_an_items_idempotency_key_with_another_body_refuses_the_batch(owner, platform):
    platform.post("/v1/events", body(owner), idempotency_key="one")

    response = platform.post(
        "/v1/events/batch",
        {"events": [body(owner), body(owner, idempotency_key="one", payload={"_id": "another"})]},
    )

    document = problem_of(response, 409)
    assert document["type"] == "urn:openvolt:problem:idempotency-conflict"
    assert "'one'" in document["detail"]
    assert [error["pointer"] for error in document["errors"]] == ["/events/1/idempotency_key"]
    assert Event.objects.count() == 1


def test_a_batch_names_the_faults_of_all_its_items(owner, platform):
    items = [
        body(owner),
        body(owner, payload={}),
        body(owner) | {"type": "user.melted"},
        body(owner, payload=7),
    ]

    document = problem_of(platform.post("/v1/events/batch", {"events": items}), 422)

    assert {error["pointer"].split("/")[2] for error in document["errors"]} == {"1", "2", "3"}
    assert not Event.objects.exists()


def test_a_batch_names_every_fault_at_once_whichever_way_it_is_found(owner, platform):
    nowhere = "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"
    items = [
        body(owner) | {"colour": "blue"},
        body(owner) | {"type": "user.melted"},
        body(owner, payload={}, occurred_at="yesterday"),
        body(owner) | {"application_id": nowhere},
        body(owner, payload=7) | {"application_id": "none"},
        "no item",
        body(owner) | {"type": 5},
        body(owner),
    ]

    document = problem_of(platform.post("/v1/events/batch", {"events": items}), 422)

    assert [(error["pointer"], error["code"]) for error in document["errors"]] == [
        ("/events/0/colour", "unknown"),
        ("/events/1/type", "unknown_type"),
        ("/events/2/occurred_at", "invalid"),
        ("/events/2/payload/_id", "required"),
        ("/events/3/application_id", "not_found"),
        ("/events/4/application_id", "invalid"),
        ("/events/4/payload", "type"),
        ("/events/5", "invalid"),
        ("/events/6/type", "invalid"),
    ]
    assert not Event.objects.exists()


def test_a_publish_names_every_fault_at_once(owner, platform):
    sent = body(owner, payload={}, occurred_at="yesterday")

    assert pointers_of(platform.post("/v1/events", sent)) == ["/occurred_at", "/payload/_id"]


@pytest.mark.parametrize(
    "key", ["a\nb", "a\u0085b", "\u001b[2J", "Zähler 7", "\u3000", " one", "one ", " ", "a\x7f", "x" * 256]
)
def test_an_items_idempotency_key_is_none_that_the_header_could_not_be(owner, platform, key):
    refused = platform.post("/v1/events/batch", {"events": [body(owner, idempotency_key=key)]})

    assert pointers_of(refused) == ["/events/0/idempotency_key"]
    assert "visible ASCII" in problem_of(refused, 422)["errors"][0]["detail"]
    assert not Event.objects.exists()


@pytest.mark.parametrize("key", ["import 4711", '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "x" * 255, "~!"])
def test_an_items_idempotency_key_is_known_in_the_header_too(owner, platform, key):
    [first] = platform.post("/v1/events/batch", {"events": [body(owner, idempotency_key=key)]}).json()["data"]

    again = platform.post("/v1/events", body(owner), idempotency_key=key)

    assert (again.status_code, again.json()) == (200, first)


def test_a_key_that_named_a_batch_names_no_other_body(owner, platform):
    items = [body(owner, idempotency_key="own"), body(owner, idempotency_key="another")]
    platform.post("/v1/events/batch", {"events": items}, idempotency_key="night")

    shorter = platform.post("/v1/events/batch", {"events": items[:1]}, idempotency_key="night")
    single = platform.post("/v1/events", body(owner), idempotency_key="night")
    again = platform.post("/v1/events/batch", {"events": items}, idempotency_key="night")

    assert "'night'" in problem_of(shorter, 409)["detail"]
    assert "'night'" in problem_of(single, 409)["detail"]
    assert again.status_code == 200
    assert Event.objects.count() == 2


def test_a_key_that_named_an_event_names_no_batch(owner, platform):
    platform.post("/v1/events", body(owner), idempotency_key="night")

    batch = platform.post("/v1/events/batch", {"events": [body(owner)]}, idempotency_key="night")

    assert "'night'" in problem_of(batch, 409)["detail"]
    assert Event.objects.count() == 1


def test_a_batch_whose_first_item_was_published_before_is_safe_to_repeat(owner, platform):
    known = platform.post("/v1/events", body(owner), idempotency_key="own").json()
    items = [body(owner, idempotency_key="own"), body(owner, "meter.created")]

    first = platform.post("/v1/events/batch", {"events": items}, idempotency_key="night")
    again = platform.post("/v1/events/batch", {"events": items}, idempotency_key="night")

    assert first.json()["data"][0] == known
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    assert Event.objects.count() == 2


def test_the_header_makes_a_whole_batch_safe_to_repeat(owner, platform):
    items = [body(owner), body(owner), body(owner, "meter.created")]
    first = platform.post("/v1/events/batch", {"events": items}, idempotency_key="night")

    again = platform.post("/v1/events/batch", {"events": items}, idempotency_key="night")
    other = platform.post("/v1/events/batch", {"events": items[:2]}, idempotency_key="night")

    assert first.status_code == 201
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert problem_of(other, 409)
    assert Event.objects.count() == 3


def test_the_header_stands_for_the_items_that_have_no_key_of_their_own(owner, platform):
    items = [body(owner, idempotency_key="own"), body(owner)]
    first = platform.post("/v1/events/batch", {"events": items}, idempotency_key="night").json()

    alone = platform.post("/v1/events", body(owner), idempotency_key="own")
    again = platform.post("/v1/events/batch", {"events": items}, idempotency_key="night")

    assert alone.json() == first["data"][0]
    assert (again.status_code, again.json()) == (200, first)
    assert Event.objects.count() == 2


def test_the_list_is_newest_first_and_without_payloads(owner, api):
    events = events_of(owner, 3)

    response = api.get("/v1/events")

    assert listed(response) == ids(events[::-1])
    assert "payload" not in response.json()["data"][0]
    assert response.json()["next"] is None
    assert response.json()["previous"] is None


def test_the_list_is_filtered_by_type_and_moment(owner, api):
    times = [datetime(2026, 10, day, tzinfo=UTC) for day in (1, 2, 3)]
    early, _, late = (
        publish(owner, type, factories.example(type), occurred_at=moment)
        for type, moment in zip(("user.created", "user.created", "meter.created"), times, strict=True)
    )

    assert listed(api.get("/v1/events?type=meter.created")) == [str(late.id)]
    assert listed(api.get("/v1/events?occurred_after=2026-10-02T00:00:00Z")) == [str(late.id)]
    assert listed(api.get("/v1/events?occurred_before=2026-10-02T00:00:00.000Z")) == [str(early.id)]
    assert listed(api.get("/v1/events?occurred_before=2026-10-02T01:00:00%2B01:00")) == [str(early.id)]
    assert listed(api.get("/v1/events?type=meter.created&occurred_before=2026-10-02T00:00:00Z")) == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=abc",
        "limit=-1",
        "limit=",
        "limit=0001999",
        "limit=99999999999999999999",
        "limit=%D9%A3",
        "limit=5&limit=6",
        "cursor=abc",
        "cursor=%F0%9F%98%80",
        "cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "cursor=",
        "type=meter.melted",
        "type=",
        "occurred_after=yesterday",
        "occurred_after=2026-10-25",
        "occurred_after=2026-10-25T00:00:00",
        "occurred_after=0001-01-01T00:00:00%2B14:00",
        "occurred_before=%00",
    ],
)
def test_a_list_refuses_a_query_that_it_does_not_understand_and_names_the_parameter(api, query):
    assert pointers_of(api.get(f"/v1/events?{query}")) == ["/" + query.partition("=")[0]]


def test_a_limit_is_at_most_200(owner, api, platform):
    platform.post("/v1/events/batch", {"events": [body(owner, payload={"_id": "x"})] * 201})

    assert len(listed(api.get("/v1/events"))) == 50
    assert len(listed(api.get("/v1/events?limit=200"))) == 200
    assert len(listed(api.get("/v1/events?limit=1"))) == 1


def test_pages_forward_have_everything_once_while_events_arrive(owner, api):
    events = events_of(owner, 7)
    first = api.get("/v1/events?limit=3&type=user.created")
    events_of(owner, 2)

    rest = walk(api, first.json()["next"], "next")

    pages = [listed(first), *rest]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert list(chain(*pages)) == ids(events[::-1])


def test_pages_backward_have_everything_once_and_end_at_what_arrived_since(owner, api):
    events = events_of(owner, 7)
    last = api.get("/v1/events?limit=3")
    while last.json()["next"]:
        last = api.get(last.json()["next"])
    events += events_of(owner, 2)

    pages = [listed(last), *walk(api, last.json()["previous"], "previous")]

    assert list(chain(*reversed(pages))) == ids(events[::-1])


def test_the_first_page_has_no_previous_and_the_last_no_next(owner, api):
    events_of(owner, 4)
    first = api.get("/v1/events?limit=2").json()
    second = api.get(first["next"]).json()
    back = api.get(second["previous"]).json()

    assert first["previous"] is None
    assert second["next"] is None
    assert back["data"] == first["data"]
    assert back["previous"] is None
    assert api.get(back["next"]).json()["data"] == second["data"]


def test_the_single_event_has_its_payload_as_published_and_its_deliveries(owner, api):
    subscription = factories.webhook(owner)
    factories.confirmed_emails(owner)
    payload = {"z": 1, "_id": "u1", "a": {"y": 1, "x": 2}}
    event = publish(owner, "user.created", payload)

    response = api.get(f"/v1/events/{event.id}")

    answer = response.json()
    assert '"payload":{"z":1,"_id":"u1","a":{"y":1,"x":2}}' in response.content.decode()
    by_email, by_webhook = answer["deliveries"]
    assert by_email["recipient"] == "ann@example.org"
    assert by_webhook["recipient"] is None
    assert by_webhook["subscription_id"] == str(subscription.id)
    assert (by_webhook["status"], by_webhook["attempt_count"]) == ("pending", 0)
    assert by_webhook["id"] == str(event.deliveries.get(subscription=subscription).id)


def test_the_number_of_queries_of_a_list_of_events_does_not_grow_with_its_rows(
    owner, api, django_assert_num_queries, django_assert_max_num_queries
):
    factories.webhook(owner)
    factories.confirmed_emails(owner, ["a@example.org", "b@example.org"])
    api.get("/v1/events")  # notes the use of the key, once a minute
    events = events_of(owner, 20)

    with django_assert_num_queries(2 + READING):
        api.get("/v1/events")
    with django_assert_max_num_queries(3):
        api.get(f"/v1/events/{events[0].id}")


def test_a_replay_makes_new_deliveries_of_the_same_event_to_what_matches_now(owner, api):
    before = factories.webhook(owner)
    event = publish(owner, "user.created", factories.example("user.created"))
    after = factories.webhook(owner, types=["user.created"])
    factories.webhook(owner, types=["meter.created"])
    pause(factories.webhook(owner), timezone.now())
    delete_subscription(factories.webhook(owner), timezone.now())

    response = api.post(f"/v1/events/{event.id}/replay")

    assert response.status_code == 202
    data = response.json()["data"]
    assert {one["subscription_id"] for one in data} == {str(before.id), str(after.id)}
    assert {one["event_id"] for one in data} == {str(event.id)}
    assert {(one["trigger"], one["status"]) for one in data} == {("replay", "pending")}
    assert len({str(event.deliveries.get(trigger="scheduled").id)} | {one["id"] for one in data}) == 3
    assert Event.objects.count() == 1


def test_a_replay_to_named_subscriptions_goes_to_these_alone(owner, api):
    [event] = events_of(owner, 1)
    factories.webhook(owner)
    named = factories.webhook(owner, types=["meter.created"])

    response = api.post(f"/v1/events/{event.id}/replay", {"subscription_ids": [str(named.id)] * 2})

    assert [one["subscription_id"] for one in response.json()["data"]] == [str(named.id)]


def test_a_replay_to_a_paused_subscription_is_held_until_it_is_resumed(owner, api):
    [event] = events_of(owner, 1)
    paused = factories.webhook(owner)
    pause(paused, timezone.now())

    [held] = api.post(f"/v1/events/{event.id}/replay", {"subscription_ids": [str(paused.id)]}).json()["data"]
    api.post(f"/v1/subscriptions/{paused.id}/resume")

    assert (held["status"], held["next_attempt_at"]) == ("held", None)
    assert api.get(f"/v1/deliveries/{held['id']}").json()["status"] == "pending"


def test_a_replay_to_a_foreign_or_deleted_subscription_is_404_and_points_at_it(owner, api):
    [event] = events_of(owner, 1)
    own, deleted = factories.webhook(owner), factories.webhook(owner)
    foreign = factories.webhook(factories.application("Another"))
    delete_subscription(deleted, timezone.now())

    response = api.post(
        f"/v1/events/{event.id}/replay",
        {"subscription_ids": [str(own.id), str(foreign.id), str(deleted.id)]},
    )

    assert pointers_of(response, 404) == ["/subscription_ids/1", "/subscription_ids/2"]
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("wanted", [[], None, "all", ["x"], [None]])
def test_a_replay_to_what_is_no_list_of_ids_is_refused(owner, api, wanted):
    factories.webhook(owner)
    [event] = events_of(owner, 1)

    response = api.post(f"/v1/events/{event.id}/replay", {"subscription_ids": wanted})

    assert pointers_of(response)[0].startswith("/subscription_ids")
    assert Delivery.objects.filter(trigger="replay").count() == 0


def test_a_replay_of_an_event_that_nobody_wants_makes_nothing(owner, api):
    [event] = events_of(owner, 1)

    response = api.post(f"/v1/events/{event.id}/replay")

    assert (response.status_code, response.json()) == (202, {"data": []})


def test_an_old_event_is_replayed_with_the_moment_it_happened(owner, api, platform):
    happened = timezone.now() - timedelta(days=400)
    subscription = factories.webhook(owner)
    event = publish(owner, "user.created", factories.example("user.created"), occurred_at=happened)

    [made] = api.post(f"/v1/events/{event.id}/replay", {"subscription_ids": [str(subscription.id)]}).json()[
        "data"
    ]

    assert Delivery.objects.get(id=made["id"]).event.occurred_at == happened


def test_a_list_has_the_payloads_if_they_are_asked_for(owner, api, django_assert_num_queries):
    payloads = [{"z": 1, "_id": f"u{number}", "a": {"y": 1, "x": 2}} for number in range(5)]
    events = [publish(owner, "user.created", payload) for payload in payloads]
    api.get("/v1/events")  # notes the use of the key, once a minute

    with django_assert_num_queries(3 + READING):
        response = api.get("/v1/events?expand=payload&limit=3&type=user.created")

    assert [row["payload"] for row in response.json()["data"]] == payloads[:1:-1]
    assert '"payload":{"z":1,"_id":"u4","a":{"y":1,"x":2}}' in response.content.decode()
    [rest] = walk(api, response.json()["next"], "next")
    assert rest == ids(events[1::-1])
    assert "payload" in api.get(response.json()["next"]).json()["data"][0]


@pytest.mark.parametrize("expand", ["", "deliveries", "payload,deliveries", "Payload", "%00"])
def test_what_can_not_be_expanded_is_refused(api, expand):
    assert pointers_of(api.get(f"/v1/events?expand={expand}")) == ["/expand"]


def test_pages_with_large_payloads_are_shorter_and_have_everything_once(owner, api, monkeypatch):
    monkeypatch.setattr("openvolt_events.api.events.MOST_PAGE_BYTES", 1000)
    sizes = [5000, 10, 2000, 400, 400, 400, 10, 5000]
    events = [publish(owner, "user.created", {"_id": "x" * size}) for size in sizes]

    forward = walk(api, "/v1/events?expand=payload", "next")
    last = api.get("/v1/events?expand=payload")
    while last.json()["next"]:
        last = api.get(last.json()["next"])
    backward = [listed(last), *walk(api, last.json()["previous"], "previous")]

    assert list(chain(*forward)) == ids(events[::-1])
    assert list(chain(*reversed(backward))) == ids(events[::-1])
    assert [len(page) for page in forward] == [1, 3, 1, 1, 1, 1]
    assert [len(page) for page in backward] == [1, 1, 1, 2, 2, 1]


def test_an_event_that_has_not_changed_is_304_to_who_has_it(owner, api):
    event = publish(owner, "user.created", factories.example("user.created"))
    first = api.get(f"/v1/events/{event.id}")
    etag = first.headers["ETag"]

    again = api.get(f"/v1/events/{event.id}", if_none_match=etag)

    assert etag.startswith('"')
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == etag
    assert again.headers["Cache-Control"] == "private, no-cache"
    assert again.headers["RateLimit"]
    assert "content-type" not in again.headers
    assert again.headers["Content-Length"] == first.headers["Content-Length"]  # RFC 9110, 8.6


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("*", 304),
        ("W/{}", 304),
        ('"other", {}', 304),
        ('W/"other" , W/{},"more"', 304),
        ('"other"', 200),
        ("", 200),
        ("nonsense", 200),
        ('"*"', 200),
        ("w/{}", 200),
    ],
)
def test_tags_are_compared_as_the_standard_says(owner, api, sent, status):
    event = publish(owner, "user.created", factories.example("user.created"))
    etag = api.get(f"/v1/events/{event.id}").headers["ETag"]

    assert api.get(f"/v1/events/{event.id}", if_none_match=sent.format(etag)).status_code == status
    assert api.call("HEAD", f"/v1/events/{event.id}", if_none_match=sent.format(etag)).status_code == status


def test_an_event_has_another_tag_once_its_deliveries_have_moved_on(owner, api):
    subscription = factories.webhook(owner)
    event = publish(owner, "user.created", factories.example("user.created"))
    etag = api.get(f"/v1/events/{event.id}").headers["ETag"]

    pause(subscription, timezone.now())

    changed = api.get(f"/v1/events/{event.id}", if_none_match=etag)
    assert (changed.status_code, changed.json()["deliveries"][0]["status"]) == (200, "held")


def test_an_event_that_is_not_there_is_404_whatever_tag_is_sent(api):
    response = api.get("/v1/events/019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4", if_none_match="*")

    assert problem_of(response, 404)
    assert "ETag" not in response.headers


@given(
    steps=st.lists(st.sampled_from(["publish", "publish many", "turn"]), max_size=30), limit=st.integers(1, 4)
)
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_paging_never_skips_or_doubles_while_events_arrive(steps, limit):
    owner = factories.application()
    api = Api(factories.application_key(owner))
    there = events_of(owner, 5)
    seen: list[str] = []
    arrived: list[Event] = []
    url = f"/v1/events?limit={limit}"

    for step in [*steps, *["turn"] * len(there)]:
        if step == "turn" and url:
            page = api.get(url)
            if not seen:
                there, arrived = there + arrived, []
            seen += listed(page)
            url = page.json()["next"]
        elif step != "turn":
            arrived += events_of(owner, 3 if step == "publish many" else 1)
    while url:
        page = api.get(url)
        seen += listed(page)
        url = page.json()["next"]

    assert seen == ids(there[::-1])


def test_old_idempotency_keys_are_forgotten_and_young_ones_are_not(owner, platform):
    now = timezone.now()
    platform.post("/v1/events", body(owner), idempotency_key="old")
    platform.post("/v1/events", body(owner), idempotency_key="young")
    IdempotencyKey.objects.filter(key="old").update(created_at=now - timedelta(hours=24))
    IdempotencyKey.objects.filter(key="young").update(created_at=now - timedelta(hours=23, minutes=59))

    assert forget_idempotency_keys(now) == 1

    assert [key.key for key in IdempotencyKey.objects.all()] == ["young"]
    assert Event.objects.count() == 2


@pytest.mark.parametrize(("hours", "statuses"), [(23.99, [200, 409]), (24, [201, 409])])
def test_an_idempotency_key_is_known_for_24_hours_and_then_new(owner, platform, hours, statuses):
    factories.webhook(owner)
    with time_machine.travel(START, tick=False) as clock:
        first = platform.post("/v1/events", body(owner), idempotency_key="import-7").json()
        clock.shift(timedelta(hours=hours))

        again = platform.post("/v1/events", body(owner), idempotency_key="import-7")
        other = platform.post("/v1/events", body(owner, payload={"_id": "o"}), idempotency_key="import-7")

    assert [again.status_code, other.status_code] == statuses
    assert (again.json()["id"] == first["id"]) == (again.status_code == 200)
    assert Event.objects.count() == Delivery.objects.count() == statuses.count(201) + 1


def test_a_batch_is_known_for_24_hours_and_then_new(owner, platform):
    items = {"events": [body(owner), body(owner)]}
    with time_machine.travel(START, tick=False) as clock:
        platform.post("/v1/events/batch", items, idempotency_key="night")
        clock.shift(timedelta(hours=24))

        answers = [platform.post("/v1/events/batch", items, idempotency_key="night") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 200]
    assert Event.objects.count() == 4
