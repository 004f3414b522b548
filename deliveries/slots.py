"""How many drains of a lane one cluster runs at a time: advisory locks, which end with their session.

A semaphore in memory would stay taken when the worker that holds it is killed. Each `manage.py qcluster` has slots of
its own, whatever its machine is called: containers and cloned machines share names, and one more is to add capacity.
"""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from django.conf import settings
from django.db import connection

from deliveries.chores import alone

CLUSTER = uuid4()  # the import makes it, before the cluster forks


def slot_class(lane: str) -> int:
    """The first half of the lane's lock numbers in this cluster."""
    return zlib.crc32(f"openvolt drain {lane} {CLUSTER}".encode()) >> 1  # fits a signed int4


@contextmanager
def slot(lane: str) -> Iterator[bool]:
    """Hold one of the lane's slots; False when all are taken."""
    with ExitStack() as held:
        yield any(held.enter_context(alone(slot_class(lane), number)) for number in free_slots(lane))


def free_slots(lane: str) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [slot_class(lane)],
        )
        taken = {row[0] for row in cursor.fetchall()}
    return [number for number in range(settings.DRAINS[lane]) if number not in taken]
