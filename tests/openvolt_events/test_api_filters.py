"""What a list costs does not depend on how many rows it leaves out: each filter has an index that it reads."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deliveries.models import Delivery
from events.models import Event
from openvolt_events.api.deliveries import DeliveryFilter
from openvolt_events.api.events import EventFilter
from tests.support import factories
from tests.support.api import Api

pytestmark = pytest.mark.django_db

APPLICATIONS = 12
ROWS = 2000  # of each application
SELDOM = 10  # of them, the oldest, are what a filter is asked for
NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
MOST_LEFT_OUT = 100  # rows that a plan may read in vain
WITHOUT_INDEX = {"type", "channel"}  # of deliveries


class Crowd:
    """An application among others, each with many rows. The values that are asked for are seldom and old."""

    def __init__(self) -> None:
        for _ in range(APPLICATIONS):
            self.owner = factories.application()
            self.often, self.seldom = factories.webhook(self.owner), factories.webhook(self.owner)
            self.events = Event.objects.bulk_create(self.event(number) for number in range(ROWS))
            Delivery.objects.bulk_create(self.delivery(one, number) for number, one in enumerate(self.events))
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE events_event, deliveries_delivery")
        self.api = Api(factories.application_key(self.owner))

    def event(self, number: int) -> Event:
        type = "user.created" if number < SELDOM else "meter_data.received"
        return Event(application=self.owner, type=type, occurred_at=moment(number), payload="{}")

    def delivery(self, event: Event, number: int) -> Delivery:
        return Delivery(
            application=self.owner,
            event=event,
            subscription=self.seldom if number < SELDOM else self.often,
            channel="webhook",
            status="failed" if number < SELDOM else "succeeded",
        )


def moment(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def plan_of(api: Api, url: str, table: str) -> tuple[int, list[dict[str, Any]]]:
    """How many rows the list has, and the parts of the plan that read the table: its partitions, without empty ones."""
    with CaptureQueriesContext(connection) as captured:
        response = api.get(url)
    assert response.status_code == 200, response.content
    [query] = [one["sql"] for one in captured if f'FROM "{table}"' in one["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.replace('%', '%%')}")
        [[document]] = cursor.fetchall()
    document = json.loads(document) if isinstance(document, str) else document
    parts = [
        one
        for one in nodes(document[0]["Plan"])
        if one.get("Relation Name", "").startswith(table) and one["Total Cost"]
    ]
    return len(response.json()["data"]), parts


def iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


def test_every_filter_of_both_lists_reads_little_more_than_it_finds(crowd):
    event = crowd.events[0].id
    later = datetime.now(UTC) + timedelta(hours=1)
    asked = {
        "events": {
            "type": ("user.created", SELDOM),
            "occurred_after": (iso(moment(ROWS - SELDOM - 1)), SELDOM),
            "occurred_before": (iso(moment(SELDOM)), SELDOM),
        },
        "deliveries": {
            "subscription_id": (crowd.seldom.id, SELDOM),
            "event_id": (event, 1),
            "status": ("failed", SELDOM),
            "created_after": (iso(later), 0),
            "created_before": ("2026-01-01T00:00:00Z", 0),
        },
    }
    tables = {"events": "events_event", "deliveries": "deliveries_delivery"}
    assert set(asked["events"]) == set(EventFilter.base_filters)
    assert set(asked["deliveries"]) | WITHOUT_INDEX == set(DeliveryFilter.base_filters)

    for list, filters in asked.items():
        for name, (value, expected) in filters.items():
            found, parts = plan_of(crowd.api, f"/v1/{list}?{name}={value}", tables[list])

            assert found == expected, name
            assert all("Index" in part["Node Type"] for part in parts), (name, parts)
            assert sum(part.get("Rows Removed by Filter", 0) for part in parts) < MOST_LEFT_OUT, (name, parts)


@pytest.mark.parametrize("list", ["events", "deliveries"])
def test_a_page_of_an_application_among_many_reads_its_own_rows_alone(crowd, list):
    table = {"events": "events_event", "deliveries": "deliveries_delivery"}[list]
    cursor = crowd.api.get(f"/v1/{list}?limit=200").json()["next"]

    for url in (f"/v1/{list}", cursor):
        _, parts = plan_of(crowd.api, url, table)

        assert all("Index" in part["Node Type"] for part in parts), parts
        assert sum(part.get("Rows Removed by Filter", 0) for part in parts) < MOST_LEFT_OUT, parts
