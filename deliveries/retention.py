"""Forgetting what is older than RETENTION_DAYS: whole partitions at once, and by the row what had to outlive them.

An event goes with all that belongs to it, or stays with all of it. It stays as long as it has a delivery that is
unfinished, or that is younger than the retention itself: a replay. What stays of a partition moves to DEFAULT.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction

from deliveries.partitions import (
    MOST_MOVED,
    Partition,
    alone,
    drop,
    execute,
    fetch_number,
    first_id,
    foreign_keys_to_events_off,
    partitions,
    put_back,
    retention_over,
    set_aside,
)
from deliveries.stopping import stopping

LONGEST_SWEEP = timedelta(seconds=60)
CANDIDATES = 5_000  # events
BATCH = 200  # events in a transaction

# Of the events of a partition, those that are not to go with it. Whether one whose deliveries are elsewhere may be
# forgotten, is decided when it is in DEFAULT.
STAYING = """
SELECT event_id AS id FROM deliveries_delivery
WHERE id >= %(start)s AND id < %(end)s AND status IN ('pending', 'held')
    AND event_id >= %(start)s AND event_id < %(end)s
UNION
SELECT event_id FROM deliveries_delivery
WHERE event_id >= %(start)s AND event_id < %(end)s AND (id < %(start)s OR id >= %(end)s)
"""
STAYING_ROWS = {
    "events_event": """
        SELECT * FROM events_event WHERE id >= %(start)s AND id < %(end)s AND id IN (SELECT id FROM aside_staying)
    """,
    "deliveries_delivery": """
        SELECT * FROM deliveries_delivery
        WHERE id >= %(start)s AND id < %(end)s AND event_id IN (SELECT id FROM aside_staying)
        UNION ALL
        SELECT * FROM deliveries_delivery
        WHERE id >= %(start)s AND id < %(end)s AND (event_id < %(start)s OR event_id >= %(end)s)
    """,
    "deliveries_attempt": """
        SELECT * FROM deliveries_attempt WHERE delivery_id >= %(start)s AND delivery_id < %(end)s
            AND delivery_id IN (SELECT id FROM aside_deliveries_delivery)
    """,
    "deliveries_sequencenumber": """
        SELECT numbered.* FROM aside_deliveries_delivery AS delivery JOIN deliveries_sequencenumber AS numbered
            ON numbered.subscription_id = delivery.subscription_id AND number = delivery.sequence
            AND delivery_id = delivery.id
        WHERE delivery_id >= %(start)s AND delivery_id < %(end)s
    """,
}
STAYING_DELIVERIES = STAYING_ROWS["deliveries_delivery"].replace("aside_staying", f"({STAYING}) AS staying")
COUNT_FORGOTTEN = """
UPDATE deliveries_sequencecounter AS counter SET forgotten = highest.number
FROM (
    SELECT subscription_id, (
        SELECT max(number) FROM deliveries_sequencenumber AS numbered
        WHERE numbered.subscription_id = each.subscription_id AND delivery_id >= %(start)s AND delivery_id < %(end)s
    ) AS number FROM deliveries_sequencecounter AS each
) AS highest
WHERE counter.subscription_id = highest.subscription_id AND highest.number > counter.forgotten
"""
FORGET_KEYS = "DELETE FROM events_idempotencykey WHERE event_id >= %(start)s AND event_id < %(end)s"

OVER = """
SELECT id FROM events_event WHERE id < %(before)s
EXCEPT (
    SELECT event_id FROM deliveries_delivery WHERE id >= %(before)s AND event_id < %(before)s
    UNION ALL
    SELECT event_id FROM deliveries_delivery WHERE id < %(before)s AND status IN ('pending', 'held')
)
ORDER BY id LIMIT %(most)s
"""
# A replay that is under way waits for the lock on its event, and then finds that it is gone.
LOCK_EVENTS = "SELECT id FROM events_event WHERE id = ANY(%(events)s) ORDER BY id FOR UPDATE"
LOCK_DELIVERIES = """
SELECT id, event_id, subscription_id, sequence, id < %(before)s AND status NOT IN ('pending', 'held')
FROM deliveries_delivery WHERE event_id = ANY(%(events)s) ORDER BY id FOR UPDATE
"""
SWEEP = [
    # Claims lock the counters in this order, too.
    """
    WITH highest AS (
        SELECT subscription_id, max(number) AS number
        FROM unnest(%(subscriptions)s::uuid[], %(numbers)s::bigint[]) AS gone (subscription_id, number)
        GROUP BY subscription_id
    ), locked AS (
        SELECT subscription_id, number FROM deliveries_sequencecounter JOIN highest USING (subscription_id)
        ORDER BY subscription_id FOR UPDATE OF deliveries_sequencecounter
    )
    UPDATE deliveries_sequencecounter AS counter SET forgotten = greatest(forgotten, number)
    FROM locked WHERE counter.subscription_id = locked.subscription_id
    """,
    """
    DELETE FROM deliveries_sequencenumber AS numbered
    USING unnest(%(subscriptions)s::uuid[], %(numbers)s::bigint[]) AS gone (subscription_id, number)
    WHERE numbered.subscription_id = gone.subscription_id AND numbered.number = gone.number
        AND delivery_id = ANY(%(deliveries)s)
    """,
    "DELETE FROM deliveries_attempt WHERE delivery_id = ANY(%(deliveries)s)",
    "DELETE FROM deliveries_delivery WHERE id = ANY(%(deliveries)s)",
    "DELETE FROM events_idempotencykey WHERE event_id = ANY(%(events)s)",
    "DELETE FROM events_event WHERE id = ANY(%(events)s)",
]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a pass has forgotten: partitions, by their names, and single events beside them."""

    partitions: Sequence[str]
    events: int

    def __bool__(self) -> bool:
        return bool(self.partitions or self.events)


def forget(before: datetime) -> Forgotten:
    """Forget the events that are older, as far as partitions go: those of the partition that has `before` stay.

    Raises OperationalError when the tables can't be had for a moment, for all that others do.
    """
    existing = partitions()
    dropped = [one.name for one in existing if one.end <= before and forget_partition(one)]
    over = next((one.start for one in existing if one.start <= before < one.end), before)
    return Forgotten(dropped, sweep(over))


def forget_partition(one: Partition) -> bool:
    """Drop it; False if too much of it stays to be moved while everybody waits. Then it is left to the sweep."""
    if stays_much(one):
        return False
    forget_keys(one)
    alone(partial(forget_locked, one))
    return True


def stays_much(one: Partition) -> bool:
    """Of the events or the deliveries; attempts are a few of each delivery."""
    most = {**one.bounds, "most": MOST_MOVED}
    return any(
        fetch_number(f"SELECT count(*) FROM ({rows} LIMIT %(most)s) AS staying", most) == MOST_MOVED  # noqa: S608
        for rows in (STAYING, STAYING_DELIVERIES)
    )


def forget_keys(one: Partition) -> None:
    """Before everybody has to wait for it."""
    execute(FORGET_KEYS, one.bounds)


def forget_locked(one: Partition) -> None:
    """None of this takes longer for a partition that is larger, unless more of it stays."""
    execute(FORGET_KEYS, one.bounds)
    execute(COUNT_FORGOTTEN, one.bounds)
    set_aside("staying", STAYING, one)
    for table, rows in STAYING_ROWS.items():
        set_aside(table, rows, one)
    with foreign_keys_to_events_off():
        drop(one)
        put_back()
    execute("DROP TABLE aside_staying")


def sweep(over: datetime) -> int:
    """Delete the events before that are left and may be forgotten, a few at a time; returns how many they were."""
    ends_at = time.monotonic() + LONGEST_SWEEP.total_seconds()
    swept = 0
    while ids := over_before(over):
        for start in range(0, len(ids), BATCH):
            if stopping.is_set() or time.monotonic() >= ends_at:
                return swept
            swept += sweep_batch(ids[start : start + BATCH], over)
    return swept


def over_before(over: datetime) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(OVER, {"before": first_id(over), "most": CANDIDATES})
        return [row[0] for row in cursor.fetchall()]


def sweep_batch(ids: Sequence[UUID], over: datetime) -> int:
    with transaction.atomic(), retention_over(), connection.cursor() as cursor:
        cursor.execute(LOCK_EVENTS, {"events": list(ids)})
        cursor.execute(LOCK_DELIVERIES, {"events": list(ids), "before": first_id(over)})
        gone = going(ids, cursor.fetchall())
        for statement in SWEEP:
            cursor.execute(statement, gone)
    return len(gone["events"])


def going(ids: Sequence[UUID], deliveries: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """What goes of these events, as it is under lock: a retry or a replay may have come before it."""
    staying = {event for _, event, _, _, is_over in deliveries if not is_over}
    rows = [
        (id, subscription, number)
        for id, event, subscription, number, _ in deliveries
        if event not in staying
    ]
    numbered = [(subscription, number) for _, subscription, number in rows if number is not None]
    return {
        "events": [id for id in ids if id not in staying],
        "deliveries": [id for id, _, _ in rows],
        "subscriptions": [subscription for subscription, _ in numbered],
        "numbers": [number for _, number in numbered],
    }
