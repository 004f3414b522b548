"""Writing new rows below the ORM (docs/decisions/0009): publishing writes two tables for every event."""

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import Model

FEW = 4  # rows up to which one INSERT into all tables takes less than a COPY into each, which is several round trips


def save_new(*tables: Sequence[Model]) -> None:
    """Save rows, all of them new: of each model a sequence, with those first that others refer to."""
    tables = tuple(rows for rows in tables if rows)
    if sum(map(len, tables)) > FEW:
        for rows in tables:
            copy(rows)
    elif tables:
        insert(tables)
    for rows in tables:
        for row in rows:
            row._state.adding, row._state.db = False, connection.alias


def copy(rows: Sequence[Model]) -> None:
    table, columns, _ = written_as(type(rows[0]))
    statement = f"COPY {table} ({columns}) FROM STDIN"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copying:
        for row in rows:
            copying.write_row(values(row))


def insert(tables: Sequence[Sequence[Model]]) -> None:
    """All of them in one statement; PostgreSQL checks their references at its end."""
    inserts = []
    for number, rows in enumerate(tables):
        table, columns, names = written_as(type(rows[0]))
        row = f"({', '.join(['%s'] * len(names))})"
        inserts.append(
            f"table_{number} AS (INSERT INTO {table} ({columns}) VALUES {', '.join([row] * len(rows))})"  # noqa: S608
        )
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH {', '.join(inserts)} SELECT",
            [value for rows in tables for row in rows for value in values(row)],
        )


@lru_cache
def written_as(model: type[Model]) -> tuple[str, str, list[str]]:
    """Its table, the columns, and the names of the attributes in them."""
    fields = model._meta.concrete_fields
    columns = ", ".join(f'"{field.column}"' for field in fields)
    return model._meta.db_table, columns, [field.attname for field in fields]


def values(row: Model) -> list[Any]:
    return [plain(getattr(row, name)) for name in written_as(type(row))[2]]


def plain(value: Any) -> Any:
    """psycopg would write a member of an enumeration by its name."""
    return value.value if isinstance(value, Enum) else value
