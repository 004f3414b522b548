"""Bars that any mail program can draw: cells of a table, and characters in the text part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.formats import number_format

WIDTH = 30  # cells of the longest bar
DRAWN = {"full": "█", "part": "▒", "fail": "x", "rest": " "}  # what the cells are in the text part


@dataclass(frozen=True)
class Bar:
    """`said` is what it shows, in words; `cells` are names out of `DRAWN`."""

    label: str
    said: str
    cells: Sequence[str]

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


def number(value: float, decimals: int = 0) -> str:
    """As it is written in the language that is on: 1,204.5 or 1.204,5."""
    return str(number_format(round(value, decimals), decimals, use_l10n=True, force_grouping=True))


def milliseconds(value: float) -> str:
    return f"{number(value)} ms" if value < 1000 else f"{number(value / 1000, 1)} s"
