"""No filter of any list reaches what is another application's. The schema is walked: a new one is covered at once."""

from itertools import chain
from urllib.parse import urlencode

import pytest

from tests.openvolt_events.test_api_tenancy import furnished
from tests.support.api import Api

pytestmark = pytest.mark.django_db

MOMENTS = ("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z")


def lists(schema):
    """The path of every list without an id in it, with its query parameters."""
    for path, operations in schema["paths"].items():
        if "get" in operations and "{" not in path and not path.endswith("openapi.json"):
            parameters = operations["get"].get("parameters", [])
            yield path, [one for one in parameters if one.get("in") == "query"]


def values_for(parameter, ids):
    """What to ask for: every one of a few possible values, another's ids, any moment, or what is simply there."""
    schema = parameter["schema"]
    if "enum" in schema:
        return schema["enum"]
    if schema.get("format") == "uuid":
        return ids
    if schema.get("format") == "date-time":
        return MOMENTS
    return {"limit": [1, 200], "cursor": ids}.get(parameter["name"], ["*", ""])


def filters(schema, ids):
    for path, parameters in lists(schema):
        yield path, {}
        for parameter in parameters:
            for value in values_for(parameter, ids):
                yield path, {parameter["name"]: value}


def test_no_filter_of_any_list_shows_what_is_anothers():
    _, theirs = furnished("Green Homes")
    stranger, own = furnished("Another")
    foreign = [str(id) for id in chain(*theirs.values())]
    schema = Api().get("/v1/openapi.json").json()
    tried: set[tuple[str, str]] = set()

    for path, query in filters(schema, foreign):
        response = stranger.get(f"{path}?{urlencode(query)}")

        tried.update((path, name) for name in query)
        assert response.status_code in (200, 403, 404, 422), (path, query)
        shown = response.content.decode() if response.status_code == 200 else ""
        assert [id for id in foreign if id in shown] == [], (path, query)
        asked = next(iter(query.values()), None)
        assert asked not in foreign or response.json().get("data", []) == [], (path, query)
    assert {("/v1/deliveries", "subscription_id"), ("/v1/deliveries", "event_id")} <= tried
    assert len(tried) > 10
    assert own["deliveries"]


def test_no_id_in_a_body_reaches_what_is_anothers():
    _, theirs = furnished("Green Homes")
    stranger, own = furnished("Another")

    for id in map(str, chain(*theirs.values())):
        response = stranger.post(f"/v1/events/{own['events'][0]}/replay", {"subscription_ids": [id]})

        assert response.status_code == 404
        assert not response.json().get("data")
