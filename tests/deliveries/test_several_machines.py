"""The same commands on several machines, and one PostgreSQL: here two clusters and two web servers on one machine."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from socket import AF_INET

import pytest
from django.core.management import call_command
from django.db import connection

from deliveries.models import Attempt, Delivery
from deliveries.slots import free_slots, slot
from openvolt_events.load.publishers import OverHTTP
from openvolt_events.serve import bound, wait_for_web, web_server
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.running import REPOSITORY, wait_for
from tests.support.workers import Cluster, database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("cluster")]

EVENTS = 200
LIMIT = 20  # attempts a second
SERVED = 60  # seconds, with time for a busy machine
SLOTS_HELD = """
SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@contextmanager
def web(log: Path) -> Iterator[str]:
    """A web server of its own; its URL."""
    with bound(AF_INET, "127.0.0.1", 0) as listener, log.open("ab") as output:
        server = web_server([listener], os.environ | {"DATABASE_URL": database_url()})
        server.output = output
        port = listener.getsockname()[1]
        try:
            server.start()
            wait_for_web(server, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def publish_everywhere(urls: list[str], owner) -> list[str]:
    """Half of the events at each web server, at the same time, in batches of ten; their ids."""
    key = factories.platform_key()
    publishers = [OverHTTP(url, key) for url in urls]

    def publish(batch: int) -> list[str]:
        return publishers[batch % len(urls)].publish(owner, [f"{batch}-{nth}" for nth in range(10)])

    with ThreadPoolExecutor(len(urls)) as threads:
        return [id for ids in threads.map(publish, range(EVENTS // 10)) for id in ids]


def slots_held() -> Counter[int]:
    """How many slots each cluster's drains hold."""
    with connection.cursor() as cursor:
        cursor.execute(SLOTS_HELD)
        return Counter(cluster for cluster, _ in cursor.fetchall())


def most_in_a_second(starts: list[datetime]) -> int:
    return max(sum(first <= start < first + timedelta(seconds=1) for start in starts) for first in starts)


def test_two_machines_share_the_work_and_nobody_is_told_twice(tmp_path):
    owner = factories.application()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    slow = Answer(after=timedelta(milliseconds=100))
    with (
        Receiver(slow) as free,
        Receiver() as limited,
        web(tmp_path / "a" / "web.log") as first,
        web(tmp_path / "b" / "web.log") as second,
        Cluster(tmp_path / "a"),
        Cluster(tmp_path / "b"),
    ):
        factories.webhook(owner, free.url)
        subscription = factories.webhook(owner, limited.url, rate_limit=LIMIT)
        published = publish_everywhere([first, second], owner)

        most = slots_held()
        while Delivery.objects.unfinished().exists() and len(most) < 2:
            most |= slots_held()
        free.wait_for(EVENTS, seconds=SERVED)
        limited.wait_for(EVENTS, seconds=SERVED)
        wait_for(lambda: not Delivery.objects.unfinished().exists(), SERVED)

    assert sorted(most.values()) == [1, 1], "WORKERS=1 in each: a drain at a time for each, not for both"
    assert len(published) == len(set(published)) == EVENTS
    for receiver in (free, limited):
        told = [request.headers["openvolt-event-id"] for request in receiver.requests]
        assert sorted(told) == sorted(published)
    starts = Attempt.objects.filter(delivery__subscription=subscription).values_list("started_at", flat=True)
    assert most_in_a_second(list(starts)) <= LIMIT
    said = StringIO()
    call_command("reconcile", stdout=said)
    assert "Everything adds up" in said.getvalue()


def test_what_one_machine_sends_takes_no_slot_of_another_that_has_the_same_name(settings):
    settings.DRAINS = {"webhook": 1, "email": 1}
    ask = "from deliveries.slots import free_slots; print(free_slots('webhook'))"

    with slot("webhook") as taken:
        elsewhere = subprocess.run(
            [sys.executable, REPOSITORY / "manage.py", "shell", "--verbosity=0", "--command", ask],
            env=os.environ | {"DATABASE_URL": database_url(), "WORKERS": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        here = free_slots("webhook")

    assert taken
    assert here == []
    assert elsewhere.stdout.strip() == "[0]", elsewhere.stderr
