"""A subscription's `rate_limit`: no second sees more attempts begin, however many workers there are."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from deliveries.dispatch import drain
from deliveries.models import Attempt, Delivery
from deliveries.pacing import AHEAD, USABLE, moments, spacing
from deliveries.publishing import Change, publish_many
from deliveries.resting import resting
from subscriptions.models import Pace
from tests.support import factories
from tests.support.receivers import Receiver

NOW = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def most_in_a_second(starts: list[datetime]) -> int:
    """In any second that begins with one of them: no other can have more."""
    return max(sum(first <= start < first + SECOND for start in starts) for first in starts)


@given(
    rate=st.integers(1, 1000),
    asked=st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 64)), min_size=1, max_size=40),
    late=st.lists(st.floats(0, 1), min_size=1, max_size=50),
)
def test_whoever_asks_whenever_and_begins_however_late_no_second_has_more(rate, asked, late):
    now, next_at, starts = NOW, NOW, []
    for pause, wanted in asked:
        now += timedelta(milliseconds=pause)
        taken, next_at = moments(next_at, now, rate, wanted)
        starts += [moment + USABLE * late[nth % len(late)] for nth, moment in enumerate(taken)]
        assert all(now <= moment <= now + AHEAD for moment in taken)

    assert most_in_a_second(sorted(starts)) <= rate


def test_a_database_clock_that_was_put_back_holds_up_nobody():
    taken, _ = moments(NOW + timedelta(hours=1), NOW - SECOND, 5, 1)
    _, next_at = moments(NOW + timedelta(hours=1), NOW, 5, 1)

    assert taken == []
    assert next_at == NOW + AHEAD + spacing(5)


@pytest.mark.django_db(transaction=True)
def test_two_drains_together_keep_to_the_limit_and_everything_arrives(settings):
    settings.DRAINS = {"webhook": 2, "email": 1}
    owner = factories.application()
    with Receiver() as limited, Receiver() as free:
        factories.webhook(owner, limited.url, rate_limit=15)  # three seconds in all
        factories.webhook(owner, free.url)
        publish_many([Change(owner, "user.created", factories.example("user.created"))] * 50, timezone.now())

        drains = [threading.Thread(target=drain_until_done) for _ in range(2)]
        for one in drains:
            one.start()
        free.wait_for(50)
        assert len(limited.requests) < 50
        for one in drains:
            one.join(60)

    starts = list(
        Attempt.objects.exclude(delivery__subscription__rate_limit=None).values_list("started_at", flat=True)
    )
    assert len(starts) == len(limited.requests) == 50
    assert most_in_a_second(starts) <= 15


def drain_until_done() -> None:
    try:
        while Delivery.objects.pending().exists():
            drain("webhook")
    finally:
        connection.close()


@pytest.mark.django_db
def test_a_subscription_that_has_used_up_its_limit_rests_until_shortly_before_its_next_moment():
    subscription = factories.webhook(factories.application(), rate_limit=1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        [now] = cursor.fetchone()
    pace = Pace.objects.create(subscription=subscription, next_at=now + SECOND)
    assert now < resting(now)[subscription.id] < now + SECOND

    Pace.objects.filter(pk=pace.pk).update(next_at=now)
    assert resting(now) == {}
