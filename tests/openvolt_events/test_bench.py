"""`make bench`: every piece of it, tiny. How fast anything is, is not for a test to say."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from standardwebhooks import Webhook

from accounts.models import Application
from deliveries.models import Attempt, Delivery
from events.models import Event
from openvolt_events.bench import running
from openvolt_events.bench.bare_senders import send_from_processes, shares
from openvolt_events.bench.crowded import CROWD, fill
from openvolt_events.bench.figures import AtLeast, AtMost, Figure, Unmeasured, page, ratio, table
from openvolt_events.bench.plain_tasks import SETTINGS, enqueue_pending
from openvolt_events.bench.publishing import BATCH, insert_batch, publish_batch
from openvolt_events.bench.sizes import FAST, FULL, Sizes
from openvolt_events.bench.stage import NotMeasured, Stage, publish, publish_deliveries, subscribe
from openvolt_events.load.publishers import PAYLOAD
from openvolt_events.load.receiver import Receiver
from openvolt_events.postgres import THROWAWAY_SETTINGS, EmbeddedPostgres
from subscriptions.models import new_secret
from tests.support.receivers import Receiver as StrictReceiver
from tests.support.running import KEPT, REPOSITORY, all_gone, new_directory, wait_for

TINY = Sizes(
    rounds=1,
    deliveries=50,
    tasks=50,
    batches=1,
    posts=5,
    requests=16,
    retries=5,
    deadline=1,
    flow_seconds=1,
    burst=5,
    future=50,
    finished=50,
    claimed=50,
    listed=300,
    remembered=50,
    idle_seconds=1,
    emails=50,
    left_out="nearly all",
)


@pytest.fixture(scope="module")
def stage(django_db_blocker):
    with new_directory() as directory, django_db_blocker.unblock(), Receiver() as receiver:
        postgres = EmbeddedPostgres(directory, THROWAWAY_SETTINGS)
        try:
            postgres.start()
            yield Stage(directory, postgres, receiver)
        finally:
            postgres.stop()


LONG = set(running.MEASURES) - {"single"}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.long] if one in LONG else []) for one in running.MEASURES]
)
def test_each_measure_comes_to_figures_of_as_many_rounds_as_were_asked_for(stage, name, monkeypatch):
    monkeypatch.setattr("openvolt_events.bench.listing.REPEATS", 1)
    figures = running.MEASURES[name](stage, TINY)

    assert figures
    for figure in figures:
        assert [math.isfinite(value) and value >= 0 for value in figure.rounds] == [True]
        assert figure.how


def test_a_measure_leaves_no_database_behind(stage):
    before = databases(stage)
    with stage.database():
        assert len(databases(stage)) == len(before) + 1

    assert databases(stage) == before


def databases(stage) -> set[str]:
    with psycopg.connect(stage.postgres.url("postgres")) as server:
        return {name for (name,) in server.execute("SELECT datname FROM pg_database")}


def test_bare_senders_send_all_that_they_were_asked_to_and_each_webhook_once(stage):
    group = stage.group("bare")

    send_from_processes(2, stage.receiver.url(group), new_secret(), "{}", 53)

    arrivals = stage.arrivals(group, 53)
    assert len({arrival.webhook_id for arrival in arrivals}) == 53


def test_work_is_shared_evenly_and_whole():
    assert list(shares(7, 3)) == [3, 2, 2]
    assert list(shares(2, 4)) == [1, 1, 0, 0]


def test_the_baseline_sends_what_the_service_sends_a_signed_body_of_1_kb(stage):
    secret = new_secret()
    with StrictReceiver() as receiver:
        send_from_processes(1, receiver.url, secret, '{"a":1}', 1)
        [bare] = receiver.wait_for(1)
        with stage.database():
            application = Application.objects.create(name="one")
            [subscription] = subscribe(application, [receiver.url])
            publish(application, 1)
            with stage.workers():
                _, ours = receiver.wait_for(2, seconds=30)
            own_secret = subscription.secrets.get().secret

    assert Webhook(secret).verify(bare.body, bare.headers)["payload"] == {"a": 1}
    assert Webhook(own_secret).verify(ours.body, ours.headers)["payload"] == PAYLOAD
    assert 1000 <= len(ours.body) <= 1060
    assert bare.headers.keys() >= {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "openvolt-event-id",
    }


def test_a_task_each_makes_one_attempt_of_each_delivery_and_writes_it_down(stage):
    group = stage.group("plain")
    with stage.database():
        published = publish_deliveries(stage, group, 50)
        enqueue_pending()
        with stage.workers(DJANGO_SETTINGS_MODULE=SETTINGS):
            arrivals = stage.arrivals(group, published)
            stage.until_settled()

        assert published == len({arrival.webhook_id for arrival in arrivals}) == 50
        assert Delivery.objects.filter(status="succeeded", attempts__number=1).count() == 50
        assert Attempt.objects.filter(outcome="succeeded").count() == 50


def test_the_bare_insert_writes_as_many_rows_as_a_publish(stage):
    with stage.database():
        application = Application.objects.create(name="publish")
        [subscription] = subscribe(application, [stage.receiver.url("publish")])

        publish_batch(application)
        published = Event.objects.count(), Delivery.objects.pending().count()
        insert_batch(subscription)

        assert published == (BATCH, BATCH)
        assert (Event.objects.count(), Delivery.objects.pending().count()) == (2 * BATCH, 2 * BATCH)


def test_full_tables_have_the_rows_that_are_said_and_nothing_due(stage):
    with stage.database():
        fill(stage, TINY)

        finished = Delivery.objects.filter(status="succeeded")
        assert finished.count() == TINY.finished + CROWD
        assert finished.filter(attempts__number=1).count() == TINY.finished + CROWD
        assert Delivery.objects.pending().count() == TINY.future + CROWD
        assert Delivery.objects.filter(subscription__secrets=None).count() == 0


def test_what_does_not_come_to_its_end_says_what_it_waited_for(stage):
    with pytest.raises(NotMeasured, match="waited 0 s for the moon"):
        stage.until(lambda: False, "the moon", seconds=0)


def test_a_value_is_the_median_of_its_rounds_and_the_noise_its_extremes():
    figure = ratio("speed", [2.0, 9.0, 3.0], [2.0, 3.0, 2.0], AtLeast(1.5), "how")

    assert figure.rounds == [1.0, 3.0, 1.5]
    assert figure.cells() == ("speed", "1.50x", "≥ 1.50x", "1.00 to 3.00", "yes")


@pytest.mark.parametrize(
    ("goal", "met"), [(AtLeast(2), "yes"), (AtLeast(2.1), "no"), (AtMost(2), "yes"), (AtMost(1.9), "no")]
)
def test_a_target_is_met_at_its_bound(goal, met):
    assert Figure("one", [2.0], "x", goal).cells()[-2:] == ("one round", met)


def test_the_table_and_the_page_have_a_row_for_each_figure_and_say_what_was_left_out():
    figures: list[Figure | Unmeasured] = [
        Figure("speed", [1.0], "x", AtLeast(1), "how it is"),
        Unmeasured("memory", "NotMeasured: why"),
    ]

    rows, written = table(figures).splitlines(), page(figures, "the half")

    assert [row.split()[0] for row in rows] == ["measure", "speed", "memory"]
    assert "| speed | 1.00x | ≥ 1.00x | one round | yes |" in written
    assert "| memory | not measured |  | NotMeasured: why | no |" in written
    assert "- **speed**: how it is" in written
    assert "fast run (`FAST=1`): the half." in written
    assert "fast run" not in page(figures, "")


def test_a_fast_run_is_smaller_in_everything_and_says_so():
    fast, full = vars(FAST), vars(FULL)

    assert FAST.left_out
    assert not FULL.left_out
    assert all(fast[name] <= full[name] for name in full if name != "left_out")


def test_a_measure_that_breaks_is_shown_in_its_place_and_in_the_exit_code(
    stage, monkeypatch, capsys, tmp_path
):
    def broken(stage, sizes):
        raise NotMeasured("waited 300 s for 50 webhooks")

    def fine(stage, sizes):
        return [Figure("speed", [0.5], "x", AtLeast(1))]

    monkeypatch.setattr(running, "MEASURES", {"broken": broken, "fine": fine})
    written = tmp_path / "benchmarks.md"

    broken_code = run(stage, tmp_path, "--write", str(written))
    fine_code = run(stage, tmp_path, "--only", "fine")

    assert (broken_code, fine_code) == (1, 0)
    shown = capsys.readouterr().out
    assert "NotMeasured: waited 300 s for 50 webhooks" in shown
    assert "| speed | 0.50x | ≥ 1.00x | one round | no |" in written.read_text()


def run(stage: Stage, directory: Path, *arguments: str) -> int:
    return running.run(stage.postgres, directory, arguments)


def test_ctrl_c_leaves_no_process_and_no_file():
    with new_directory() as directory:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        said = directory / "said.txt"
        temporary = directory / "tmp"
        temporary.mkdir()
        with said.open("w") as output:
            bench = subprocess.Popen(
                [sys.executable, "-m", "openvolt_events.bench", "--fast", "--only", "idleness"],
                cwd=REPOSITORY,
                env=environment
                | {"TMPDIR": str(temporary), "DATABASE_URL": "postgres://nobody@127.0.0.1:9/x"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=hear_interrupts,
            )
        try:
            wait_for(lambda: has_workers(bench.pid), 60, said.read_text)
            processes = psutil.Process(bench.pid).children(recursive=True)
            os.killpg(bench.pid, signal.SIGINT)
            code = bench.wait(60)
        finally:
            bench.kill()

        assert (code, said.read_text().splitlines()[-1]) == (130, "Stopped before the end.")
        wait_for(lambda: all_gone(processes), 60)
        assert list(temporary.iterdir()) == []


def has_workers(pid: int) -> bool:
    return any("qcluster" in " ".join(process.info["cmdline"] or []) for process in descendants(pid))


def descendants(pid: int) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline", "ppid"]) if one.info["ppid"] == pid]


def hear_interrupts() -> None:
    """As from a terminal: what a shell has started in the background, these tests for example, is deaf to them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
