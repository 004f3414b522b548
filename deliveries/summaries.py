"""The weekly summary: what became of a week's notifications, for the contacts of the applications that want it.

A task looks now and then which are due: of the week that ended on Monday, 00:00 UTC, from that day's 08:00 on. After an
outage the first look makes up for it; of weeks that have passed meanwhile, only the last is told of. Nothing is told of
a week in which there was nothing to send and nothing fails.

What is counted is bounded, whatever an application sends: of each day the first notifications, by an index that has
them in order; of attempts, those to send a few notifications a day to each receiver.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from accounts.models import Application
from deliveries.chores import do, in_batches
from deliveries.models import Notice
from deliveries.notices import DAY, add, not_pestered
from deliveries.partitions import first_id
from subscriptions.models import Channel, Subscription

SENT_AFTER = timedelta(hours=8)  # the end of the week: Monday, 00:00 UTC
WEEK = 7 * DAY
MOST_COUNTED = 50_000  # notifications a day
MOST_SAMPLED = 100  # notifications a day and receiver, whose attempts are looked at
MOST_FAILING = 10
MOST_SLOW = 5
COUNTED = """
SELECT day.nth,
    count(*) FILTER (WHERE one.counts AND one.status = 'succeeded'),
    count(*) FILTER (WHERE one.counts AND one.status = 'failed'),
    count(*) FILTER (WHERE one.counts AND one.status IN ('pending', 'held')),
    count(one.status)
FROM unnest(%(starts)s::uuid[], %(ends)s::uuid[]) WITH ORDINALITY AS day (start, "end", nth)
LEFT JOIN LATERAL (
    SELECT status, trigger <> 'test' AND NOT elsewhere AS counts FROM deliveries_delivery
    WHERE application_id = %(application)s AND id >= day.start AND id < day.end
    ORDER BY id LIMIT %(most)s
) AS one ON true
GROUP BY day.nth ORDER BY day.nth
"""
SLOW = """
SELECT each.id, count(*),
    percentile_disc(0.5) WITHIN GROUP (ORDER BY tried.duration_ms),
    percentile_disc(0.95) WITHIN GROUP (ORDER BY tried.duration_ms) AS p95
FROM unnest(%(subscriptions)s::uuid[]) AS each (id)
CROSS JOIN unnest(%(starts)s::uuid[], %(ends)s::uuid[]) AS day (start, "end")
CROSS JOIN LATERAL (
    SELECT id, elsewhere FROM deliveries_delivery
    WHERE subscription_id = each.id AND id >= day.start AND id < day.end
    ORDER BY id DESC LIMIT %(most)s
) AS one
CROSS JOIN LATERAL (
    SELECT duration_ms FROM deliveries_attempt WHERE delivery_id = one.id
) AS tried
WHERE NOT one.elsewhere
GROUP BY each.id ORDER BY p95 DESC, each.id LIMIT %(slow)s
"""


def sweep() -> None:
    do("weekly summaries", sum_up)


def sum_up(now: datetime) -> int:
    """Of each application that is due; returns how many were."""
    end = end_of_week(now)
    return in_batches(due(end), 1, partial(sum_up_week, end=end, now=now))


def end_of_week(now: datetime) -> datetime:
    """The end of the week that is told of now: a Monday, 00:00 UTC."""
    told = now - SENT_AFTER
    return told.replace(hour=0, minute=0, second=0, microsecond=0) - told.weekday() * DAY


def due(end: datetime) -> QuerySet[Application]:
    untold = Q(summarized_until=None) | Q(summarized_until__lt=end)
    return Application.objects.filter(untold, weekly_summary=True, created_at__lt=end)


def sum_up_week(locked: Sequence[Application], end: datetime, now: datetime) -> None:
    """A notice to each contact who wants it; that the week is done with is noted in the same transaction."""
    for application in locked:
        if contacts := application.summary_contacts:
            tell(application, contacts, facts(application, end - WEEK), now)
        application.summarized_until = end
        application.save(update_fields=["summarized_until"])


def tell(application: Application, contacts: Sequence[str], told: dict[str, Any], now: datetime) -> None:
    if not (told["failing"] or any(sum(day[what] for what in WHAT) for day in told["days"])):
        return
    notices = [
        Notice(
            kind=Notice.Kind.SUMMARY,
            application=application,
            email=email,
            occasion=told["start"],
            facts=told,
            due_at=now,
            created_at=now,
        )
        for email in contacts
    ]
    add(not_pestered(notices, now))


WHAT = ("delivered", "failed", "waiting")


def facts(application: Application, start: datetime) -> dict[str, Any]:
    """What the letter says of the week."""
    starts = [start + nth * DAY for nth in range(7)]
    failing, more = failing_of(application)
    return {
        "start": start.isoformat(),
        "days": days_of(application, starts),
        "counted": MOST_COUNTED,
        "failing": failing,
        "more_failing": more,
        "slowest": slowest_of(application, starts),
        "sampled": MOST_SAMPLED,
    }


def bounds(starts: Sequence[datetime]) -> dict[str, list[UUID]]:
    return {
        "starts": [first_id(start) for start in starts],
        "ends": [first_id(start + DAY) for start in starts],
    }


def days_of(application: Application, starts: Sequence[datetime]) -> list[dict[str, Any]]:
    """Of each day, what has become of its notifications; tests, and what goes elsewhere, are none."""
    with connection.cursor() as cursor:
        cursor.execute(COUNTED, bounds(starts) | {"application": application.id, "most": MOST_COUNTED})
        rows = cursor.fetchall()
    return [
        {"start": start.isoformat(), **dict(zip(WHAT, counts, strict=True)), "more": found == MOST_COUNTED}
        for start, (_nth, *counts, found) in zip(starts, rows, strict=True)
    ]


def failing_of(application: Application) -> tuple[list[dict[str, Any]], int]:
    """Subscriptions that get nothing, the longest first; and how many more there are."""
    stopped = Q(status=Subscription.Status.DISABLED) | Q(
        status=Subscription.Status.ACTIVE, failing_since__isnull=False
    )
    found = application.subscriptions.existing().filter(stopped).order_by("failing_since", "id")
    told = [
        named(one)
        | {
            "since": one.failing_since.isoformat() if one.failing_since else "",
            "disabled": one.status == Subscription.Status.DISABLED,
        }
        for one in found.defer("encrypted_headers")
    ]
    return told[:MOST_FAILING], max(0, len(told) - MOST_FAILING)


def slowest_of(application: Application, starts: Sequence[datetime]) -> list[dict[str, Any]]:
    webhooks = application.subscriptions.existing().filter(channel=Channel.WEBHOOK)
    by_id = {one.id: one for one in webhooks.defer("encrypted_headers")}
    wanted: dict[str, Any] = {"subscriptions": list(by_id), "most": MOST_SAMPLED, "slow": MOST_SLOW}
    with connection.cursor() as cursor:
        cursor.execute(SLOW, bounds(starts) | wanted)
        return [
            named(by_id[id]) | {"attempts": attempts, "median_ms": median, "p95_ms": p95}
            for id, attempts, median, p95 in cursor.fetchall()
        ]


def named(subscription: Subscription) -> dict[str, Any]:
    return {"url": subscription.url_without_query, "description": subscription.description}


def why_not_summed_up(notice: Notice) -> str:
    """Why a summary is not to be sent any more; empty if it is."""
    application = notice.application
    if not application.weekly_summary:
        return "The application's weekly summary is turned off."
    if not application.has_contact(notice.email):
        return "The address is no longer a contact of the application."
    if notice.email not in application.summary_contacts:
        return "The contact has ended the weekly summary."
    return ""


def end_summary(application_id: UUID, email: str) -> None:
    """As this contact has asked for; the others go on getting it."""
    with transaction.atomic():
        application = Application.objects.select_for_update(no_key=True).get(pk=application_id)
        application.summary_ended_by = sorted({*application.summary_ended_by, email.lower()})
        application.save(update_fields=["summary_ended_by"])


def send_summary_again(application_id: UUID, email: str) -> None:
    with transaction.atomic():
        application = Application.objects.select_for_update(no_key=True).get(pk=application_id)
        application.summary_ended_by = sorted({*application.summary_ended_by} - {email.lower()})
        application.save(update_fields=["summary_ended_by"])
