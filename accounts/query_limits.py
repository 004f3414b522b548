"""A bound on how long the database may take for each query of a look at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection, transaction
from psycopg.errors import QueryCanceled


@contextmanager
def query_limit(limit: timedelta) -> Iterator[None]:
    """A transaction in which PostgreSQL gives up each query that takes longer: OperationalError, `was_given_up`."""
    milliseconds = max(limit // timedelta(milliseconds=1), 1)  # 0 would be no limit
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, TRUE)", [str(milliseconds)])
        yield


def was_given_up(error: Exception) -> bool:
    return isinstance(error.__cause__, QueryCanceled)
