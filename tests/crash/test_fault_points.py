"""A process is killed between every two steps of the one flow, and the account still holds.

The faults are put in from outside (tests/support/faults.py). A step that gets another name makes its test fail.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from accounts.models import Application
from deliveries.dispatch import drain
from deliveries.models import Attempt, Delivery
from deliveries.publishing import publish
from events.models import Event
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.running import REPOSITORY, wait_for
from tests.support.workers import Clock, Cluster, database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("cluster")]

EVENTS = 3
KILLED = -signal.SIGKILL
PAST_THE_LEASE = timedelta(seconds=30)

PUBLISH = [
    "before deliveries.publishing.reserve_keys",
    "after deliveries.publishing.reserve_keys",  # no event yet
    "before deliveries.publishing.create_deliveries",  # the event, and no deliveries
    "before deliveries.publishing.wake",  # the deliveries, and nobody is woken
    "after deliveries.publishing.create_deliveries",  # all of it, and no commit
    "after deliveries.publishing.publish_many",  # the commit, and no answer
]
CLAIM_AND_SEND = [
    "before deliveries.dispatch.claim",
    "before deliveries.claiming.claims",  # the leases are written, nothing else is read
    "after deliveries.dispatch.claim",
    "before deliveries.dispatch.send",
    "before deliveries.channels.webhook.post",
    "after deliveries.channels.webhook.post",  # the receiver has it, and its answer is not read
    "after deliveries.dispatch.send",  # the answer is known to one thread
    "before deliveries.dispatch.Drain.settle",  # and to the drain
]
SETTLE_SUCCESS = [
    "before deliveries.settling.succeed",
    "before deliveries.settling.insert_attempts",  # the deliveries are done, and have no history
    "after deliveries.settling.succeed",  # all of it, and no commit
    "after deliveries.dispatch.settle",  # the commit, and nobody was told
]
SETTLE_FAILURE = [
    "after deliveries.settling.unwritten",
    "after deliveries.settling.lock_deliveries",
    "after deliveries.settling.insert_attempts",
    "after deliveries.settling.write",
    "after deliveries.settling.note_health",  # all of it, and no commit
    "after deliveries.dispatch.settle",  # the commit, and nobody was told
]
WAKE_UP = [
    "after deliveries.broker.ClockBroker.wait",  # it is heard, and not looked for
    "after deliveries.broker.task 3",  # the first two are no drain's; this one is made, and not handed out
    "before deliveries.dispatch.drain",  # it is handed out, and not begun
    "before deliveries.senders.Senders.at_work",  # it has begun, and holds a slot of the lane
]


def environment(fault: str, mark: Path) -> dict[str, str]:
    return {"DATABASE_URL": database_url(), "OPENVOLT_FAULT": fault, "OPENVOLT_FAULT_MARK": str(mark)}


def start(fault: str, mark: Path, *program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.faults", *program],
        cwd=REPOSITORY,
        env=os.environ | environment(fault, mark),
        stdout=subprocess.DEVNULL,
    )


@contextmanager
def told(*answers: Answer) -> Iterator[tuple[Application, Receiver]]:
    """An application and who is told of its events."""
    owner = factories.application()
    with Receiver(*answers) as receiver:
        factories.webhook(owner, receiver.url)
        yield owner, receiver


def user_created(owner: Application) -> Delivery:
    return publish(owner, "user.created", factories.example("user.created")).deliveries.get()


def assert_all_is_accounted_for(receiver: Receiver, events: int) -> None:
    """Every event arrived and is settled, and the history has every attempt, numbered without a gap."""
    deliveries = list(Delivery.objects.prefetch_related("attempts"))
    arrived = Counter(request.headers["webhook-id"] for request in receiver.requests)

    assert Event.objects.count() == len(deliveries) == events
    assert {str(delivery.id) for delivery in deliveries} == arrived.keys()
    for delivery in deliveries:
        numbers = [attempt.number for attempt in delivery.attempts.all()]
        assert (delivery.status, delivery.lease_id) == (Delivery.Status.SUCCEEDED, None)
        assert numbers == list(range(1, delivery.attempt_count + 1))
        assert 1 <= len(numbers) <= arrived[str(delivery.id)]


@pytest.mark.parametrize("fault", PUBLISH)
def test_a_publisher_killed_between_two_steps_publishes_again_and_it_is_one_event(fault, tmp_path):
    with told() as (owner, receiver):
        code = start(f"kill {fault}", tmp_path / "mark", "publish", str(owner.id), "key").wait(120)
        left = Event.objects.count(), Delivery.objects.count()
        publish(owner, "user.created", factories.example("user.created"), idempotency_key="key")
        drain("webhook")

        assert code == KILLED
        assert left in [(0, 0), (1, 1)]
        assert_all_is_accounted_for(receiver, 1)


@pytest.mark.parametrize(
    ("fault", "answers"),
    [
        *((fault, ()) for fault in CLAIM_AND_SEND + SETTLE_SUCCESS),
        *((fault, (Answer(500),) * EVENTS + (Answer(204),)) for fault in SETTLE_FAILURE),
    ],
)
def test_a_worker_killed_between_two_steps_loses_nothing(fault, answers, tmp_path):
    with told(*answers) as (owner, receiver):
        for _ in range(EVENTS):
            user_created(owner)

        code = start(f"kill {fault}", tmp_path / "mark", "drain").wait(120)
        clock = Clock()
        clock.forward(PAST_THE_LEASE)
        drain("webhook", clock)

        assert code == KILLED
        assert_all_is_accounted_for(receiver, EVENTS)
        assert len(receiver.requests) <= 2 * EVENTS


@pytest.mark.parametrize("fault", WAKE_UP)
def test_a_wake_up_that_dies_on_its_way_costs_a_moment_and_no_delivery(fault, tmp_path):
    mark = tmp_path / "mark"
    with told() as (owner, receiver), FaultyCluster(tmp_path, f"kill {fault}", mark):
        for _ in range(EVENTS):
            user_created(owner)
        receiver.wait_for(EVENTS, 90)
        wait_for(lambda: not Delivery.objects.unfinished().exists(), 90)

        assert mark.exists()
        assert_all_is_accounted_for(receiver, EVENTS)


class FaultyCluster(Cluster):
    """One whose guard has to start again what the fault kills."""

    def __init__(self, directory: Path, fault: str, mark: Path) -> None:
        super().__init__(directory, **environment(fault, mark))
        self.workers.command = [sys.executable, "-m", "tests.support.faults", "qcluster"]


def test_a_worker_that_wakes_up_after_its_lease_was_given_to_another_overwrites_nothing(tmp_path):
    mark = tmp_path / "mark"
    with told(Answer(500), Answer(204)) as (owner, receiver):
        delivery = user_created(owner)
        late = start("freeze before deliveries.dispatch.Drain.settle", mark, "drain")
        try:
            wait_for(mark.exists, 120)
            clock = Clock()
            clock.forward(PAST_THE_LEASE)
            drain("webhook", clock)
            delivery.refresh_from_db()
            finished_at = delivery.finished_at
            late.send_signal(signal.SIGCONT)
            code = late.wait(120)
        finally:
            late.kill()

        assert code == 0
        delivery.refresh_from_db()
        assert (delivery.status, delivery.finished_at) == (Delivery.Status.SUCCEEDED, finished_at)
        assert delivery.attempt_count == len(receiver.requests) == 2
        outcomes = Attempt.objects.order_by("number").values_list("outcome", flat=True)
        assert list(outcomes) == ["succeeded", "failed"]
