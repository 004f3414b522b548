"""The clocks of real processes jump by an hour, either way, in the midst of a load: the database's, the web server's,
the workers', and those of a whole machine. Nothing is lost, nothing storms, and what depends on none of it goes on.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.management import call_command
from django.db import connection

from deliveries.models import Attempt, Delivery, Heartbeat
from events.models import Event
from openvolt_events import postgres
from openvolt_events.bench.stage import Stage
from openvolt_events.load.account import settle_accounts
from openvolt_events.load.presets import Endpoints, Preset, Tenants
from openvolt_events.load.publishers import OverHTTP
from openvolt_events.load.receiver import Conduct, Receiver
from openvolt_events.load.traffic import Traffic
from openvolt_events.postgres import THROWAWAY_SETTINGS, EmbeddedPostgres
from openvolt_events.processes import Child
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.clocks import WrongClock, build
from tests.support.running import new_directory, wait_for

pytestmark = pytest.mark.xdist_group("cluster")

HOUR = timedelta(hours=1)
RATE = 30
SOME = 40  # events, before the jump and after it
LIMIT = 40  # attempts a second, of the endpoint that has a limit
LONG_WAIT = 1800  # seconds, of the endpoint that fails, before its first retry; then it is more than an hour
IN_TIME = 90  # seconds, on a machine that is busy with other tests
IDLE_SECONDS = 2
MOST_TRANSACTIONS = 100  # a second, when nothing is to do; a tight loop makes thousands
MOST_TIMES = 3  # that one webhook comes: its first attempt, and one more for each jump
MOST_ON_AVERAGE = 1.5
SETTINGS = {"WEBHOOK_TIMEOUT": "2", "WORKERS": "2"}

PARTS = ("workers", "web", "database")
WHOSE = {"workers": ("workers",), "web": ("web",), "database": ("database",), "machine": PARTS}
# What is published then, or was just before, lies in the workers' future: it waits until the hour has gone by.
WAITS = {("workers", -1), ("web", 1), ("machine", -1)}


@dataclass(frozen=True)
class Service:
    """Whose clocks can jump."""

    stage: Stage
    url: str
    clocks: Mapping[str, WrongClock]

    def jump(self, whose: Sequence[str], by: timedelta) -> None:
        for part in whose:
            self.clocks[part].jump(by)


@pytest.fixture(scope="module")
def place(django_db_blocker) -> Iterator[tuple[Stage, Mapping[str, WrongClock]]]:
    with new_directory() as directory, django_db_blocker.unblock(), Receiver() as receiver:
        library = build(directory)
        clocks = {part: WrongClock(library, directory / f"clock-of-{part}") for part in PARTS}
        server = EmbeddedPostgres(directory, THROWAWAY_SETTINGS)
        try:
            with patch.dict(postgres.ENVIRONMENT, clocks["database"].environment):
                server.start()
            yield Stage(directory, server, receiver), clocks
        finally:
            server.stop()


@pytest.fixture(scope="module")
def running(place) -> Iterator[Service]:
    stage, clocks = place
    with (
        stage.database(),
        stage.workers(**SETTINGS, **clocks["workers"].environment) as workers,
        patch.dict(os.environ, clocks["web"].environment),
        stage.web() as (web, url),
    ):
        stage.until(Heartbeat.objects.exists, "the first heartbeat")
        assert follows(workers, clocks["workers"])
        assert follows(web, clocks["web"])
        assert follows(stage.postgres.child, clocks["database"])
        yield Service(stage, url, clocks)


def follows(child: Child | None, clock: WrongClock) -> bool:
    """Whether the program has the clock's file mapped: its wall clock is that one."""
    assert child is not None
    assert child.process is not None
    return str(clock.path) in Path(f"/proc/{child.process.pid}/maps").read_text()


@pytest.fixture
def service(running) -> Service:
    """All its clocks agree, at least for now; they may be some hours ahead of the test's."""
    latest = max(clock.ahead for clock in running.clocks.values())
    for clock in running.clocks.values():
        clock.set(latest)
    return running


@contextmanager
def load(service: Service) -> Iterator[Traffic]:
    """An endpoint that accepts, one that accepts and has a limit, and one that fails, of one application."""
    groups = {name: service.stage.group(name) for name in ("healthy", "limited", "failing")}
    conducts = {"failing": Conduct(failing=1)}
    endpoints = [Endpoints(group, 1, conducts.get(name, Conduct())) for name, group in groups.items()]
    preset = Preset("for the tests of clocks", [Tenants("only", 0, endpoints)])
    publisher = OverHTTP(service.url, factories.platform_key())
    service.stage.receiver.take()  # what came for other tests
    with Traffic(preset, publisher, service.stage.receiver) as traffic:
        _, limited, failing = (endpoint.subscription.id for endpoint in traffic.endpoints)
        Subscription.objects.filter(id=limited).update(rate_limit=LIMIT)
        Subscription.objects.filter(id=failing).update(retry_schedule=[LONG_WAIT] + [7200] * 5)
        yield traffic


def publish(traffic: Traffic, number: int) -> None:
    [flow] = traffic.flows.values()
    enough = flow.published + number
    traffic.change_rate("only", RATE)
    wait_for(
        lambda: flow.published >= enough or flow.failure is not None,
        IN_TIME,
        lambda: f"{flow.published} of {enough} are published, {flow.refusals} tries failed",
    )


def published(traffic: Traffic) -> int:
    [flow] = traffic.flows.values()
    return flow.published


def those_who_accept(traffic: Traffic) -> list[str]:
    return [endpoint.group for endpoint in traffic.endpoints if not traffic.conducts[endpoint.group].failing]


def wait_until_told(traffic: Traffic, number: int) -> None:
    def accepted() -> list[int]:
        return [traffic.receiver.accepted(group) for group in those_who_accept(traffic)]

    wait_for(lambda: min(accepted()) >= number, IN_TIME, lambda: f"{accepted()} of {number} are told")


def transactions_a_second() -> float:
    """While nothing is to do. Who is idle reports to the statistics once a second."""
    before = transactions()
    time.sleep(IDLE_SECONDS)
    return (transactions() - before) / IDLE_SECONDS


def transactions() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def test_a_program_s_wall_clock_jumps_while_it_runs_and_its_monotonic_clock_does_not(place):
    _, clocks = place
    program = "import time\nwhile input(): print(time.time() - time.monotonic(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=clocks["web"].environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:

        def wall_clock() -> float:
            """Beside the monotonic one."""
            assert child.stdin is not None
            assert child.stdout is not None
            print("?", file=child.stdin, flush=True)
            return float(child.stdout.readline())

        before = wall_clock()
        clocks["web"].jump(HOUR)
        after = wall_clock()
        child.kill()

    clocks["web"].put_right()
    assert after - before == pytest.approx(HOUR.total_seconds(), abs=1)


@pytest.mark.parametrize("hours", [pytest.param(1, marks=[pytest.mark.long]), -1])
@pytest.mark.parametrize(
    "whose", [pytest.param(one, marks=[] if one == "machine" else [pytest.mark.long]) for one in WHOSE]
)
def test_a_clock_jumps_by_an_hour_and_nothing_is_lost_and_nothing_storms(service, whose, hours):
    with load(service) as traffic:
        publish(traffic, SOME)
        wait_until_told(traffic, SOME)

        service.jump(WHOSE[whose], hours * HOUR)
        publish(traffic, SOME)
        traffic.stop_publishing()
        if (whose, hours) not in WAITS:
            wait_until_told(traffic, published(traffic))
        wait_for(lambda: transactions_a_second() < MOST_TRANSACTIONS, IN_TIME)
        service.jump(WHOSE[whose], -hours * HOUR)
        service.jump(PARTS, HOUR)  # it goes by
        wait_for(lambda: not unsettled(traffic), IN_TIME, lambda: f"{unsettled(traffic)} are unsettled")
        traffic.gather()

        assert_all_is_accounted_for(traffic)
        assert_nothing_stormed(traffic)


def unsettled(traffic: Traffic) -> int:
    """How many deliveries are pending of those who accept."""
    those = those_who_accept(traffic)
    ids = [endpoint.subscription.id for endpoint in traffic.endpoints if endpoint.group in those]
    return Delivery.objects.pending().filter(subscription__in=ids).count()


def assert_all_is_accounted_for(traffic: Traffic) -> None:
    accounts = {its.group: its for its in settle_accounts(traffic)}

    assert [problem for its in accounts.values() for problem in its.problems] == []
    assert [accounts[group].delivered for group in those_who_accept(traffic)] == [published(traffic)] * 2
    call_command("reconcile")
    for model in (Event, Delivery, Attempt):
        assert {id.version for id in model.objects.values_list("id", flat=True)} == {7}


def assert_nothing_stormed(traffic: Traffic) -> None:
    """A jump makes a waiting retry once, or ends a lease early: each of the two jumps adds one attempt at most."""
    times = Counter(arrival.webhook_id for arrival in traffic.arrivals)

    assert max(times.values()) <= MOST_TIMES
    assert len(traffic.arrivals) <= MOST_ON_AVERAGE * len(times)
