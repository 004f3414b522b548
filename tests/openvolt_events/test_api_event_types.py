"""The catalogue, as developers look it up."""

import pytest

from events.event_types import EVENT_TYPES
from tests.support.api import pointers_of, problem_of

pytestmark = pytest.mark.django_db

NAMES = sorted(EVENT_TYPES)


def names(response):
    assert response.status_code == 200, response.content
    return [entry["name"] for entry in response.json()["data"]]


def test_the_list_has_every_type_by_name_on_one_page(api):
    response = api.get("/v1/event-types")

    assert names(response) == NAMES
    assert response.json()["next"] is None
    assert response.json()["previous"] is None


def test_the_list_can_be_walked_page_by_page_forward_and_back(api):
    forward, back = [], []
    url = "/v1/event-types?limit=3"
    while url:
        last = api.get(url)
        forward.append(names(last))
        url = last.json()["next"]
    while last.json()["previous"]:
        last = api.get(last.json()["previous"])
        back.append(names(last))

    assert forward == [NAMES[:3], NAMES[3:6], NAMES[6:]]
    assert back == [NAMES[3:6], NAMES[:3]]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=meter.melted", "cursor=", "colour=blue"])
def test_the_list_refuses_a_query_that_it_does_not_understand(api, query):
    assert pointers_of(api.get(f"/v1/event-types?{query}")) == ["/" + query.partition("=")[0]]


@pytest.mark.parametrize("name", NAMES)
def test_a_single_type_says_what_it_means_and_what_its_payload_holds(api, name):
    entry = api.get(f"/v1/event-types/{name}").json()

    known = EVENT_TYPES[name]
    assert entry == {
        "name": name,
        "description": known.description,
        "sentence": known.sentence,
        "assumed": known.assumed,
        "schema": known.schema,
        "example": known.example,
    }


def test_an_unknown_type_is_404_and_the_known_ones_are_named(api):
    assert "meter.created" in problem_of(api.get("/v1/event-types/meter.melted"), 404)["detail"]
