"""Is anything stuck? The operators' front page: what is wrong, for whom, since when, and what to do about it.

Each figure is one look at an index, bounded also in time: the page is wanted most when the database is slow.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.conf import settings
from django.db import OperationalError
from django.db.models import QuerySet
from django.utils.text import Truncator
from django.utils.timesince import timesince, timeuntil

from accounts.admin_columns import list_of, page_of
from accounts.admin_lists import Count, count_up_to
from accounts.models import Application
from accounts.query_limits import query_limit, was_given_up
from deliveries.failing import DISABLE_AFTER, TELL_AFTER
from deliveries.models import LATE, Case, Delivery, Heartbeat, Notice
from deliveries.vital_signs import longest_due
from subscriptions.models import Subscription

MOST_COUNTED = 1000
MOST_FAILING = 10
SHORT_NAME = 60
LONGEST_LOOK = timedelta(seconds=2)

Found = TypeVar("Found")


@dataclass(frozen=True)
class Figure:
    """One number, or a few words, and the list that it sums up."""

    label: str
    value: Count | str
    url: str = ""
    note: str = ""
    wrong: bool = False


@dataclass(frozen=True)
class Problem:
    """What keeps the service from sending, what to do about it, and where the rows are that it is about."""

    what: str
    todo: str
    url: str = ""


@dataclass(frozen=True)
class Failing:
    """An active subscription whose every attempt has failed for a while, what comes of that, and who knows of it."""

    subscription: Subscription
    since: datetime
    lasts: str
    end: str
    knows: str
    page: str
    application_page: str
    waiting: str


@dataclass(frozen=True)
class FrontPage:
    """`problems` keep the service from sending; `complaints` are about receivers, and it goes on trying."""

    at: datetime
    problems: list[Problem]
    complaints: list[str]
    figures: list[Figure]
    failing: list[Failing]


def front_page(now: datetime) -> FrontPage:
    """What operators see first; `now` is aware."""
    heartbeat = Heartbeat.objects.first()
    oldest = in_time(lambda: oldest_due(now))
    failing = list(
        Subscription.objects.active()
        .exclude(failing_since=None)
        .select_related("application")
        .defer("encrypted_headers")
        .order_by("failing_since")[:MOST_FAILING]
    )
    return FrontPage(
        at=now,
        problems=[
            *pulse_problems(heartbeat, now),
            *late_problems(oldest, now),
        ],
        complaints=list(failing_complaints(failing, now)),
        figures=[
            due_figure(now),
            oldest_figure(oldest, now),
            in_flight_figure(now),
            failing_figure(failing, now),
            disabled_figure(),
            failed_figure(now),
            held_figure(),
            notices_figure(now),
            cases_figure(now),
            pulse_figure(heartbeat, now),
        ],
        failing=[failing_row(subscription, now) for subscription in failing],
    )


def span(since: datetime, now: datetime) -> str:
    """The time that has gone by, for people: "3 hours", or "no time at all" in other words."""
    return timesince(since, now, depth=1) if now - since >= timedelta(minutes=1) else "less than a minute"


def in_time(look: Callable[[], Found]) -> Found | str:
    """What was found, or words that it is not known, for the database took too long."""
    try:
        with query_limit(LONGEST_LOOK):
            return look()
    except OperationalError as error:
        if not was_given_up(error):
            raise
        return f"not known: the database took longer than {LONGEST_LOOK.total_seconds():g} s"


def count(queryset: QuerySet) -> Count | str:
    return in_time(lambda: count_up_to(MOST_COUNTED, queryset))


def oldest_due(now: datetime) -> Delivery | None:
    """The delivery that has waited for a worker for the longest time."""
    id = longest_due(now)
    return (
        Delivery.objects.select_related("application", "subscription").filter(pk=id).first() if id else None
    )


def due_figure(now: datetime) -> Figure:
    due = Delivery.objects.due(now).filter(channel__in=list(settings.DRAINS))
    url = list_of("deliveries_delivery", next="due")
    return Figure("Due now", count(due), url, "also what waits for a failing or slow receiver")


def oldest_figure(oldest: Delivery | str | None, now: datetime) -> Figure:
    label = "Longest wait for a worker"
    if isinstance(oldest, str):
        return Figure(label, oldest, wrong=True)
    if oldest is None or oldest.next_attempt_at is None:
        return Figure(label, "none")
    late = now - oldest.next_attempt_at
    return Figure(label, f"{span(oldest.next_attempt_at, now)} late", page_of(oldest), wrong=late >= LATE)


def in_flight_figure(now: datetime) -> Figure:
    leased = Delivery.objects.in_flight(now).filter(channel__in=list(settings.DRAINS))
    return Figure("In flight", count(leased), list_of("deliveries_delivery", next="in_flight"))


def failing_figure(failing: list[Subscription], now: datetime) -> Figure:
    return Figure(
        "Failing subscriptions",
        count(Subscription.objects.active().exclude(failing_since=None)),
        list_of("subscriptions_subscription", failing="yes", status__exact=Subscription.Status.ACTIVE),
        wrong=any(failing_complaints(failing, now)),
    )


def disabled_figure() -> Figure:
    disabled = Subscription.objects.existing().filter(status=Subscription.Status.DISABLED)
    url = list_of("subscriptions_subscription", status__exact=Subscription.Status.DISABLED, deleted="no")
    return Figure(
        "Disabled subscriptions", count(disabled), url, "nothing is sent until somebody resumes them"
    )


def failed_figure(now: datetime) -> Figure:
    failed = Delivery.objects.filter(status=Delivery.Status.FAILED, finished_at__gte=now - timedelta(days=1))
    url = list_of("deliveries_delivery", failed="day")
    return Figure("Failed for good", count(failed), url, "in the last 24 hours")


def held_figure() -> Figure:
    url = list_of("deliveries_delivery", status__exact=Delivery.Status.HELD)
    return Figure(
        "Held", count(Delivery.objects.held()), url, "they go out on resume, or when the recipient confirms"
    )


def notices_figure(now: datetime) -> Figure:
    url = list_of("deliveries_notice", next="due")
    return Figure("Notices due", count(Notice.objects.due(now)), url)


def cases_figure(now: datetime) -> Figure:
    """Not wrong, however long: it is for the applications' own people to see to."""
    url = list_of("deliveries_case", state__exact=Case.State.OPEN)
    nobodys = Case.objects.filter(state=Case.State.OPEN)
    oldest = nobodys.order_by("created_at").first()
    note = f"told of, nobody is on it; the oldest for {span(oldest.created_at, now)}" if oldest else ""
    return Figure("Cases open", count(nobodys), url, note)


def pulse_figure(heartbeat: Heartbeat | None, now: datetime) -> Figure:
    label = "Workers last worked"
    if heartbeat is None:
        return Figure(label, "never", wrong=True)
    return Figure(label, f"{span(heartbeat.beat_at, now)} ago", wrong=not heartbeat.is_fresh(now))


def pulse_problems(heartbeat: Heartbeat | None, now: datetime) -> Iterator[Problem]:
    todo = "Look at the log of the workers, and start them again. What was under way is tried again."
    if heartbeat is None:
        yield Problem("No worker has worked yet. Nothing is sent until one does.", todo)
    elif not heartbeat.is_fresh(now):
        what = f"No worker has worked since {said(heartbeat.beat_at, now)}. Nothing is sent, to anybody."
        yield Problem(what, todo)


def late_problems(oldest: Delivery | str | None, now: datetime) -> Iterator[Problem]:
    if isinstance(oldest, str):
        yield Problem(
            f"For how long deliveries have waited for a worker is {oldest}.",
            "Load the page again. If it stays so, look at what else the database is doing.",
        )
    elif oldest and oldest.next_attempt_at and now - oldest.next_attempt_at >= LATE:
        whom = f"“{short(oldest.subscription)}” of {short(oldest.application)}"
        yield Problem(
            f"A delivery to {whom} has been due since {said(oldest.next_attempt_at, now)}, and is not under way.",
            "If many are due, start more workers. If it is this one alone, look at what it waits for.",
            page_of(oldest),
        )
    waiting = Notice.objects.due(now - LATE).select_related("application").first()
    if waiting and waiting.due_at:
        whom = f"{waiting.email}, for {short(waiting.application)},"
        yield Problem(
            f"An email of our own to {whom} has been due since {said(waiting.due_at, now)}.",
            f"Look at the mail server. It said: {waiting.error}" if waiting.error else "Look at the workers.",
            page_of(waiting),
        )


def said(since: datetime, now: datetime) -> str:
    return f"{since:%d %b %Y %H:%M} UTC ({span(since, now)} ago)"


def short(row: Subscription | Application) -> str:
    return Truncator(row).chars(SHORT_NAME)


def failing_complaints(failing: list[Subscription], now: datetime) -> Iterator[str]:
    """`failing` is in the order of since when. The first hour is no more than a receiver's restart."""
    if failing and failing[0].failing_since and now - failing[0].failing_since >= TELL_AFTER:
        whom = f"“{short(failing[0])}” of {short(failing[0].application)}"
        yield f"Every attempt to tell {whom} has failed since {said(failing[0].failing_since, now)}."


def failing_row(subscription: Subscription, now: datetime) -> Failing:
    since = subscription.failing_since or now
    return Failing(
        subscription=subscription,
        since=since,
        lasts=span(since, now),
        end=end_of(subscription, since, now),
        knows=who_knows(subscription, since, now),
        page=page_of(subscription),
        application_page=page_of(subscription.application),
        waiting=list_of(
            "deliveries_delivery",
            subscription__id__exact=subscription.pk,
            status__exact=Delivery.Status.PENDING,
        ),
    )


def end_of(subscription: Subscription, since: datetime, now: datetime) -> str:
    """When it is disabled, unless an attempt succeeds."""
    at = max(subscription.disable_at or since + DISABLE_AFTER, now)
    return f"Disabled on {at:%d %b %Y %H:%M} (in {timeuntil(at, now, depth=1)}), unless an attempt succeeds."


def who_knows(subscription: Subscription, since: datetime, now: datetime) -> str:
    if not subscription.application.contacts:
        return "Nobody is told: the application has no contacts."
    if subscription.told_failing_since == subscription.failing_since:
        return "Its contacts were told."
    if now - since < TELL_AFTER:
        return "Its contacts are told when it has failed for an hour."
    return "Its contacts have not been told."
