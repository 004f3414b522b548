"""Child processes that can't outlive their owner, and that can be stopped in order."""

import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Stopped(BaseException):
    """Somebody asked for the end."""


class StopRequest:
    """A signal's wish to stop. It is heeded where we wait, so that it can't cut a step in half, nor the stop itself."""

    def __init__(self) -> None:
        self.is_made = False

    def listen(self, numbers: Sequence[signal.Signals]) -> None:
        for number in numbers:
            signal.signal(number, self.make)

    def make(self, *_: object) -> None:
        self.is_made = True

    def heed(self) -> None:
        if self.is_made:
            raise Stopped


stop_request = StopRequest()


@dataclass
class Child:
    """A program in a session of its own: the terminal's Ctrl-C reaches its owner, and the owner alone stops it.

    Where the kernel can (Linux), the child is sent its stop signal when the owner dies, however that happens.
    `account` is what `subprocess` takes to run it as another user; `output` is where both its streams go.
    """

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10
    output: IO[bytes] | None = None
    pass_fds: Sequence[int] = ()
    account: Mapping[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            pass_fds=self.pass_fds,
            start_new_session=True,
            preexec_fn=_die_with_owner(self.stop_signal, os.getpid()),
            **self.account,
        )

    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self.process.poll() if self.process else None

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait(self) -> int:
        """Its exit code, once it has ended. Raises `Stopped`."""
        if self.process is None:
            raise RuntimeError(f"{self.name} was not started")
        wait_until(lambda: not self.is_running(), math.inf)
        return self.process.returncode

    def stop(self) -> None:
        """Ask it to stop, wait for its deadline, and kill what is left of it and of its own children."""
        if self.process is None:
            return
        if self.is_running():
            self.process.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(self.stop_seconds)
        self.kill()

    def kill(self) -> None:
        """End it and its whole process group at once."""
        if self.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, a group of zombies
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _die_with_owner(stop_signal: signal.Signals, owner: int) -> Callable[[], None]:
    def before_exec() -> None:
        if _libc is None:
            return
        _libc.prctl(PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != owner:  # it died before the line above
            os._exit(1)

    return before_exec


def in_words(exit_code: int) -> str:
    """How a process ended, for people."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time. Raises `Stopped`."""
    deadline = time.monotonic() + seconds
    while not condition():
        stop_request.heed()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
