"""Claiming and settling among very many rows that are not due, against almost none."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from unittest.mock import patch

from django.conf import settings
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from accounts.models import Application
from deliveries.channels import Report
from deliveries.dispatch import SENDERS, drain
from deliveries.models import Attempt, Delivery
from deliveries.partitions import make_partitions
from deliveries.partitions import partitions as existing_partitions
from openvolt_events.bench.figures import AtLeast, Figure, ratio
from openvolt_events.bench.sizes import Sizes
from openvolt_events.bench.stage import Stage, publish, publish_deliveries, subscribe
from subscriptions.models import Channel

CROWD = 10  # subscriptions whose deliveries the rows are
RETRIES = 3  # days
HOW = (
    "due deliveries worked off by one drain whose sender accepts at once, without a network: claim and settle, in a"
    " database with {future:,} retries that are not due and {finished:,} finished deliveries with their attempts,"
    " against one without. The rows are spread over {partitions} partitions, as those of {days} days are; the empty"
    " tables have as many. Both were vacuumed and analysed once before the first round."
)


def crowded(stage: Stage, sizes: Sizes) -> list[Figure]:
    empty, full = stage.create(stage.template), stage.create(stage.template)
    try:
        for database in (empty, full):
            with stage.using(database):
                grow_old()
        with stage.using(full):
            fill(stage, sizes)
            partitions = len(existing_partitions())
        for database in (empty, full):
            warm_up(stage, database, sizes.claimed)
        rounds = [
            (drained_a_second(stage, empty, sizes.claimed), drained_a_second(stage, full, sizes.claimed))
            for _ in range(sizes.rounds)
        ]
    finally:
        stage.drop(empty)
        stage.drop(full)
    alone, among_many = zip(*rounds, strict=True)
    how = HOW.format(
        future=sizes.future, finished=sizes.finished, partitions=partitions, days=settings.RETENTION_DAYS
    )
    return [
        ratio("claim and settle with full tables, against empty ones", among_many, alone, AtLeast(0.9), how)
    ]


def warm_up(stage: Stage, database: str, number: int) -> None:
    """Both start with what autovacuum would have given them in time: statistics, and nothing to clear up."""
    drained_a_second(stage, database, number)
    with stage.using(database), connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def drained_a_second(stage: Stage, database: str, number: int) -> float:
    with stage.using(database):
        published = publish_deliveries(stage, stage.group("claimed"), number)
        began = time.perf_counter()
        done = drain_all(accepting, published)
        return done / (time.perf_counter() - began)


def drain_all(sender: Callable[..., Report], number: int) -> int:
    """As many attempts at least, with this sender, in drains one after the other."""
    done = 0
    with patch.dict(SENDERS, {Channel.WEBHOOK: sender}):
        while done < number:
            done += drain(Channel.WEBHOOK)
    return done


def accepting(*_: object) -> Report:
    return Report(succeeded=True, status_code=204, response_headers={"server": "none"})


def refusing(*_: object) -> Report:
    return Report(succeeded=False, status_code=500, error="The receiver answered 500 Internal Server Error.")


def grow_old() -> None:
    """Make the partitions that housekeeping would have made in the whole of a retention."""
    now = timezone.now()
    for days in range(settings.RETENTION_DAYS, -1, -1):
        make_partitions(now - timedelta(days=days))


def fill(stage: Stage, sizes: Sizes) -> None:
    """The rows are copies of a few that were made as all are: their ids and times are their own.

    The finished ones are of the whole retention, those that are not due of the days that retries take.
    """
    application = Application.objects.create(name="crowd")
    subscribe(application, [stage.receiver.url("crowd", number) for number in range(CROWD)])
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # foreign keys hold: the originals' do
    publish(application, 1)
    drain_all(accepting, CROWD)
    copy_deliveries(sizes.finished, "succeeded", {"id": id_of_the_last(settings.RETENTION_DAYS)})
    copy_attempts()
    publish(application, 1)
    drain_all(refusing, CROWD)
    later = "now() + interval '1 hour' + random() * interval '1 day'"
    copy_deliveries(sizes.future, "pending", {"id": id_of_the_last(RETRIES), "next_attempt_at": later})


def id_of_the_last(days: int) -> str:
    return f"uuidv7(-random() * interval '{days} days')"


def copy_deliveries(number: int, status: str, changed: Mapping[str, str]) -> None:
    columns, values = copied(Delivery, changed)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO deliveries_delivery ({columns}) SELECT {values} FROM deliveries_delivery AS original"  # noqa: S608
            " CROSS JOIN generate_series(1, %s) WHERE original.status = %s",
            [number // CROWD, status],
        )


def copy_attempts() -> None:
    """One for each finished delivery that has none."""
    columns, values = copied(Attempt, {"id": "uuidv7()", "delivery_id": "delivery.id"})
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO deliveries_attempt ({columns}) SELECT {values} FROM deliveries_delivery AS delivery"  # noqa: S608
            " CROSS JOIN (SELECT * FROM deliveries_attempt LIMIT 1) AS original"
            " WHERE delivery.id NOT IN (SELECT delivery_id FROM deliveries_attempt)"
        )


def copied(model: type[Model], changed: Mapping[str, str]) -> tuple[str, str]:
    """The columns of a table, and what a copy of the row `original` has in them."""
    columns = [str(field.column) for field in model._meta.concrete_fields]
    return ", ".join(columns), ", ".join(changed.get(column, f"original.{column}") for column in columns)
