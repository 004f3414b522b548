"""Who pauses, resumes or deletes a subscription is killed while its deliveries are moved."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.utils import timezone

from deliveries import failing
from deliveries.dispatch import drain
from deliveries.ledger import faults
from deliveries.lifecycle import pause
from deliveries.models import Delivery
from deliveries.publishing import publish
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.receivers import Receiver
from tests.support.running import REPOSITORY
from tests.support.workers import Clock, database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("cluster")]

EVENTS = 4
MOVING = [
    "before deliveries.lifecycle.move_deliveries",  # the new state is committed, and nothing is moved
    "after deliveries.lifecycle.move_some",  # some is moved, and not committed
]


def tell(owner, events: int = EVENTS) -> list[str]:
    """The events, in the order of publishing."""
    return [str(publish(owner, "user.created", factories.example("user.created")).id) for _ in range(events)]


def be_killed(act: str, subscription: Subscription, fault: str, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-m", "tests.support.faults", "change", act, str(subscription.id)],
        cwd=REPOSITORY,
        env=os.environ
        | {
            "DATABASE_URL": database_url(),
            "OPENVOLT_FAULT": f"kill {fault}",
            "OPENVOLT_FAULT_MARK": str(tmp_path / "mark"),
        },
        stdout=subprocess.DEVNULL,
    )
    assert killed.returncode == -signal.SIGKILL


def statuses() -> list[str]:
    return [*Delivery.objects.order_by("id").values_list("status", flat=True)]


@pytest.mark.parametrize("fault", MOVING)
def test_of_a_pause_that_is_killed_nothing_is_sent_and_all_is_held(fault, tmp_path):
    owner = factories.application()
    with Receiver() as receiver:
        subscription = factories.webhook(owner, receiver.url)
        tell(owner)

        be_killed("pause", subscription, fault, tmp_path)
        assert statuses() == ["pending"] * EVENTS
        tell(owner, 1)
        failing.sweep()
        drain("webhook", Clock())

        assert receiver.requests == []
    assert statuses() == ["held"] * (EVENTS + 1)
    assert not Subscription.objects.get().moving


def test_what_a_killed_pause_has_left_is_held_by_whoever_claims_it_before_the_sweep(tmp_path):
    owner = factories.application()
    with Receiver() as receiver:
        subscription = factories.webhook(owner, receiver.url)
        tell(owner)
        be_killed("pause", subscription, MOVING[0], tmp_path)

        drain("webhook", Clock())

        assert receiver.requests == []
    assert statuses() == ["held"] * EVENTS


@pytest.mark.parametrize("fault", MOVING)
@pytest.mark.parametrize("ordered", [False, True])
def test_of_a_resume_that_is_killed_all_goes_out_once_and_where_order_is_asked_for_in_order(
    fault, ordered, tmp_path
):
    owner = factories.application()
    with Receiver() as receiver:
        subscription = factories.webhook(owner, receiver.url, ordered=ordered)
        pause(subscription, timezone.now())
        published = tell(owner)

        be_killed("resume", subscription, fault, tmp_path)
        published += tell(owner)
        drain("webhook", Clock())
        assert len(receiver.requests) == (0 if ordered else EVENTS)
        failing.sweep()
        drain("webhook", Clock())

        told = [request.headers["openvolt-event-id"] for request in receiver.requests]
    assert sorted(told) == sorted(published)
    assert told == published or not ordered
    assert statuses() == ["succeeded"] * 2 * EVENTS
    assert not list(faults())


@pytest.mark.parametrize("fault", MOVING)
def test_of_a_deletion_that_is_killed_nothing_is_sent_and_all_is_cancelled(fault, tmp_path):
    owner = factories.application()
    with Receiver() as receiver:
        subscription = factories.webhook(owner, receiver.url, ordered=True)
        tell(owner)

        be_killed("delete_subscription", subscription, fault, tmp_path)
        tell(owner, 1)
        failing.sweep()
        drain("webhook", Clock())

        assert receiver.requests == []
    assert statuses() == ["cancelled"] * EVENTS
    assert not list(faults())
