"""How the service does, in numbers that cost no more the more there is: each query reads an index, and to a bound.

`/metrics` asks for them every few seconds, also when everything is on fire.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django_q.models import OrmQ

from deliveries.claiming import IDLE
from deliveries.models import LONGEST_LEASE, Heartbeat, Notice, Replay
from deliveries.partitions import KEYS, first_id, partitions
from subscriptions.models import Subscription

MOST_COUNTED = 10_000
MOST_SUBSCRIPTIONS = 100_000
MOST_RECENT = 10_000
RECENT = timedelta(minutes=5)
QUANTILES = (0.5, 0.95, 0.99)

LANES = f"""
SELECT lane, (
        SELECT count(*) FROM (
            SELECT FROM deliveries_delivery WHERE status = 'pending' AND NOT behind AND channel = lane
            LIMIT %(most)s
        ) AS pending
    ), (
        SELECT count(*) FROM (
            SELECT FROM deliveries_delivery
            WHERE status = 'pending' AND NOT behind AND channel = lane AND next_attempt_at <= %(now)s AND {IDLE}
            LIMIT %(most)s
        ) AS due
    )
FROM unnest(%(lanes)s::text[]) AS lane
"""  # noqa: S608 - nothing from outside is in it
# From one subscription with something pending to the next, an index jump each: a backlog that waits for its receiver,
# however long, hides nothing that waits for us.
OLDEST_DUE = f"""
WITH RECURSIVE waiting AS (
    (SELECT channel, subscription_id FROM deliveries_delivery WHERE status = 'pending' AND NOT behind
        ORDER BY channel, subscription_id LIMIT 1)
    UNION ALL
    SELECT following.* FROM waiting CROSS JOIN LATERAL (
        SELECT channel, subscription_id FROM deliveries_delivery AS delivery
        WHERE status = 'pending' AND NOT behind
            AND (delivery.channel, delivery.subscription_id) > (waiting.channel, waiting.subscription_id)
        ORDER BY channel, subscription_id LIMIT 1
    ) AS following
)
SELECT DISTINCT ON (waiting.channel) waiting.channel, oldest.next_attempt_at, oldest.id
FROM (SELECT * FROM waiting LIMIT %(most)s) AS waiting
JOIN subscriptions_subscription AS subscription
    ON subscription.id = waiting.subscription_id AND status = 'active' AND deleted_at IS NULL
        AND failing_since IS NULL AND rate_limit IS NULL
CROSS JOIN LATERAL (
    SELECT next_attempt_at, id FROM deliveries_delivery AS delivery
    WHERE status = 'pending' AND NOT behind AND delivery.channel = waiting.channel
        AND delivery.subscription_id = waiting.subscription_id AND next_attempt_at <= %(now)s AND {IDLE}
    ORDER BY next_attempt_at LIMIT 1
) AS oldest
ORDER BY waiting.channel, oldest.next_attempt_at
"""  # noqa: S608
# The statuses stand in the text, not in parameters: so the planner sees that the partial index has them.
STOPPED = " UNION ALL ".join(
    f"SELECT '{status}', count(*) FROM ("  # noqa: S608
    f"SELECT FROM deliveries_delivery WHERE status = '{status}' LIMIT %(most)s) AS stopped"
    for status in ("held", "failed")
)
SUBSCRIPTIONS = """
SELECT status, count(*) FROM (
    SELECT status FROM subscriptions_subscription WHERE deleted_at IS NULL LIMIT %(most)s
) AS existing GROUP BY status
"""
STARTED = """
SELECT channel, sum(last) FROM deliveries_sequencecounter
JOIN subscriptions_subscription ON subscriptions_subscription.id = subscription_id GROUP BY channel
"""
# Deliveries are looked up by an array of ids, which costs each partition one walk, and not one for each attempt.
ATTEMPTS = """
WITH recent AS MATERIALIZED (
    SELECT id, delivery_id, number, outcome, started_at, duration_ms FROM deliveries_attempt
    WHERE id >= %(since)s ORDER BY id DESC LIMIT %(most)s
), told AS MATERIALIZED (
    SELECT id, channel, status, attempt_count, created_at FROM deliveries_delivery
    WHERE id = ANY(ARRAY(SELECT delivery_id FROM recent))
)
SELECT channel,
    count(*) FILTER (WHERE outcome = 'succeeded'),
    count(*) FILTER (WHERE outcome = 'failed'),
    count(*) FILTER (WHERE status = 'failed' AND number = attempt_count),
    percentile_cont(%(quantiles)s::float[]) WITHIN GROUP (ORDER BY duration_ms / 1000),
    percentile_cont(%(quantiles)s::float[]) WITHIN GROUP (
        ORDER BY greatest(extract(epoch FROM started_at - told.created_at)::float, 0)
    ) FILTER (WHERE number = 1),
    (SELECT min(uuid_extract_timestamp(id)) FROM recent HAVING count(*) = %(most)s)
FROM recent JOIN told ON told.id = delivery_id GROUP BY channel
"""
EVENTS = """
SELECT count(*), min(uuid_extract_timestamp(id)) FILTER (WHERE nth = %(most)s) FROM (
    SELECT id, row_number() OVER (ORDER BY id DESC) AS nth FROM events_event WHERE id >= %(since)s
    ORDER BY id DESC LIMIT %(most)s
) AS recent
"""
ROWS = """
SELECT table_name, sum(greatest(reltuples, 0))
FROM unnest(%(tables)s::text[]) AS table_name
JOIN pg_inherits ON inhparent = table_name::regclass JOIN pg_class ON pg_class.oid = inhrelid
GROUP BY table_name
"""


@dataclass(frozen=True)
class Lane:
    """Of a channel, how many deliveries wait, and how long the oldest that waits for nothing but a worker."""

    pending: int
    due: int
    oldest: timedelta


@dataclass(frozen=True)
class Attempts:
    """The latest attempts of a channel. Seconds by quantile; `first` from the making of a delivery on."""

    succeeded: int
    failed: int
    given_up: int
    duration: Mapping[float, float]
    first: Mapping[float, float]


@dataclass(frozen=True)
class Recent:
    """What happened within `window`: shorter than `RECENT` when that had more than MOST_RECENT."""

    window: timedelta
    attempts: Mapping[str, Attempts]


def lanes(now: datetime) -> dict[str, Lane]:
    bounds = {**due_by(now), "lanes": list(settings.DRAINS)}
    oldest = oldest_due(now)
    return {
        lane: Lane(pending, due, now - oldest.get(lane, now)) for lane, pending, due in fetch(LANES, bounds)
    }


def oldest_due(now: datetime) -> dict[str, datetime]:
    """Of each channel that has any, since when the oldest delivery is due that waits for nothing but a worker.

    Those of subscriptions that fail, or that have a limit, wait for that; those of paused ones, for a resume.
    """
    return {channel: since for channel, since, _ in fetch(OLDEST_DUE, due_by(now))}


def longest_due(now: datetime) -> UUID | None:
    """The delivery that is the oldest of them all."""
    _, _, id = min(fetch(OLDEST_DUE, due_by(now)), key=lambda row: row[1], default=(None, None, None))
    return id


def due_by(now: datetime) -> dict[str, Any]:
    return {"now": now, "furthest": now + LONGEST_LEASE, "most": MOST_COUNTED}


def stopped() -> dict[str, int]:
    """How many deliveries are held, and how many have failed for good; MOST_COUNTED at most."""
    return dict(fetch(STOPPED, {"most": MOST_COUNTED}))


def started() -> dict[str, int]:
    """How many deliveries of each channel were ever begun with: a sum that only grows."""
    found = {channel: int(last) for channel, last in fetch(STARTED)}
    return {lane: found.get(lane, 0) for lane in settings.DRAINS}


def subscriptions() -> dict[str, int]:
    """How many there are of each status; MOST_SUBSCRIPTIONS at most."""
    found = dict(fetch(SUBSCRIPTIONS, {"most": MOST_SUBSCRIPTIONS}))
    return {status: found.get(status, 0) for status in Subscription.Status.values}


def failing() -> int:
    return up_to_most(Subscription.objects.failing())


def notices_due(now: datetime) -> int:
    return up_to_most(Notice.objects.due(now))


def replays_running() -> int:
    return up_to_most(Replay.objects.running())


def tasks_queued() -> int | None:
    """django-q2's own queue; None when it is not in PostgreSQL."""
    return up_to_most(OrmQ.objects.all()) if "orm" in settings.Q_CLUSTER else None


def last_beat() -> datetime | None:
    return Heartbeat.objects.values_list("beat_at", flat=True).first()


def partitioned_ahead(now: datetime) -> timedelta:
    """For how long from now on there are partitions: what housekeeping has made."""
    last = max((one.end for one in partitions()), default=now)
    return max(last - now, timedelta(0))


def rows() -> dict[str, int]:
    """How many rows the large tables have, as PostgreSQL estimated when it last looked."""
    return {table: int(number) for table, number in fetch(ROWS, {"tables": list(KEYS)})}


def recent_attempts(now: datetime) -> Recent:
    bounds = {**recent(now), "quantiles": list(QUANTILES)}
    found = fetch(ATTEMPTS, bounds)
    cut_at = found[0][-1] if found else None
    return Recent(
        window_since(cut_at, now),
        {
            channel: Attempts(
                succeeded, failed, given_up, dict(by_quantile(duration)), dict(by_quantile(first))
            )
            for channel, succeeded, failed, given_up, duration, first, _ in found
        },
    )


def recent_events(now: datetime) -> tuple[int, timedelta]:
    """How many were published within which time."""
    [(count, cut_at)] = fetch(EVENTS, recent(now))
    return count, window_since(cut_at, now)


def recent(now: datetime) -> dict[str, Any]:
    return {"since": first_id(now - RECENT), "most": MOST_RECENT}


def window_since(cut_at: datetime | None, now: datetime) -> timedelta:
    return RECENT if cut_at is None else max(now - cut_at, timedelta(milliseconds=1))


def by_quantile(seconds: Sequence[float] | None) -> Iterator[tuple[float, float]]:
    yield from zip(QUANTILES, seconds or (), strict=False)


def up_to_most(rows: QuerySet) -> int:
    return rows.order_by()[:MOST_COUNTED].count()


def fetch(statement: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
