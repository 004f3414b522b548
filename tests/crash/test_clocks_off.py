"""What a clock that was wrong, a kill or a lost key leaves behind must not last."""

from datetime import timedelta
from unittest.mock import patch

import pytest
from django.db import connection

from deliveries.broker import is_due
from deliveries.claiming import Limits, claim
from deliveries.dispatch import drain
from deliveries.heartbeat import beat
from deliveries.lifecycle import retry
from deliveries.models import Delivery
from deliveries.publishing import Change, publish, publish_many
from openvolt_events.serve import has_pulse
from subscriptions.models import LONGEST_COOLING, Subscription
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
PAST_THE_LEASE = timedelta(seconds=30)


def user_created(owner) -> Delivery:
    return publish(owner, "user.created", factories.example("user.created")).deliveries.get()


def test_a_lease_longer_than_any_that_is_given_holds_up_nobody():
    owner, ahead, right = factories.application(), Clock(), Clock()
    ahead.forward(HOUR)
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url)
        delivery = user_created(owner)
        Delivery.objects.update(leased_until=ahead.now + timedelta(seconds=25))

        drain("webhook", right)

    delivery.refresh_from_db()
    assert delivery.status == Delivery.Status.SUCCEEDED


@pytest.mark.xfail(
    strict=True, reason="what is due in the workers' future waits for it, even a first attempt"
)
def test_a_first_attempt_is_made_at_once_whatever_the_publishers_clock_says():
    owner = factories.application()
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url)
        delivery = user_created(owner)
        Delivery.objects.update(next_attempt_at=delivery.created_at + HOUR)

        drain("webhook", Clock())

    delivery.refresh_from_db()
    assert delivery.status == Delivery.Status.SUCCEEDED


def test_no_subscription_cools_down_for_longer_than_the_longest_pause():
    owner, clock = factories.application(), Clock()
    with Receiver() as receiver:
        subscription = factories.webhook(owner, receiver.url)
        Subscription.objects.filter(id=subscription.id).update(
            failing_since=clock.now, failure_count=5, cooling_until=clock.now + HOUR + LONGEST_COOLING
        )
        delivery = user_created(owner)

        drain("webhook", clock)

    delivery.refresh_from_db()
    assert delivery.status == Delivery.Status.SUCCEEDED


def test_a_retry_by_hand_that_a_kill_cuts_short_is_still_one_by_hand():
    owner, clock = factories.application(), Clock()
    with Receiver(Answer(500), Answer(204)) as receiver:
        factories.webhook(owner, receiver.url)
        delivery = user_created(owner)
        drain("webhook", clock)
        retry(delivery, clock.now)
        claim_and_die(clock)

        clock.forward(PAST_THE_LEASE)
        drain("webhook", clock)

    assert [one.trigger for one in delivery.attempts.order_by("number")] == ["scheduled", "manual"]
    assert receiver.requests[-1].headers["openvolt-trigger"] == "manual"


def claim_and_die(clock: Clock) -> None:
    assert claim("webhook", clock(), Limits(limit=10, share=10))


def test_a_subscription_whose_secret_can_t_be_decrypted_keeps_no_worker_busy():
    owner, clock = factories.application(), Clock()
    factories.webhook(owner)
    changes = [Change(owner, "user.created", factories.example("user.created"))] * 200
    publish_many(changes, clock.now - timedelta(seconds=1))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_signingsecret SET secret = 'encrypted with a key that is gone'")

    drain("webhook", clock)

    assert not is_due("webhook", clock.now)


def test_workers_whose_clock_is_behind_the_database_s_are_not_taken_for_stuck():
    behind = Clock()
    behind.forward(-HOUR)
    with patch("django.utils.timezone.now", behind):
        beat()

    assert has_pulse(connection.settings_dict)
