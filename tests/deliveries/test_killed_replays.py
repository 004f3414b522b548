"""Replays in the hands of real workers: killed in the middle, and beside what is published meanwhile."""

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone

from deliveries.ledger import faults
from deliveries.models import Delivery, Replay
from deliveries.publishing import Change, publish, publish_many
from deliveries.replaying import plan, start
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.running import wait_for
from tests.support.workers import Cluster

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("cluster")]

HOUR = timedelta(hours=1)
EVENTS = 3000
KILLS = (200, 700, 1400)  # events that are queued when all workers die


def backlog(owner, count: int) -> set:
    changes = [Change(owner, "user.created", factories.example("user.created"))] * 1000
    return {one.event.id for _ in range(count // 1000) for one in publish_many(changes, timezone.now())}


def everything_again(subscription) -> Replay:
    now = timezone.now()
    return start(plan(subscription, since=now - HOUR, until=now, only="all", now=now))


def queued(job: Replay) -> int:
    job.refresh_from_db()
    return job.queued


def has_queued(job: Replay, count: int) -> bool:
    return queued(job) >= count


def test_workers_that_are_killed_in_the_middle_neither_double_nor_drop_any(tmp_path):
    owner = factories.application()
    published = backlog(owner, EVENTS)
    with Receiver() as receiver:
        job = everything_again(factories.webhook(owner, receiver.url))
        for kill in KILLS:
            with Cluster(tmp_path, WEBHOOK_TIMEOUT="1"):
                wait_for(partial(has_queued, job, kill), 60, lambda: f"{job.queued} are queued")
            assert job.status == "running"
            Delivery.objects.update(
                leased_until=None, lease_id=None
            )  # so as not to wait until the leases end
        with Cluster(tmp_path, WEBHOOK_TIMEOUT="1"):
            wait_for(
                lambda: queued(job) == EVENTS and not job.deliveries.unfinished().exists(),
                120,
                lambda: f"{job.queued} are queued",
            )
            wait_for(lambda: Replay.objects.get().status == "completed", 60)

    made = Counter(job.deliveries.values_list("event_id", flat=True))
    assert set(made) == published
    assert set(made.values()) == {1}
    assert set(job.deliveries.values_list("status", flat=True)) == {"succeeded"}
    assert {request.headers["webhook-id"] for request in receiver.requests} == {
        str(id) for id in job.deliveries.values_list("id", flat=True)
    }
    assert not list(faults())


def test_what_is_published_during_a_long_replay_to_a_slow_receiver_is_told_at_once(tmp_path):
    owner = factories.application()
    backlog(owner, 2000)
    with Receiver(Answer(204, after=timedelta(seconds=0.5))) as receiver:
        job = everything_again(factories.webhook(owner, receiver.url))
        with Cluster(tmp_path):
            receiver.wait_for(50, seconds=60)
            fresh = publish(owner, "user.created", factories.example("user.created"))
            wait_for(
                lambda: any(
                    request.headers["openvolt-event-id"] == str(fresh.id) for request in receiver.requests
                ),
                15,
                lambda: f"{len(receiver.requests)} others came",
            )

    assert queued(job) < 1900
    assert job.status == "running"
