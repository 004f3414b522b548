"""What healthy subscriptions notice of others that hang or refuse."""

import time
from dataclasses import dataclass

from openvolt_events.bench.figures import AtLeast, AtMost, Figure, ratio
from openvolt_events.bench.sizes import Sizes
from openvolt_events.bench.stage import Stage, publish
from openvolt_events.load.figures import percentile, rate
from openvolt_events.load.presets import Endpoints, Preset, Tenants
from openvolt_events.load.publishers import InProcess
from openvolt_events.load.receiver import Conduct
from openvolt_events.load.seconds import Seconds
from openvolt_events.load.traffic import Traffic

HEALTHY, HANGING, REFUSING = 16, 2, 2  # subscriptions
MODERATE_RATE = 10  # events a second, each to all subscriptions
THROUGHPUT = (
    "a burst of events to 16 healthy subscriptions, while 2 more hang to the deadline and 2 more refuse connections,"
    " and have for the whole run, against the same burst to the 16 alone: the rate from the first to the last arrival."
)
LATENCY = (
    "in the same two runs, before the burst: 10 events a second, from the commit until the request is at the healthy"
    " receivers. The first attempts that hang begin with it."
)


@dataclass(frozen=True)
class Run:
    """What the healthy subscriptions got: notifications a second in the burst, milliseconds before it."""

    rate: float
    p99: float


def isolation(stage: Stage, sizes: Sizes) -> list[Figure]:
    quiet, troubled = [], []
    for _ in range(sizes.rounds):
        quiet.append(run(stage, sizes, []))
        troubled.append(
            run(
                stage,
                sizes,
                [
                    Endpoints(stage.group("hanging"), HANGING, Conduct(hanging=1)),
                    Endpoints(stage.group("refusing"), REFUSING, listening=False),
                ],
            )
        )
    return [
        ratio(
            "healthy throughput while 10 % hang and 10 % refuse",
            [one.rate for one in troubled],
            [one.rate for one in quiet],
            AtLeast(0.85),
            THROUGHPUT,
        ),
        ratio(
            "healthy p99 while 10 % hang and 10 % refuse",
            [one.p99 for one in troubled],
            [one.p99 for one in quiet],
            AtMost(2),
            LATENCY,
        ),
    ]


def run(stage: Stage, sizes: Sizes, others: list[Endpoints]) -> Run:
    group = stage.group("healthy")
    tenants = Tenants("bench", 0, [Endpoints(group, HEALTHY), *others])
    with (
        stage.database(),
        Traffic(Preset("isolation", [tenants]), InProcess(), stage.receiver) as traffic,
        stage.workers(WEBHOOK_TIMEOUT=str(sizes.deadline)),
    ):
        p99 = at_a_moderate_rate(stage, traffic, group, sizes.flow_seconds)
        return Run(in_a_burst(stage, traffic, group, sizes.burst), p99)


def at_a_moderate_rate(stage: Stage, traffic: Traffic, group: str, seconds: int) -> float:
    """The 99th percentile, from answer to arrival."""
    [flow] = traffic.flows.values()
    before = stage.receiver.accepted(group)
    publish(flow.applications[0], 1)  # the workers are there when it has arrived
    stage.until(lambda: stage.receiver.accepted(group) >= before + HEALTHY, "the first webhooks")
    shown = Seconds(traffic)
    shown.next()
    traffic.change_rate("bench", MODERATE_RATE)
    time.sleep(seconds)
    traffic.stop_publishing()
    told = HEALTHY * (1 + flow.published)
    stage.until(lambda: stage.receiver.accepted(group) >= told, "the healthy webhooks")
    [healthy] = [line for line in shown.next() if line.group == group]
    return percentile(healthy.latencies, 0.99)


def in_a_burst(stage: Stage, traffic: Traffic, group: str, events: int) -> float:
    [flow] = traffic.flows.values()
    before = stage.receiver.accepted(group)
    stage.receiver.take()
    publish(flow.applications[0], events)
    arrivals = stage.arrivals(group, before + HEALTHY * events)
    return rate([arrival.at for arrival in arrivals])
