"""Is anything stuck? The figures of the operators' front page. Each is one look at an index, bounded."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils.text import Truncator
from django.utils.timesince import timesince

from accounts.admin_columns import list_of, page_of
from accounts.admin_lists import Count, count_up_to, earliest_id
from deliveries.models import LATE, Attempt, Case, Delivery, Heartbeat, Notice
from subscriptions.models import Subscription

MOST_COUNTED = 1000
MOST_FAILING = 10
DELIVERIES_LOOKED_AT = 100
FAILING_LONG = timedelta(hours=1)  # an hour of failures is more than a receiver's restart


@dataclass(frozen=True)
class Figure:
    """One number, or a few words, and the list that it sums up."""

    label: str
    value: Count | str
    url: str = ""
    note: str = ""
    wrong: bool = False


@dataclass(frozen=True)
class Failing:
    """A subscription whose every attempt has failed for a while, and what the last one came to."""

    subscription: Subscription
    since: datetime
    lasts: str
    error: str
    page: str
    application_page: str


@dataclass(frozen=True)
class FrontPage:
    """`problems` keep the service from sending; `complaints` are about receivers, and it goes on trying."""

    problems: list[str]
    complaints: list[str]
    figures: list[Figure]
    failing: list[Failing]


def front_page(now: datetime) -> FrontPage:
    """What operators see first; `now` is aware."""
    heartbeat = Heartbeat.objects.first()
    oldest = oldest_due(now)
    failing = list(
        Subscription.objects.failing()
        .select_related("application")
        .defer("encrypted_headers")
        .order_by("failing_since")[:MOST_FAILING]
    )
    return FrontPage(
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


def count(queryset: QuerySet) -> Count:
    return count_up_to(MOST_COUNTED, queryset)


def oldest_due(now: datetime) -> Delivery | None:
    """The delivery that has waited for a worker for the longest time; one look at the index for each lane."""
    waiting = Delivery.objects.waiting_for_a_worker(now)
    lanes = (waiting.filter(channel=lane).first() for lane in settings.DRAINS)
    return min((one for one in lanes if one), key=lambda one: one.next_attempt_at or now, default=None)


def due_figure(now: datetime) -> Figure:
    due = Delivery.objects.due(now).filter(channel__in=list(settings.DRAINS))
    return Figure("Due now", count(due), list_of("deliveries_delivery", next="due"))


def oldest_figure(oldest: Delivery | None, now: datetime) -> Figure:
    label = "Oldest due"
    if oldest is None or oldest.next_attempt_at is None:
        return Figure(label, "none")
    late = now - oldest.next_attempt_at
    return Figure(label, f"{span(oldest.next_attempt_at, now)} late", page_of(oldest), wrong=late >= LATE)


def in_flight_figure(now: datetime) -> Figure:
    leased = Delivery.objects.pending().filter(channel__in=list(settings.DRAINS), leased_until__gt=now)
    return Figure("In flight", count(leased), list_of("deliveries_delivery", next="in_flight"))


def failing_figure(failing: list[Subscription], now: datetime) -> Figure:
    return Figure(
        "Failing subscriptions",
        count(Subscription.objects.failing()),
        list_of("subscriptions_subscription", failing="yes"),
        wrong=any(failing_complaints(failing, now)),
    )


def failed_figure(now: datetime) -> Figure:
    failed = Delivery.objects.filter(status=Delivery.Status.FAILED, finished_at__gte=now - timedelta(days=1))
    url = list_of("deliveries_delivery", status__exact=Delivery.Status.FAILED, finished="day")
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


def pulse_problems(heartbeat: Heartbeat | None, now: datetime) -> Iterator[str]:
    if heartbeat is None:
        yield "No worker has worked yet. Nothing is sent until one does."
    elif not heartbeat.is_fresh(now):
        since = f"{heartbeat.beat_at:%d %b %Y %H:%M} UTC"
        yield f"No worker has worked since {since}, {span(heartbeat.beat_at, now)} ago. Nothing is sent."


def late_problems(oldest: Delivery | None, now: datetime) -> Iterator[str]:
    if oldest and oldest.next_attempt_at and now - oldest.next_attempt_at >= LATE:
        yield f"A delivery has been due for {span(oldest.next_attempt_at, now)} and is not under way."
    waiting = Notice.objects.due(now - LATE).first()
    if waiting and waiting.due_at:
        yield f"A notice by email has been due for {span(waiting.due_at, now)}."


def failing_complaints(failing: list[Subscription], now: datetime) -> Iterator[str]:
    """`failing` is in the order of since when."""
    if failing and failing[0].failing_since and now - failing[0].failing_since >= FAILING_LONG:
        name = Truncator(failing[0]).chars(60)
        yield f"Every attempt to tell “{name}” has failed for {span(failing[0].failing_since, now)}."


def failing_row(subscription: Subscription, now: datetime) -> Failing:
    since = subscription.failing_since or now
    return Failing(
        subscription=subscription,
        since=since,
        lasts=span(since, now),
        error=last_error(subscription, since),
        page=page_of(subscription),
        application_page=page_of(subscription.application),
    )


def last_error(subscription: Subscription, since: datetime) -> str:
    """What the latest failed attempt came to, of the deliveries that were there when it began to fail.

    Later ones may not have been tried, and there may be millions of them.
    """
    first_affected = (
        Delivery.objects.filter(subscription=subscription, id__lt=earliest_id(since + timedelta(seconds=1)))
        .order_by("-id")
        .values("id")[:DELIVERIES_LOOKED_AT]
    )
    failed = Attempt.objects.filter(
        delivery__in=first_affected, outcome=Attempt.Outcome.FAILED, started_at__gte=since
    )
    return failed.order_by("-started_at").values_list("error", flat=True).first() or ""
