"""What becomes of a delivery when its attempt comes back, and something has happened to it in the meantime."""

from datetime import timedelta

import pytest

from deliveries import lifecycle
from deliveries.channels import Report
from deliveries.claiming import Claim, Limits, claim
from deliveries.models import Attempt, Delivery
from deliveries.publishing import publish
from deliveries.settling import Tried, hold, settle
from subscriptions.models import Recipient, Subscription
from tests.support import factories

pytestmark = pytest.mark.django_db

TOOK = timedelta(seconds=1)
SUCCEEDED = Report(succeeded=True, status_code=200)
FAILED = Report(succeeded=False, error="The receiver answered 500 Internal Server Error.", status_code=500)


@pytest.fixture
def subscription(owner):
    return factories.webhook(owner)


def user_created(owner) -> Delivery:
    return publish(owner, "user.created", factories.example("user.created")).deliveries.get()


def take(clock, lane: str = "webhook") -> list[Claim]:
    return claim(lane, clock(), Limits(limit=16, share=8))


def take_one(clock, lane: str = "webhook") -> Claim:
    [one] = take(clock, lane)
    return one


def come_back(clock, *claims: Claim, report: Report) -> None:
    settle([Tried(one, report, clock(), TOOK) for one in claims], clock())


def state(delivery: Delivery) -> str:
    delivery.refresh_from_db()
    return delivery.status


def outcomes(delivery: Delivery) -> list[tuple[int, str]]:
    return list(delivery.attempts.order_by("number").values_list("number", "outcome"))


@pytest.mark.parametrize(("report", "becomes"), [(SUCCEEDED, "succeeded"), (FAILED, "held")])
def test_paused_while_it_was_under_way(owner, clock, subscription, report, becomes):
    delivery = user_created(owner)
    under_way = take_one(clock)

    lifecycle.pause(subscription, clock())
    come_back(clock, under_way, report=report)

    assert state(delivery) == becomes
    assert len(outcomes(delivery)) == 1


def test_paused_and_resumed_while_it_was_under_way_it_is_tried_again_on_the_schedule(
    owner, clock, subscription
):
    delivery = user_created(owner)
    under_way = take_one(clock)

    lifecycle.pause(subscription, clock())
    lifecycle.resume(subscription, clock())
    come_back(clock, under_way, report=FAILED)

    assert state(delivery) == "pending"
    assert delivery.next_attempt_at > clock()


@pytest.mark.parametrize(("report", "becomes"), [(SUCCEEDED, "succeeded"), (FAILED, "cancelled")])
def test_its_subscription_deleted_while_it_was_under_way(owner, clock, subscription, report, becomes):
    delivery = user_created(owner)
    under_way = take_one(clock)

    lifecycle.delete_subscription(subscription, clock())
    come_back(clock, under_way, report=report)

    assert state(delivery) == becomes
    assert len(outcomes(delivery)) == 1


@pytest.mark.parametrize("report", [SUCCEEDED, FAILED])
def test_cancelled_while_it_was_under_way_it_stays_so_and_the_history_has_the_attempt(
    owner, clock, subscription, report
):
    delivery = user_created(owner)
    under_way = take_one(clock)

    lifecycle.cancel(delivery, clock())
    come_back(clock, under_way, report=report)

    assert state(delivery) == "cancelled"
    assert delivery.attempt_count == len(outcomes(delivery)) == 1


def test_a_retry_asked_for_while_it_was_under_way_follows_at_once_when_the_attempt_fails(
    owner, clock, subscription
):
    delivery = user_created(owner)
    under_way = take_one(clock)

    lifecycle.retry(delivery, clock())
    assert take(clock) == []
    come_back(clock, under_way, report=FAILED)

    again = take_one(clock)
    assert (again.trigger, again.notification().attempt) == ("manual", 2)


def test_a_retry_asked_for_while_it_was_under_way_is_not_needed_when_the_attempt_succeeds(
    owner, clock, subscription
):
    delivery = user_created(owner)
    under_way = take_one(clock)

    lifecycle.retry(delivery, clock())
    come_back(clock, under_way, report=SUCCEEDED)

    assert state(delivery) == "succeeded"
    assert not delivery.retry_requested
    assert take(clock) == []


def test_a_retry_and_then_a_pause_while_it_was_under_way_hold_it(owner, clock, subscription):
    delivery = user_created(owner)
    under_way = take_one(clock)

    lifecycle.retry(delivery, clock())
    lifecycle.pause(subscription, clock())
    come_back(clock, under_way, report=FAILED)

    assert state(delivery) == "held"
    lifecycle.resume(subscription, clock())
    assert take_one(clock).trigger == "manual"


def test_a_recipient_who_unsubscribes_while_an_email_is_under_way_gets_no_second_try(owner, clock):
    recipient = factories.confirmed_emails(owner).recipients.get()
    delivery = user_created(owner)
    under_way = take_one(clock, "email")

    lifecycle.unsubscribe_recipient(recipient, clock())
    come_back(clock, under_way, report=FAILED)

    assert state(delivery) == "cancelled"


def test_a_permanent_refusal_is_not_tried_again(owner, clock):
    factories.confirmed_emails(owner)
    delivery = user_created(owner)

    come_back(clock, take_one(clock, "email"), report=Report(False, "No such mailbox.", permanent=True))

    assert state(delivery) == "failed"
    assert delivery.finished_at == clock()


def test_a_worker_that_comes_back_late_adds_its_attempt_and_changes_nothing_else(owner, clock, subscription):
    delivery = user_created(owner)
    late = take_one(clock)
    clock.forward_to(Delivery.objects.get(pk=late.delivery.id).leased_until)
    current = take_one(clock)

    come_back(clock, late, report=FAILED)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.lease_id) == ("pending", current.lease_id)
    come_back(clock, current, report=SUCCEEDED)

    assert state(delivery) == "succeeded"
    assert outcomes(delivery) == [(1, "failed"), (2, "succeeded")]


def test_a_late_failure_does_not_undo_a_success(owner, clock, subscription):
    delivery = user_created(owner)
    late = take_one(clock)
    clock.forward_to(Delivery.objects.get(pk=late.delivery.id).leased_until)
    come_back(clock, take_one(clock), report=SUCCEEDED)

    come_back(clock, late, report=FAILED)

    assert state(delivery) == "succeeded"
    assert delivery.attempt_count == len(outcomes(delivery)) == 2


def test_a_lease_that_ended_before_anybody_else_came_is_still_settled(owner, clock, subscription):
    delivery = user_created(owner)
    slow = take_one(clock)
    clock.forward(timedelta(hours=1))

    come_back(clock, slow, report=SUCCEEDED)

    assert state(delivery) == "succeeded"


@pytest.mark.parametrize("answer", ["a\0b", "half a pair: \ud83d"])
def test_an_answer_that_cannot_be_stored_is_left_out_and_the_rest_is_kept(owner, clock, subscription, answer):
    delivery, other = user_created(owner), user_created(owner)
    broken, fine = sorted(take(clock), key=lambda one: one.delivery.id)

    settle(
        [
            Tried(broken, Report(True, status_code=200, response_body=answer), clock(), TOOK),
            Tried(fine, Report(True, status_code=200, response_body="ok"), clock(), TOOK),
        ],
        clock(),
    )

    assert (state(delivery), state(other)) == ("succeeded", "succeeded")
    assert [attempt.response_body for attempt in Attempt.objects.order_by("delivery_id")] == ["", "ok"]


def test_a_failure_that_cannot_be_stored_as_it_was_is_a_failure_all_the_same(owner, clock, subscription):
    delivery = user_created(owner)

    come_back(clock, take_one(clock), report=Report(False, "The receiver said \0.", status_code=500))

    assert state(delivery) == "pending"
    assert "could not be stored" in delivery.attempts.get().error


def test_a_subscription_is_failing_from_its_first_failure_to_its_next_success(owner, clock, subscription):
    user_created(owner)
    began = clock()
    come_back(clock, take_one(clock), report=FAILED)
    clock.forward(timedelta(hours=1))
    come_back(clock, take_one(clock), report=FAILED)
    subscription.refresh_from_db()
    assert subscription.failing_since == began

    clock.forward(timedelta(hours=1))
    come_back(clock, take_one(clock), report=SUCCEEDED)

    subscription.refresh_from_db()
    assert subscription.failing_since is None


def test_what_was_claimed_for_a_subscription_that_is_paused_is_held_without_an_attempt(
    owner, clock, subscription
):
    delivery = lifecycle.retry(user_created(owner), clock())
    Subscription.objects.update(status="paused")
    unwanted = take_one(clock)
    assert not unwanted.sendable

    hold([unwanted], clock())

    assert (state(delivery), delivery.lease_id) == ("held", None)
    assert delivery.attempt_count == 0
    lifecycle.resume(subscription, clock())
    assert take_one(clock).trigger == "manual"


@pytest.mark.parametrize(("change", "becomes"), [("unsubscribed", "cancelled"), ("unconfirmed", "held")])
def test_what_was_claimed_for_a_recipient_who_does_not_want_it_now_is_not_sent(owner, clock, change, becomes):
    factories.confirmed_emails(owner)
    delivery = user_created(owner)
    Recipient.objects.update(status=change)
    unwanted = take_one(clock, "email")
    assert not unwanted.sendable

    hold([unwanted], clock())

    assert state(delivery) == becomes
