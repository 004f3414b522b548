"""A Redis server for tests: a program that is there, or one that `python -m tests.support.redis` installs.

It runs on a free port of 127.0.0.1, keeps nothing on the disk, and ends with its block. No system service is started:
on Debian the server is a second name of a program in the package `redis-tools`, which has none.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Self

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.support.browser import run_quietly
from tests.support.running import free_port, wait_for

PROGRAMS = ("redis-server", "valkey-server", "redis-check-rdb")
START_SECONDS = 60


def find() -> str | None:
    """The path of a program that is a server when it is called one."""
    return next((path for path in map(shutil.which, PROGRAMS) if path and is_server(path)), None)


def is_server(path: str) -> bool:
    try:
        done = subprocess.run(
            ["redis-server", "--version"], executable=path, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and " server v=" in done.stdout


def install() -> None:
    """The system's package, when we may. Says what it does, and does not raise."""
    commands = []
    if os.geteuid() == 0 and shutil.which("apt-get"):
        commands.append(["apt-get", "update"])
        commands.append(["apt-get", "install", "--yes", "--no-install-recommends", "redis-tools"])
    elif brew := shutil.which("brew"):
        commands.append([brew, "install", "redis"])
    for command in commands:
        print(f"Installing Redis for its tests (once): {' '.join(command)} …", flush=True)
        run_quietly(command)


class RedisServer:
    """It can be killed, frozen and started again on its port."""

    def __init__(self, path: str, password: str = "") -> None:
        self.path = path
        self.password = password
        self.port = free_port()
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "requirepass": self.password,
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.process = subprocess.Popen(
            ["redis-server", *arguments],
            executable=self.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.answers, START_SECONDS)

    def client(self) -> Redis:
        return Redis(port=self.port, password=self.password or None, socket_timeout=5)

    def answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except RedisError:
            return False

    def kill(self) -> None:
        """As `kill -9` does."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        """It takes connections, and does not answer."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)


@pytest.fixture(scope="session")
def redis_program() -> str:
    """Skips the test where no Redis can be had; in CI, where nobody reads about skips, fails it."""
    path = find()
    if path is None:
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(
            "No Redis server is here, and none could be installed: python -m tests.support.redis says why."
        )
    return path


@pytest.fixture
def redis_server(redis_program: str) -> Iterator[RedisServer]:
    with RedisServer(redis_program) as server:
        yield server


if __name__ == "__main__":
    if not find():
        install()
    if not find():
        print("No Redis server can be had here (install one); its tests will be reported as skipped.")
