from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Thread
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from deliveries import lifecycle
from deliveries.channels import Report
from deliveries.claiming import Claim, Limits, claim
from deliveries.lifecycle import NotPossible
from deliveries.locking import lock_out_publishers
from deliveries.mailing import send_notices
from deliveries.models import Delivery, Notice
from deliveries.publishing import Change, UnknownEventType, publish, publish_many
from deliveries.settling import Tried, hold, settle
from events.models import Event
from subscriptions.models import Recipient, Subscription
from tests.support import factories
from tests.support.locks import somebody_waits_for_a_lock
from tests.support.running import wait_for
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db


def user_created(owner) -> Event:
    return publish(owner, "user.created", factories.example("user.created"))


def statuses(**which) -> list[str]:
    return list(Delivery.objects.filter(**which).order_by("id").values_list("status", flat=True))


def test_a_pause_holds_what_is_pending_and_a_resume_makes_it_due(owner):
    subscription = factories.webhook(owner)
    user_created(owner)

    lifecycle.pause(subscription, timezone.now())
    user_created(owner)
    assert statuses() == ["held", "held"]

    now = timezone.now()
    lifecycle.resume(subscription, now)
    assert Delivery.objects.due(now).count() == 2


def test_deleting_a_subscription_cancels_its_deliveries_and_keeps_the_history(owner):
    subscription = factories.webhook(owner)
    user_created(owner)

    lifecycle.delete_subscription(subscription, timezone.now())
    user_created(owner)

    assert statuses() == ["cancelled"]


def test_a_delivery_under_way_is_left_to_its_worker_by_a_pause(owner):
    subscription = factories.webhook(owner)
    user_created(owner)
    Delivery.objects.update(leased_until=timezone.now() + timedelta(seconds=20))

    lifecycle.pause(subscription, timezone.now())

    assert statuses() == ["pending"]


def test_a_replay_makes_new_deliveries_for_active_subscriptions_that_match_now(owner):
    event = user_created(owner)
    later = factories.webhook(owner)
    factories.webhook(owner, types=["meter.created"])
    lifecycle.pause(factories.webhook(owner), timezone.now())

    [delivery] = lifecycle.replay(event, None, timezone.now())

    assert (delivery.subscription, delivery.trigger, delivery.status) == (later, "replay", "pending")


def test_a_replay_to_a_named_subscription_that_is_paused_is_held_for_it(owner):
    event = user_created(owner)
    paused = factories.webhook(owner, types=["meter.created"])
    lifecycle.pause(paused, timezone.now())

    [delivery] = lifecycle.replay(event, [paused.id], timezone.now())

    assert delivery.status == "held"


def test_a_replay_never_reaches_another_applications_subscription(owner):
    event = user_created(owner)
    foreign = factories.webhook(factories.application("Another"))

    assert lifecycle.replay(event, [foreign.id], timezone.now()) == []


def test_a_failed_delivery_can_be_retried_and_is_due_at_once(owner):
    factories.webhook(owner)
    user_created(owner)
    Delivery.objects.update(status="failed", next_attempt_at=None, finished_at=timezone.now())

    retried = lifecycle.retry(Delivery.objects.get(), timezone.now())

    assert retried.retry_requested
    assert Delivery.objects.due(timezone.now()).get() == retried


def test_a_succeeded_delivery_is_not_retried_but_replayed(owner):
    factories.webhook(owner)
    event = user_created(owner)
    Delivery.objects.update(status="succeeded", next_attempt_at=None)

    with pytest.raises(NotPossible, match=f"/v1/events/{event.id}/replay"):
        lifecycle.retry(Delivery.objects.get(), timezone.now())


def test_a_retry_for_a_paused_or_deleted_subscription_says_why_not(owner):
    subscription = factories.webhook(owner)
    user_created(owner)
    lifecycle.pause(subscription, timezone.now())
    with pytest.raises(NotPossible, match="paused"):
        lifecycle.retry(Delivery.objects.get(), timezone.now())

    lifecycle.delete_subscription(subscription, timezone.now())
    with pytest.raises(NotPossible, match="deleted"):
        lifecycle.retry(Delivery.objects.get(), timezone.now())


def disabled(subscription) -> None:
    with transaction.atomic():
        lifecycle.disable(lock_out_publishers(subscription.id), timezone.now(), "It answered 410 Gone.")


def test_a_pause_of_a_disabled_subscription_leaves_it_disabled_with_its_reason(owner):
    subscription = factories.webhook(owner)
    user_created(owner)
    disabled(subscription)

    found = lifecycle.pause(subscription, timezone.now())

    assert (found.status, found.status_reason) == ("disabled", "It answered 410 Gone.")
    assert statuses() == ["held"]


def test_a_second_pause_keeps_the_reason_of_the_first(owner):
    subscription = factories.webhook(owner)
    lifecycle.pause(subscription, timezone.now(), "Paused by the operators.")

    found = lifecycle.pause(subscription, timezone.now())

    assert (found.status, found.status_reason) == ("paused", "Paused by the operators.")


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_retry_of_what_a_resume_does_not_send_says_to_resume_and_then_retry(owner, status):
    disabled(factories.webhook(owner))
    user_created(owner)
    Delivery.objects.update(status=status, finished_at=timezone.now())

    with pytest.raises(NotPossible, match=r"is disabled\. Resume it, then retry"):
        lifecycle.retry(Delivery.objects.get(), timezone.now())


def test_a_retry_of_what_is_held_says_that_a_resume_sends_it(owner):
    disabled(factories.webhook(owner))
    user_created(owner)

    with pytest.raises(NotPossible, match=r"is disabled\. Resume it; that sends what is held"):
        lifecycle.retry(Delivery.objects.get(), timezone.now())


def test_a_cancelled_delivery_can_be_retried(owner):
    factories.webhook(owner)
    user_created(owner)
    cancelled = lifecycle.cancel(Delivery.objects.get(), timezone.now())
    assert (cancelled.status, cancelled.next_attempt_at) == ("cancelled", None)

    assert lifecycle.retry(cancelled, timezone.now()).status == "pending"


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_finished_delivery_cannot_be_cancelled(owner, status):
    factories.webhook(owner)
    user_created(owner)
    Delivery.objects.update(status=status, next_attempt_at=None)

    with pytest.raises(NotPossible, match=status):
        lifecycle.cancel(Delivery.objects.get(), timezone.now())


def test_a_test_sends_the_example_and_is_marked(owner):
    subscription = factories.webhook(owner, types=["meter.created"])

    [delivery] = lifecycle.send_test(subscription, None, timezone.now())

    assert delivery.test
    assert delivery.event.test
    assert delivery.event.type == "meter.created"
    assert delivery.event.payload_json == factories.example("meter.created")


def test_a_test_of_an_unknown_type_or_a_paused_subscription_is_refused(owner):
    subscription = factories.webhook(owner)
    with pytest.raises(UnknownEventType):
        lifecycle.send_test(subscription, "meter.melted", timezone.now())

    paused = lifecycle.pause(subscription, timezone.now())
    with pytest.raises(NotPossible, match="paused"):
        lifecycle.send_test(paused, None, timezone.now())
    assert not Event.objects.exists()


def test_a_test_of_a_subscription_that_was_paused_or_deleted_meanwhile_is_refused(owner):
    seen_active = factories.webhook(owner)

    lifecycle.pause(Subscription.objects.get(), timezone.now())
    with pytest.raises(NotPossible, match="paused"):
        lifecycle.send_test(seen_active, None, timezone.now())
    lifecycle.delete_subscription(Subscription.objects.get(), timezone.now())
    with pytest.raises(NotPossible, match="deleted"):
        lifecycle.send_test(seen_active, None, timezone.now())


def test_deleting_a_subscription_forgets_a_retry_that_was_asked_for(owner):
    subscription = factories.webhook(owner)
    user_created(owner)
    lifecycle.retry(Delivery.objects.get(), timezone.now())

    lifecycle.delete_subscription(subscription, timezone.now())

    assert not Delivery.objects.get().retry_requested


def test_wider_types_are_told_to_who_has_confirmed_without_a_question_but_not_to_who_has_chosen(owner):
    now = timezone.now()
    subscription = factories.emails(owner, ["ann@example.org", "bob@example.org"], ["user.created"])
    for recipient in subscription.recipients.all():
        lifecycle.confirm_recipient(recipient, now)
    lifecycle.choose(subscription.recipients.get(email="bob@example.org"), {"types": ["user.created"]}, now)
    Notice.objects.all().delete()

    lifecycle.change_subscription(subscription, {"event_types": ["*"]}, None, now)
    publish(owner, "meter.created", factories.example("meter.created"))

    assert [*Delivery.objects.values_list("recipient__email", flat=True)] == ["ann@example.org"]
    assert not Notice.objects.exists()


def test_why_nothing_is_retried_to_a_recipient_who_was_removed_is_said(owner):
    subscription = factories.confirmed_emails(owner)
    user_created(owner)
    Delivery.objects.update(status="failed", next_attempt_at=None)
    lifecycle.set_recipients(subscription, ["bob@example.org"], timezone.now())

    with pytest.raises(NotPossible) as refusal:
        lifecycle.retry(Delivery.objects.get(), timezone.now())

    assert str(refusal.value) == (
        "The recipient was removed from the subscription; only those who are in it get emails."
    )


def test_confirming_releases_what_was_held_for_the_recipient(owner):
    subscription = factories.emails(owner, ["ann@example.org", "bob@example.org"])
    user_created(owner)
    ann = subscription.recipients.get(email="ann@example.org")

    lifecycle.confirm_recipient(ann, timezone.now())

    assert statuses(recipient=ann) == ["pending"]
    assert statuses(recipient__email="bob@example.org") == ["held"]


def test_a_resume_does_not_release_what_is_held_for_an_unconfirmed_recipient(owner):
    subscription = factories.emails(owner)
    user_created(owner)

    lifecycle.pause(subscription, timezone.now())
    lifecycle.resume(subscription, timezone.now())

    assert statuses() == ["held"]


def test_who_unsubscribes_gets_nothing_more_whatever_the_owner_does(owner):
    subscription = factories.confirmed_emails(owner)
    user_created(owner)
    ann = subscription.recipients.get()

    lifecycle.unsubscribe_recipient(ann, timezone.now())
    user_created(owner)
    lifecycle.set_recipients(subscription, ["ann@example.org"], timezone.now())

    assert statuses() == ["cancelled"]
    assert subscription.recipients.get().status == Recipient.Status.UNSUBSCRIBED


def test_a_new_recipient_is_asked_once_to_confirm_and_a_dropped_one_gets_nothing_more(owner):
    subscription = factories.confirmed_emails(owner)
    user_created(owner)

    lifecycle.set_recipients(subscription, ["Bob@Example.org"], timezone.now())
    lifecycle.set_recipients(subscription, ["bob@example.org"], timezone.now())

    bob = subscription.recipients.get(email="Bob@Example.org")
    assert bob.notices.count() == 1
    assert statuses() == ["cancelled"]


@pytest.mark.django_db(transaction=True)
def test_a_pause_waits_for_a_publish_under_way_and_holds_what_it_leaves(owner):
    subscription = factories.webhook(owner)
    pausing = in_a_thread(lambda: lifecycle.pause(subscription, timezone.now()))

    with transaction.atomic():
        user_created(owner)
        pausing.start()
        wait_for(somebody_waits_for_a_lock, 60)
    pausing.join(60)

    assert statuses() == ["held"]


@pytest.mark.django_db(transaction=True)
def test_a_publish_waits_for_a_pause_under_way_and_its_delivery_is_held(owner):
    subscription = factories.webhook(owner)
    publishing = in_a_thread(lambda: user_created(owner))

    with transaction.atomic():
        lifecycle.pause(subscription, timezone.now())
        publishing.start()
        wait_for(somebody_waits_for_a_lock, 60)
    publishing.join(60)

    assert statuses() == ["held"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("acts", "left", "new"),
    [
        ([lifecycle.pause], "held", "held"),
        ([lifecycle.pause, lifecycle.resume], "pending", "pending"),
        ([lifecycle.delete_subscription], "cancelled", None),
    ],
)
def test_a_publisher_does_not_wait_until_a_backlog_is_moved(owner, monkeypatch, acts, left, new):
    *before, act = acts
    subscription = factories.webhook(owner)
    for _ in range(5):
        user_created(owner)
    for one in before:
        one(subscription, timezone.now())
    move, published = lifecycle.move_some, []

    def publish_meanwhile(*of: Any) -> bool:
        publishing = in_a_thread(lambda: published.append(user_created(owner)))
        publishing.start()
        publishing.join(60)
        assert not publishing.is_alive()
        return move(*of)

    monkeypatch.setattr(lifecycle, "MOVED_AT_ONCE", 2)
    monkeypatch.setattr(lifecycle, "move_some", publish_meanwhile)
    act(subscription, timezone.now())

    assert len(published) >= 3
    assert statuses() == [left] * 5 + [new] * len(published) * bool(new)
    assert not Subscription.objects.get().moving


@pytest.mark.django_db(transaction=True)
def test_an_attempt_that_fails_while_a_pause_is_under_way_is_held_afterwards(owner):
    subscription = factories.webhook(owner)
    user_created(owner)
    [under_way] = claim("webhook", timezone.now(), Limits(limit=1, share=1))
    failed = Tried(under_way, Report(False, "It answered 500."), timezone.now(), timedelta(seconds=1))
    settling = in_a_thread(lambda: settle([failed], timezone.now()))

    with transaction.atomic():
        lifecycle.pause(subscription, timezone.now())
        settling.start()
        wait_for(somebody_waits_for_a_lock, 60)
    settling.join(60)

    assert statuses() == ["held"]


def in_a_thread(act: Callable[[], object]) -> Thread:
    """With a connection of its own, which is closed at the end."""

    def run() -> None:
        try:
            act()
        finally:
            connection.close()

    return Thread(target=run, daemon=True)


CHANGES = [lifecycle.pause, lifecycle.resume, lifecycle.delete_subscription]


class Killed(BaseException):
    pass


@contextmanager
def killed_after(moves: int) -> Iterator[None]:
    """Deliveries are moved one by one, and after so many of them no more."""
    move, left = lifecycle.move_some, iter(range(moves))

    def move_or_die(*of: Any) -> bool:
        if next(left, None) is None:
            raise Killed
        return move(*of)

    with patch.multiple(lifecycle, MOVED_AT_ONCE=1, move_some=move_or_die):
        yield


class Life(RuleBasedStateMachine):
    """Anything that people, workers and receivers do, in any order; what must hold after each step, and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.rolled_back = transaction.atomic()
        self.rolled_back.__enter__()
        self.clock = Clock()
        self.owner = factories.application()
        self.subscriptions = [
            factories.webhook(self.owner),
            factories.webhook(self.owner, retry_schedule=[0, 60]),
            factories.emails(self.owner, ["ann@example.org"]),
        ]
        self.under_way: list[Claim] = []
        self.succeeded: set[UUID] = set()

    @rule()
    def publish(self) -> None:
        change = Change(self.owner, "user.created", factories.example("user.created"))
        publish_many([change], self.clock())

    @rule(lane=st.sampled_from(["webhook", "email"]), limit=st.integers(1, 4))
    def claim(self, lane: str, limit: int) -> None:
        for first in claim(lane, self.clock(), Limits(limit=limit, share=4)):
            assert self.succeeded.isdisjoint(one.delivery.id for one in first.each)
            if first.sendable:
                self.under_way.append(first)
            else:
                hold(first.each, self.clock())

    @precondition(lambda self: self.under_way)
    @rule(
        which=st.integers(0, 99),
        report=st.sampled_from(
            [
                Report(True),
                Report(False, "It answered 500."),
                Report(False, "It answered 503.", retry_after=timedelta(hours=5)),
                Report(False, "No such mailbox.", permanent=True),
                Report(False, "It answered 410.", permanent=True, gone=True),
                Report(True, response_body="not to be stored: \0"),
            ]
        ),
    )
    def come_back(self, which: int, report: Report) -> None:
        first = self.under_way.pop(which % len(self.under_way))
        settle([Tried(one, report, self.clock(), timedelta(seconds=1)) for one in first.each], self.clock())

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def die(self, which: int) -> None:
        self.under_way.pop(which % len(self.under_way))

    @rule(act=st.sampled_from(CHANGES[:2]), which=st.integers(0, 2))
    def pause_or_resume(self, act, which: int) -> None:
        with suppress(lifecycle.SubscriptionDeleted):
            act(self.subscriptions[which], self.clock())

    @rule(which=st.integers(0, 2))
    def delete(self, which: int) -> None:
        with suppress(lifecycle.SubscriptionDeleted):
            lifecycle.delete_subscription(self.subscriptions[which], self.clock())

    @rule(act=st.sampled_from(CHANGES), which=st.integers(0, 2), moves=st.integers(0, 3))
    def be_killed_while_deliveries_are_moved(self, act, which: int, moves: int) -> None:
        with killed_after(moves), suppress(Killed, lifecycle.SubscriptionDeleted):
            act(self.subscriptions[which], self.clock())

    @rule()
    def sweep(self) -> None:
        lifecycle.finish_moves(self.clock())
        assert not Subscription.objects.filter(moving=True).exists()

    @precondition(lambda self: Delivery.objects.exists())
    @rule(act=st.sampled_from([lifecycle.retry, lifecycle.cancel]), which=st.integers(0, 99))
    def retry_or_cancel(self, act, which: int) -> None:
        deliveries = Delivery.objects.order_by("id")
        with suppress(NotPossible):
            act(deliveries[which % len(deliveries)], self.clock())

    @rule(act=st.sampled_from([lifecycle.confirm_recipient, lifecycle.unsubscribe_recipient]))
    def decide(self, act) -> None:
        act(Recipient.objects.get(), self.clock())

    @rule(by=st.sampled_from([timedelta(seconds=7), timedelta(minutes=1), timedelta(hours=30)]))
    def wait(self, by: timedelta) -> None:
        self.clock.forward(by)

    @invariant()
    def a_pending_delivery_is_wanted_or_in_a_workers_hands(self) -> None:
        for delivery in self.deliveries("pending"):
            assert delivery.next_attempt_at is not None
            assert delivery.finished_at is None
            is_left = delivery.lease_id is not None or delivery.subscription.moving
            assert wanted_now(delivery) or is_left

    @invariant()
    def a_held_delivery_is_not_wanted_now(self) -> None:
        for delivery in self.deliveries("held"):
            assert delivery.next_attempt_at is delivery.lease_id is delivery.finished_at is None
            assert not wanted_now(delivery) or delivery.subscription.moving
            assert delivery.subscription.deleted_at is None or delivery.subscription.moving

    @invariant()
    def a_finished_delivery_is_nobodys(self) -> None:
        for delivery in self.deliveries("succeeded", "failed", "cancelled"):
            assert delivery.next_attempt_at is delivery.lease_id is delivery.leased_until is None
            assert delivery.finished_at is not None
            assert not delivery.retry_requested

    @invariant()
    def what_succeeded_stays_so(self) -> None:
        succeeded = {delivery.id for delivery in self.deliveries("succeeded")}
        assert succeeded >= self.succeeded
        self.succeeded = succeeded

    @invariant()
    def the_history_has_every_attempt(self) -> None:
        for delivery in Delivery.objects.prefetch_related("attempts"):
            numbers = [attempt.number for attempt in delivery.attempts.all()]
            assert numbers == list(range(1, delivery.attempt_count + 1))

    def deliveries(self, *chosen: str):
        return Delivery.objects.filter(status__in=chosen).select_related("subscription", "recipient")

    def teardown(self) -> None:
        try:
            self.all_is_told_when_receivers_are_healthy_and_time_passes()
        finally:
            transaction.set_rollback(True)
            self.rolled_back.__exit__(None, None, None)

    def all_is_told_when_receivers_are_healthy_and_time_passes(self) -> None:
        for subscription in Subscription.objects.existing().exclude(status="active"):
            lifecycle.resume(subscription, self.clock())
        for recipient in Recipient.objects.filter(status="unconfirmed"):
            lifecycle.confirm_recipient(recipient, self.clock())
        lifecycle.finish_moves(self.clock())
        self.clock.forward(timedelta(days=2))
        for lane in ("webhook", "email"):
            while claims := claim(lane, self.clock(), Limits(limit=16, share=8)):
                each = [one for first in claims for one in first.each]
                hold([one for one in each if not one.sendable], self.clock())
                wanted = [one for one in each if one.sendable]
                settle([Tried(one, Report(True), self.clock(), timedelta(0)) for one in wanted], self.clock())
        assert not Delivery.objects.unfinished().exists()


def wanted_now(delivery: Delivery) -> bool:
    confirmed = delivery.recipient is None or delivery.recipient.status == "confirmed"
    return delivery.subscription.is_active and confirmed


def test_whatever_happens_no_delivery_is_lost_sent_after_success_or_left_in_between():
    run_state_machine_as_test(Life, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))


def test_a_suppressed_recipient_who_unsubscribes_stays_suppressed():
    [recipient] = factories.emails(factories.application()).recipients.all()
    Recipient.objects.update(status="suppressed")

    lifecycle.unsubscribe_recipient(recipient, timezone.now())

    assert recipient.status == "suppressed"


def test_who_unsubscribed_before_being_asked_is_not_asked():
    [recipient] = factories.emails(factories.application()).recipients.all()
    lifecycle.unsubscribe_recipient(recipient, timezone.now())

    send_notices(timezone.now)

    assert mail.outbox == []


def test_an_address_is_not_pestered_with_questions_whether_it_may_be_sent_emails():
    subscription = factories.emails(factories.application(), ["ann@example.org"])
    for _ in range(10):
        lifecycle.set_recipients(subscription, ["ben@example.org"], timezone.now())
        lifecycle.set_recipients(subscription, ["ANN@example.org"], timezone.now())

    send_notices(timezone.now)

    assert [message.to for message in mail.outbox] == [["ann@example.org"]] * 5


def test_a_test_is_not_replayed_to_anybody():
    subscription = factories.webhook(factories.application())
    [delivery] = lifecycle.send_test(subscription, None, timezone.now())

    with pytest.raises(NotPossible, match="is a test"):
        lifecycle.replay(delivery.event, None, timezone.now())

    assert Delivery.objects.count() == 1
