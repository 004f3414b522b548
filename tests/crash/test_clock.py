"""The clock of the workers jumps by an hour, either way: nothing is lost, and nothing storms."""

from datetime import timedelta

import pytest

from deliveries.dispatch import drain
from deliveries.models import Delivery
from deliveries.publishing import publish
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
EVENTS = 20


def publish_some(owner) -> None:
    for _ in range(EVENTS):
        publish(owner, "user.created", factories.example("user.created"))


def everything_succeeded() -> bool:
    return set(Delivery.objects.values_list("status", flat=True)) == {Delivery.Status.SUCCEEDED}


def drain_until_nothing_is_due(clock: Clock) -> int:
    attempts = 0
    while made := drain("webhook", clock):
        attempts += made
    return attempts


def test_an_hour_forward_makes_each_waiting_retry_once_and_not_its_whole_schedule():
    owner, clock = factories.application(), Clock()
    with Receiver(Answer(503)) as receiver:
        factories.webhook(owner, receiver.url, retry_schedule=[1800, 7200, 7200])
        publish_some(owner)
        for _ in range(EVENTS):  # one probe a drain
            drain_until_nothing_is_due(clock)
        before = len(receiver.requests)

        clock.forward(HOUR)
        drain_until_nothing_is_due(clock)

        assert len(receiver.requests) <= before + EVENTS
        assert not Delivery.objects.filter(attempt_count__gt=2).exists()
        assert Delivery.objects.pending().count() == EVENTS


def test_an_hour_back_sends_nothing_twice_and_everything_when_the_clock_is_right_again():
    owner, clock = factories.application(), Clock()
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url)
        publish_some(owner)
        drain_until_nothing_is_due(clock)
        publish_some(owner)

        clock.forward(-HOUR)
        in_the_past = drain_until_nothing_is_due(clock)
        clock.forward_to(Clock().now)
        drain_until_nothing_is_due(clock)

        assert in_the_past == 0
        assert len(receiver.requests) == 2 * EVENTS
        assert everything_succeeded()
