"""What the demo shows while it plays: a block that is redrawn in a terminal, plain lines elsewhere."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TextIO

from openvolt_events.demo.account import Account
from openvolt_events.demo.half_hours import LONDON

PLAIN_PAUSE = timedelta(seconds=3)  # between two lines of progress that a log keeps
LONGEST_LIST = 20


@dataclass(frozen=True)
class Tally:
    """One subscription so far: how many events it asked for, and how many notifications it took."""

    name: str
    published: int
    delivered: int

    @property
    def waiting(self) -> int:
        return self.published - self.delivered


@dataclass(frozen=True)
class Standing:
    """Where the demo is: the moment of the simulated day (aware), the events of how many, each subscription."""

    at: datetime
    published: int
    total: int
    tallies: Sequence[Tally]

    def clock(self) -> str:
        return f"{self.at.astimezone(LONDON):%a %d %b %Y %H:%M %Z}"


class Screen(Protocol):
    def say(self, text: str) -> None: ...
    def show(self, standing: Standing) -> None: ...


def screen_for(stream: TextIO) -> Screen:
    return Terminal(stream) if stream.isatty() else Plain(stream)


class Terminal:
    """Redraws one block in place; what is said stays above it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._block: list[str] = []

    def say(self, text: str) -> None:
        self.stream.write(f"{self.top()}\x1b[J{text}\n")
        self._block = []
        self.stream.flush()

    def show(self, standing: Standing) -> None:
        self.redraw(whole_block(standing))

    def redraw(self, lines: Sequence[str]) -> None:
        top, width = self.top(), self.width()
        self._block = [line[:width] for line in lines]
        self.stream.write(top + "".join(f"\x1b[2K{line}\n" for line in self._block))
        self.stream.flush()

    def top(self) -> str:
        """What moves the cursor to the first line of the block."""
        return f"\x1b[{len(self._block)}A" if self._block else ""

    def width(self) -> int:
        try:
            return os.get_terminal_size(self.stream.fileno()).columns - 1
        except OSError:
            return 79


class Plain:
    """One line of progress every few seconds, when there is any."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._said, self._said_at = "", float("-inf")

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def show(self, standing: Standing) -> None:
        text, now = one_line(standing), time.monotonic()
        if text != self._said and now - self._said_at >= PLAIN_PAUSE.total_seconds():
            self._said, self._said_at = text, now
            self.say(text)


def whole_block(standing: Standing) -> list[str]:
    head = f"{standing.clock()}   published {standing.published} of {standing.total}"
    return [head, *(progress(tally) for tally in standing.tallies)]


def progress(tally: Tally) -> str:
    counts = f"published {tally.published:>3}   delivered {tally.delivered:>3}   waiting {tally.waiting:>3}"
    return f"  {tally.name:<8} {counts}   {bar(tally)}"


def bar(tally: Tally) -> str:
    if not tally.published:
        return ""
    full = 20 * tally.delivered // tally.published
    return "█" * full + "░" * (20 - full)


def one_line(standing: Standing) -> str:
    counts = ", ".join(f"{tally.name} {tally.delivered}/{tally.published}" for tally in standing.tallies)
    return f"{standing.clock()}  published {standing.published} of {standing.total}; delivered: {counts}"


COLUMNS = (
    "subscription",
    "published",
    "= delivered",
    "+ to retry",
    "+ held",
    "arrived",
    "accepted",
    "requests",
    "verified",
    "bad",
    "",
)


def table(accounts: Sequence[Account]) -> str:
    """Left what the service says, right what the receivers really got."""
    rows = [COLUMNS, *(cells(account) for account in accounts)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(aligned(row, widths) for row in rows)


def aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """The first cell to the left, the others to the right."""
    first, *others = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
    return "  ".join([f"{first.strip():<{widths[0]}}", *others]).rstrip()


def cells(account: Account) -> tuple[str, ...]:
    counts = (
        account.published,
        account.delivered,
        account.scheduled,
        account.held,
        account.received,
        account.accepted,
        account.requests,
        account.verified,
        account.bad_signatures,
    )
    verdict = "wrong" if account.problems else "ok"
    return (account.name, *("-" if count is None else str(count) for count in counts), verdict)


def complaints(accounts: Sequence[Account]) -> str:
    """What is not accounted for, a line each."""
    return "\n".join(line for account in accounts for line in complaints_of(account))


def complaints_of(account: Account) -> list[str]:
    lines = [f"{account.name}: {problem}" for problem in account.problems]
    more = len(lines) - LONGEST_LIST
    return [*lines[:LONGEST_LIST], f"{account.name}: and {more} more"] if more > 0 else lines
