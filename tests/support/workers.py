"""Workers for tests: a clock that is moved by hand, and a real cluster on the test's own database."""

import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

import psutil
import pytest
from django.db import connection
from django.utils import timezone

from deliveries import chores, failing
from deliveries.models import Heartbeat
from openvolt_events.processes import Child
from tests.support.running import REPOSITORY, all_gone, wait_for

START_SECONDS = 120
STOP_SECONDS = 60


class Clock:
    """What drains and sweeps take for the time. It stands still until moved, a second ahead of what tests publish.

    It is set when it is first looked at: however long it takes to publish before.
    """

    @cached_property
    def now(self) -> datetime:
        return timezone.now() + timedelta(seconds=1)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, by: timedelta) -> None:
        self.now += by

    def forward_to(self, moment: datetime) -> None:
        self.now = max(self.now, moment)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(chores, "earlier_clock", clock)
    return clock


@pytest.fixture
def told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be told of an outage waits for nothing else (test_together.py)."""
    monkeypatch.setattr(failing, "GATHER_FOR", timedelta(0))


class Cluster:
    """`manage.py qcluster` in a process group of its own, which has ended when the block is left.

    Tests that start one must commit what they publish: `pytest.mark.django_db(transaction=True)`.
    """

    def __init__(self, directory: Path, **environment: str) -> None:
        self.log = directory / "cluster.log"
        self.workers = Child(
            name="workers",
            command=[sys.executable, REPOSITORY / "manage.py", "qcluster"],
            environment=os.environ | {"DATABASE_URL": database_url(), "WORKERS": "1"} | environment,
        )

    def __enter__(self) -> Self:
        Heartbeat.objects.all().delete()
        with self.log.open("ab") as self.workers.output:
            self.workers.start()
        try:
            wait_for(Heartbeat.objects.exists, START_SECONDS, lambda: self.said)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def main(self) -> subprocess.Popen[bytes]:
        assert self.workers.process is not None
        return self.workers.process

    def processes(self) -> list[psutil.Process]:
        main = psutil.Process(self.main.pid)
        return [main, *main.children(recursive=True)]

    def terminate(self) -> None:
        """As a supervisor asks for the end: a signal to the main process."""
        self.main.terminate()

    def terminate_group(self) -> None:
        """As systemd does, unless it is told otherwise: a signal to each of its processes."""
        os.killpg(self.main.pid, signal.SIGTERM)

    def wait_until_gone(self, processes: list[psutil.Process]) -> int:
        """The exit code, once none of these processes is left."""
        code = self.main.wait(STOP_SECONDS)
        wait_for(lambda: all_gone(processes), STOP_SECONDS, lambda: self.said)
        return code

    def kill(self) -> None:
        """All of it at once, with no chance to tidy up."""
        self.workers.kill()


def database_url() -> str:
    """That of the database that this test works on."""
    name = quote(str(connection.settings_dict["NAME"]))
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
