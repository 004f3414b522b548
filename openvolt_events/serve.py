"""`make run`: one process in the foreground that owns the database, the web server and the workers.

It starts them in order, starts again what dies, and on Ctrl-C or SIGTERM stops them in order. What the environment
sets wins over what is chosen here. Files live in var/: secrets, keys, data, emails, logs, the lock.
"""

import argparse
import errno
import fcntl
import http.client
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Protocol
from urllib.parse import quote, unquote, urlsplit

import psutil
import psycopg
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from openvolt_events import env_files
from openvolt_events.postgres import EmbeddedPostgres, PostgresError
from openvolt_events.processes import Child, Stopped, in_words, stop_request, wait_until

BASE_DIR = Path(__file__).resolve().parent.parent
OWNER_MARK = "OPENVOLT_RUN"  # in the environment of every child: whose it is, should the owner be killed
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DATABASE_ANSWER_SECONDS = 5
WEB_START_SECONDS = 60
WEB_ANSWER_SECONDS = 5
WEB_STOP_SECONDS = 10
WORKERS_STOP_SECONDS = 10  # beyond the deadline of an attempt that is under way
LONGEST_PAUSE_SECONDS = 30  # before a child is started again
STUCK_SECONDS = 300  # without a heartbeat; workers write one every minute or so, or more often
BETWEEN_LOOKS_SECONDS = 15  # at the heartbeat
STEADY_SECONDS = 60  # a child that ran so long has not failed "again"


class CannotStart(Exception):
    """The text is one line that says why, and the mend."""


class AlreadySaid(Exception):
    """A child could not do its part, and said why."""


class Startable(Protocol):
    """What the service is made of: a child process, or the database."""

    name: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def exit_code(self) -> int | None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument(
        "--var", type=Path, default=BASE_DIR / "var", help="the directory of data and secrets"
    )
    var = parser.parse_args(arguments).var.resolve()
    os.chdir(BASE_DIR)
    stop_request.listen(STOP_SIGNALS)
    try:
        run(var)
    except Stopped:
        say("Stopped.")
        return 0
    except AlreadySaid:
        return 1
    except (CannotStart, PostgresError, ImproperlyConfigured) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1


def run(var: Path) -> NoReturn:
    """Run until a signal raises `Stopped`. Raises as `main` expects."""
    port = port_number(os.environ.get("PORT", "").strip() or "8000")
    make_directory(var)
    with ExitStack() as held:
        held.enter_context(lock(var / "run.lock"))
        end_leftovers(var)
        sockets = held.enter_context(listening(port))
        postgres = None if os.environ.get("DATABASE_URL", "").strip() else EmbeddedPostgres(var)
        environment = choose_environment(os.environ, var, port, postgres)
        settings = check_settings(environment)
        database = settings.DATABASES["default"]
        service = held.enter_context(Service())
        if postgres:
            say("Starting PostgreSQL …")
            service.start(Part(postgres))
        else:
            check_database(database)
        say("Preparing the database …")
        bootstrap(var, port, environment)
        say("Starting web and workers …")
        web = web_server(sockets, environment)
        service.start(Part(workers(environment, settings), is_stuck=lambda: not has_pulse(database)))
        service.start(Part(web))
        wait_for_web(web, port)
        say_where_to_look(var, environment, port)
        service.keep()


@dataclass
class Part:
    """One startable thing, and what is known of its luck."""

    startable: Startable
    is_stuck: Callable[[], bool] = lambda: False
    started_at: float = 0
    look_closer_at: float = 0
    failures: int = 0
    start_again_at: float | None = None

    def start(self) -> None:
        self.startable.start()
        self.started_at = time.monotonic()
        self.look_closer_at = self.started_at + STUCK_SECONDS
        self.start_again_at = None

    def tend(self) -> None:
        """Start it again when it has ended or is stuck: at once at first, then after growing pauses."""
        now = time.monotonic()
        if self.start_again_at is None:
            if trouble := self.trouble(now):
                self.startable.kill()  # what it started goes with it
                self.plan_start(trouble, now)
        elif now >= self.start_again_at:
            try:
                self.start()
            except PostgresError as error:
                self.plan_start(str(error), now)

    def trouble(self, now: float) -> str:
        code = self.startable.exit_code()
        if code is not None:
            return f"ended ({in_words(code)})"
        if now > self.look_closer_at:
            self.look_closer_at = now + BETWEEN_LOOKS_SECONDS
            if self.is_stuck():
                return f"live, but have done nothing for {STUCK_SECONDS} s"
        return ""

    def plan_start(self, trouble: str, now: float) -> None:
        self.failures = 0 if now - self.started_at > STEADY_SECONDS else self.failures + 1
        pause = min(2**self.failures - 1, LONGEST_PAUSE_SECONDS) if self.failures > 1 else 0
        self.start_again_at = now + pause
        say(f"{self.startable.name}: {trouble}; starting again {f'in {pause} s' if pause else 'now'}.")


class Service:
    """Its parts in the order of their start; leaving the context stops them in the opposite order."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        if self.parts:
            say("Stopping …")
        for part in reversed(self.parts):
            part.startable.stop()

    def start(self, part: Part) -> None:
        self.parts.append(part)
        part.start()

    def keep(self) -> NoReturn:
        while True:
            stop_request.heed()
            for part in self.parts:
                part.tend()
            time.sleep(0.2)


def make_directory(var: Path) -> None:
    try:
        var.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"{var} can't be made ({error.strerror}).") from None
    if not os.access(var, os.W_OK | os.X_OK):
        raise CannotStart(f"{var} can't be written to; it belongs to {var.owner()}.")


def port_number(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535:
        return int(text)
    raise CannotStart(f"PORT is {text!r}; set it to a number from 1 to 65535.")


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file, which says who holds it; leave none behind."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CannotStart(
                f"it is running already, as process {file.read().strip() or '?'}; stop that one with Ctrl-C first."
            ) from None
        if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            raise CannotStart("the one before is just ending; try again.")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def end_leftovers(var: Path) -> None:
    """Kill what a supervisor that was itself killed has left of its web server and workers."""
    leftovers = [process for process in psutil.process_iter() if owner_of(process) == str(var)]
    if leftovers:
        say(f"Ending {len(leftovers)} processes that were left behind …")
    for process in leftovers:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(leftovers, timeout=10)


def owner_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(OWNER_MARK)
    except (psutil.Error, OSError):  # gone meanwhile, or another user's
        return None


@contextmanager
def listening(port: int) -> Iterator[list[socket.socket]]:
    """The loopback addresses that `localhost` may mean, taken before anything else is begun."""
    with ExitStack() as held:
        sockets = [held.enter_context(bound(socket.AF_INET, "127.0.0.1", port))]
        with suppress(OSError):  # a machine without IPv6
            sockets.append(held.enter_context(bound(socket.AF_INET6, "::1", port)))
        yield sockets


def bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # nobody else can have it from now on
    except OSError as error:
        listener.close()
        if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            raise
        raise CannotStart(
            f"PORT {port} can't be had ({os.strerror(error.errno or 0)}); "
            f"choose another: make run PORT={port + 1 if port < 65535 else 8000}"
        ) from None
    return listener


def choose_environment(
    given: Mapping[str, str], var: Path, port: int, postgres: EmbeddedPostgres | None
) -> dict[str, str]:
    """What the children get: all that is given, and our choice for what is not."""
    choices = {
        "DJANGO_SETTINGS_MODULE": "openvolt_events.settings",
        "PUBLIC_URL": f"http://localhost:{port}",
        "API_KEY_MODE": "test",
        "EMAIL_URL": f"file:{quote(str(var / 'mail'))}",
        **own_secrets(var / "secrets.env"),
    }
    if postgres:
        choices["DATABASE_URL"] = postgres.url()
    if (
        "WEBHOOK_ALLOWED_NETWORKS" not in given
    ):  # empty means none, so that a laptop can be as strict as production
        choices["WEBHOOK_ALLOWED_NETWORKS"] = "127.0.0.0/8,::1/128"
    unset = {name: value for name, value in choices.items() if not given.get(name, "").strip()}
    env_files.write(var / "run.env", unset)  # for `manage.py` beside it
    return {**given, **unset, OWNER_MARK: str(var)}


def own_secrets(path: Path) -> dict[str, str]:
    """Made once: what was encrypted with them stays readable."""
    known = env_files.read(path)
    made = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        **known,
    }
    if made != known:
        env_files.write(path, made)
    return made


def check_settings(environment: Mapping[str, str]) -> ModuleType:
    """Read the settings here as the children will. Raises `ImproperlyConfigured`."""
    os.environ.update(environment)
    return import_module(environment["DJANGO_SETTINGS_MODULE"])


def check_database(database: Mapping[str, Any]) -> None:
    try:
        connect(database).close()
    except psycopg.Error as error:
        reason = " ".join(str(error).split()).rstrip(".?")
        raise CannotStart(
            f"DATABASE_URL can't be used: {reason}; mend it, or unset it to have a PostgreSQL started here."
        ) from None


def connect(database: Mapping[str, Any]) -> psycopg.Connection:
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    address = {name: database[key] or None for name, key in names.items()}
    return psycopg.connect(**{**address, **database["OPTIONS"], "connect_timeout": DATABASE_ANSWER_SECONDS})


def bootstrap(var: Path, port: int, environment: Mapping[str, str]) -> None:
    command = ["manage.py", "bootstrap", str(var / "demo.env"), "--url", f"http://localhost:{port}"]
    child = Child("bootstrap", [sys.executable, *command], environment)
    child.start()
    try:
        code = child.wait()
    finally:
        child.stop()
    if code:
        raise AlreadySaid


def web_server(sockets: Sequence[socket.socket], environment: Mapping[str, str]) -> Child:
    binds = [f"--bind=fd://{listener.fileno()}" for listener in sockets]
    return Child(
        "web",
        [sys.executable, "-m", "gunicorn", "-c", "python:openvolt_events.gunicorn_settings", *binds],
        environment,
        stop_seconds=WEB_STOP_SECONDS,
        pass_fds=[listener.fileno() for listener in sockets],
    )


def workers(environment: Mapping[str, str], settings: ModuleType) -> Child:
    """They are given the time that attempts under way have."""
    command = [sys.executable, "manage.py", "qcluster"]
    last_attempt: timedelta = settings.WEBHOOK_TIMEOUT
    return Child(
        "workers", command, environment, stop_seconds=last_attempt.total_seconds() + WORKERS_STOP_SECONDS
    )


def has_pulse(database: Mapping[str, Any]) -> bool:
    """Whether a worker has done a task lately; taken for granted while the database can't say.

    django-q2's cluster can be wedged for good by the death of an idle worker (django-q2#23), and looks healthy.
    """
    try:
        with connect(database) as connection:
            row = connection.execute("SELECT now() - beat_at FROM deliveries_heartbeat").fetchone()
    except psycopg.Error:
        return True
    return row is not None and row[0] < timedelta(seconds=STUCK_SECONDS)


def wait_for_web(web: Child, port: int) -> None:
    if not wait_until(lambda: answers(port) or web.exit_code() is not None, WEB_START_SECONDS):
        raise CannotStart(f"the web server does not answer within {WEB_START_SECONDS} s.")
    if (code := web.exit_code()) is not None:
        raise CannotStart(f"the web server does not start ({in_words(code)}).")


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WEB_ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def say(line: str) -> None:
    """Tell whoever reads. Of `make run | less`, a Ctrl-C ends the reader, too: that must not end the stop."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_where_to_look(var: Path, environment: Mapping[str, str], port: int) -> None:
    url, keys = f"http://localhost:{port}", var / "demo.env"
    user = env_files.read(keys)["OPENVOLT_ADMIN_USER"]
    places = [
        (f"{url}/docs/", "the API: its reference, and a place to try it"),
        (f"{url}/admin/", f"the admin: user {user}, its password is in the next file"),
        (short(keys), "keys and the password, for a shell to source"),
        (where_emails_go(environment["EMAIL_URL"]), "emails go there"),
        ("make demo", "in a second terminal: a day of the platform. Ctrl-C in this one stops everything"),
    ]
    width = max(len(place) for place, _ in places)
    say("\n".join(f"{place:{width}}  {meaning}" for place, meaning in places))


def where_emails_go(url: str) -> str:
    """Without what is secret in it."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return short(BASE_DIR / unquote(parts.path))
    return f"{parts.scheme}://{parts.hostname}" if parts.scheme.startswith("smtp") else parts.scheme


def short(path: Path) -> str:
    return str(path.relative_to(BASE_DIR) if path.is_relative_to(BASE_DIR) else path)
