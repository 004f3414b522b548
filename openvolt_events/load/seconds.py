"""What each second brought: how much was published and accepted, and how long it took from answer to arrival."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from openvolt_events.load.figures import percentile
from openvolt_events.load.receiver import Arrival
from openvolt_events.load.traffic import Answered, Traffic

HEADS = ("second", "group", "told", "accepted", "refused", "waiting", "p50 ms", "p95 ms", "p99 ms")
WIDTHS = (6, 12, 8, 8, 8, 8, 9, 9, 9)


@dataclass(frozen=True)
class Second:
    """One group of endpoints in one second. `told` are the notifications that became due, `waiting` all that are.

    `latencies` are milliseconds from the answer to the publisher until the receiver had accepted; 0 if it was first.
    """

    number: int
    group: str
    told: int
    accepted: int
    refused: int
    waiting: int
    latencies: Sequence[float]

    def cells(self) -> tuple[str, ...]:
        shares = [
            f"{percentile(self.latencies, share):.0f}" if self.latencies else "-"
            for share in (0.5, 0.95, 0.99)
        ]
        counts = (self.told, self.accepted, self.refused, self.waiting)
        return (str(self.number), self.group, *map(str, counts), *shares)


class Seconds:
    """Keeps count from one second to the next. Ask for each second once."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.number = 0
        self.waiting: Counter[str] = Counter()
        self.answered_at: dict[str, float] = {}
        self.accepted: set[str] = set()
        self.early: list[Arrival] = []

    def next(self) -> list[Second]:
        """The second that has just gone by, a line for each group."""
        self.number += 1
        answered, arrivals = self.traffic.gather()
        self.answered_at |= {one.event_id: one.at for one in answered}
        told = self.told(answered)
        fresh, repeated_or_refused = self.sort_out(arrivals)
        latencies = self.latencies(fresh)
        refused = Counter(one.group for one in repeated_or_refused if not one.accepted)
        accepted = Counter(one.group for one in fresh)
        self.waiting += told
        self.waiting.subtract(accepted)
        return [
            Second(
                number=self.number,
                group=group,
                told=told[group],
                accepted=accepted[group],
                refused=refused[group],
                waiting=self.waiting[group],
                latencies=latencies[group],
            )
            for group in self.traffic.conducts
        ]

    def told(self, answered: Iterable[Answered]) -> Counter[str]:
        """How many notifications each group is owed for these events."""
        groups: dict[UUID, list[str]] = defaultdict(list)
        for endpoint in self.traffic.endpoints:
            groups[endpoint.subscription.application_id].append(endpoint.group)
        return Counter(group for one in answered for group in groups[one.application_id])

    def sort_out(self, arrivals: Iterable[Arrival]) -> tuple[list[Arrival], list[Arrival]]:
        """Those that were accepted for the first time, and the others."""
        fresh, others = [], []
        for arrival in arrivals:
            if arrival.accepted and arrival.webhook_id not in self.accepted:
                self.accepted.add(arrival.webhook_id)
                fresh.append(arrival)
            else:
                others.append(arrival)
        return fresh, others

    def latencies(self, fresh: Iterable[Arrival]) -> dict[str, list[float]]:
        """By group; what arrived before its publisher had the answer is counted with the second that has both."""
        known: dict[str, list[float]] = defaultdict(list)
        waiting, self.early = [*self.early, *fresh], []
        for arrival in waiting:
            if (at := self.answered_at.get(arrival.event_id)) is None:
                self.early.append(arrival)
            else:
                known[arrival.group].append(max(arrival.at - at, 0) * 1000)
        return known


def line(cells: Sequence[str]) -> str:
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
