"""What a list costs does not depend on how many rows it leaves out: each filter has an index that it reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations, product
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from deliveries.models import Delivery
from events.idempotency import forget_idempotency_keys
from events.models import Event, IdempotencyKey
from openvolt_events.api.deliveries import DeliveryFilter
from openvolt_events.api.events import EventFilter
from tests.support import factories
from tests.support.api import Api, problem_of
from tests.support.emptying import remove_dead_rows

pytestmark = pytest.mark.django_db

APPLICATIONS = 12
ROWS = 2000  # of each application
SELDOM = 10  # of them, the oldest, are what a filter is asked for
NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
MOST_LEFT_OUT = 100  # rows that a plan may read in vain, or sort


class Crowd:
    """An application among others, each with many rows. The values that are asked for are seldom and old."""

    def __init__(self) -> None:
        for _ in range(APPLICATIONS):
            self.owner = factories.application()
            self.often, self.seldom = factories.webhook(self.owner), factories.emails(self.owner)
            self.replays = [factories.replay(self.often), factories.replay(self.seldom)]
            self.events = Event.objects.bulk_create(self.event(number) for number in range(ROWS))
            Delivery.objects.bulk_create(self.delivery(one, number) for number, one in enumerate(self.events))
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE events_event, deliveries_delivery")
        self.api = Api(factories.application_key(self.owner))

    def event(self, number: int) -> Event:
        type = "user.created" if number < SELDOM else "meter_data.received"
        return Event(application=self.owner, type=type, occurred_at=moment(number), payload="{}")

    def delivery(self, event: Event, number: int) -> Delivery:
        is_seldom = number < SELDOM
        return Delivery(
            application=self.owner,
            event=event,
            event_type=event.type,
            subscription=self.seldom if is_seldom else self.often,
            recipient=self.seldom.recipients.get() if is_seldom else None,
            channel="email" if is_seldom else "webhook",
            status="failed" if is_seldom else "succeeded",
            replay=self.replays[is_seldom],
        )


def moment(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@dataclass(frozen=True)
class Plan:
    """`found` rows are on the page. `parts` read the table: its partitions, without empty ones; `sorted` are rows."""

    found: int
    parts: list[dict[str, Any]]
    sorted: int

    @property
    def is_cheap(self) -> bool:
        left_out = sum(part.get("Rows Removed by Filter", 0) for part in self.parts)
        by_index = all("Index" in part["Node Type"] or "Bitmap" in part["Node Type"] for part in self.parts)
        return by_index and left_out < MOST_LEFT_OUT and self.sorted < MOST_LEFT_OUT


def plan_of(api: Api, url: str, table: str) -> Plan:
    with CaptureQueriesContext(connection) as captured:
        response = api.get(url)
    assert response.status_code == 200, response.content
    [query] = [one["sql"] for one in captured if f'FROM "{table}"' in one["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.replace('%', '%%')}")
        [[document]] = cursor.fetchall()
    document = json.loads(document) if isinstance(document, str) else document
    every = list(nodes(document[0]["Plan"]))
    return Plan(
        len(response.json()["data"]),
        [one for one in every if one.get("Relation Name", "").startswith(table) and one["Total Cost"]],
        sum(read["Actual Rows"] for one in every if one["Node Type"] == "Sort" for read in one["Plans"]),
    )


def iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture(scope="module")
def crowd(django_db_setup: None, django_db_blocker: Any) -> Iterator[Crowd]:
    """Made once, in a transaction around those of the tests: each takes back what it did itself."""
    with django_db_blocker.unblock(), transaction.atomic():
        remove_dead_rows()
        crowd = Crowd()
        connection.check_constraints()  # else each test would, of all its rows
        yield crowd
        transaction.set_rollback(True)


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
            "replay_id": (crowd.replays[True].id, SELDOM),
            "type": ("user.created", SELDOM),
            "channel": ("email", SELDOM),
            "status": ("failed", SELDOM),
            "created_after": (iso(later), 0),
            "created_before": ("2026-01-01T00:00:00Z", 0),
        },
    }
    tables = {"events": "events_event", "deliveries": "deliveries_delivery"}
    assert set(asked["events"]) == set(EventFilter.base_filters)
    assert set(asked["deliveries"]) == set(DeliveryFilter.base_filters)

    for list, filters in asked.items():
        for name, (value, expected) in filters.items():
            plan = plan_of(crowd.api, f"/v1/{list}?{name}={value}", tables[list])

            assert plan.found == expected, name
            assert plan.is_cheap, (name, plan)


def test_two_filters_of_deliveries_together_never_read_the_table(crowd):
    often, seldom = crowd.delivery(crowd.events[-1], ROWS), crowd.delivery(crowd.events[0], 0)
    values = [
        {
            "subscription_id": one.subscription_id,
            "type": one.event_type,
            "status": one.status,
            "channel": one.channel,
        }
        for one in (often, seldom)
    ]

    for first, second in combinations(values[0], 2):
        for one, other in product(values, values):
            query = f"{first}={one[first]}&{second}={other[second]}"
            plan = plan_of(crowd.api, f"/v1/deliveries?{query}", "deliveries_delivery")

            expected = (50 if one is values[0] else SELDOM) if one is other else 0
            assert plan.found == expected, query
            assert plan.is_cheap, (query, plan)


def test_the_failed_of_one_subscription_are_found_among_many_of_it_and_many_that_failed_of_another(crowd):
    other = factories.webhook(crowd.owner)
    made = [crowd.delivery(event, ROWS) for event in crowd.events]
    for delivery in made:
        delivery.subscription, delivery.status = other, "failed"
    Delivery.objects.bulk_create(made)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE deliveries_delivery")

    for status in ("failed", "held", "cancelled"):
        url = f"/v1/deliveries?subscription_id={crowd.often.id}&status={status}"
        plan = plan_of(crowd.api, url, "deliveries_delivery")

        assert plan.found == 0
        assert plan.is_cheap, plan


def test_the_newest_of_a_large_old_replay_are_found_without_sorting_it(crowd):
    replay = factories.replay(crowd.often)
    ids = Delivery.objects.filter(application=crowd.owner).order_by("id").values_list("id", flat=True)
    Delivery.objects.filter(id__in=[*ids[: ROWS // 2]]).update(replay=replay)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE deliveries_delivery")

    plan = plan_of(crowd.api, f"/v1/deliveries?replay_id={replay.id}", "deliveries_delivery")

    assert plan.found == 50
    assert plan.is_cheap, plan


@pytest.mark.parametrize("list", ["events", "deliveries"])
def test_a_page_of_an_application_among_many_reads_its_own_rows_alone(crowd, list):
    table = {"events": "events_event", "deliveries": "deliveries_delivery"}[list]
    cursor = crowd.api.get(f"/v1/{list}?limit=200").json()["next"]

    for url in (f"/v1/{list}", cursor):
        plan = plan_of(crowd.api, url, table)

        assert plan.is_cheap, plan


def test_a_list_that_takes_too_long_is_cut_short_and_says_what_to_ask_for(monkeypatch, settings):
    settings.READ_TIMEOUT = timedelta(milliseconds=100)
    monkeypatch.setattr(DeliveryFilter, "filter_queryset", slowly)

    response = Api(factories.application_key(factories.application())).get("/v1/deliveries")

    problem = problem_of(response, 503)
    assert "READ_TIMEOUT" in problem["detail"]
    assert "narrower filter" in problem["detail"]


def slowly(self, rows):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(30)")
    return rows


def test_keys_that_are_known_for_long_enough_are_found_by_an_index():
    owner, now = factories.application(), datetime.now(UTC)
    [event] = Event.objects.bulk_create(
        [Event(application=owner, type="user.created", occurred_at=now, payload="{}")]
    )
    IdempotencyKey.objects.bulk_create(
        IdempotencyKey(key=f"key {number}", event=event, created_at=now - timedelta(minutes=number / 2))
        for number in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE events_idempotencykey")

    with CaptureQueriesContext(connection) as captured:
        forgotten = forget_idempotency_keys(now)

    [statement] = [query["sql"] for query in captured if "DELETE" in query["sql"]]
    assert forgotten == 3000 - 24 * 60 * 2
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        assert "idempotency_key_by_created_at" in "\n".join(line for (line,) in cursor.fetchall())
