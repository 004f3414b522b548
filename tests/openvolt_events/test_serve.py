"""`make run`: what it starts, what it chooses, how it ends, and what it says when it can't."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
import requests

from openvolt_events.serve import CannotStart, Part, choose_environment, port_number, say, where_emails_go
from tests.support.running import REPOSITORY, Running, all_gone, free_port, new_directory, wait_for

Run = Callable[..., Running]


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    """One that stays up, in a directory with an awkward name."""
    with new_directory() as directory:
        running = Running(directory / "it's, a place" / "var", free_port(), {})
        running.wait_until_up()
        yield running
        running.end()


class Again:
    """A service that is started in one directory again and again. A test goes on with what the one before left up."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.running: Running | None = None

    def up(self) -> Running:
        is_up = self.running is not None and self.running.process.poll() is None
        return self.running if self.running and is_up else self.start(free_port())

    def start(self, port: int) -> Running:
        self.running = Running(self.var, port, {})
        self.running.wait_until_up()
        return self.running


@pytest.fixture(scope="module")
def again() -> Iterator[Again]:
    with new_directory() as directory:
        again = Again(directory / "var")
        yield again
        if again.running:
            again.running.end()


@pytest.fixture
def fresh_var() -> Iterator[Path]:
    with new_directory() as directory:
        yield directory / "var"


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[Running] = []

    def start(var: Path, port: int | None = None, output: str = "output.txt", **settings: str) -> Running:
        started.append(Running(var, port or free_port(), settings, output))
        return started[-1]

    yield start

    for running in started:
        running.end()


def applications(running: Running) -> list[str]:
    with psycopg.connect(running.database_url()) as connection:
        return [str(row[0]) for row in connection.execute("SELECT id FROM accounts_application")]


def test_secrets_and_keys_are_for_nobody_elses_eyes(service):
    files = ("demo.env", "run.env", "secrets.env")

    assert {stat.S_IMODE((service.var / name).stat().st_mode) for name in files} == {0o600}
    assert not any(secret in service.said for name, secret in service.keys.items() if "KEY" in name)
    assert service.keys["OPENVOLT_ADMIN_PASSWORD"] not in service.said


def test_a_command_can_be_run_beside_it(service):
    line = '. "$1/run.env" && exec "$2" manage.py reconcile'
    command = ["sh", "-ac", line, "sh", service.var, sys.executable]
    given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    done = subprocess.run(command, cwd=REPOSITORY, env=given, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_it_says_what_it_is_doing_and_then_where_to_look_in_five_lines(service):
    doing, looking = service.said.splitlines()[:-5], service.said.splitlines()[-5:]

    assert all(line.endswith("…") for line in doing)
    places = [f"http://localhost:{service.port}/docs/", "/admin/", "demo.env", "/mail ", "make demo"]
    assert all(place in line for place, line in zip(places, looking, strict=True)), looking


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_pages_and_their_static_files_come_from_every_loopback_address(service, host):
    for path in ("/admin/login/", "/static/admin/css/base.css"):
        answer = requests.get(f"http://{host}:{service.port}{path}", timeout=20)

        assert (answer.status_code, len(answer.content) > 1000) == (200, True)


def test_after_kill_9_of_everything_the_next_start_is_clean_and_has_all_data(again):
    first = again.up()
    known = applications(first)
    processes = first.processes()

    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a child whose owner has just been killed ends by itself
            process.kill()
    first.process.wait()
    second = again.start(free_port())

    assert applications(second) == known
    assert second.answers()


def test_ctrl_c_leaves_no_process_and_no_lock_and_the_next_start_has_all_data(again):
    first = again.up()
    processes, keys = first.processes(), first.keys

    assert first.press_ctrl_c() == 0
    assert all_gone(processes)
    assert not (first.var / "run.lock").exists()
    assert not (first.var / "postgres" / "postmaster.pid").exists()

    second = again.start(free_port())

    assert second.keys == keys | {"OPENVOLT_URL": f"http://localhost:{second.port}"}
    assert applications(second) == [keys["OPENVOLT_APPLICATION_ID"]]


def test_what_a_killed_supervisor_left_behind_is_ended_by_the_next_start(again):
    first = again.up()
    web, workers = first.child("gunicorn"), first.child("qcluster")
    left_behind = [web, workers, *web.children(recursive=True), *workers.children(recursive=True)]
    web.suspend()  # so that they can't end themselves
    workers.suspend()
    first.process.kill()
    first.process.wait()

    again.start(first.port)

    assert all_gone(left_behind)


def test_kill_9_of_the_supervisor_takes_its_children_down(again):
    running = again.up()
    processes = running.processes()

    running.process.kill()
    running.process.wait()

    wait_for(lambda: all_gone(processes), 30)


def test_a_child_that_dies_is_started_again_and_says_so(service):
    for name, program in (("web", "gunicorn"), ("workers", "qcluster"), ("database", "bin/postgres")):
        victim = service.child(program)
        its_own = victim.children(recursive=True)
        victim.kill()

        service.wait_until_it_says(f"{name}: ended (SIGKILL); starting again now.")
        wait_for(lambda: has_another(service, program, victim), 30)  # noqa: B023
        wait_for(lambda: all_gone(its_own), 30)  # noqa: B023

    wait_for(lambda: service.answers() and database_answers(service), 30)
    assert applications(service) == [service.keys["OPENVOLT_APPLICATION_ID"]]


def database_answers(running: Running) -> bool:
    try:
        psycopg.connect(running.database_url()).close()
    except psycopg.OperationalError:
        return False
    return True


def has_another(running: Running, program: str, than: psutil.Process) -> bool:
    try:
        return running.child(program).pid != than.pid
    except StopIteration:
        return False


def test_ctrl_c_during_the_start_leaves_nothing(run, fresh_var):
    running = run(fresh_var)
    running.wait_until_it_says("Preparing the database")
    processes = running.processes()

    assert running.press_ctrl_c() == 0
    assert all_gone(processes)
    assert not (running.var / "run.lock").exists()


def test_a_second_start_says_who_holds_the_lock(run, service):
    second = run(service.var, output="second.txt")

    assert refusal(second) == (
        f"make run: it is running already, as process {service.process.pid}; stop that one with Ctrl-C first."
    )


def test_a_taken_port_is_one_line(run, fresh_var):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        running = run(fresh_var, port=port)

        assert refusal(running) == (
            f"make run: PORT {port} can't be had (Address already in use); choose another: make run PORT={port + 1}"
        )


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1", "8000.0", "²", "9" * 5000])
def test_a_port_that_is_none_is_refused(text):
    with pytest.raises(CannotStart, match=r"^PORT is "):
        port_number(text)


@pytest.mark.parametrize(("name", "value"), [("PORT", "http"), ("WORKERS", "0")])
def test_a_wrong_setting_is_one_line_that_names_it(run, fresh_var, name, value):
    running = run(fresh_var, **{name: value})

    assert refusal(running).startswith(f"make run: {name} is {value!r}; set it to")


def test_a_database_that_can_not_be_reached_is_one_line(run, fresh_var):
    running = run(fresh_var, DATABASE_URL=f"postgres://user:secret@127.0.0.1:{free_port()}/events")

    said = refusal(running)

    assert "DATABASE_URL" in said
    assert "secret" not in said


class Puppet:
    """Something startable that lives and ends as the test wants."""

    name = "puppet"

    def __init__(self) -> None:
        self.starts = 0
        self.code: int | None = None

    def start(self) -> None:
        self.starts, self.code = self.starts + 1, None

    def stop(self) -> None:
        self.code = 0

    kill = stop

    def exit_code(self) -> int | None:
        return self.code


def test_what_lives_but_does_nothing_is_started_again(capsys):
    puppet, stuck = Puppet(), False
    part = Part(puppet, is_stuck=lambda: stuck)
    part.start()
    part.look_closer_at = 0  # long after the start

    part.tend()
    assert puppet.starts == 1

    stuck = True
    part.look_closer_at = 0
    part.tend()
    part.tend()

    assert puppet.starts == 2
    assert "puppet: live, but have done nothing for 300 s; starting again now." in capsys.readouterr().out


def test_what_ends_again_and_again_is_started_after_growing_pauses(capsys):
    puppet = Puppet()
    part = Part(puppet)
    part.start()
    for _ in range(8):
        puppet.code = 3
        part.tend()
        part.start_again_at = 0  # the pause is over
        part.tend()

    assert puppet.starts == 9
    pauses = [line.removeprefix("puppet: ended (exit code 3); starting again ") for line in output(capsys)]
    assert pauses == ["now.", "in 3 s.", "in 7 s.", "in 15 s.", *["in 30 s."] * 4]


def output(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_what_the_environment_sets_wins(tmp_path):
    given = {
        "DATABASE_URL": "postgres://db.example/events",
        "EMAIL_URL": "smtp://mail.example",
        "WEBHOOK_TIMEOUT": "3",
        "WEBHOOK_ALLOWED_NETWORKS": "",  # none: as strict as production
        "SECRET_KEY": "",  # not set
    }

    chosen = choose_environment(given, tmp_path, 8000, None)

    assert {name: chosen[name] for name in given} == given | {"SECRET_KEY": chosen["SECRET_KEY"]}
    assert chosen["SECRET_KEY"] == choose_environment({}, tmp_path, 8000, None)["SECRET_KEY"] != ""


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("file:var/mail", "var/mail"),
        ("file:/srv/my%20mail", "/srv/my mail"),
        ("smtp://me:hidden@mail.example:587", "smtp://mail.example"),
        ("anymail+postmark://hidden@", "anymail+postmark"),
        ("console:", "console"),
    ],
)
def test_it_says_where_emails_go_without_what_is_secret(url, place):
    assert where_emails_go(url) == place


def test_a_reader_that_is_gone_does_not_end_the_service(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)

        say("Stopping …")
        say("Stopped.")


def refusal(running: Running) -> str:
    """The one line with which a start ends that can't be."""
    assert running.process.wait(60) == 1
    lines = [line for line in running.said.splitlines() if not line.endswith("…")]
    assert len(lines) == 1, running.said
    return lines[0]
