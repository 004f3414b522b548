"""The tables that grow are in partitions by time: which there are, and making those that come next.

Events, deliveries, attempts and sequence numbers have partitions of the same bounds: ranges of UUIDv7, whose first bits
are the time. One that is old enough is dropped as a whole (retention.py), at no cost for each row. What has no
partition of its own goes to DEFAULT, so that nothing is ever refused for want of one: neither when a clock is wrong nor
when housekeeping has stood still for weeks.

Every query for what is due plans each partition, and looks into it. So they are few
(docs/decisions/0011-partitions.md).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.db import OperationalError, connection, transaction

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
DAY = timedelta(days=1)
PARTITIONS = 6  # that the retention is divided into, if a day is not longer
LONGEST_AHEAD = timedelta(days=7)  # that housekeeping may stand still for
KEYS = {  # referenced ones first
    "events_event": "id",
    "deliveries_delivery": "id",
    "deliveries_attempt": "delivery_id",
    "deliveries_sequencenumber": "delivery_id",
}
STORAGE = {
    # Room in each page, so that a claim rewrites its row there and leaves the indexes alone.
    "deliveries_delivery": "WITH (fillfactor = 80)"
}
MOST_MOVED = 10_000  # rows of a table, while everybody waits
# Less together than PostgreSQL's `deadlock_timeout` (1 s): who takes the tables in another order outlasts this.
LOCK_PATIENCE = timedelta(milliseconds=500)
VACUUM_PATIENCE = timedelta(seconds=10)
TRIES = 5
BETWEEN_TRIES = timedelta(seconds=1)

EXISTING = """
SELECT right(child.relname, -length('events_event_')), bounds[1]::uuid, bounds[2]::uuid
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
CROSS JOIN LATERAL regexp_match(pg_get_expr(relpartbound, child.oid), 'FROM \\(''(.*)''\\) TO \\(''(.*)''\\)') AS bounds
WHERE inhparent = 'events_event'::regclass AND bounds IS NOT NULL ORDER BY bounds[1]
"""
TO_EVENTS = """
SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND confrelid = 'events_event'::regclass AND conparentid = 0
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Partition:
    """The part of each table that began at `start`, and ended before `end`."""

    name: str
    start: datetime
    end: datetime

    @property
    def bounds(self) -> dict[str, UUID]:
        return {"start": first_id(self.start), "end": first_id(self.end)}

    def of(self, table: str) -> str:
        return f"{table}_{self.name}"

    def from_the_second_day(self) -> "Partition":
        start = self.start + DAY
        return Partition(name_of(start), start, self.end)


def name_of(start: datetime) -> str:
    return f"{start:%Y%m%d}"


def first_id(moment: datetime) -> UUID:
    """The lowest UUIDv7 of that millisecond, or lower."""
    return UUID(int=((moment - EPOCH) // MILLISECOND) << 80)


def moment_of(id: UUID) -> datetime:
    return EPOCH + (id.int >> 80) * MILLISECOND


def partitions() -> list[Partition]:
    """Those with bounds, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(EXISTING)
        return [Partition(name, moment_of(start), moment_of(end)) for name, start, end in cursor.fetchall()]


def span() -> timedelta:
    """How long a partition is: whole days."""
    return max(DAY, timedelta(days=-(-settings.RETENTION_DAYS // PARTITIONS)))


def missing(existing: Sequence[Partition], now: datetime) -> Iterator[Partition]:
    """Those to be made, so that today and the days ahead have theirs, beside what is there already."""
    start = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ends_at = now + min(span(), LONGEST_AHEAD)
    while start <= ends_at:
        if there := next((one for one in existing if one.start <= start < one.end), None):
            start = there.end
            continue
        end = min([start + span(), *(one.start for one in existing if one.start > start)])
        yield Partition(name_of(start), start, end)
        start = end


def make_partitions(now: datetime) -> list[str]:
    """Make those that are missing; returns their names. DEFAULT keeps what it has where that is too much to move."""
    made = []
    for wanted in list(missing(partitions(), now)):
        one = wanted
        if rows_in_default(one) > MOST_MOVED:
            log.warning("a day stays in the DEFAULT partition: it has many rows of it", start=one.name)
            one = one.from_the_second_day()
        if one.start < one.end and rows_in_default(one) <= MOST_MOVED:
            alone(partial(make, one))
            made.append(one.name)
    return made


def rows_in_default(one: Partition) -> int:
    """Of the fullest table, in these days; MOST_MOVED and one more at most."""
    return max(
        fetch_number(
            f"SELECT count(*) FROM (SELECT FROM {table}_default WHERE {within(table)} LIMIT %(most)s) AS row",  # noqa: S608
            {**one.bounds, "most": MOST_MOVED + 1},
        )
        for table in KEYS
    )


def within(table: str) -> str:
    return f"{KEYS[table]} >= %(start)s AND {KEYS[table]} < %(end)s"


def fetch_number(statement: str, parameters: Mapping[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.fetchone()[0])


def alone(work: Callable[[], T], tries: int = TRIES) -> T:
    """Do it in a transaction that has the tables for itself. Whoever needs them meanwhile waits for a moment.

    Raises OperationalError when others keep them: it is to be tried again later.
    """
    try:
        with transaction.atomic():
            lock_tables()
            return work()
    except OperationalError:
        if tries == 1:
            raise
    time.sleep(BETWEEN_TRIES.total_seconds())
    return alone(work, tries - 1)


def lock_tables() -> None:
    """First so that readers and writers go on, but autovacuum, which only leaves when it is waited for, does not."""
    tables = f"events_idempotencykey, {', '.join(KEYS)}"
    execute(f"SET LOCAL statement_timeout = {VACUUM_PATIENCE // MILLISECOND}")
    execute(f"LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE")
    execute(f"SET LOCAL statement_timeout = {LOCK_PATIENCE // MILLISECOND}")
    execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
    execute("SET LOCAL statement_timeout TO DEFAULT")


def make(one: Partition) -> None:
    """With what DEFAULT has of these days. The tables are locked."""
    if rows_in_default(one):
        with foreign_keys_to_events_off(), retention_over():
            for table in KEYS:
                set_aside(table, f"SELECT * FROM {table}_default WHERE {within(table)}", one)  # noqa: S608
            for table in reversed(KEYS):
                execute(f"DELETE FROM {table}_default WHERE {within(table)}", one.bounds)  # noqa: S608
            create(one)
            put_back()
    else:
        create(one)


def create(one: Partition) -> None:
    """Attempts refer to deliveries from partition to partition, which costs less than between the whole tables."""
    for table in KEYS:
        execute(
            f"CREATE TABLE {one.of(table)} PARTITION OF {table} FOR VALUES FROM (%(start)s) TO (%(end)s)"
            f" {STORAGE.get(table, '')}",
            one.bounds,
        )
    execute(
        f"ALTER TABLE {one.of('deliveries_attempt')} ADD CONSTRAINT attempt_of_delivery"
        f" FOREIGN KEY (delivery_id) REFERENCES {one.of('deliveries_delivery')} DEFERRABLE INITIALLY DEFERRED"
    )


def drop(one: Partition) -> None:
    for table in reversed(KEYS):
        execute(f"DROP TABLE {one.of(table)}")


@contextmanager
def foreign_keys_to_events_off() -> Iterator[None]:
    """Without them a partition of events can go while replays keep some of its events, which are put back.

    They hold for every row that comes; those that are there were checked when they came. To check them all again
    would take as long as the tables are large: NOT VALID says that it was not done.
    """
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    with connection.cursor() as cursor:
        cursor.execute(TO_EVENTS)
        keys = cursor.fetchall()
    for table, name, _ in keys:
        execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    yield
    for table, name, definition in keys:
        definition = definition.removesuffix(" NOT VALID")
        execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID")
    execute("SET CONSTRAINTS ALL DEFERRED")


@contextmanager
def retention_over() -> Iterator[None]:
    """Let rows of events and attempts be deleted, in this transaction."""
    execute("SET LOCAL openvolt.retention = 'over'")
    yield
    execute("SET LOCAL openvolt.retention = ''")


def set_aside(table: str, rows: str, one: Partition) -> None:
    execute(f"CREATE TEMPORARY TABLE aside_{table} ON COMMIT DROP AS {rows}", one.bounds)
    execute(f"ANALYZE aside_{table}")


def put_back() -> None:
    for table in KEYS:
        execute(f"INSERT INTO {table} SELECT * FROM aside_{table}")  # noqa: S608
        execute(f"DROP TABLE aside_{table}")


def execute(statement: str, parameters: Mapping[str, Any] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
