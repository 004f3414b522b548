"""Empties the database after a test that commits: as Django's flush does, in a tenth of its time.

Flush truncates every table with all its partitions and indexes, whatever is in it, and then makes permissions anew.
Only a superuser can leave triggers out; of a DATABASE_URL with another user, tests flush.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from django.test import TransactionTestCase

KEPT = {"auth_group", "auth_group_permissions", "auth_permission", "django_content_type"}  # made by `migrate`
flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]
MANY = 1000  # rows that are truncated sooner than deleted


@pytest.fixture(scope="session", autouse=True)
def quick_emptying() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        yield


@pytest.fixture
def no_dead_rows(db: None) -> None:
    """Of whose plans are looked at: they go by the size of a table, and so by what other tests have rolled back."""
    remove_dead_rows()


def remove_dead_rows() -> None:
    """Empties all tables for this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f"TRUNCATE {', '.join(ours())}")
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def ours() -> list[str]:
    return sorted(set(connection.introspection.django_table_names()) - KEPT)


def empty(test: TransactionTestCase) -> None:
    connection.ensure_connection()
    if connection.connection.info.parameter_status("is_superuser") != "on":
        flush(test)
        return
    tables = ours()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger: some rows refuse to go
        cursor.execute(f"LOCK TABLE {', '.join(tables)}")  # waits for what a killed process still writes
        cursor.execute(
            " UNION ALL ".join(f"(SELECT '{table}' FROM {table} LIMIT {MANY})" for table in tables)
        )
        rows = Counter(table for (table,) in cursor.fetchall())
        if MANY in rows.values():
            cursor.execute(f"TRUNCATE {', '.join(tables)}")
        elif rows:
            cursor.execute("; ".join(f"DELETE FROM {table}" for table in rows))
