"""Wall clocks of other processes that jump while they run: the database's, the web server's, the workers'.

    clock = WrongClock(build(directory), directory / "clock")
    ... start a program with clock.environment ...
    clock.jump(timedelta(hours=1))

A library that the program loads before libc sees to it (clock.c, Linux only; built where it is used). The package
`libfaketime` would be one, but what sleeps until a moment of the monotonic clock, as Python does, fails under it.
"""

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.browser import run_quietly

SOURCE = Path(__file__).with_name("clock.c")
COMPILERS = ("cc", "gcc", "clang")
NANOSECONDS = 8  # bytes of a number of them
MICROSECOND = timedelta(microseconds=1)


class WrongClock:
    """A clock that is right until it jumps. `path` is its file; `library` what `build` has made."""

    def __init__(self, library: Path, path: Path) -> None:
        self.path = path
        self.ahead = timedelta(0)
        self.environment = {"LD_PRELOAD": str(library), "OPENVOLT_CLOCK": str(path)}
        path.write_bytes(bytes(NANOSECONDS))
        path.chmod(0o644)  # PostgreSQL may run as another user

    def jump(self, by: timedelta) -> None:
        """From what it shows now, in the midst of whatever is under way."""
        self.set(self.ahead + by)

    def put_right(self) -> None:
        self.set(timedelta(0))

    def set(self, ahead: timedelta) -> None:
        self.ahead = ahead
        with self.path.open("r+b") as file:  # the same file: it is mapped into the programs
            file.write((ahead // MICROSECOND * 1000).to_bytes(NANOSECONDS, sys.byteorder, signed=True))


def compiler() -> str | None:
    return next((path for path in map(shutil.which, COMPILERS) if path), None)


def compiled(library: Path) -> bool:
    if sys.platform != "linux" or not (program := compiler()):
        return False
    command = [program, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    return subprocess.run(command, capture_output=True).returncode == 0


def can_be_had() -> bool:
    with TemporaryDirectory() as directory:
        return compiled(Path(directory) / "clock.so")


def install() -> None:
    """A compiler, when we may. Says what it does, and does not raise."""
    if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (
            ["apt-get", "update"],
            ["apt-get", "install", "--yes", "--no-install-recommends", "gcc", "libc6-dev"],
        ):
            print(
                f"Installing a C compiler for the tests of wrong clocks (once): {' '.join(command)} …",
                flush=True,
            )
            run_quietly(command)


def build(directory: Path) -> Path:
    """The library. Skips the test where it can't be built; in CI, where nobody reads about skips, fails it."""
    library = directory / "clock.so"
    if not compiled(library):
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(
            "Clocks can be made wrong on Linux with a C compiler only: python -m tests.support.clocks says why."
        )
    library.chmod(0o755)
    return library


if __name__ == "__main__":
    if not can_be_had():
        install()
    if not can_be_had():
        print(
            "No C compiler can be had here, or this is no Linux; tests of wrong clocks will be reported as skipped."
        )
