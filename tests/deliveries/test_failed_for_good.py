"""What an outage costs: the contacts read how many notifications have failed for good, and how to send them again."""

import json
import re
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone

from deliveries import failing, lifecycle
from deliveries.dispatch import drain
from deliveries.failing import sweep
from deliveries.mailing import send_notices
from deliveries.models import Delivery
from deliveries.publishing import publish
from events.models import Event
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.workers import Clock

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("told_at_once")]

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WISH = re.compile(r"POST (/v1/subscriptions/[0-9a-f-]{36}/replays) with (\{[^}]+\})")


def user_created(owner, count: int = 1) -> None:
    for _ in range(count):
        publish(owner, "user.created", factories.example("user.created"))


def live(clock: Clock, length: timedelta, step: timedelta) -> None:
    end = clock() + length
    while clock() < end:
        drain("webhook", clock)
        sweep()
        send_notices(clock)
        clock.forward(step)


def three_fail(owner, clock: Clock) -> None:
    """Over 75 minutes."""
    for _ in range(3):
        user_created(owner)
        live(clock, 25 * MINUTE, 5 * MINUTE)


def latest(subject: str) -> str:
    message = mail.outbox[-1]
    assert subject in str(message.subject)
    return str(message.body)


def failed() -> int:
    return Delivery.objects.filter(status="failed").count()


def test_that_some_have_failed_for_good_is_not_called_nothing_lost(owner, clock):
    with Receiver(Answer(503)) as receiver:
        factories.webhook(owner, receiver.url, retry_schedule=[5, 5])
        three_fail(owner, clock)

    text = latest("have failed since")
    assert failed() == 3
    assert "3 notifications have failed for good so far" in text
    assert "Notifications that failed for good: 3\n" in text
    assert "Nothing is lost" not in text
    assert '"only": "failed"' in text


def test_while_all_are_tried_again_nothing_is_lost(owner, clock):
    with Receiver(Answer(503)) as receiver:
        factories.webhook(owner, receiver.url)
        user_created(owner)
        live(clock, timedelta(minutes=70), 5 * MINUTE)

    text = latest("have failed since")
    assert "Nothing is lost so far" in text
    assert "have failed for good" not in text
    assert "Notifications that failed for good: 0\n" in text


def test_the_warning_counts_what_has_failed_on_the_standard_schedule_by_then(owner, clock):
    with Receiver(Answer(503)) as receiver:
        factories.webhook(owner, receiver.url)
        user_created(owner, 2)
        live(clock, 4 * DAY + HOUR, HOUR)

    assert failed() == 2
    text = latest("will be disabled")
    assert "2 notifications have failed for good so far" in text
    assert '"only": "failed"' in text


def test_the_one_that_was_answered_410_has_failed_and_a_resume_does_not_send_it(owner, clock):
    with Receiver(Answer(410)) as receiver:
        subscription = factories.webhook(owner, receiver.url)
        user_created(owner)
        drain("webhook", clock)
        send_notices(clock)
        lifecycle.resume(subscription, clock())
        drain("webhook", clock)

    text = latest("are disabled")
    assert failed() == 1
    assert "1 notification has failed for good so far" in text
    assert '"only": "failed"' in text


def test_who_gets_through_again_reads_what_was_lost_and_the_replay_that_is_named_sends_it(owner, clock):
    subscription, text = back_again(owner, clock, retry_schedule=[5])
    found = WISH.search(text)
    assert found
    assert "3 notifications have failed for good meanwhile" in text

    answer = Client(headers={"x-api-key": factories.application_key(owner)}).post(
        found[1], json.loads(found[2]) | {"dry_run": True}, "application/json"
    )

    assert found[1] == f"/v1/subscriptions/{subscription.id}/replays"
    assert answer.json()["matched"] == 3


def test_when_nothing_was_lost_there_is_nothing_to_send_again(owner, clock):
    _, text = back_again(owner, clock)

    assert "failed for good meanwhile" not in text
    assert "/replays" not in text
    assert "Nothing is lost" in text


def back_again(owner, clock, **fields) -> tuple[Subscription, str]:
    """A receiver was down for more than an hour; what the last email says."""
    with Receiver(Answer(503)) as receiver:
        subscription = factories.webhook(owner, receiver.url, **fields)
        three_fail(owner, clock)
        receiver.answers = [Answer(204)]
        user_created(owner)
        live(clock, DAY, 6 * HOUR)
    return subscription, latest("get through again")


def test_what_failed_before_the_outage_and_what_is_not_the_subscriptions_own_does_not_count(owner, clock):
    subscription = factories.webhook(owner, told_failing_since=clock() - 2 * HOUR)
    user_created(owner, 4)
    before, test, other, own = Delivery.objects.order_by("id")
    Delivery.objects.update(status="failed", next_attempt_at=None, finished_at=clock() - HOUR)
    Delivery.objects.filter(pk=before.pk).update(finished_at=clock() - 3 * HOUR)
    Delivery.objects.filter(pk=test.pk).update(trigger="test")
    Delivery.objects.filter(pk=other.pk).update(status="cancelled")

    assert failing.lost_of([subscription], clock()) == {
        subscription.id: failing.Lost(1, own.event.created_at)
    }


def test_each_of_many_has_lost_its_own_and_a_batch_asks_no_more_often_than_one(
    owner, clock, django_assert_num_queries
):
    some = [factories.webhook(owner, told_failing_since=clock() - n * HOUR) for n in (3, 2, 1)]
    user_created(owner, 2)
    Delivery.objects.update(status="failed", next_attempt_at=None, finished_at=clock() - 2 * HOUR)
    first, _ = Event.objects.order_by("id")

    for asked in (some, some[:1]):
        with django_assert_num_queries(3):  # one, for which the planner does without sorting
            lost = failing.lost_of(asked, clock())

        assert [lost[one.id] for one in asked] == [
            failing.Lost(2, first.created_at),
            failing.Lost(2, first.created_at),
            failing.Lost(0, None),
        ][: len(asked)]


@pytest.mark.parametrize("later", [-HOUR, HOUR], ids=["published in the outage", "before it"])
def test_of_more_than_are_counted_a_replay_begins_with_the_outage(owner, clock, monkeypatch, later):
    monkeypatch.setattr(failing, "MOST_COUNTED", 2)
    began = clock() + later
    subscription = factories.webhook(owner, told_failing_since=began)
    user_created(owner, 5)
    Delivery.objects.update(status="failed", next_attempt_at=None, finished_at=clock() + 2 * HOUR)
    third = Event.objects.order_by("id")[2]

    lost = failing.lost_of([subscription], clock())

    assert lost == {subscription.id: failing.Lost(3, min(began, third.created_at))}


def test_many_that_failed_are_not_counted_to_the_end(owner, clock, monkeypatch):
    monkeypatch.setattr(failing, "MOST_COUNTED", 2)
    monkeypatch.setattr("deliveries.letters.outages.MOST_COUNTED", 2)
    factories.webhook(
        owner, failing_since=clock() - 2 * HOUR, failure_count=9, last_failed_at=clock(), last_error="No."
    )
    user_created(owner, 5)
    Delivery.objects.update(status="failed", next_attempt_at=None, finished_at=timezone.now())

    sweep()
    send_notices(clock)

    text = latest("have failed since")
    assert "More than 2 notifications have failed for good so far" in text
    assert "Notifications that failed for good: more than 2\n" in text


@pytest.mark.usefixtures("no_dead_rows")
def test_they_are_found_in_an_index_that_has_them_in_order(owner):
    subscription = factories.webhook(owner)
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
        )
        cursor.execute(f"EXPLAIN {failing.LOST}", [[subscription.id], [timezone.now()], 1001])
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert not re.search(r"\bSort\b(?! Key)", plan)  # merging what is in order has a key, too
    assert re.search(r"Index Cond: \(\(.*status.* = 'failed'.*subscription_id = ", plan)
