"""Workers are killed that have nothing to do: one of them always holds the lock of the tasks' queue."""

import pytest

from deliveries.publishing import publish
from tests.support import factories
from tests.support.receivers import Receiver
from tests.support.workers import Cluster

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("cluster")]

SOON = 60  # seconds; much less than the supervisor takes to find workers that live and do nothing


def test_workers_that_are_killed_while_they_are_idle_keep_nobody_waiting(tmp_path):
    owner = factories.application()
    with Receiver() as receiver, Cluster(tmp_path) as cluster:
        factories.webhook(owner, receiver.url)
        for told in range(1, 4):
            publish(owner, "user.created", factories.example("user.created"))
            receiver.wait_for(told, SOON)
            [guard] = cluster.processes()[0].children()
            for worker in guard.children():
                worker.kill()
