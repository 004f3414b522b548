"""A whole service under load whose parts are killed, and the account that must hold afterwards.

Needs Django's settings to be those of the service: `python -m tests.crash` sees to that.
"""

import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from django.conf import settings
from django.core.management import CommandError, call_command, get_commands
from django.db import OperationalError, connection
from django.utils import timezone

from deliveries.models import Attempt, Delivery
from deliveries.settling import JITTER
from openvolt_events.load.account import settle_accounts
from openvolt_events.load.presets import Endpoints, Preset, Tenants
from openvolt_events.load.publishers import OverHTTP
from openvolt_events.load.receiver import Arrival, Conduct, Receiver
from openvolt_events.load.traffic import Traffic
from tests.support.running import Running, all_gone, wait_for

DOWN_SECONDS = 2  # of a receiver that has died
BACK_SECONDS = 90
LATENCY_SECONDS = 0.1
LONGEST_LIST = 20
CLOCK_SECONDS = 0.01  # what started_at and duration_ms are rounded by, together, and then some


@dataclass(frozen=True)
class Blow:
    """One part was killed at a moment of `time.monotonic`, while so many deliveries were in the hands of workers.

    At `whole_at` all of the service was up again.
    """

    at: float
    part: str
    in_flight: int
    whole_at: float

    def __str__(self) -> str:
        return f"{self.part}: {self.in_flight} in flight; whole again after {self.whole_at - self.at:.1f} s"


def plan(parts: Sequence[str], number: int, seed: int) -> list[str]:
    """So many blows: all parts in a random order, then all again."""
    chance = random.Random(seed)
    return list(islice((part for _ in count() for part in chance.sample(parts, len(parts))), number))


class Battered:
    """A service under way that is dealt blows."""

    def __init__(
        self, running: Running, environment: Mapping[str, str], traffic: Traffic, chance: random.Random
    ) -> None:
        self.running = running
        self.environment = environment
        self.traffic = traffic
        self.chance = chance
        self.blows: list[Blow] = []
        self.starts = 1
        self.parts: dict[str, Callable[[], None]] = {
            "a worker that sends": self.kill_sending_worker,
            "any worker": self.kill_any_worker,
            "guard": self.kill_guard,
            "web": lambda: self.running.child("gunicorn").kill(),
            "database": self.kill_database,
            "receiver": self.kill_receiver,
            "supervisor": self.kill_supervisor,
            "everything": self.kill_everything,
            "stop and start": self.stop_and_start,
        }

    def strike(self, part: str) -> Blow:
        """Kill it, and see to it that all of the service is up again."""
        held, at = in_flight(), time.monotonic()
        self.parts[part]()
        wait_for(self.is_whole, BACK_SECONDS, lambda: self.running.said)
        connection.close()
        blow = Blow(at, part, held, whole_at=time.monotonic())
        self.blows.append(blow)
        print(blow, flush=True)
        return blow

    def is_whole(self) -> bool:
        try:
            return self.running.answers() and bool(self.workers()) and unfinished() >= 0
        except (psutil.Error, StopIteration, OperationalError):
            return False

    def guard(self) -> psutil.Process:
        return self.running.child("qcluster").children()[0]

    def workers(self) -> list[psutil.Process]:
        """All that the guard has started: those who send, the one who hands out, the one who notes results."""
        return [child for guard in self.running.child("qcluster").children() for child in guard.children()]

    def kill_sending_worker(self) -> None:
        """One with threads of its own, which it has while it drains."""
        wait_for(lambda: any(is_sending(worker) for worker in self.workers()), BACK_SECONDS)
        next(worker for worker in self.workers() if is_sending(worker)).kill()

    def kill_any_worker(self) -> None:
        self.chance.choice(self.workers()).kill()

    def kill_guard(self) -> None:
        guard = self.guard()
        guard.kill()
        wait_for(lambda: not is_alive(guard), BACK_SECONDS)

    def kill_database(self) -> None:
        """PostgreSQL's immediate shutdown: sessions end as they are, and the next start recovers."""
        postmaster = self.running.child("bin/postgres")
        postmaster.send_signal(signal.SIGQUIT)
        wait_for(lambda: not is_alive(postmaster), BACK_SECONDS)

    def kill_receiver(self) -> None:
        self.traffic.receiver.die()
        time.sleep(DOWN_SECONDS)
        self.traffic.receiver.rise()

    def kill_supervisor(self) -> None:
        self.running.process.kill()
        self.start_again()

    def kill_everything(self) -> None:
        for process in self.running.processes():
            with suppress(psutil.NoSuchProcess):  # a child whose owner has just been killed ends by itself
                process.kill()
        self.start_again()

    def stop_and_start(self) -> None:
        self.running.end()
        self.start_again()

    def start_again(self) -> None:
        before = self.running
        before.process.wait()
        self.starts += 1
        self.running = Running(before.var, before.port, self.environment, f"output-{self.starts}.txt")
        self.running.wait_until_up()


def battle(
    running: Running,
    environment: Mapping[str, str],
    preset: Preset,
    seed: int,
    fight: Callable[[Battered], "Findings"],
) -> int:
    """`fight` a service that is up. Returns the exit code; the service has ended then, whatever happened."""
    publisher = OverHTTP(running.keys["OPENVOLT_URL"], running.keys["OPENVOLT_PLATFORM_KEY"])
    with Receiver() as receiver:
        traffic = Traffic(preset, publisher, receiver)
        battered = Battered(running, environment, traffic, random.Random(seed))
        try:
            with traffic:
                found = fight(battered)
        except BaseException:
            print(kept_logs(running.var))
            raise
        finally:
            battered.running.end()
    print("\n".join([*found.problems[:LONGEST_LIST], str(found)]))
    return 1 if found.problems else 0


def kills(running: Running, environment: Mapping[str, str], form: Any, seed: int) -> int:
    """Publish at a rate, strike, wait, account. Returns the exit code."""
    parts = plan(form.parts, form.blows, seed)
    return battle(running, environment, load(form), seed, lambda battered: fight(battered, form, parts))


def load(form: Any) -> Preset:
    """Answers take a while, so that something is always in flight."""
    healthy = Endpoints("healthy", 1, Conduct(latency=LATENCY_SECONDS))
    flaky = Endpoints("flaky", 1, Conduct(latency=LATENCY_SECONDS, failing=form.failing))
    return Preset("for the crash tests", [Tenants("battered", form.rate, [healthy, flaky])])


def fight(battered: Battered, form: Any, parts: Sequence[str]) -> "Findings":
    [flow] = battered.traffic.flows.values()
    for part in parts:
        time.sleep(battered.chance.uniform(0, form.longest_wait))
        battered.strike(part)
    wait_for(lambda: flow.published >= form.events or flow.failure is not None, form.events / form.rate + 60)
    return settled(battered, form.patience)


def settled(battered: Battered, patience: float) -> "Findings":
    """The account, once publishing has stopped and nothing is due any more."""
    battered.traffic.stop_publishing()
    began = time.monotonic()
    wait_for(lambda: unfinished() == 0, patience, left_over)
    print(f"Nothing is due any more {time.monotonic() - began:.0f} s after the last event.", flush=True)
    battered.traffic.gather()
    return findings(battered.traffic, battered.blows)


def is_alive(process: psutil.Process) -> bool:
    return not all_gone([process])


def is_sending(worker: psutil.Process) -> bool:
    try:
        return worker.num_threads() > 2
    except psutil.Error:
        return False


def in_flight() -> int:
    return Delivery.objects.pending().filter(leased_until__gt=timezone.now()).count()


def unfinished() -> int:
    connection.close()  # it may be one from before a blow
    return Delivery.objects.unfinished().count()


def left_over() -> str:
    """What is unfinished, for whoever looks into a failure."""
    now = timezone.now()
    waiting = Delivery.objects.unfinished().values_list(
        "subscription__url", "status", "attempt_count", "next_attempt_at", "leased_until"
    )
    kinds = Counter(
        (url, status, attempts, bool(due and due <= now), bool(leased and leased > now))
        for url, status, attempts, due, leased in waiting
    )
    lines = [
        f"{number} of {url} are {status} after {attempts} attempts, {due=}, {leased=}"
        for (url, status, attempts, due, leased), number in kinds.most_common()
    ]
    errors = Counter(Attempt.objects.order_by("-id")[:100].values_list("error", flat=True))
    return "\n".join(["These are unfinished:", *lines, f"The last attempts: {dict(errors)}"])


@dataclass(frozen=True)
class Try:
    """An attempt as the history has it. `ended_at` and `started_at` are seconds."""

    number: int
    started_at: float
    ended_at: float
    outcome: str
    answered: bool


@dataclass
class Findings:
    """What the account came to. `cut` are attempts that arrived and are not in the history: a kill came in between."""

    events: int = 0
    deliveries: int = 0
    attempts: int = 0
    retries: int = 0
    doubles: int = 0
    cut: int = 0
    in_flight: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.events} events answered, {self.deliveries} deliveries, {self.attempts} attempts, of them"
            f" {self.retries} retries. Accepted more than once: {self.doubles}. Attempts cut short: {self.cut},"
            f" of {self.in_flight} in flight at the blows. Wrong: {len(self.problems)}."
        )


def findings(traffic: Traffic, blows: Iterable[Blow]) -> Findings:
    """Publishing has stopped, everything is settled and gathered."""
    connection.close()
    subscriptions = [endpoint.subscription.id for endpoint in traffic.endpoints]
    counted = dict(Delivery.objects.filter(subscription__in=subscriptions).values_list("id", "attempt_count"))
    history = tries(subscriptions)
    found = Findings(len(traffic.answered), len(counted), sum(counted.values()))
    found.in_flight = sum(blow.in_flight for blow in blows)
    found.problems += ledger_problems(traffic)
    found.problems += reconcile_problems()
    arrivals = arrivals_of(traffic.arrivals)
    for id, attempts in counted.items():
        compare(found, str(id), attempts, history[id], arrivals[str(id)])
    if found.cut > found.in_flight:
        found.problems.append(f"{found.cut} attempts were cut short, and {found.in_flight} were in flight")
    return found


def tries(subscriptions: Sequence[UUID]) -> Mapping[UUID, list[Try]]:
    rows: dict[UUID, list[Try]] = defaultdict(list)
    columns = ("delivery_id", "number", "started_at", "duration_ms", "outcome", "status_code")
    attempts = Attempt.objects.filter(delivery__subscription__in=subscriptions).order_by("delivery", "number")
    for id, number, started_at, duration_ms, outcome, status in attempts.values_list(*columns):
        began = started_at.timestamp()
        rows[id].append(Try(number, began, began + duration_ms / 1000, outcome, status is not None))
    return rows


def arrivals_of(arrivals: Iterable[Arrival]) -> Mapping[str, list[Arrival]]:
    grouped: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        grouped[arrival.webhook_id].append(arrival)
    return grouped


def ledger_problems(traffic: Traffic) -> Iterator[str]:
    """Events against deliveries against what arrived."""
    if traffic.unanswered:
        yield f"{traffic.unanswered} events were never answered"
    for its in settle_accounts(traffic):
        yield from its.problems
        if its.delivered != its.owed:
            yield f"{its.group}: {its.owed} are owed, {its.delivered} delivered"


def reconcile_problems() -> Iterator[str]:
    """What `manage.py reconcile` has to say against the tables."""
    if "reconcile" not in get_commands():
        return
    said = StringIO()
    try:
        call_command("reconcile", stdout=said, stderr=said)
    except (CommandError, SystemExit) as error:
        yield f"reconcile: {said.getvalue()} {error}"


def compare(found: Findings, id: str, counted: int, tried: list[Try], arrived: list[Arrival]) -> None:
    """One delivery: its counter, its history, and what its receiver saw."""
    accepted = sum(arrival.accepted for arrival in arrived)
    cut = max(len(arrived) - len(tried), 0)
    unheard = sum(one.outcome == Attempt.Outcome.FAILED and not one.answered for one in tried)
    found.retries += max(len(tried) - 1, 0)
    found.doubles += max(accepted - 1, 0)
    found.cut += cut
    found.problems += [f"delivery {id}: {problem}" for problem in contradictions(counted, tried, accepted)]
    if accepted - 1 > cut + unheard:
        found.problems.append(
            f"delivery {id}: accepted {accepted} times, {cut} cut short, {unheard} unheard of"
        )


def contradictions(counted: int, tried: Sequence[Try], accepted: int) -> Iterator[str]:
    outcomes = Counter(one.outcome for one in tried)
    if [one.number for one in tried] != list(range(1, counted + 1)):
        yield f"it counts {counted} attempts, the history has {[one.number for one in tried]}"
    if outcomes[Attempt.Outcome.SUCCEEDED] > accepted:
        yield f"{outcomes[Attempt.Outcome.SUCCEEDED]} attempts succeeded, the receiver accepted {accepted}"
    for before, after in pairwise(tried):
        waited, due = after.started_at - before.ended_at, earliest(before.number)
        if before.outcome == Attempt.Outcome.SUCCEEDED:
            yield f"attempt {after.number} was made after success"
        elif waited < due - CLOCK_SECONDS:
            yield f"attempt {after.number} came {waited:.3f} s after the one before, {due:g} s was the least"


def earliest(number: int) -> float:
    """Seconds after failed attempt of this number, at least."""
    wait: timedelta = settings.RETRY_SCHEDULE[number - 1]
    return wait.total_seconds() * (1 - JITTER)


def kept_logs(var: Path) -> str:
    """What the service said, for whoever looks into a failure."""
    return "\n".join(path.read_text(errors="replace")[-3000:] for path in sorted(var.glob("output*.txt")))
