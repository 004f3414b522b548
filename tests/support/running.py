"""The whole service as `make run` starts it, in a directory of the test's own."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory

import psutil

from openvolt_events import env_files
from openvolt_events.postgres import EmbeddedPostgres

REPOSITORY = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 180
STOP_SECONDS = 60
PORTS = range(20_000, 32_000)  # below Linux's, which begin at 32768, and those of macOS and Windows
KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
)  # of the environment; the settings of the tests are not the service's


class Running:
    """A supervisor under way. Its files are in `var`, what it says in the file `output` there."""

    def __init__(self, var: Path, port: int, settings: Mapping[str, str], output: str = "output.txt") -> None:
        self.var = var
        self.port = port
        self.output = var / output
        var.mkdir(parents=True, exist_ok=True)
        with self.output.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "openvolt_events", "--var", str(var)],
                cwd=REPOSITORY,
                env={name: os.environ[name] for name in KEPT if name in os.environ}
                | {"PORT": str(port), **settings},
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def keys(self) -> dict[str, str]:
        return env_files.read(self.var / "demo.env")

    def database_url(self) -> str:
        return EmbeddedPostgres(self.var).url()

    def wait_until_it_says(self, text: str) -> None:
        wait_for(
            lambda: text in self.said or self.process.poll() is not None, START_SECONDS, lambda: self.said
        )
        assert text in self.said, self.said

    def wait_until_up(self) -> None:
        self.wait_until_it_says("make demo")

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def processes(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def child(self, program: str) -> psutil.Process:
        """The one of its own children whose command line has the text."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if program in " ".join(child.cmdline()))

    def press_ctrl_c(self) -> int:
        """As a terminal does: to the whole group in the foreground. Returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(STOP_SECONDS)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(STOP_SECONDS)


@contextmanager
def new_directory() -> Iterator[Path]:
    """Not pytest's `tmp_path`: that is shut to the system user that root's PostgreSQL runs as."""
    with TemporaryDirectory(prefix="openvolt-run-") as directory:
        yield Path(directory)


def wait_for(condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s. {explain()}"
        time.sleep(0.05)


def free_port() -> int:
    """Of those that no system hands out by itself: another test can't get it before it is used."""
    for port in SystemRandom().sample(PORTS, 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
