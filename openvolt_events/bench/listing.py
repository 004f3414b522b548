"""What a page of deliveries costs among very many, against what it costs among few, by every filter that is offered."""

import json
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import ApiKey, Application, Scope
from deliveries.lifecycle import create_subscription
from deliveries.models import Delivery
from openvolt_events.api.deliveries import DeliveryFilter
from openvolt_events.bench.crowded import accepting, copied, drain_all, grow_old
from openvolt_events.bench.figures import AtMost, Figure
from openvolt_events.bench.sizes import Sizes
from openvolt_events.bench.stage import NotMeasured, Stage, publish, subscribe
from subscriptions.models import Channel, Subscription

FEW = 30_000
SELDOM = 60  # rows, the oldest, that the rarer value of each filter finds
SELDOM_TYPE = "user.created"
REPEATS = 15  # of each page, in each round
MOST_READ = 200  # rows, from end to end or to be sorted: a page
HOW = (
    "`GET /v1/deliveries`, the whole request but for the socket, in a database with {many:,} deliveries of the"
    " application in {partitions} partitions against one with {few:,}: without a filter, by each that is offered, by"
    " two together, each for a value that nearly all rows have and for one that the {seldom} oldest have. The worst of"
    " {pages} ratios, each of the medians of {repeats} requests, alternately; it was of `{worst}`. Every plan was"
    " looked at: none reads a partition from end to end, or sorts more than a page."
)


@dataclass(frozen=True)
class Catalogue:
    """A database with deliveries to list: its name, its application's key, and what is asked for."""

    database: str
    key: str
    pages: Mapping[str, str]


def listing(stage: Stage, sizes: Sizes) -> list[Figure]:
    made: list[Catalogue] = []
    try:
        for number in (min(FEW, sizes.listed), sizes.listed):
            made.append(catalogue(stage, stage.create(stage.template), number))
        few, many = made
        partitions = look_at_plans(stage, few), look_at_plans(stage, many)
        rounds = [
            {
                name: one / other
                for (name, one), other in zip(many_cost.items(), few_cost.values(), strict=True)
            }
            for few_cost, many_cost in ((costs(stage, few), costs(stage, many)) for _ in range(sizes.rounds))
        ]
    finally:
        for one in made:
            stage.drop(one.database)
    worst = max(few.pages, key=lambda name: statistics.median(one[name] for one in rounds))
    how = HOW.format(
        many=sizes.listed,
        few=min(FEW, sizes.listed),
        partitions=partitions[1],
        seldom=SELDOM,
        pages=len(few.pages),
        repeats=REPEATS,
        worst=worst,
    )
    measure = (
        f"a page of {sizes.listed:,} deliveries by any filter, against one of {min(FEW, sizes.listed):,}"
    )
    return [Figure(measure, [one[worst] for one in rounds], "x", AtMost(2), how)]


def catalogue(stage: Stage, database: str, number: int) -> Catalogue:
    with stage.using(database):
        grow_old()
        application = Application.objects.create(name="listed")
        [often] = subscribe(application, [stage.receiver.url("listed")])
        seldom = emails_of(application)
        fill(application, often, seldom, number)
        _, key = ApiKey.objects.issue(
            kind=ApiKey.Kind.APPLICATION, name="bench", application=application, scopes=[Scope.READ]
        )
        return Catalogue(database, key, dict(pages(often, seldom)))


def emails_of(application: Application) -> Subscription:
    subscription = Subscription(application=application, channel=Channel.EMAIL, event_types=[SELDOM_TYPE])
    create_subscription(subscription, ["ann@example.org"], timezone.now())
    return subscription


def fill(application: Application, often: Subscription, seldom: Subscription, number: int) -> None:
    """Copies of one delivery, spread over the retention; of another kind, and failed, the oldest of them."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # their events are not there
    publish(application, 1)
    drain_all(accepting, 1)
    copy(SELDOM, "interval '89 days' + nth * interval '1 second'", kind_of(seldom))
    copy(number - SELDOM - 1, "interval '88 days' * random()", {"replay_id": f"'{uuid4()}'"})
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE deliveries_delivery")
        cursor.execute("CHECKPOINT")


def kind_of(seldom: Subscription) -> dict[str, str]:
    return {
        "subscription_id": f"'{seldom.id}'",
        "recipient_id": f"'{seldom.recipients.get().id}'",
        "channel": "'email'",
        "event_type": f"'{SELDOM_TYPE}'",
        "status": "'failed'",
        "replay_id": f"'{uuid4()}'",
    }


def copy(number: int, age: str, changed: Mapping[str, str]) -> None:
    given = {
        "id": f"uuidv7(-({age}))",
        "event_id": f"uuidv7(-({age}))",
        "created_at": f"now() - ({age})",
        **changed,
    }
    columns, values = copied(Delivery, given)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO deliveries_delivery ({columns}) SELECT {values}"  # noqa: S608
            " FROM (SELECT * FROM deliveries_delivery WHERE status = 'succeeded' LIMIT 1) AS original"
            " CROSS JOIN generate_series(1, %s) AS nth",
            [number],
        )


def pages(often: Subscription, seldom: Subscription) -> Iterator[tuple[str, str]]:
    """The URL of each page that is asked for, by what it stands for."""
    values = [filters_of(one) for one in (often, seldom)]
    if missing := set(DeliveryFilter.base_filters) - set(values[0]):
        raise NotMeasured(f"the list has filters that are not measured: {', '.join(sorted(missing))}")
    yield "no filter", url()
    for which, found in zip(("often", "seldom"), values, strict=True):
        for name, value in found.items():
            yield f"{name}, {which}", url(**{name: value})
    for one, other in (("subscription_id", "status"), ("type", "status"), ("channel", "type")):
        yield f"{one} and {other}, never together", url(**{one: values[0][one], other: values[1][other]})


def filters_of(subscription: Subscription) -> dict[str, str]:
    """For each filter, what deliveries of this subscription have; of moments, one beside most, or beside few."""
    one = subscription.deliveries.order_by("id")[0]
    is_seldom = subscription.channel == Channel.EMAIL
    day = timedelta(days=1)
    moments = (88.999 * day, 0.01 * day) if is_seldom else (0.01 * day, 88.999 * day)
    before, after = (f"{timezone.now() - age:%Y-%m-%dT%H:%M:%SZ}" for age in moments)
    return {
        "subscription_id": str(subscription.id),
        "event_id": str(one.event_id),
        "replay_id": str(one.replay_id),
        "type": one.event_type,
        "status": one.status,
        "channel": one.channel,
        "created_before": before,
        "created_after": after,
    }


def url(**query: str) -> str:
    return f"/v1/deliveries?{urlencode(query)}"


def ask(catalogue: Catalogue, page: str) -> Any:
    response = Client().get(page, headers={"x-api-key": catalogue.key, "host": "localhost"})
    if response.status_code != 200:
        raise NotMeasured(f"{page} answered {response.status_code}: {response.content.decode()[:200]}")
    return response


def costs(stage: Stage, catalogue: Catalogue) -> dict[str, float]:
    """Seconds that each page takes."""
    with stage.using(catalogue.database):
        return {name: statistics.median(seconds(catalogue, page)) for name, page in catalogue.pages.items()}


def seconds(catalogue: Catalogue, page: str) -> Iterator[float]:
    ask(
        catalogue, page
    )  # so that what was asked for last has gone from the caches, or has not, for both alike
    for _ in range(REPEATS):
        began = time.perf_counter()
        ask(catalogue, page)
        yield time.perf_counter() - began


def look_at_plans(stage: Stage, catalogue: Catalogue) -> int:
    """How many partitions the plans read. Raises NotMeasured if one reads a partition from end to end, or sorts it."""
    with stage.using(catalogue.database):
        return max(look_at(name, plan_of(catalogue, page)) for name, page in catalogue.pages.items())


def look_at(name: str, plan: Mapping[str, Any]) -> int:
    every = list(nodes(plan))
    parts = [one for one in every if one.get("Relation Name", "").startswith("deliveries_delivery")]
    scanned = [one for one in parts if one["Node Type"] == "Seq Scan" and rows_read(one) > MOST_READ]
    is_sorted = [one for one in every if one["Node Type"] == "Sort" and one["Actual Rows"] > MOST_READ]
    if scanned or is_sorted:
        raise NotMeasured(f"{name}: the plan reads or sorts the table: {(scanned or is_sorted)[0]}")
    return len({one["Relation Name"] for one in parts})


def rows_read(node: Mapping[str, Any]) -> float:
    return float(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))


def plan_of(catalogue: Catalogue, page: str) -> Mapping[str, Any]:
    with CaptureQueriesContext(connection) as captured:
        ask(catalogue, page)
    [query] = [one["sql"] for one in captured if 'FROM "deliveries_delivery"' in one["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.replace('%', '%%')}")
        [[document]] = cursor.fetchall()
    found: Mapping[str, Any] = (json.loads(document) if isinstance(document, str) else document)[0]["Plan"]
    return found


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)
