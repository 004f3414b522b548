"""With real workers: processes, signals, a receiver, and the time that a person would wait."""

from datetime import timedelta
from itertools import pairwise

import pytest
from django.utils import timezone

from deliveries.models import Attempt, Delivery
from deliveries.publishing import publish
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.running import all_gone, wait_for
from tests.support.workers import Cluster

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("cluster")]

LONG = timedelta(seconds=30)


def user_created(owner) -> Delivery:
    return publish(owner, "user.created", factories.example("user.created")).deliveries.get()


def wait_for_status(delivery: Delivery, status: str, seconds: float = 60) -> None:
    def reached() -> bool:
        delivery.refresh_from_db()
        return delivery.status == status

    wait_for(reached, seconds, lambda: f"it is {delivery.status}, not {status}")


def test_what_is_published_goes_out_at_once_and_its_first_retry_five_seconds_later(tmp_path):
    owner = factories.application()
    with Receiver(Answer(503), Answer(204)) as receiver, Cluster(tmp_path):
        factories.webhook(owner, receiver.url)
        delivery = user_created(owner)

        receiver.wait_for(1)
        receiver.wait_for(2)
        wait_for_status(delivery, Delivery.Status.SUCCEEDED)

    first, second = delivery.attempts.all()
    assert first.started_at - delivery.created_at < timedelta(seconds=10)  # on a busy machine, too
    waited = second.started_at - first.started_at
    assert timedelta(seconds=4) <= waited < timedelta(seconds=20)
    assert [request.headers["openvolt-attempt"] for request in receiver.requests] == ["1", "2"]


@pytest.mark.parametrize(
    "tell", [pytest.param(Cluster.terminate, marks=[pytest.mark.long]), Cluster.terminate_group]
)
def test_a_worker_told_to_stop_finishes_the_attempt_begins_no_other_and_leaves_no_process(tmp_path, tell):
    owner = factories.application()
    slow = Answer(204, after=timedelta(seconds=2))
    with Receiver(slow) as receiver, Cluster(tmp_path) as cluster:
        factories.webhook(owner, receiver.url)
        under_way = user_created(owner)
        receiver.wait_for(1)
        processes = cluster.processes()

        tell(cluster)
        # What pushes tasks to the worker ends first, and not before the cluster has taken the signal.
        wait_for(lambda: any(all_gone([process]) for process in processes), 60, lambda: cluster.said)
        too_late = user_created(owner)
        code = cluster.wait_until_gone(processes)

    assert code == 0, cluster.said
    wait_for_status(under_way, Delivery.Status.SUCCEEDED, seconds=0.1)
    assert Attempt.objects.get().delivery == under_way
    wait_for_status(too_late, Delivery.Status.PENDING, seconds=0.1)
    assert (too_late.attempt_count, too_late.lease_id) == (0, None)


def test_what_a_killed_worker_was_sending_goes_out_when_its_lease_ends(tmp_path):
    owner = factories.application()
    with Receiver(Answer(204, after=LONG), Answer(204)) as receiver:
        factories.webhook(owner, receiver.url)
        with Cluster(tmp_path, WEBHOOK_TIMEOUT="30") as first:
            delivery = user_created(owner)
            receiver.wait_for(1)
            first.kill()
        Delivery.objects.update(leased_until=timezone.now() + timedelta(seconds=5))  # not as late as it would
        delivery.refresh_from_db()
        lease_ends_at = delivery.leased_until
        assert (delivery.status, delivery.attempts.count()) == ("pending", 0)

        with Cluster(tmp_path, WEBHOOK_TIMEOUT="30"):
            receiver.wait_for(2, seconds=60)
            wait_for_status(delivery, Delivery.Status.SUCCEEDED)

    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert [before.body == after.body for before, after in pairwise(receiver.requests)] == [True]
    attempt = delivery.attempts.get()
    assert (attempt.number, attempt.outcome) == (1, "succeeded")
    assert lease_ends_at is not None
    assert attempt.started_at >= lease_ends_at
