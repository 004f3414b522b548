"""Writing new rows below the ORM (docs/decisions/0009): publishing writes two tables for every event."""

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import Model


def save_new(rows: Sequence[Model]) -> None:
    """Save rows of one model, all of them new, by COPY: of one row, the ORM's INSERT costs more to make than to run."""
    if not rows:
        return
    statement, names = copy_into(type(rows[0]))
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row([plain(getattr(row, name)) for name in names])
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


@lru_cache
def copy_into(model: type[Model]) -> tuple[str, list[str]]:
    """The statement, and the names of the attributes that it wants of each row."""
    fields = model._meta.concrete_fields
    columns = ", ".join(f'"{field.column}"' for field in fields)
    return f"COPY {model._meta.db_table} ({columns}) FROM STDIN", [field.attname for field in fields]


def plain(value: Any) -> Any:
    """psycopg would write a member of an enumeration by its name."""
    return value.value if isinstance(value, Enum) else value
