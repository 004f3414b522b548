"""What the workers are woken for, and when."""

import threading
import time
from datetime import timedelta

import psycopg
import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from deliveries import broker as broker_module
from deliveries import lifecycle
from deliveries.broker import ClockBroker, next_due
from deliveries.claiming import Limits, claim
from deliveries.models import Delivery
from deliveries.publishing import publish
from deliveries.slots import free_slots, slot
from deliveries.stopping import stopping
from tests.support import factories
from tests.support.workers import Clock, database_url

pytestmark = pytest.mark.django_db


@pytest.fixture
def broker(monkeypatch):
    monkeypatch.setattr(broker_module, "LONGEST_WAIT", timedelta(milliseconds=300))
    quick = ClockBroker("openvolt")
    assert "beat" in names(quick.dequeue())
    return quick


def names(tasks) -> list[str]:
    return [SignedPackage.loads(packed)["name"] for _, packed in tasks or []]


def user_created(owner) -> Delivery:
    return publish(owner, "user.created", factories.example("user.created")).deliveries.get()


def test_nothing_due_means_nothing_to_do(owner, broker):
    lifecycle.pause(factories.webhook(owner), timezone.now())
    user_created(owner)

    assert broker.dequeue() is None


def test_a_lane_with_something_due_is_handed_out_as_a_task_that_names_it_and_no_delivery(owner, broker):
    factories.webhook(owner)
    user_created(owner)

    [(ack_id, packed)] = broker.dequeue()

    task = SignedPackage.loads(packed)
    assert (ack_id, task["func"], task["args"]) == (None, "deliveries.dispatch.drain", ("webhook",))


def test_a_person_who_is_to_be_asked_is_work_for_the_lane_of_emails(owner, broker):
    factories.emails(owner)

    assert names(broker.dequeue()) == ["drain email"]


def test_what_a_worker_holds_is_due_again_when_its_lease_ends(owner, broker):
    factories.webhook(owner)
    user_created(owner)
    claim("webhook", timezone.now(), Limits(limit=1, share=1))
    assert broker.dequeue() is None

    Delivery.objects.update(leased_until=timezone.now())
    assert names(broker.dequeue()) == ["drain webhook"]


def test_the_next_due_time_is_that_of_the_next_attempt_which_no_worker_has(owner):
    factories.webhook(owner)
    first, second = user_created(owner), user_created(owner)
    soon, later = Clock()() + timedelta(seconds=10), Clock()() + timedelta(seconds=20)
    Delivery.objects.filter(pk=first.pk).update(next_attempt_at=later)
    Delivery.objects.filter(pk=second.pk).update(leased_until=soon)

    assert next_due() == later


def test_no_drain_is_handed_out_while_as_many_are_running_as_may(owner, broker, settings):
    settings.DRAINS = {"webhook": 1, "email": 1}
    factories.webhook(owner)
    user_created(owner)

    with slot("webhook") as taken:
        assert taken
        assert broker.dequeue() is None
    assert free_slots("webhook") == [0]
    assert names(broker.dequeue()) == ["drain webhook"]


def test_two_drains_of_a_lane_are_not_handed_out_in_the_same_moment(owner, broker, monkeypatch):
    monkeypatch.setattr(broker_module, "BETWEEN_DRAINS", timedelta(minutes=1))  # a moment that lasts
    factories.webhook(owner)
    user_created(owner)
    assert names(broker.dequeue()) == ["drain webhook"]

    assert broker.dequeue() is None


def test_workers_that_are_told_to_stop_are_handed_nothing(owner, broker):
    factories.webhook(owner)
    user_created(owner)
    stopping.set()
    try:
        assert broker.dequeue() is None
    finally:
        stopping.flag.value = 0


def test_a_database_that_is_away_is_waited_for(owner, broker, monkeypatch):
    def gone(*_):
        raise OperationalError("the server closed the connection")

    factories.webhook(owner)
    user_created(owner)
    with monkeypatch.context() as away:
        away.setattr(broker_module, "is_due", gone)
        away.setattr(time, "sleep", lambda _: None)
        away.setattr(connection, "close", lambda: None)  # it is the test's, with its transaction
        assert broker.dequeue() is None

    assert names(broker.dequeue()) == ["drain webhook"]


@pytest.mark.django_db(transaction=True)
def test_a_publish_wakes_who_waits(owner, monkeypatch):
    monkeypatch.setattr(broker_module, "LONGEST_WAIT", timedelta(seconds=20))
    waiting = ClockBroker("openvolt")
    waiting.dequeue()
    factories.webhook(owner)
    thread = threading.Thread(target=publish_from_elsewhere, args=(owner,))

    began = time.monotonic()
    thread.start()
    found: list[str] = []
    while not found and time.monotonic() - began < 15:
        found = names(waiting.dequeue())
    thread.join()

    assert found == ["drain webhook"]
    assert time.monotonic() - began < 15


@pytest.mark.django_db(transaction=True)
def test_a_task_of_q2_wakes_who_waits(monkeypatch):
    monkeypatch.setattr(broker_module, "LONGEST_WAIT", timedelta(seconds=20))
    waiting = ClockBroker("openvolt")
    waiting.dequeue()
    thread = threading.Thread(target=queue_from_elsewhere)

    began = time.monotonic()
    thread.start()
    found: list[str] = []
    while not found and time.monotonic() - began < 15:
        found = names(waiting.dequeue())
    thread.join()

    assert found == ["prompt"]


def publish_from_elsewhere(owner) -> None:
    try:
        wait_for_a_listener()
        user_created(owner)
    finally:
        connection.close()


def queue_from_elsewhere() -> None:
    try:
        wait_for_a_listener()
        async_task(broker_module.BEAT, task_name="prompt", broker=ClockBroker("openvolt"))
    finally:
        connection.close()


def wait_for_a_listener() -> None:
    """Until another session waits for notifications."""
    with psycopg.connect(database_url(), autocommit=True) as watching:
        for _ in range(200):
            query = (
                "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
            if watching.execute(query).fetchone():
                break
            time.sleep(0.05)
