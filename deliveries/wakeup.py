"""Telling the workers that something is due, without telling them what: that is in the table."""

from collections.abc import Iterable

from django.db import connection

NOTIFY_CHANNEL = "openvolt_due"


def wake(lanes: Iterable[str]) -> None:
    """Wake the workers of these lanes, when the transaction under way commits."""
    with connection.cursor() as cursor:
        for lane in sorted(set(lanes)):
            cursor.execute("SELECT pg_notify(%s, %s)", [NOTIFY_CHANNEL, lane])
