"""The database commits, and the answer never comes: what is written again must be written once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError

from deliveries import dispatch
from deliveries.dispatch import drain
from deliveries.models import Delivery
from deliveries.publishing import publish
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def answer_lost_once(name: str) -> Iterator[list[str]]:
    """The first call of this step of a drain is carried out, and looks as if the connection had broken."""
    step: Callable[..., Any] = getattr(dispatch, name)
    lost: list[str] = []

    def broken(*args: Any) -> Any:
        result = step(*args)
        if not lost:
            lost.append(name)
            raise OperationalError("server closed the connection unexpectedly")
        return result

    with patch.object(dispatch, name, broken):
        yield lost


@pytest.mark.parametrize(("status", "outcome"), [(204, "succeeded"), (500, "failed")])
def test_a_settling_whose_answer_is_lost_adds_one_attempt_and_skips_no_retry(status, outcome):
    owner, clock = factories.application(), Clock()
    with Receiver(Answer(status)) as receiver, answer_lost_once("settle") as lost:
        factories.webhook(owner, receiver.url, retry_schedule=[60, 3600])
        delivery = publish(owner, "user.created", factories.example("user.created")).deliveries.get()

        drain("webhook", clock)

    delivery.refresh_from_db()
    assert (lost, len(receiver.requests)) == (["settle"], 1)
    assert [(one.number, one.outcome) for one in delivery.attempts.all()] == [(1, outcome)]
    assert delivery.attempt_count == 1
    if delivery.status == Delivery.Status.PENDING:
        assert delivery.next_attempt_at is not None
        assert delivery.next_attempt_at - clock.now <= timedelta(seconds=72)


def test_a_claim_whose_answer_is_lost_is_made_again_when_its_lease_ends():
    owner, clock = factories.application(), Clock()
    with Receiver() as receiver, answer_lost_once("claim"):
        factories.webhook(owner, receiver.url)
        delivery = publish(owner, "user.created", factories.example("user.created")).deliveries.get()
        with pytest.raises(OperationalError):
            drain("webhook", clock)

        clock.forward(timedelta(seconds=30))
        drain("webhook", clock)

    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempt_count, delivery.sequence) == ("succeeded", 1, 1)
    assert len(receiver.requests) == 1
