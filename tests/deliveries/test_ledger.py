from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone

from accounts.models import Application
from deliveries.channels import Report
from deliveries.claiming import Limits, claim
from deliveries.ledger import faults
from deliveries.lifecycle import pause, replay, send_test
from deliveries.models import Attempt, Delivery, SequenceCounter, SequenceNumber
from deliveries.publishing import publish
from deliveries.settling import Tried, settle
from events.models import Event
from subscriptions.models import Subscription
from tests.support import factories

pytestmark = pytest.mark.django_db

SUCCESS, FAILURE = Report(succeeded=True), Report(succeeded=False, error="It failed.")


@pytest.fixture
def subscription(owner):
    """One that has been as it is for an hour."""
    subscription = factories.webhook(owner)
    Subscription.objects.update(updated_at=timezone.now() - timedelta(hours=1))
    return subscription


@pytest.fixture
def told(owner, subscription):
    """Three events: one told, one that failed once and is to be told again, one not yet claimed."""
    for _ in range(2):
        publish(owner, "user.created", factories.example("user.created"))
    attempt(SUCCESS, FAILURE)
    publish(owner, "user.created", factories.example("user.created"))
    return list(Delivery.objects.order_by("sequence"))


def attempt(*reports, lane="webhook"):
    now = timezone.now()
    claims = claim(lane, now, Limits(limit=10, share=10))
    assert len(claims) == len(reports)
    settle(
        [Tried(one, report, now, timedelta(seconds=1)) for one, report in zip(claims, reports, strict=True)],
        now,
    )


def sql(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@contextmanager
def mutable(table, trigger):
    sql("SET CONSTRAINTS ALL IMMEDIATE")  # what is still to be checked locks the table
    sql(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    yield
    sql(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")


def change(delivery, **columns):
    Delivery.objects.filter(pk=delivery.pk).update(**columns)


def said(**options):
    return [str(fault) for fault in faults(**options)]


def test_an_empty_ledger_adds_up():
    assert said() == []


def test_what_really_happens_adds_up(owner, subscription, told):
    factories.confirmed_emails(owner, ["ann@example.org", "bob@example.org"])
    event = publish(owner, "user.created", factories.example("user.created"))
    attempt(SUCCESS, FAILURE, lane="email")
    replay(event, None, timezone.now())
    send_test(subscription, None, timezone.now())
    attempt(*[SUCCESS] * 4)
    pause(subscription, timezone.now(), "")
    publish(owner, "user.created", factories.example("user.created"))

    assert said() == []
    assert set(Delivery.objects.values_list("status", flat=True)) == {"pending", "held", "succeeded"}


def test_an_attempt_of_a_worker_that_came_back_late_adds_up(owner, subscription):
    publish(owner, "user.created", factories.example("user.created"))
    now = timezone.now()
    [late] = claim("webhook", now, Limits(limit=1, share=1))
    now += timedelta(hours=1)
    [other] = claim("webhook", now, Limits(limit=1, share=1))
    settle([Tried(other, SUCCESS, now, timedelta(seconds=1))], now)
    settle([Tried(late, FAILURE, now, timedelta(seconds=1))], now)

    assert said() == []


BROKEN_DELIVERIES = [
    ({"finished_at": None}, "is succeeded, and finished at: never"),
    ({"leased_until": timezone.now()}, "has half a lease"),
    ({"leased_until": timezone.now(), "lease_id": uuid4()}, "is succeeded, and leased"),
    ({"retry_requested": True}, "is succeeded, and a retry is asked for"),
    ({"attempt_count": 3}, "counts 3 attempts; there are 1"),
    ({"channel": "webhook", "sequence": 9}, "has sequence number 9, which belongs to: nothing"),
    ({"sequence": None}, "was attempted without a sequence number"),
]


@pytest.mark.parametrize(("columns", "fault"), BROKEN_DELIVERIES)
def test_a_delivery_that_contradicts_itself_is_named(told, columns, fault):
    change(told[0], **columns)

    assert f"delivery {told[0].id} {fault}" in said()
    assert not any(str(other.id) in line.split()[1] for other in told[1:] for line in said())


def test_a_delivery_without_its_attempts_is_named(told):
    with mutable("deliveries_attempt", "attempt_is_immutable"):
        Attempt.objects.filter(delivery=told[0]).delete()

    assert said() == [
        f"delivery {told[0].id} counts 1 attempts; there are 0",
        f"delivery {told[0].id} is succeeded without an attempt that has",
    ]


def test_a_failed_delivery_that_was_never_tried_is_named(told):
    change(told[2], status="failed", next_attempt_at=None, finished_at=timezone.now())

    assert said() == [f"delivery {told[2].id} is failed without an attempt"]


def test_attempts_whose_numbers_have_a_gap_are_named(told):
    with mutable("deliveries_attempt", "attempt_is_immutable"):
        Attempt.objects.filter(delivery=told[0]).update(number=2)

    assert said() == [f"delivery {told[0].id} has 1 attempts, numbered from 2 to 2"]


def test_a_success_that_no_attempt_had_is_named(told):
    with mutable("deliveries_attempt", "attempt_is_immutable"):
        Attempt.objects.filter(delivery=told[0]).update(outcome="failed")

    assert said() == [f"delivery {told[0].id} is succeeded without an attempt that has"]


def test_a_delivery_of_another_application_is_named(told):
    change(told[0], application=factories.application("Another"))

    assert said() == [
        f"delivery {told[0].id} is of another application than its event",
        f"delivery {told[0].id} is of another application than its subscription",
    ]


def test_a_recipient_of_another_subscription_is_named(owner):
    factories.confirmed_emails(owner)
    publish(owner, "user.created", factories.example("user.created"))
    stranger = factories.confirmed_emails(owner, ["bob@example.org"]).recipients.get()
    Delivery.objects.update(recipient=stranger)

    assert said() == [f"delivery {Delivery.objects.get().id} has a recipient of another subscription"]


def test_an_event_that_somebody_was_not_told_is_named(told, subscription):
    event_id = told[2].event_id
    Event.objects.bulk_create([copy := lost(Event.objects.get(pk=event_id))])

    assert said() == [f"event {copy.id} has no delivery to subscription {subscription.id}"]


def lost(event):
    """The same again, without its deliveries."""
    return Event(
        application_id=event.application_id,
        type=event.type,
        occurred_at=event.occurred_at,
        payload=event.payload,
    )


def test_whether_a_subscription_wanted_an_event_is_not_guessed(owner, told):
    Subscription.objects.update(updated_at=timezone.now())
    Event.objects.bulk_create([lost(told[0].event)])

    assert said() == []


def test_an_event_that_somebody_is_told_twice_is_named(told, subscription):
    change(told[2], event=told[0].event)

    assert said() == [
        f"event {told[0].event_id} counts 1 deliveries; there are 2",
        f"event {told[2].event_id} counts 1 deliveries; there are 0",
        f"event {told[0].event_id} is told 2 times to subscription {subscription.id}",
        f"event {told[2].event_id} has no delivery to subscription {subscription.id}",
    ]


def test_a_delivery_that_vanished_leaves_its_number(told, subscription):
    with mutable("deliveries_attempt", "attempt_is_immutable"):
        Attempt.objects.filter(delivery=told[0]).delete()
    sql("DELETE FROM deliveries_delivery WHERE id = %s", told[0].id)

    assert said() == [
        f"event {told[0].event_id} counts 1 deliveries; there are 0",
        f"event {told[0].event_id} has no delivery to subscription {subscription.id}",
        f"sequence number {subscription.id}/1 belongs to delivery {told[0].id}, which is not there",
    ]


def test_a_delivery_that_nobody_counted_is_named(owner, told):
    """Of emails, too, of which nobody knows afterwards whom there was to tell."""
    factories.confirmed_emails(owner)
    event = publish(owner, "user.created", factories.example("user.created"))
    Delivery.objects.filter(event=event, channel="email").delete()

    assert said() == [f"event {event.id} counts 2 deliveries; there are 1"]


def test_what_is_replayed_or_sent_as_a_test_counts_for_no_event(owner, subscription, told):
    replay(told[0].event, None, timezone.now())
    send_test(subscription, None, timezone.now())

    assert said() == []


def test_attempts_of_no_delivery_are_named(told):
    attempt_id = Attempt.objects.get(delivery=told[0]).id
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass FROM deliveries_attempt WHERE id = %s", [attempt_id])
        [partition] = cursor.fetchone()
    sql(f"ALTER TABLE {partition} DROP CONSTRAINT attempt_of_delivery")
    sql("DELETE FROM deliveries_delivery WHERE id = %s", told[0].id)

    assert f"attempt {attempt_id} belongs to delivery {told[0].id}, which is not there" in said()


def test_a_delivery_that_waits_behind_nothing_is_named(told):
    change(told[1], ordering_key="meter", position=1, status="held", next_attempt_at=None)
    change(told[2], ordering_key="meter", position=2, behind=True)
    assert said() == []

    change(told[1], position=3)
    assert said() == [f"delivery {told[2].id} waits behind nothing"]

    change(told[1], position=1, status="cancelled", finished_at=timezone.now())
    assert said() == [f"delivery {told[2].id} waits behind nothing"]


def test_a_number_that_is_missing_is_named(told, subscription):
    SequenceNumber.objects.filter(number=1).delete()

    assert said() == [
        f"delivery {told[0].id} has sequence number 1, which belongs to: nothing",
        f"sequence number {subscription.id}/2 follows 0",
    ]


def test_a_number_that_is_given_twice_is_named(told, subscription):
    SequenceNumber.objects.create(subscription=subscription, number=1, delivery=told[1])

    assert f"sequence number {subscription.id}/1 follows 1" in said()


def test_a_number_of_another_delivery_is_named(told, subscription):
    SequenceNumber.objects.filter(number=2).update(delivery=told[2])

    assert said() == [
        f"delivery {told[1].id} has sequence number 2, which belongs to: {told[2].id}",
        f"sequence number {subscription.id}/2 belongs to delivery {told[2].id}, which has: {subscription.id}/",
    ]


def test_a_counter_that_is_wrong_or_missing_is_named(told, subscription):
    SequenceCounter.objects.update(last=7)
    assert said() == [f"sequence counter {subscription.id} counts to 7; the highest number is 2"]

    SequenceCounter.objects.all().delete()
    assert said() == [f"sequence counter {subscription.id} counts to 0; the highest number is 2"]


def test_what_is_older_than_asked_for_is_left_out(told):
    change(told[0], attempt_count=3)
    change(told[1], attempt_count=3)
    change(told[0], created_at=timezone.now() - timedelta(days=2))

    found = said(since=timezone.now() - timedelta(days=1))

    assert found == [f"delivery {told[1].id} counts 3 attempts; there are 1"]


def test_reconcile_says_that_everything_adds_up(told):
    output = StringIO()

    call_command("reconcile", stdout=output)

    assert output.getvalue() == "Everything adds up. Deliveries: 3 (2 pending, 1 succeeded).\n"


def test_reconcile_names_a_line_a_fault_and_fails(told):
    output = StringIO()
    change(told[0], attempt_count=3)

    with pytest.raises(CommandError, match=r"^1 row does not add up\.$") as error:
        call_command("reconcile", stdout=output)

    assert error.value.returncode == 1
    assert output.getvalue() == f"delivery {told[0].id} counts 3 attempts; there are 1\n"


@pytest.mark.parametrize(
    ("text", "mend"), [("yesterday", "give one like"), ("2026-10-25T00:30:00", "end it with Z")]
)
def test_reconcile_refuses_a_time_that_it_cannot_read(text, mend):
    with pytest.raises(CommandError, match=mend):
        call_command("reconcile", f"--since={text}")


@pytest.mark.django_db(transaction=True)
def test_reconcile_works_outside_a_transaction(told):
    output = StringIO()

    call_command("reconcile", "--since=2020-01-01T00:00:00Z", stdout=output)

    assert "Everything adds up" in output.getvalue()
    assert Application.objects.count() == 1
