"""Bars that any mail program can draw: cells of a table, and characters in the text part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

WIDTH = 30  # cells of the longest bar
DRAWN = {"full": "█", "part": "▒", "fail": "x", "rest": " "}  # what the cells are in the text part


@dataclass(frozen=True)
class Run:
    """Equal cells in a row, which take so much of a bar."""

    cell: str
    length: int
    percent: int


@dataclass(frozen=True)
class Cells:
    cells: Sequence[str]

    @property
    def runs(self) -> list[Run]:
        lengths = [(cell, len([*same])) for cell, same in groupby(self.cells)]
        return [Run(cell, length, round(100 * length / len(self.cells))) for cell, length in lengths]


@dataclass(frozen=True)
class Bar(Cells):
    """`said` is what it shows, in words; `cells` are names out of `DRAWN`."""

    label: str
    said: str

    @property
    def drawn(self) -> str:
        return "".join(DRAWN[cell] for cell in self.cells).rstrip()


@dataclass(frozen=True)
class Chart:
    """Bars of one scale. `legend` says what each kind of cell stands for."""

    title: str
    bars: Sequence[Bar]
    legend: Mapping[str, str]

    @property
    def drawn_legend(self) -> str:
        return "   ".join(f"{DRAWN[cell]} {word}" for cell, word in self.legend.items())


def cells(parts: Mapping[str, float], longest: float) -> list[str]:
    """A bar of these parts, where `longest` would be all of it. Of what there is, at least one cell is seen."""
    lengths = {kind: max(1, round(size * WIDTH / longest)) for kind, size in parts.items() if size > 0}
    if (over := sum(lengths.values()) - WIDTH) > 0:
        lengths[max(lengths, key=lambda kind: lengths[kind])] -= over
    drawn = [kind for kind, length in lengths.items() for _ in range(length)]
    return drawn + ["rest"] * (WIDTH - len(drawn))
