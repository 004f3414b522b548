"""Left alone after repeated failures: no attempt for a while, then one to find out, then the backlog."""

from datetime import timedelta

import pytest
from django.utils import timezone

from deliveries import lifecycle
from deliveries.broker import is_due, next_due
from deliveries.dispatch import drain
from deliveries.models import Attempt, Delivery
from deliveries.publishing import Change, publish_many
from deliveries.settling import FAILURES_BEFORE_COOLING, SHORTEST_COOLING, cooling
from deliveries.waiting import why_waiting
from subscriptions.models import LONGEST_COOLING
from tests.support import factories
from tests.support.receivers import Answer, Receiver

pytestmark = pytest.mark.django_db

FEW = FAILURES_BEFORE_COOLING


@pytest.fixture
def receiver():
    """It refuses as often as it takes to cool down, and once more, and then recovers."""
    with Receiver(*[Answer(500)] * (FEW + 1), Answer(204)) as receiver:
        yield receiver


@pytest.fixture
def subscription(clock, receiver):
    """With a backlog, after its first failures."""
    owner = factories.application()
    subscription = factories.webhook(owner, receiver.url, failure_count=FEW - 1, failing_since=clock())
    publish_many([Change(owner, "user.created", factories.example("user.created"))] * 10, timezone.now())
    drain("webhook", clock)
    subscription.refresh_from_db()
    return subscription


def test_it_is_left_alone_then_probed_once_and_then_gets_its_backlog(subscription, receiver, clock):
    receiver.answers = [Answer(500)] * 2 + [Answer(204)]
    assert len(receiver.requests) == 1
    assert subscription.cooling_until >= clock() + SHORTEST_COOLING

    clock.forward(SHORTEST_COOLING / 2)
    assert drain("webhook", clock) == 0

    clock.forward_to(subscription.cooling_until)
    assert drain("webhook", clock) == 1
    subscription.refresh_from_db()
    assert subscription.cooling_until > clock()

    clock.forward(LONGEST_COOLING * 2)
    drain("webhook", clock)
    subscription.refresh_from_db()
    assert (subscription.failure_count, subscription.cooling_until) == (0, None)
    assert not Delivery.objects.exclude(status="succeeded").exists()
    assert Attempt.objects.count() == 10 + 2


def test_meanwhile_no_worker_is_woken_for_it(subscription, clock):
    assert not is_due("webhook", clock())
    assert next_due() == subscription.cooling_until
    assert is_due("webhook", subscription.cooling_until)


def test_a_retry_by_hand_does_not_wait_and_goes_out_before_the_backlog(subscription, receiver, clock):
    last = Delivery.objects.filter(attempt_count=0).order_by("-id")[0]

    lifecycle.retry(last, clock())
    receiver.answers = [Answer(500)]
    drain("webhook", clock)

    assert last.attempts.get().trigger == "manual"


def test_a_resume_ends_it(subscription, receiver, clock):
    receiver.answers = [Answer(204)]
    lifecycle.pause(subscription, clock())
    lifecycle.resume(subscription, clock())

    drain("webhook", clock)

    assert not Delivery.objects.exclude(status="succeeded").exists()


def test_a_delivery_says_why_it_waits(subscription, clock):
    delivery = Delivery.objects.filter(attempt_count=0)[0]
    assert f"failed {FEW} times in a row; the next probe is at " in str(why_waiting(delivery, clock()))

    lifecycle.pause(subscription, clock())
    delivery = Delivery.objects.get(pk=delivery.pk)
    assert why_waiting(delivery, clock()) == "Its subscription is paused."


def test_a_delivery_of_a_limited_subscription_and_one_for_somebody_unconfirmed_say_so(clock):
    owner = factories.application()
    factories.webhook(owner, rate_limit=5)
    factories.emails(owner)
    publish_many([Change(owner, "user.created", factories.example("user.created"))], timezone.now())

    assert {why_waiting(delivery, clock()) for delivery in Delivery.objects.all()} == {
        "Its subscription is limited to 5 a second.",
        "The recipient has not confirmed the address.",
    }


@pytest.mark.parametrize("chance", [0, 0.5, 1])
@pytest.mark.parametrize("failing", [timedelta(0), timedelta(seconds=60), timedelta(days=1)])
def test_the_pause_grows_with_the_time_that_it_has_failed(failing, chance):
    pause = cooling(failing, chance)

    assert SHORTEST_COOLING <= pause <= LONGEST_COOLING
    assert pause <= max(failing * 1.2, SHORTEST_COOLING * 1.2)
