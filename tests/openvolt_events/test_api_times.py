"""A time is written as RFC 3339 has it, with its offset; lists compare the milliseconds that they show."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest
import time_machine

from deliveries.models import Delivery
from deliveries.publishing import publish
from tests.support import factories
from tests.support.api import pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db

TAKEN = {
    "2026-10-25T00:30:00Z": "2026-10-25T00:30:00.000Z",
    "2026-10-25t00:30:00z": "2026-10-25T00:30:00.000Z",
    "2026-10-25T00:30:00.5Z": "2026-10-25T00:30:00.500Z",
    "2026-10-25T00:30:00.123456789123Z": "2026-10-25T00:30:00.123Z",
    "2026-10-25T02:30:00+02:00": "2026-10-25T00:30:00.000Z",
    "2026-10-24T20:15:00.25-04:15": "2026-10-25T00:30:00.250Z",
    "2026-10-25T00:30:00-00:00": "2026-10-25T00:30:00.000Z",
    "2024-02-29T23:59:59+23:59": "2024-02-29T00:00:59.000Z",
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00.000Z",
    "9999-12-31T23:59:59.999Z": "9999-12-31T23:59:59.999Z",
}
REFUSED = {
    "2026-10-25T00:30:00": "naive",
    "2026-10-25T00:30:00.5": "naive",
    "2016-12-31T23:59:60Z": "leap_second",
    "2017-01-01T00:59:60.5+01:00": "leap_second",
    "0001-01-01T00:00:00+01:00": "overflow",
    "9999-12-31T23:59:59-01:00": "overflow",
    "2026-10-25T00:30:00,5Z": "invalid",
    "2026-10-25T00:30:00.Z": "invalid",
    "2026-10-25T00:30:00Z\n": "invalid",
    " 2026-10-25T00:30:00Z": "invalid",
    "\uff12026-10-25T00:30:00Z": "invalid",
    "2026-10-25T00:30:00.\u0665Z": "invalid",
    "2026-10-25 00:30:00Z": "invalid",
    "2026-10-25T00:30:00 00:00": "invalid",
    "2026-10-25T00:30Z": "invalid",
    "2026-10-25T00Z": "invalid",
    "2026-10-25": "invalid",
    "20261025T003000Z": "invalid",
    "2026-W43-7T00:30:00Z": "invalid",
    "2026-298T00:30:00Z": "invalid",
    "2026-10-25T24:00:00Z": "invalid",
    "2026-10-25T00:60:00Z": "invalid",
    "2026-10-25T00:30:61Z": "invalid",
    "2026-10-25T00:30:00+0200": "invalid",
    "2026-10-25T00:30:00+02": "invalid",
    "2026-10-25T00:30:00+24:00": "invalid",
    "2026-10-25T00:30:00+01:60": "invalid",
    "2026-10-25T00:30:00+02:00:30": "invalid",
    "2026-10-25T00:30:00\u221202:00": "invalid",
    "2026-02-29T00:00:00Z": "invalid",
    "2026-13-01T00:00:00Z": "invalid",
    "2026-00-10T00:00:00Z": "invalid",
    "0000-01-01T00:00:00Z": "invalid",
    "10000-01-01T00:00:00Z": "invalid",
    "-2026-01-01T00:00:00Z": "invalid",
    "1793000000": "invalid",
    "now": "invalid",
}
QUERIES = (
    "events?occurred_after",
    "events?occurred_before",
    "deliveries?created_after",
    "deliveries?created_before",
)


def publish_at(platform, owner, moment):
    return platform.post(
        "/v1/events",
        {
            "application_id": str(owner.id),
            "type": "user.created",
            "payload": factories.example("user.created"),
            "occurred_at": moment,
        },
    )


def test_a_time_is_taken_in_each_form_that_rfc_3339_has_and_answered_in_one(owner, api, platform):
    for text, answered in TAKEN.items():
        published = publish_at(platform, owner, text)
        queried = [api.get(f"/v1/{query}={quote(text)}") for query in QUERIES]

        assert published.json()["occurred_at"] == answered
        for response in queried:
            assert answered not in [one.get("occurred_at") for one in response.json()["data"]]


def test_a_time_in_another_form_is_422_in_a_body_and_in_a_query(owner, api, platform):
    before = rows_stored()

    for text, code in REFUSED.items():
        in_body = publish_at(platform, owner, text)
        in_queries = [api.get(f"/v1/{query}={quote(text)}") for query in QUERIES]

        for response in (in_body, *in_queries):
            [error] = problem_of(response, 422)["errors"]
            assert error["code"] == code, text
            assert error["detail"] == in_body.json()["errors"][0]["detail"]
    assert rows_stored() == before


@pytest.mark.parametrize("moment", [1793000000, 1793000000.5, True, [], {}, None])
def test_a_time_that_is_no_text_is_422(owner, platform, moment):
    assert pointers_of(publish_at(platform, owner, moment)) == ["/occurred_at"]


def test_events_after_a_time_that_was_answered_are_without_that_one(owner, api):
    moments = [
        datetime(2026, 10, 25, 0, 30, 0, microsecond, UTC) for microsecond in (122_999, 123_456, 124_000)
    ]
    ids = [
        str(publish(owner, "user.created", factories.example("user.created"), moment).id)
        for moment in moments
    ]
    shown = api.get(f"/v1/events/{ids[1]}").json()["occurred_at"]
    assert shown == "2026-10-25T00:30:00.123Z"

    def found(**query):
        return {one["id"] for one in api.get(f"/v1/events?{urlencode(query)}").json()["data"]}

    assert found(occurred_after=shown) == {ids[2]}
    assert found(occurred_before=shown) == {ids[0]}
    assert found(occurred_after="2026-10-25T00:30:00.122Z") == {ids[2], ids[1]}
    assert found(occurred_before="2026-10-25T00:30:00.124Z") == {ids[1], ids[0]}
    assert found(occurred_after="2026-10-25T00:30:00.123456Z") == {ids[2]}
    assert found(occurred_before="2026-10-25T00:30:00.123999Z") == {ids[0]}


def test_deliveries_after_a_time_that_was_answered_are_without_that_one(owner, api):
    factories.webhook(owner)
    now = datetime.now(UTC).replace(microsecond=500_000)
    ids = []
    for late in (-501, 0, 500):
        event = publish(owner, "user.created", factories.example("user.created"))
        rows = Delivery.objects.filter(event=event)
        rows.update(created_at=now + timedelta(microseconds=late))
        ids.append(str(rows.get().id))
    shown = api.get(f"/v1/deliveries/{ids[1]}").json()["created_at"]

    def found(**query):
        return [one["id"] for one in api.get(f"/v1/deliveries?{urlencode(query)}").json()["data"]]

    assert found(created_after=shown) == []
    assert found(created_before=shown) == [ids[0]]


def test_a_replay_since_a_time_that_was_answered_tells_that_one_and_until_it_does_not(owner, api):
    subscription = factories.webhook(owner)
    moment = datetime.now(UTC).replace(microsecond=123_456) - timedelta(minutes=1)
    with time_machine.travel(moment, tick=False):
        event = publish(owner, "user.created", factories.example("user.created"))
    shown = api.get(f"/v1/events/{event.id}").json()["created_at"]

    def matched(**span):
        wish = {"only": "all", "dry_run": True, **span}
        return api.post(f"/v1/subscriptions/{subscription.id}/replays", wish).json()["matched"]

    assert matched(since=shown) == 1
    assert matched(since="2026-01-01T00:00:00Z", until=shown) == 0
