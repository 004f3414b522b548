"""How many drains of a lane one cluster runs at a time: advisory locks, which end with their session.

A semaphore in memory would stay taken when the worker that holds it is killed. Each `manage.py qcluster` has slots of
its own, whatever its machine is called: containers and cloned machines share names, and one more is to add capacity.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from django.conf import settings
from django.db import connection

CLUSTER = uuid4()  # the import makes it, before the cluster forks


def slot_class(lane: str) -> int:
    """The first half of the lane's lock numbers in this cluster."""
    return zlib.crc32(f"openvolt drain {lane} {CLUSTER}".encode()) >> 1  # fits a signed int4


@contextmanager
def slot(lane: str) -> Iterator[bool]:
    """Hold one of the lane's slots; False when all are taken."""
    number = next((number for number in free_slots(lane) if try_lock(lane, number)), None)
    try:
        yield number is not None
    finally:
        if number is not None:
            unlock(lane, number)


def free_slots(lane: str) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [slot_class(lane)],
        )
        taken = {row[0] for row in cursor.fetchall()}
    return [number for number in range(settings.DRAINS[lane]) if number not in taken]


def try_lock(lane: str, number: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [slot_class(lane), number])
        return bool(cursor.fetchone()[0])


def unlock(lane: str, number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [slot_class(lane), number])
