"""Which subscriptions are left alone for now, although something of theirs is due.

Some have failed again and again and cool down, some have used up their `rate_limit`. Neither may keep a worker busy.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from deliveries.claiming import IDLE, WAITING
from deliveries.models import LONGEST_LEASE
from deliveries.pacing import AHEAD, LONGEST_SPACING
from subscriptions.models import LONGEST_COOLING

SOON = timedelta(milliseconds=100)  # before it may begin, a delivery is worth claiming
# What lies further ahead than anything is handed out is from before a clock was put back.
RESTING = """
SELECT id, cooling_until FROM subscriptions_subscription
WHERE cooling_until > %(now)s AND cooling_until <= %(coolest)s
UNION ALL
SELECT subscription_id, %(now)s + (next_at - moment - %(soon)s)
FROM subscriptions_pace CROSS JOIN (SELECT clock_timestamp() AS moment) AS clock
WHERE next_at > moment + %(soon)s AND next_at <= moment + %(furthest)s
"""
NEXT_DUE = f"""
{WAITING}
SELECT min(first.next_attempt_at) FROM waiting CROSS JOIN LATERAL (
    SELECT next_attempt_at FROM deliveries_delivery
    WHERE status = 'pending' AND NOT behind AND channel = %(lane)s AND subscription_id = waiting.id
        AND {IDLE}
    ORDER BY next_attempt_at LIMIT 1
) AS first
WHERE waiting.id <> ALL(%(resting)s)
UNION ALL (
    SELECT next_attempt_at FROM deliveries_delivery
    WHERE status = 'pending' AND elsewhere AND channel = %(lane)s AND {IDLE}
    ORDER BY next_attempt_at LIMIT 1
)
"""  # noqa: S608 - nothing from outside is in it


def resting(now: datetime) -> dict[UUID, datetime]:
    """Their ids, and until when."""
    parameters: dict[str, Any] = {
        "now": now,
        "coolest": now + LONGEST_COOLING,
        "soon": SOON,
        "furthest": AHEAD + LONGEST_SPACING,
    }
    with connection.cursor() as cursor:
        cursor.execute(RESTING, parameters)
        return dict(cursor.fetchall())


def next_due_beside(resting: Collection[UUID], lane: str, now: datetime) -> datetime | None:
    """When the next attempt of any other subscription should begin, or of a replay that goes elsewhere."""
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = {
            "now": now,
            "furthest": now + LONGEST_LEASE,
            "lane": lane,
            "resting": list(resting),
        }
        cursor.execute(NEXT_DUE, parameters)
        return min((at for (at,) in cursor.fetchall() if at), default=None)
