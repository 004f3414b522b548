"""How many requests a caller makes in ten seconds, counted by PostgreSQL for all web servers together.

A key is counted by the query that looks it up, so that counting costs no round trip. Each window of ten seconds has a
row of its own: one that is counted up for hours would get slow while a long transaction, a backup say, keeps its old
versions. The table is unlogged: a crash of the database forgets the counts and nothing else.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from django.db import connection
from django.db.models import F, Func, IntegerField, TextField, Value
from django.db.models.functions import Cast

WINDOW = timedelta(seconds=10)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RequestsOfRow(Func):
    """Counts one request of the row that the query finds; its value is how many they are in this window."""

    function = "openvolt_count_request"
    output_field = IntegerField()

    def __init__(self, now: datetime) -> None:
        super().__init__(Cast(F("pk"), TextField()), Value(began_at(now)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@dataclass(frozen=True)
class Standing:
    """Where a caller stands: `requests` so far of the `quota` in a window that ends at `ends_at`."""

    policy: str
    quota: int
    requests: int
    ends_at: datetime

    @property
    def is_over(self) -> bool:
        return self.requests > self.quota

    @property
    def remaining(self) -> int:
        return max(self.quota - self.requests, 0)

    def wait(self, now: datetime) -> int:
        """Whole seconds until the next window, one at least."""
        return max(ceil((self.ends_at - now).total_seconds()), 1)


def began_at(now: datetime) -> datetime:
    return EPOCH + (now - EPOCH) // WINDOW * WINDOW


def standing(policy: str, quota: int, requests: int, now: datetime) -> Standing:
    return Standing(policy, quota, requests, began_at(now) + WINDOW)


def count_address(address: str, now: datetime) -> int:
    """Count one request of those that came from this address without a valid key; returns how many they are."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT openvolt_count_request(%s, %s)", [f"address {address}", began_at(now)])
        return int(cursor.fetchone()[0])


def forget_request_counts(now: datetime) -> int:
    """Delete what was counted in windows that are over; returns how many rows that were."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM accounts_request_count WHERE began_at < %s", [began_at(now) - WINDOW])
        return cursor.rowcount
