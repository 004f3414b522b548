"""/metrics: what a watch needs to know, told to those it is meant for, and at a bounded cost."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from deliveries import vital_signs
from deliveries.channels import Report
from deliveries.claiming import Limits, claim
from deliveries.heartbeat import beat
from deliveries.lifecycle import pause
from deliveries.models import Delivery, Heartbeat
from deliveries.partitions import make_partitions
from deliveries.publishing import Change, publish, publish_many
from deliveries.settling import Tried, settle
from openvolt_events import __version__, metrics
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.api import problem_of

pytestmark = pytest.mark.django_db

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TOKEN = "a-token-of-more-than-twenty-letters"
EXAMPLE = factories.example("user.created")


def asked(host: str = "localhost", peer: str = "127.0.0.1", **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(raise_request_exception=False).get(
        "/metrics", headers={"host": host, **given}, REMOTE_ADDR=peer
    )


def told() -> dict[tuple[str, ...], float]:
    """Each value by the metric's name and its labels' values."""
    response = asked()
    assert response.status_code == 200, response.content
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def tried(report: Report, number: int = 1000) -> None:
    """Make an attempt of so many that are due, each of which comes to `report`."""
    claims, now = claim("webhook", timezone.now(), Limits(limit=number, share=number)), timezone.now()
    settle([Tried(one, report, now, timedelta(seconds=2)) for one in claims], now)


def test_it_is_text_that_prometheus_reads_and_each_metric_says_what_it_is():
    response = asked()

    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.content.decode()))
    assert len({family.name for family in families}) == len(families) > 15
    for family in families:
        assert family.name.startswith("openvolt_")
        assert family.documentation
        assert family.type == ("counter" if family.name == "openvolt_deliveries_started" else "gauge")


def test_what_waits_is_told_by_channel_and_the_oldest_that_waits_for_a_worker(owner):
    factories.webhook(owner)
    publish_many([Change(owner, "user.created", EXAMPLE)] * 3, timezone.now())
    for delivery, waits in zip(Delivery.objects.order_by("id"), (90, 30, -60), strict=True):
        delivery.next_attempt_at = timezone.now() - timedelta(seconds=waits)
        delivery.save()

    values = told()

    assert values["openvolt_pending_deliveries", "webhook"] == 3
    assert values["openvolt_due_deliveries", "webhook"] == 2
    assert 90 <= values["openvolt_oldest_due_seconds", "webhook"] < 120
    assert values["openvolt_due_deliveries", "email"] == 0
    assert values["openvolt_oldest_due_seconds", "email"] == 0


def test_what_waits_for_its_receiver_is_due_and_not_old_whatever_its_backlog_hides(owner):
    failing, healthy = factories.webhook(owner), factories.webhook(owner)
    publish(owner, "user.created", EXAMPLE)
    Subscription.objects.filter(pk=failing.pk).update(failing_since=timezone.now())
    for subscription, waits in ((failing, 600), (healthy, 60)):
        at = timezone.now() - timedelta(seconds=waits)
        Delivery.objects.filter(subscription=subscription).update(next_attempt_at=at)

    values = told()

    assert values["openvolt_due_deliveries", "webhook"] == 2
    assert 60 <= values["openvolt_oldest_due_seconds", "webhook"] < 90
    assert values["openvolt_failing_subscriptions",] == 1


def test_held_and_failed_deliveries_and_subscriptions_by_status_are_counted(owner):
    paused = factories.webhook(owner)
    other = factories.webhook(owner)
    publish(owner, "user.created", EXAMPLE)
    pause(paused, timezone.now())
    other.deliveries.update(status="failed", next_attempt_at=None)

    values = told()

    assert values["openvolt_held_deliveries",] == 1
    assert values["openvolt_failed_deliveries",] == 1
    assert values["openvolt_subscriptions", "paused"] == 1
    assert values["openvolt_subscriptions", "active"] == 1
    assert values["openvolt_subscriptions", "disabled"] == 0


def test_recent_attempts_are_told_by_channel_and_outcome_with_how_long_they_took(owner):
    factories.webhook(owner)
    publish_many([Change(owner, "user.created", EXAMPLE)] * 3, timezone.now())
    tried(Report(succeeded=True), 2)
    tried(Report(succeeded=False, permanent=True))

    values = told()

    assert values["openvolt_recent_attempts", "webhook", "succeeded"] == 2
    assert values["openvolt_recent_attempts", "webhook", "failed"] == 1
    assert values["openvolt_recent_deliveries_given_up", "webhook"] == 1
    assert values["openvolt_recent_attempts_window_seconds",] == 300
    assert values["openvolt_recent_attempt_duration_seconds", "webhook", "0.95"] == pytest.approx(2)
    assert 0 <= values["openvolt_recent_first_attempt_delay_seconds", "webhook", "0.5"] < 60
    assert values["openvolt_recent_events",] == 3
    assert values["openvolt_deliveries_started_total", "webhook"] == 3
    assert values["openvolt_deliveries_started_total", "email"] == 0


def test_more_recent_attempts_than_are_counted_shorten_the_time_that_they_are_of(owner, monkeypatch):
    monkeypatch.setattr(vital_signs, "MOST_RECENT", 2)
    factories.webhook(owner)
    publish_many([Change(owner, "user.created", EXAMPLE)] * 3, timezone.now())
    tried(Report(succeeded=True))

    values = told()

    assert values["openvolt_recent_attempts", "webhook", "succeeded"] == 2
    assert 0 < values["openvolt_recent_attempts_window_seconds",] < 300
    assert values["openvolt_recent_events",] == 2
    assert 0 < values["openvolt_recent_events_window_seconds",] < 300


def test_the_workers_and_what_housekeeping_has_made_are_told():
    before = told()
    make_partitions(timezone.now())
    beat()

    values = told()

    assert before["openvolt_last_heartbeat_timestamp_seconds",] == 0
    beat_at = Heartbeat.objects.get().beat_at
    assert values["openvolt_last_heartbeat_timestamp_seconds",] == pytest.approx(beat_at.timestamp())
    assert values["openvolt_partitions_ahead_seconds",] > 86_400
    assert values["openvolt_queued_tasks",] == 0
    assert values["openvolt_due_notices",] == 0
    assert values["openvolt_running_replays",] == 0
    assert values["openvolt_database_up",] == 1
    assert all(values["openvolt_metrics_group_success", group] == 1 for group in metrics.GROUPS)


def test_without_a_token_it_tells_direct_connections_from_this_machine_alone():
    assert asked().status_code == 200
    assert asked(host="127.0.0.1:8000").status_code == 200
    assert asked(host="[::1]:8000", peer="::1").status_code == 200
    assert asked(peer="::ffff:127.0.0.1").status_code == 200

    for peer in ("10.0.0.7", "8.8.8.8", "::ffff:10.0.0.7", ""):
        problem = problem_of(asked(peer=peer), 403)
        assert "METRICS_TOKEN" in problem["detail"]


@pytest.mark.parametrize("name", metrics.SIGNS_OF_A_PROXY)
def test_a_proxy_on_this_machine_speaks_for_anybody_and_is_told_nothing(name):
    problem_of(asked(**{name.replace("-", "_"): "127.0.0.1"}), 403)


def test_a_proxy_that_passes_its_own_name_on_is_told_nothing(settings):
    settings.ALLOWED_HOSTS = ["events.example.com"]

    problem_of(asked(host="events.example.com"), 403)


def test_with_a_token_it_tells_who_sends_it_wherever_from_and_nobody_else(settings):
    settings.METRICS_TOKEN = TOKEN

    assert asked(peer="10.0.0.7", authorization=f"Bearer {TOKEN}").status_code == 200
    assert asked(x_forwarded_for="8.8.8.8", authorization=f"bearer  {TOKEN}").status_code == 200

    for sent in (
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer schlüssel",
    ):
        response = asked(authorization=sent) if sent else asked()
        problem_of(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert TOKEN not in response.content.decode()


def test_it_is_only_to_look_at():
    client = Client(raise_request_exception=False)

    assert client.post("/metrics").status_code == 405
    assert client.head("/metrics", headers={"host": "localhost"}).status_code == 200


@pytest.mark.parametrize("error", [OperationalError])
def test_a_database_that_is_away_is_said_to_be_so_and_nothing_about_it(monkeypatch, error):
    def away(*_):
        raise error("connection refused: host=db.internal")

    monkeypatch.setattr(BaseDatabaseWrapper, "cursor", away)

    response = asked()

    monkeypatch.undo()
    assert response.status_code == 200
    body = response.content.decode()
    assert "openvolt_database_up 0.0" in body
    assert 'openvolt_metrics_group_success{group="tables"} 0.0' in body
    assert "openvolt_due_deliveries" not in body
    assert "db.internal" not in body


def test_a_group_that_takes_too_long_is_left_out_and_the_others_are_told(monkeypatch):
    def slow(now):
        vital_signs.fetch("SELECT pg_sleep(30)")
        yield metrics.gauge("openvolt_never", "Not to be seen.", 1)

    monkeypatch.setattr(metrics, "LONGEST_QUERY_SECONDS", 0.6)
    monkeypatch.setitem(metrics.GROUPS, "lanes", slow)

    values = told()

    assert values["openvolt_metrics_group_success", "lanes"] == 0
    assert ("openvolt_never",) not in values
    assert values["openvolt_metrics_group_success", "tables"] == 1
    assert values["openvolt_database_up",] == 1


def test_when_the_time_is_up_nothing_more_is_asked_for(monkeypatch):
    monkeypatch.setattr(metrics, "LONGEST_LOOK_SECONDS", 0)

    with CaptureQueriesContext(connection) as captured:
        values = told()

    assert not [query for query in captured if "deliveries_" in query["sql"]]
    assert set(values) == {
        ("openvolt_database_up",),
        ("openvolt_build_info", __version__),
        *(("openvolt_metrics_group_success", group) for group in metrics.GROUPS),
    }


def crowd(owner: Any, number: int) -> None:
    """So many deliveries of each of two subscriptions, one of which is paused, and half of the others done."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL statement_timeout TO DEFAULT"
        )  # of a look before, in the test's own transaction
    busy, paused = factories.webhook(owner), factories.webhook(owner)
    publish_many([Change(owner, "user.created", EXAMPLE)] * number, timezone.now())
    pause(paused, timezone.now())
    while (left := busy.deliveries.pending().count()) > number / 2:
        tried(Report(succeeded=True), left - number // 2)


@pytest.mark.usefixtures("no_dead_rows")
def test_no_query_more_is_asked_and_no_table_read_however_much_there_is(owner):
    with CaptureQueriesContext(connection) as few:
        told()
    crowd(owner, 3000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE deliveries_delivery, deliveries_attempt, events_event")

    with CaptureQueriesContext(connection) as many:
        told()

    assert len(few) == len(many) < 50
    read = [
        query["sql"]
        for query in many
        if re.search("FROM (deliveries_(delivery|attempt)|events_event)", query["sql"])
    ]
    assert len(read) >= 5
    for statement in read:
        assert "Seq Scan on deliveries_delivery_default" not in plan_of(statement)
        assert "Seq Scan on deliveries_attempt_default" not in plan_of(statement)
        assert "Seq Scan on events_event_default" not in plan_of(statement)


def plan_of(statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement.replace('%', '%%')}")
        return "\n".join(line for (line,) in cursor.fetchall())


def test_what_is_counted_is_counted_to_a_bound(owner, monkeypatch):
    monkeypatch.setattr(vital_signs, "MOST_COUNTED", 5)
    crowd(owner, 20)

    values = told()

    assert values["openvolt_pending_deliveries", "webhook"] == 5
    assert values["openvolt_due_deliveries", "webhook"] == 5
    assert values["openvolt_held_deliveries",] == 5


def test_the_page_for_operators_names_every_metric_and_no_other(owner):
    crowd(owner, 2)
    page = (REPOSITORY / "docs" / "operating.md").read_text()

    documented = set(re.findall(r"^\| `(openvolt_\w+)", page, re.MULTILINE))
    alerted = set(re.findall(r"\bopenvolt_\w+", "".join(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))))

    assert documented == {name for name, *_ in told()}
    assert alerted
    assert alerted <= documented


def test_no_token_is_the_default():
    assert settings.METRICS_TOKEN == ""
