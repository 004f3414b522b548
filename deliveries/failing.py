"""Subscriptions that go on failing: the application's contacts are told, and after five days they are disabled.

A task looks for them every minute. An outage lasts from the first failed attempt (`failing_since`) to the next success.
After an hour the contacts are told, after four days they are warned, and a day after the warning the subscription is
disabled. The next success after any of that, be it after somebody has resumed the subscription, is told as well, by
the settling that sees it.

No clock alone brings that about: at least two attempts must have failed, the last of them well after the first; and
between the warning and the end lies a day, as the sweeps' clock sees it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, F, OuterRef

from deliveries.cases import OUTAGES, open_outages
from deliveries.chores import do, in_batches
from deliveries.lifecycle import disable, finish_moves
from deliveries.models import Notice
from deliveries.notices import DAY, GATHER_FOR, add, not_pestered
from subscriptions.models import Subscription, SubscriptionQuerySet

TELL_AFTER = timedelta(hours=1)
WARN_AFTER = timedelta(days=4)
DISABLE_AFTER = timedelta(days=5)
BETWEEN_WARNING_AND_END = timedelta(days=1)
FEWEST_FAILURES = 2
LEAST_SHARE = 3  # of the time, that must lie between the first and the last failed attempt: a third
BATCH = 100
MOST_COUNTED = 1000
REASON = "Every attempt has failed since {since:%Y-%m-%d %H:%M} UTC, for five days."
UNFINISHED = """
SELECT each.id, (
    SELECT count(*) FROM (
        SELECT FROM deliveries_delivery
        WHERE subscription_id = each.id AND status IN ('pending', 'held') LIMIT %s
    ) AS unfinished
) FROM unnest(%s::uuid[]) AS each (id)
"""
# What a replay of what failed would send, among the latest that failed.
LOST = """
SELECT each.id, lost.count, events_event.created_at
FROM unnest(%s::uuid[], %s::timestamptz[]) AS each (id, since)
CROSS JOIN LATERAL (
    SELECT count(*), min(event_id::text)::uuid AS first FROM (
        SELECT event_id, finished_at FROM deliveries_delivery
        WHERE subscription_id = each.id AND status = 'failed' AND NOT elsewhere AND trigger <> 'test'
        ORDER BY id DESC LIMIT %s
    ) AS latest WHERE finished_at >= each.since
) AS lost
LEFT JOIN events_event ON events_event.id = lost.first
"""


@dataclass(frozen=True)
class Lost:
    """What has failed for good: so many deliveries, of events from this moment on."""

    count: int
    since: datetime | None


def sweep() -> None:
    do("failing subscriptions", tell_failing, warn_failing, disable_failing, finish_moves)


def tell_failing(now: datetime) -> int:
    """Tell of those that have failed for an hour; of one that comes and goes, once a day."""
    lately = Notice.objects.filter(
        subscription=OuterRef("pk"), kind=Notice.Kind.FAILING, created_at__range=(now - DAY, now)
    )
    due = failing_for(TELL_AFTER, now).filter(failing_since__gt=now - WARN_AFTER)
    untold = due.exclude(told_failing_since=F("failing_since")).exclude(Exists(lately))
    return in_batches(untold, BATCH, partial(say_failing, now=now))


def warn_failing(now: datetime) -> int:
    """Tell of those that are to be disabled in a day. Whom nobody has looked at for longer gets this day, too."""
    due = failing_for(WARN_AFTER, now).filter(disable_at=None)
    return in_batches(due, BATCH, partial(say_disabling, now=now))


def disable_failing(now: datetime) -> int:
    """One by one: of what waits of it, the first is held in the same transaction."""
    due = failing_for(DISABLE_AFTER, now).filter(disable_at__lte=now)
    return in_batches(due, 1, partial(end, now=now))


def failing_for(age: timedelta, now: datetime) -> SubscriptionQuerySet:
    """Active ones of which no attempt has succeeded for so long although some were made."""
    failing = Subscription.objects.active().filter(
        failing_since__lte=now - age,
        failure_count__gte=FEWEST_FAILURES,
        last_failed_at__gte=F("failing_since") + age / LEAST_SHARE,
    )
    return failing.select_related("application").defer("encrypted_headers").order_by("failing_since")


def say_failing(locked: Sequence[Subscription], now: datetime) -> None:
    for one in locked:
        one.told_failing_since = one.failing_since
    Subscription.objects.bulk_update(locked, ["told_failing_since"])
    tell(Notice.Kind.FAILING, locked, now)


def say_disabling(locked: Sequence[Subscription], now: datetime) -> None:
    for one in locked:
        one.told_failing_since = one.failing_since
        one.disable_at = max(five_days_later(one), now + BETWEEN_WARNING_AND_END)
    Subscription.objects.bulk_update(locked, ["told_failing_since", "disable_at"])
    tell(Notice.Kind.DISABLING, locked, now)


def end(locked: Sequence[Subscription], now: datetime) -> None:
    for one in locked:
        disable(one, now, REASON.format(since=one.failing_since))
    tell(Notice.Kind.DISABLED, locked, now)


def tell_gone(locked: Subscription, now: datetime) -> None:
    """That it was disabled because the receiver asked for it (410)."""
    locked.told_failing_since = locked.failing_since or now
    locked.save(update_fields=["told_failing_since"])
    tell(Notice.Kind.GONE, [locked], now)


def tell_recovered(locked: Subscription, now: datetime) -> None:
    """Of an attempt that has just succeeded. While the subscription is paused or disabled, that is no recovery."""
    if locked.told_failing_since is not None and locked.is_active:
        tell(Notice.Kind.RECOVERED, [locked], now)
        locked.told_failing_since = None


def tell(kind: Notice.Kind, locked: Sequence[Subscription], now: datetime) -> None:
    """A notice to each contact of the application, of each of these. All have the outage they are told of."""
    unfinished, lost = unfinished_of([one.id for one in locked]), lost_of(locked, now)
    told = {one.id: facts(one, unfinished[one.id], lost[one.id], now) for one in locked}
    if kind in OUTAGES:
        open_outages(kind, locked, told, now)
    notices = [
        Notice(
            kind=kind,
            application_id=one.application_id,
            email=email,
            subscription=one,
            occasion=occasion(one),
            facts=told[one.id],
            due_at=now + GATHER_FOR,
            created_at=now,
        )
        for one in locked
        for email in one.application.contacts
    ]
    if notices:
        add(not_pestered(notices, now))


def occasion(subscription: Subscription) -> str:
    since = subscription.told_failing_since
    return f"{subscription.id} {since.isoformat()}" if since else ""


def facts(one: Subscription, unfinished: int, lost: Lost, now: datetime) -> dict[str, Any]:
    """What letters say of the outage, as it is now."""
    since = one.told_failing_since or now
    return {
        "url": one.url_without_query,
        "description": one.description,
        "since": since.isoformat(),
        "at": now.isoformat(),
        "disable_at": (one.disable_at or since + DISABLE_AFTER).isoformat(),
        "failures": one.failure_count,
        "last_error": one.last_error,
        "unfinished": unfinished,
        "failed": lost.count,
        "failed_from": lost.since.isoformat() if lost.since else "",
    }


def five_days_later(one: Subscription) -> datetime:
    assert one.failing_since is not None  # noqa: S101
    return one.failing_since + DISABLE_AFTER


def unfinished_of(ids: Collection[UUID]) -> dict[UUID, int]:
    """How many deliveries of each are pending or held; one more than `MOST_COUNTED` for all that are more."""
    with connection.cursor() as cursor:
        cursor.execute(UNFINISHED, [MOST_COUNTED + 1, list(ids)])
        return dict(cursor.fetchall())


def lost_of(failing: Sequence[Subscription], now: datetime) -> dict[UUID, Lost]:
    """Of each since its outage began; one more than `MOST_COUNTED` for all that are more, of which the first is not
    looked for: then a replay has to begin with the outage.
    """
    began = {one.id: one.told_failing_since or now for one in failing}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort TO off")  # or all that failed is read, to find the latest
        cursor.execute(LOST, [list(began), list(began.values()), MOST_COUNTED + 1])
        lost = {
            id: Lost(count, min(since, began[id]) if count > MOST_COUNTED else since)
            for id, count, since in cursor.fetchall()
        }
        cursor.execute("SET LOCAL enable_sort TO DEFAULT")
    return lost


def why_untold(notice: Notice) -> str:
    """Why a notice of an outage is not to be sent any more; empty if it is."""
    subscription = notice.subscription
    if not notice.application.has_contact(notice.email):
        return "The address is no longer a contact of the application."
    if subscription is None or subscription.deleted_at is not None:
        return "The subscription was deleted."
    return OVER[notice.kind](notice, subscription)


def why_not_failing(notice: Notice, subscription: Subscription) -> str:
    goes_on = subscription.failing_since == subscription.told_failing_since
    if subscription.is_active and goes_on and occasion(subscription) == notice.occasion:
        return ""
    return "It does not fail any more, or is not active."


def why_not_disabled(_: Notice, subscription: Subscription) -> str:
    return "" if subscription.status == Subscription.Status.DISABLED else "It is not disabled any more."


def why_not_recovered(notice: Notice, _: Subscription) -> str:
    """Who was not told that it fails need not be told that it does not."""
    same = {"application": notice.application_id, "occasion": notice.occasion, "email__iexact": notice.email}
    told = Notice.objects.filter(**same).exclude(pk=notice.pk).exclude(due_at=None, sent_at=None)
    return "" if told.exists() else "Nobody at this address was told that it fails."


OVER: dict[str, Callable[[Notice, Subscription], str]] = {
    Notice.Kind.FAILING: why_not_failing,
    Notice.Kind.DISABLING: why_not_failing,
    Notice.Kind.DISABLED: why_not_disabled,
    Notice.Kind.GONE: why_not_disabled,
    Notice.Kind.RECOVERED: why_not_recovered,
}
