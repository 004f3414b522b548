"""The load tool: what it publishes and receives, what it says of each second, and its closing account."""

import io
import os
import subprocess
import sys
import time
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
import requests
from django.core.management import CommandError, call_command
from django.db import OperationalError

from accounts.models import Application
from deliveries import publishing
from deliveries.models import Delivery
from events.models import Event
from openvolt_events.load import publishers
from openvolt_events.load.account import Account, Told, account, settle_accounts
from openvolt_events.load.controls import Misunderstood, obey
from openvolt_events.load.figures import percentile, steady_rate
from openvolt_events.load.presets import PRESETS, Endpoints, Preset, Tenants
from openvolt_events.load.publishers import InProcess, OverHTTP
from openvolt_events.load.receiver import Arrival, Conduct, Receiver
from openvolt_events.load.seconds import Second, Seconds
from openvolt_events.load.traffic import Answered, Endpoint, Flow, Traffic
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.running import KEPT, REPOSITORY, Running, free_port, new_directory, wait_for
from tests.support.workers import Cluster

HEADERS = {"webhook-id": "first", "openvolt-event-id": "meter read"}


@pytest.fixture(scope="module")
def receiver():
    with Receiver() as one:
        yield one


@pytest.fixture
def group(receiver):
    """A name that no other test's endpoints have."""
    receiver.take()
    return f"group-{uuid4().hex[:8]}"


def small(group, rate=40, **fields):
    return Preset("for a test", [Tenants("only", rate, [Endpoints(group, 2, **fields)])])


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.95, 95), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(share, value):
    assert percentile(list(range(100, 0, -1)), share) == value


def test_a_rate_leaves_out_the_slow_start_and_the_slow_end():
    start, middle, end = [0.0, 5.0], [10 + 0.1 * nth for nth in range(17)], [20.0]

    assert steady_rate([*start, *middle, *end]) == pytest.approx(10)


def test_too_few_values_have_no_rate_and_no_percentile():
    with pytest.raises(ValueError, match="1 moments are too few"):
        steady_rate([1.0])
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_the_receiver_answers_as_it_is_told_and_remembers_what_it_accepted(receiver, group):
    answers = []
    for conduct in (Conduct(), Conduct(failing=1), Conduct()):
        receiver.conduct(group, conduct)
        answers.append(
            requests.post(receiver.url(group), data=b"{}", headers=HEADERS, timeout=10).status_code
        )

    arrivals = receiver.take()

    assert answers == [204, 500, 204]
    assert [arrival.accepted for arrival in arrivals] == [True, False, True]
    assert {arrival[1:4] for arrival in arrivals} == {(group, "first", "meter read")}
    assert receiver.accepted(group) == 2
    assert receiver.take() == []


def test_the_receiver_can_be_late_or_never_answer(receiver, group):
    receiver.conduct(group, Conduct(latency=0.3))
    began = time.monotonic()
    requests.post(receiver.url(group), data=b"{}", timeout=10)
    assert time.monotonic() - began >= 0.3

    receiver.conduct(group, Conduct(hanging=1))
    with pytest.raises(requests.ReadTimeout):
        requests.post(receiver.url(group), data=b"{}", timeout=0.3)


def test_nobody_listens_where_connections_are_to_be_refused(receiver, group):
    with pytest.raises(requests.ConnectionError, match="refused"):
        requests.post(receiver.refusing_url(group), data=b"{}", timeout=10)


def test_a_request_that_comes_in_pieces_is_one_webhook(receiver, group):
    def pieces():
        yield from (b"a", b"b", b"c")

    body = b"".join(pieces())
    for length in (len(body), 200_000):
        requests.post(receiver.url(group), data=b"x" * length, headers=HEADERS, timeout=10)

    assert receiver.accepted(group) == 2


@pytest.mark.django_db(transaction=True)
class TestWithWorkers:
    def test_every_event_of_a_load_is_published_received_and_accounted_for(self, receiver, group, tmp_path):
        with Cluster(tmp_path), Traffic(small(group), InProcess(), receiver) as traffic:
            wait_for(lambda: receiver.accepted(group) >= 20, 90)
            traffic.stop_publishing()
            wait_for(lambda: not Delivery.objects.pending().exists(), 90)
            traffic.gather()
            [line] = settle_accounts(traffic)

        assert line.problems == []
        assert line.owed == line.delivered == 2 * Event.objects.count() == len(traffic.arrivals)
        assert (line.waiting, line.failed, line.repeated) == (0, 0, 0)

    def test_each_second_says_what_came_and_how_long_it_took(self, receiver, group, tmp_path):
        with Cluster(tmp_path), Traffic(small(group), InProcess(), receiver) as traffic:
            shown = Seconds(traffic)
            wait_for(lambda: receiver.accepted(group) >= 10, 90)
            [first] = shown.next()
            traffic.stop_publishing()
            wait_for(lambda: not Delivery.objects.pending().exists(), 90)
            [last] = shown.next()

        lines = [first, last]
        assert [line.number for line in lines] == [1, 2]
        assert sum(line.told for line in lines) == sum(line.accepted for line in lines) > 0
        assert last.waiting == 0
        assert sum(len(line.latencies) for line in lines) == sum(line.accepted for line in lines)
        assert all(latency >= 0 for line in lines for latency in line.latencies)

    def test_what_fails_from_now_on_is_to_be_tried_again(self, receiver, group, tmp_path):
        with Cluster(tmp_path), Traffic(small(group), InProcess(), receiver) as traffic:
            wait_for(lambda: receiver.accepted(group) > 0, 90)
            obey(traffic, "failing 1")
            wait_for(lambda: any(not one.accepted for one in traffic.gather()[1]), 90)
            traffic.stop_publishing()
            traffic.gather()
            [line] = settle_accounts(traffic)

        assert line.problems == []
        assert line.waiting > 0
        assert line.owed == line.delivered + line.waiting

    def test_the_command_shows_seconds_and_ends_with_the_account(self, tmp_path):
        said = io.StringIO()

        with Cluster(tmp_path):
            call_command("load", "steady", seconds=2, rate=20, stdout=said, typed=[b"rate 30\n", b"fly\n"])

        lines = said.getvalue().splitlines()
        assert any(line.split()[:3] == ["second", "group", "told"] for line in lines)
        assert "rate is 30 for steady" in lines
        assert [line.split()[0] for line in lines if " healthy " in line][:2] == ["1", "2"]
        assert lines[-1] == "Every event is accounted for."
        assert not Delivery.objects.unfinished().exists()


@pytest.mark.long
def test_make_load_finds_the_running_service_and_accounts_for_what_it_publishes_there():
    with new_directory() as directory:
        running = Running(directory / "var", free_port(), {})
        try:
            running.wait_until_up()
            result = load_on(running.var, "steady", "--seconds", "2")
        finally:
            running.end()

        assert result.stdout.splitlines()[-1] == "Every event is accounted for.", result.stderr
        assert result.returncode == 0
        assert load_on(running.var).stderr == NOT_RUNNING


NOT_RUNNING = "The service is not running. Start it with `make run`, then try again.\n"


def load_on(var, *arguments):
    command = [sys.executable, "-m", "openvolt_events.load", "--var", str(var), *arguments]
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=90
    )


def test_make_load_without_a_service_says_what_to_start(tmp_path):
    assert load_on(tmp_path).stderr == NOT_RUNNING


@pytest.mark.django_db(transaction=True)
def test_a_platform_key_publishes_over_http_and_the_same_keys_again_are_the_same_events(live_server):
    owner = factories.application()
    publisher = OverHTTP(live_server.url, factories.platform_key())

    first = publisher.publish(owner, ["a", "b"])
    again = publisher.publish(owner, ["a", "b"])

    assert first == again
    assert {str(event.id) for event in Event.objects.all()} == set(first)


@pytest.mark.django_db(transaction=True)
def test_what_was_not_answered_is_published_again_and_is_one_event(receiver, group, monkeypatch):
    answers = iter([OperationalError("the server closed the connection"), None])
    really = publishing.publish_many

    def commits_and_loses_the_answer(changes, now):
        published = really(changes, now)
        if error := next(answers, None):
            raise error
        return published

    monkeypatch.setattr(publishers, "publish_many", commits_and_loses_the_answer)

    with Traffic(small(group), InProcess(), receiver) as traffic:
        [flow] = traffic.flows.values()
        wait_for(lambda: len(traffic.gather()[0]) + len(traffic.answered) > 0, 90)
        traffic.stop_publishing()
        traffic.gather()

        assert flow.refusals == 1
        assert traffic.unanswered == 0
        assert len(traffic.answered) == Event.objects.count()


@pytest.mark.django_db(transaction=True)
def test_when_nothing_can_be_published_at_all_the_load_says_why(receiver, group, monkeypatch):
    def broken(changes, now):
        raise ValueError("no such event type")

    monkeypatch.setattr(publishers, "publish_many", broken)

    with Traffic(small(group), InProcess(), receiver) as traffic:
        [flow] = traffic.flows.values()
        wait_for(lambda: flow.failure is not None, 90)
        with pytest.raises(ValueError, match="no such event type"):
            traffic.stop_publishing()


@pytest.mark.django_db(transaction=True)
def test_a_load_that_nobody_works_off_waits_and_is_cancelled_at_the_end(receiver, group):
    with Traffic(small(group), InProcess(), receiver) as traffic:
        wait_for(lambda: Delivery.objects.exists(), 90)
        traffic.stop_publishing()
        traffic.gather()
        [line] = settle_accounts(traffic)

    assert (line.waiting, line.delivered, line.problems) == (line.owed, 0, [])
    assert {delivery.status for delivery in Delivery.objects.all()} == {Delivery.Status.CANCELLED}


def running(*groups: str, tenants: tuple[str, ...] = ("loud", "quiet")) -> Any:
    """A load as far as the controls know one."""
    traffic = Traffic(PRESETS["steady"], InProcess(), Mock(Receiver))
    traffic.flows = {name: Flow(name, 0, [], traffic.publisher) for name in tenants}
    traffic.conducts = dict.fromkeys(groups, Conduct())
    return traffic


def test_rate_failing_share_and_latency_can_be_changed_by_name_or_for_all():
    traffic = running("hanging", "healthy")

    said = [
        obey(traffic, line) for line in ("rate 200", "loud.rate=50", "healthy.failing 0.3\n", "latency .5")
    ]

    assert {name: flow.rate for name, flow in traffic.flows.items()} == {"loud": 50, "quiet": 200}
    assert traffic.conducts["healthy"] == Conduct(failing=0.3, latency=0.5)
    assert traffic.conducts["hanging"] == Conduct(latency=0.5)
    assert said[0] == "rate is 200 for loud, quiet"


@pytest.mark.parametrize(
    "line",
    ["", "rate", "rate fast", "rate -1", "failing 2", "speed 3", "nobody.rate 5", "rate inf", "latency nan"],
)
def test_what_is_not_understood_changes_nothing_and_says_what_is(line):
    traffic = running("healthy")

    with pytest.raises(Misunderstood, match=r"not understood|choose one of: loud, quiet"):
        obey(traffic, line)

    assert {flow.rate for flow in traffic.flows.values()} == {0}
    assert traffic.conducts == {"healthy": Conduct()}


def test_one_preset_is_a_loud_application_with_hanging_endpoints_among_quiet_ones():
    loud, quiet = PRESETS["keygen-771"].tenants

    assert (loud.rate, loud.applications) == (400, 1)
    assert all(endpoints.conduct.hanging == 1 for endpoints in loud.endpoints)
    assert quiet.applications > 1
    assert all(endpoints.conduct == Conduct() for endpoints in quiet.endpoints)


OWNER = Application(name="owner")
SUBSCRIPTION = Subscription(application=OWNER)


def accounted(told=(), answered=("one",), accepted=(), unanswered=0) -> Account:
    endpoint = Endpoint(SUBSCRIPTION, "group")
    [line] = account(
        [endpoint],
        [Answered(event_id, OWNER.id, 0.0) for event_id in answered],
        [Told(id, event_id, SUBSCRIPTION.id, status) for id, event_id, status in told],
        [Arrival(0.0, "group", webhook_id, "", True) for webhook_id in accepted],
        unanswered,
    )
    return line


def test_delivered_and_accepted_once_is_all_there_is_to_say():
    line = accounted([("d", "one", "succeeded")], accepted=["d"])

    assert (line.owed, line.delivered, line.waiting, line.failed, line.repeated) == (1, 1, 0, 0, 0)
    assert line.problems == []


@pytest.mark.parametrize("status", ["pending", "held"])
def test_a_delivery_that_waits_is_no_problem_even_if_it_arrived_before_a_worker_was_killed(status):
    line = accounted([("d", "one", status)], accepted=["d"])

    assert (line.waiting, line.problems) == (1, [])


def test_what_is_accepted_twice_is_counted_and_allowed():
    line = accounted([("d", "one", "succeeded")], accepted=["d", "d"])

    assert (line.repeated, line.problems) == (1, [])


def test_an_event_that_nobody_answered_for_may_be_there_or_not():
    told = [("d", "one", "succeeded"), ("e", "two", "pending")]

    assert accounted(told, accepted=["d"], unanswered=1).problems == []
    assert len(accounted(told, accepted=["d"]).problems) == 1


@pytest.mark.parametrize(
    ("told", "accepted", "problem"),
    [
        ([], [], "event one was answered, and has no delivery"),
        ([("d", "one", "succeeded"), ("e", "one", "succeeded")], ["d", "e"], "event one has 2 deliveries"),
        ([("d", "one", "succeeded")], [], "delivery d is succeeded, and was never accepted"),
        ([("d", "one", "failed")], ["d"], "delivery d is failed, and was accepted"),
        ([("d", "one", "cancelled")], [], "delivery d is cancelled, and nobody asked for that"),
        ([("d", "one", "pending")], ["x"], "notification x arrived, and there is no such delivery"),
    ],
)
def test_what_is_lost_doubled_or_made_up_is_named(told, accepted, problem):
    assert accounted(told, accepted=accepted).problems == [problem]


def test_a_second_without_arrivals_has_no_percentiles():
    assert Second(1, "group", 0, 0, 0, 0, []).cells()[-3:] == ("-", "-", "-")


@pytest.mark.django_db(transaction=True)
def test_the_command_fails_and_names_what_is_not_accounted_for(monkeypatch):
    monkeypatch.setattr(
        "openvolt_events.load.account.settle_accounts",
        lambda traffic: [
            Account("healthy", owed=1, problems=["event one was answered, and has no delivery"])
        ],
    )

    with pytest.raises(CommandError, match=r"healthy: event one was answered.*\n.*Not accounted for: 1"):
        call_command("load", "steady", seconds=1, patience=1, rate=5, stdout=io.StringIO())
