"""What every sweep keeps to: what is broken holds up nothing else, and who is told to stop does."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from deliveries import failing
from deliveries.chores import in_batches
from deliveries.failing import tell_failing
from deliveries.models import Notice
from subscriptions.models import Subscription
from tests.support import factories

pytestmark = pytest.mark.django_db

HOURS = timedelta(hours=2)


@pytest.fixture
def failed() -> list[Subscription]:
    """Some that have failed for long enough to be told of, the first for longest."""
    owner, now = factories.application(), timezone.now()
    return [
        factories.webhook(
            owner, failing_since=now - HOURS + timedelta(minutes=nth), failure_count=9, last_failed_at=now
        )
        for nth in range(5)
    ]


def told() -> list:
    return [*Notice.objects.order_by("subscription__failing_since").values_list("subscription", flat=True)]


def test_one_that_is_broken_holds_up_none_of_its_batch_and_is_told_of_when_it_is_whole(failed, monkeypatch):
    broken, whole = failed[1], failing.facts

    def fragile(one: Subscription, *others):
        if one == broken:
            raise KeyError("it has no such field")
        return whole(one, *others)

    monkeypatch.setattr(failing, "facts", fragile)
    assert tell_failing(timezone.now()) == 4
    assert told() == [one.id for one in failed if one != broken]

    monkeypatch.setattr(failing, "facts", whole)
    assert tell_failing(timezone.now()) == 1
    assert told() == [one.id for one in failed]


def test_a_worker_that_is_told_to_stop_ends_with_the_batch_that_it_is_at(failed, monkeypatch):
    stops = iter([False, True])
    monkeypatch.setattr("deliveries.stopping.stopping.is_set", lambda: next(stops))
    monkeypatch.setattr(failing, "BATCH", 2)

    assert tell_failing(timezone.now()) == 2

    assert told() == [one.id for one in failed[:2]]


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_ends_the_step_and_not_one_row_after_the_other(failed, monkeypatch):
    began = []

    def away(*_):
        raise OperationalError("connection refused")

    def lose_the_database(locked):
        began.append(locked)
        monkeypatch.setattr(BaseDatabaseWrapper, "connect", away)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(OperationalError, match="refused"):
        in_batches(Subscription.objects.order_by("id"), 2, lose_the_database)
    monkeypatch.undo()

    assert len(began) == 1
