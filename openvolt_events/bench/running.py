"""The benchmark from its options to its table. Django is set up when this is imported."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from openvolt_events.bench.crowded import crowded
from openvolt_events.bench.emails import emails
from openvolt_events.bench.figures import Figure, Unmeasured, page, table
from openvolt_events.bench.isolation import isolation
from openvolt_events.bench.listing import listing
from openvolt_events.bench.promptness import arrival, retry
from openvolt_events.bench.publishing import publishing
from openvolt_events.bench.resources import idleness, memory
from openvolt_events.bench.single import single
from openvolt_events.bench.sizes import FAST, FULL, Sizes
from openvolt_events.bench.stage import Stage
from openvolt_events.bench.throughput import deliveries
from openvolt_events.load.receiver import Receiver
from openvolt_events.postgres import EmbeddedPostgres

Measure = Callable[[Stage, Sizes], Sequence[Figure]]

MEASURES: dict[str, Measure] = {
    "deliveries": deliveries,
    "publishing": publishing,
    "single": single,
    "arrival": arrival,
    "isolation": isolation,
    "retry": retry,
    "crowded": crowded,
    "listing": listing,
    "memory": memory,
    "idleness": idleness,
    "emails": emails,
}


def run(postgres: EmbeddedPostgres, directory: Path, arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all was measured, whether targets are met or not."""
    options = parsed(arguments)
    sizes = FAST if options.fast else FULL
    with Receiver() as receiver:
        figures = measure(Stage(directory, postgres, receiver), sizes, options.only or list(MEASURES))
    print(f"\n{table(figures)}")
    if sizes.left_out:
        print(f"\nA fast run: {sizes.left_out}.")
    if options.write:
        options.write.write_text(page(figures, sizes.left_out))
        print(f"\nWritten to {options.write}.")
    return int(any(isinstance(figure, Unmeasured) for figure in figures))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="leave out and shrink: under three minutes")
    parser.add_argument("--write", type=Path, help="a file for the figures, in Markdown")
    parser.add_argument("--only", nargs="+", choices=MEASURES, help="these measures alone")
    return parser.parse_args(arguments)


def measure(stage: Stage, sizes: Sizes, names: Sequence[str]) -> list[Figure | Unmeasured]:
    """One measure after the other. What goes wrong in one is said in its place."""
    figures: list[Figure | Unmeasured] = []
    for name in names:
        began = time.monotonic()
        print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        try:
            figures += MEASURES[name](stage, sizes)
        except Exception as error:
            figures.append(Unmeasured(name, f"{type(error).__name__}: {error}"))
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return figures
