"""Whether somebody waits for a lock: of the test's own database, as other tests run on the same server."""

from django.db import connection

WAITING = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')
"""


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # which is kept for a transaction
        cursor.execute(WAITING)
        return bool(cursor.fetchone()[0])
