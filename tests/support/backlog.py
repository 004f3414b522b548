"""A backlog is worked off by a whole service whose parts are killed, and what is fresh arrives within two seconds.

Fresh events are published all the while: of applications that have no backlog, and of the one that has, to the very
subscriptions that are behind. Measured is from the answer to the publisher until the receiver has accepted.
Needs Django's settings to be those of the service: `python -m tests.crash` sees to that.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone

from deliveries.claiming import LEASE_MARGIN
from deliveries.lifecycle import pause, resume
from openvolt_events.load.figures import percentile
from openvolt_events.load.presets import Endpoints, Preset, Tenants
from openvolt_events.load.publishers import InProcess
from openvolt_events.load.receiver import Conduct
from openvolt_events.load.traffic import Answered, Traffic
from tests.support.crash import Battered, Blow, Findings, battle, plan, settled
from tests.support.running import Running, wait_for

BACKLOGGED, OTHERS = "backlogged", "others"  # names of tenants, and of their endpoints
SHARE_IN_TIME = 0.99  # where blows are dealt, but not near to any
ROUSED_SECONDS = 3.0  # after all is up again: until its workers have begun
CALM = 0.25  # of the backlog is worked off before the first blow
MOST_AT_ONCE = 1000


def backlog(running: Running, environment: Mapping[str, str], form: Any, seed: int) -> int:
    """Pile up, publish what is fresh, strike, wait, account. Returns the exit code."""
    parts = plan(form.parts, form.blows, seed)
    return battle(running, environment, load(form), seed, lambda battered: work_off(battered, form, parts))


def load(form: Any) -> Preset:
    """Nothing is published before there is a backlog."""
    conduct = Conduct(latency=form.latency)
    behind = Tenants(BACKLOGGED, 0, [Endpoints(BACKLOGGED, form.subscriptions, conduct)])
    return Preset("for the crash tests", [behind, Tenants(OTHERS, 0, [Endpoints(OTHERS, 1, conduct)], 5)])


def work_off(battered: Battered, form: Any, parts: Sequence[str]) -> Findings:
    traffic = battered.traffic
    aged = pile_up(traffic, form)
    for tenants in (BACKLOGGED, OTHERS):
        traffic.change_rate(tenants, form.rate)
    for nth, part in enumerate(parts):
        done = CALM + (1 - CALM) * (nth + battered.chance.uniform(0, 0.9)) / len(parts)
        wait_until_told(traffic, form, done if nth else CALM)
        battered.strike(part)
    wait_until_told(traffic, form, 1)
    found = settled(battered, form.patience)
    found.problems += late(fresh(traffic, aged), battered.blows, form.prompt)
    return found


def pile_up(traffic: Traffic, form: Any) -> set[str]:
    """All who are behind were paused while much was published, and are resumed now; returns the ids of the events."""
    behind = [endpoint.subscription for endpoint in traffic.endpoints if endpoint.group == BACKLOGGED]
    [application] = traffic.flows[BACKLOGGED].applications
    began, publisher, events = time.monotonic(), InProcess(), form.backlog // len(behind)
    for subscription in behind:
        pause(subscription, timezone.now())
    for start in range(0, events, MOST_AT_ONCE):
        keys = [f"backlog-{number}" for number in range(start, min(start + MOST_AT_ONCE, events))]
        ids, at = publisher.publish(application, keys), time.monotonic()
        traffic.answered += [Answered(id, application.id, at) for id in ids]
    for subscription in behind:
        resume(subscription, timezone.now())
    publisher.close()
    print(f"{form.backlog} deliveries are due, made in {time.monotonic() - began:.0f} s.", flush=True)
    return {one.event_id for one in traffic.answered}


def wait_until_told(traffic: Traffic, form: Any, share: float) -> None:
    """So much of the backlog, about: what is fresh counts, too."""
    told = int(share * form.backlog)
    wait_for(lambda: traffic.receiver.accepted(BACKLOGGED) >= told, form.patience)


@dataclass(frozen=True, slots=True)
class Fresh:
    """One delivery of a fresh event, which has arrived. Moments of `time.monotonic`."""

    group: str
    answered_at: float
    arrived_at: float

    @property
    def took(self) -> float:
        """Seconds; 0 for one that arrived before its publisher had the answer."""
        return max(self.arrived_at - self.answered_at, 0)


def fresh(traffic: Traffic, aged: set[str]) -> list[Fresh]:
    answered_at = {one.event_id: one.at for one in traffic.answered if one.event_id not in aged}
    first = {one.webhook_id: one for one in reversed(traffic.arrivals) if one.accepted}
    return [
        Fresh(one.group, answered_at[one.event_id], one.at)
        for one in first.values()
        if one.event_id in answered_at
    ]


def late(told: Iterable[Fresh], blows: Sequence[Blow], prompt: float) -> Iterator[str]:
    """What took too long, of each group."""
    for group in (BACKLOGGED, OTHERS):
        its = [one for one in told if one.group == group]
        print(f"Fresh, {group}: {words(its)}", flush=True)
        for problem in (*undisturbed(its, blows, prompt), *disturbed(its, blows, prompt)):
            yield f"{group}: {problem}"


def undisturbed(told: Sequence[Fresh], blows: Sequence[Blow], prompt: float) -> Iterator[str]:
    """Before the first blow nothing may take longer than `prompt` seconds, and later hardly anything."""
    first = min(blow.at for blow in blows) - prompt
    calm = [one for one in told if one.answered_at < first]
    apart = [one for one in told if not is_near(one, blows, prompt)]
    print(f"  before the first blow: {words(calm)}\n  apart from blows: {words(apart)}", flush=True)
    if not calm:
        yield "nothing fresh was answered before the first blow; the backlog was too short"
    elif (longest := max(one.took for one in calm)) > prompt:
        yield f"without a blow, one that was fresh took {longest:.1f} s"
    if apart and (most := percentile([one.took for one in apart], SHARE_IN_TIME)) > prompt:
        yield f"apart from blows, the 99th percentile of what was fresh is {most:.1f} s"


def disturbed(told: Iterable[Fresh], blows: Sequence[Blow], prompt: float) -> Iterator[str]:
    """Near to a blow nothing may come later than when the leases of whoever was killed have ended."""
    over = [
        one for one in told if is_near(one, blows, prompt) and one.arrived_at > latest(one, blows, prompt)
    ]
    if over:
        longest = max(one.took for one in over)
        yield f"{len(over)} came later than a lease after a blow, one after {longest:.1f} s"


def is_near(one: Fresh, blows: Iterable[Blow], prompt: float) -> bool:
    """Whether its way may have led through the hands that were killed, or through a service that was down."""
    return any(blow.at - prompt <= one.answered_at <= blow.whole_at + ROUSED_SECONDS for blow in blows)


def latest(one: Fresh, blows: Iterable[Blow], prompt: float) -> float:
    """When it should have arrived: each blow may have taken it from whoever had it, until the lease ends."""
    lease = (settings.WEBHOOK_TIMEOUT + LEASE_MARGIN).total_seconds()
    limit = one.answered_at + prompt
    for blow in sorted(blows, key=lambda blow: blow.at):
        if one.answered_at <= blow.whole_at + ROUSED_SECONDS and blow.at <= limit:
            limit = blow.whole_at + ROUSED_SECONDS + lease + prompt
    return limit


def words(told: Sequence[Fresh]) -> str:
    if not told:
        return "none"
    took = [one.took for one in told]
    shares = ", ".join(f"p{share * 100:.0f} {percentile(took, share):.2f} s" for share in (0.5, 0.95, 0.99))
    return f"{len(told)}, {shares}, longest {max(took):.2f} s"
