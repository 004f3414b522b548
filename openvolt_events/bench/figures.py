"""What was measured, against what was promised, and how both are shown."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

COLUMNS = ("measure", "seen", "target", "noise (min to max)", "met")


@dataclass(frozen=True)
class AtLeast:
    bound: float

    def is_met(self, value: float) -> bool:
        return value >= self.bound

    def __str__(self) -> str:
        return "≥"


@dataclass(frozen=True)
class AtMost:
    bound: float

    def is_met(self, value: float) -> bool:
        return value <= self.bound

    def __str__(self) -> str:
        return "≤"


Goal = AtLeast | AtMost


@dataclass(frozen=True)
class Figure:
    """One measure: a value a round, in `unit`. `how` says to a reader what was compared with what."""

    measure: str
    rounds: Sequence[float]
    unit: str
    goal: Goal
    how: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)

    @property
    def is_met(self) -> bool:
        return self.goal.is_met(self.value)

    def cells(self) -> tuple[str, ...]:
        noise = (
            f"{written(min(self.rounds))} to {written(max(self.rounds))}"
            if len(self.rounds) > 1
            else "one round"
        )
        return (
            self.measure,
            f"{written(self.value)}{self.unit}",
            f"{self.goal} {written(self.goal.bound)}{self.unit}",
            noise,
            "yes" if self.is_met else "no",
        )


@dataclass(frozen=True)
class Unmeasured:
    """What could not be measured, and why."""

    measure: str
    reason: str
    how: str = ""

    def cells(self) -> tuple[str, ...]:
        return (self.measure, "not measured", "", self.reason, "no")


def ratio(measure: str, ours: Sequence[float], theirs: Sequence[float], goal: Goal, how: str) -> Figure:
    """Round by round, ours against what was measured right beside it."""
    return Figure(measure, [one / other for one, other in zip(ours, theirs, strict=True)], "x", goal, how)


def written(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.2f}"


def table(figures: Sequence[Figure | Unmeasured]) -> str:
    rows = [COLUMNS, *(figure.cells() for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def page(figures: Sequence[Figure | Unmeasured], left_out: str) -> str:
    """docs/benchmarks.md."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(figure.cells() for figure in figures)]
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench WRITE=1`. Everything is on one machine: database (durable settings), workers, web,"
        " receiver and baselines. What is compared was measured side by side, in interleaved rounds; a value is the"
        " median of its rounds, and the noise is the lowest and the highest. Compare ratios, not machines.",
        "",
        f"Machine: {machine()}.",
        *(["", f"This was a fast run (`FAST=1`): {left_out}."] if left_out else []),
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        "## How each is measured",
        "",
        *(f"- **{figure.measure}**: {figure.how}" for figure in figures if figure.how),
    ]
    return "\n".join(lines) + "\n"


def machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()};"
        f" load average at the end {load:.1f}"
    )
