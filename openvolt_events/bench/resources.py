"""What the service takes of the machine: memory at work, processor time while there is nothing to do."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import psutil

from openvolt_events.bench.figures import AtMost, Figure
from openvolt_events.bench.sizes import Sizes
from openvolt_events.bench.stage import Stage, publish_deliveries
from openvolt_events.processes import Child

MEGABYTE = 1024 * 1024
SETTLE_DOWN_SECONDS = 3  # after the start
MEMORY = (
    "the largest resident size of any process of `qcluster` while it makes {number:,} deliveries. The largest was"
    " {early:.0f} MB when the first tenth was done, {late:.0f} MB at the end."
)
IDLE = "processor time of web, workers and database, all their processes, while nothing happens."


def memory(stage: Stage, sizes: Sizes) -> list[Figure]:
    group, sizes_seen = stage.group("memory"), []
    early = 0.0
    with stage.database():
        number = publish_deliveries(stage, group, sizes.remembered)
        with stage.workers() as cluster:

            def is_done() -> bool:
                nonlocal early
                sizes_seen.append(largest(cluster))
                accepted = stage.receiver.accepted(group)
                early = early or (sizes_seen[-1] if accepted >= number / 10 else 0)
                return accepted >= number

            stage.until(is_done, f"{number} webhooks", seconds=1800)
            stage.until_settled()
            sizes_seen.append(largest(cluster))
    stage.receiver.take()
    how = MEMORY.format(number=number, early=early, late=sizes_seen[-1])
    measure = f"resident memory of one worker over {number:,} deliveries"
    return [Figure(measure, [max(sizes_seen)], " MB", AtMost(120), how)]


def largest(cluster: Child) -> float:
    """Megabytes of the largest process."""
    sizes = []
    for process in processes([cluster]):
        with suppress(psutil.NoSuchProcess):
            sizes.append(process.memory_info().rss / MEGABYTE)
    return max(sizes, default=0)


def idleness(stage: Stage, sizes: Sizes) -> list[Figure]:
    with stage.service() as (children, _):
        time.sleep(SETTLE_DOWN_SECONDS)
        seconds = sizes.idle_seconds / sizes.rounds
        rounds = [busy_share(children, seconds) * 100 for _ in range(sizes.rounds)]
    return [
        Figure("idle processor time of the whole service", rounds, " % of a core", AtMost(3), IDLE),
    ]


def busy_share(children: Sequence[Child], seconds: float) -> float:
    """Of one core. A process that ended in between counts with its parent, who waited for it."""
    began, before = time.monotonic(), processor_seconds(children)
    time.sleep(seconds)
    return (processor_seconds(children) - before) / (time.monotonic() - began)


def processor_seconds(children: Iterable[Child]) -> float:
    return sum(spent(process) for process in processes(children))


def spent(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:4])  # its own, and of its children that have ended
    except psutil.NoSuchProcess:
        return 0


def processes(children: Iterable[Child]) -> Iterator[psutil.Process]:
    for child in children:
        if child.process is None:
            continue
        with suppress(psutil.NoSuchProcess):
            main = psutil.Process(child.process.pid)
            yield from [main, *main.children(recursive=True)]
