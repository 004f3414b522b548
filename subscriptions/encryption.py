"""What must not be read from a copy of the database: signing secrets and custom headers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.db import connection, models
from django.db.models.functions import Cast

BATCH = 500

REPLACE = """
WITH new AS (
    SELECT * FROM unnest(%(keys)s::{key_type}[], %(old)s::text[], %(new)s::text[]) AS row (key, old, new)
), free AS MATERIALIZED (
    SELECT stored.{key} AS key, new.new FROM {table} AS stored JOIN new ON stored.{key} = new.key
        AND stored.{column} = new.old
    FOR NO KEY UPDATE OF stored SKIP LOCKED
)
UPDATE {table} AS stored SET {column} = free.new FROM free WHERE stored.{key} = free.key
"""


@cache
def key_ring() -> MultiFernet:
    """ENCRYPTION_KEYS: the first encrypts, all decrypt, so that a key can be replaced without a pause."""
    return MultiFernet([Fernet(key) for key in settings.ENCRYPTION_KEYS])


@lru_cache(maxsize=4096)
def decrypted(value: str) -> str:
    """Remembered: a busy worker needs the same few secrets again and again. Raises InvalidToken."""
    return key_ring().decrypt(value).decode()


class EncryptedTextField(models.TextField):
    """Text that is encrypted on its way into the database and decrypted on its way out."""

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        return text if text is None else key_ring().encrypt(text.encode()).decode()

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        if value is None:
            return None
        try:
            return decrypted(value)
        except InvalidToken:
            raise ValueError(
                f"{self.model._meta.label}.{self.name} was encrypted with a key that ENCRYPTION_KEYS no longer has; "
                "add that key again, after the first."
            ) from None


@dataclass
class Rotation:
    """What a pass over one column came to. `left` were locked or changed at that moment; another pass gets them."""

    column: str
    rewritten: int = 0
    current: int = 0
    left: int = 0
    unreadable: int = 0


def encrypted_fields() -> Iterator[EncryptedTextField]:
    for model in apps.get_models():
        for field in model._meta.local_concrete_fields:
            if isinstance(field, EncryptedTextField):
                yield field


def rotate(field: EncryptedTextField) -> Rotation:
    """Encrypt with the first key whatever another one has encrypted.

    Online: a few rows at a time, each few a transaction of its own, waiting for nobody. It can be cut short and begun
    again: what has been rewritten is passed over.
    """
    rotation, last = Rotation(f"{field.model._meta.label}.{field.name}"), None
    while batch := stored_after(field, last):
        last = batch[-1][0]
        rotate_batch(field, batch, rotation)
    return rotation


def stored_after(field: EncryptedTextField, last: Any) -> list[tuple[Any, str]]:
    """The next rows' keys, and what is stored: a cast is not decrypted."""
    rows = field.model._base_manager.exclude(**{f"{field.name}__isnull": True}).order_by("pk")
    further = rows if last is None else rows.filter(pk__gt=last)
    stored = further.annotate(stored=Cast(field.name, models.TextField()))
    return list(stored.values_list("pk", "stored")[:BATCH])


def rotate_batch(field: EncryptedTextField, batch: Sequence[tuple[Any, str]], rotation: Rotation) -> None:
    first, changes = Fernet(settings.ENCRYPTION_KEYS[0]), []
    for key, stored in batch:
        if is_readable(first, stored):
            rotation.current += 1
        elif is_readable(key_ring(), stored):
            changes.append((key, stored, key_ring().rotate(stored).decode()))
        else:
            rotation.unreadable += 1
    if changes:
        rewritten = replace(field, changes)
        rotation.rewritten += rewritten
        rotation.left += len(changes) - rewritten


def is_readable(keys: Fernet | MultiFernet, stored: str) -> bool:
    try:
        keys.decrypt(stored)
    except InvalidToken:
        return False
    return True


def replace(field: EncryptedTextField, changes: Sequence[tuple[Any, str, str]]) -> int:
    """Of these keys, old and new values, store the new where the old are still there; returns how many that were."""
    options = field.model._meta
    keys, old, new = (list(column) for column in zip(*changes, strict=True))
    statement = REPLACE.format(
        table=options.db_table,
        column=field.column,
        key=options.pk.column,
        key_type=options.pk.rel_db_type(connection),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, {"keys": keys, "old": old, "new": new})
        return cursor.rowcount
