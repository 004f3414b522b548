"""The closing account: every event that was answered, against its deliveries, against what arrived."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from deliveries.models import Delivery
from openvolt_events.load.receiver import Arrival
from openvolt_events.load.traffic import Answered, Endpoint, Traffic

HEADS = ("endpoints", "owed", "delivered", "waiting", "failed", "repeated", "")
UNFINISHED = (Delivery.Status.PENDING, Delivery.Status.HELD)
T = TypeVar("T")


@dataclass(frozen=True)
class Told:
    """A delivery as the database has it."""

    id: str
    event_id: str
    subscription_id: UUID
    status: str


@dataclass
class Account:
    """One group of endpoints. `owed` is events times subscriptions, and the sum of the three after it unless
    something is wrong. `repeated` counts what was accepted more than once, which at-least-once allows."""

    group: str
    owed: int = 0
    delivered: int = 0
    waiting: int = 0
    failed: int = 0
    repeated: int = 0
    problems: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        counts = (self.owed, self.delivered, self.waiting, self.failed, self.repeated)
        return (self.group, *map(str, counts), f"{len(self.problems)} wrong" if self.problems else "ok")


def settle_accounts(traffic: Traffic) -> list[Account]:
    """For each group. Publishing has stopped, and everything was gathered."""
    subscriptions = [endpoint.subscription.id for endpoint in traffic.endpoints]
    rows = Delivery.objects.filter(subscription__in=subscriptions).values_list(
        "id", "event_id", "subscription_id", "status"
    )
    told = [Told(str(id), str(event), subscription, status) for id, event, subscription, status in rows]
    return account(traffic.endpoints, traffic.answered, told, traffic.arrivals, traffic.unanswered)


def account(
    endpoints: Sequence[Endpoint],
    answered: Collection[Answered],
    told: Collection[Told],
    arrivals: Collection[Arrival],
    unanswered: int,
) -> list[Account]:
    """`unanswered` events may have been recorded or not: so many more than were answered are no problem."""
    accounts = {endpoint.group: Account(endpoint.group) for endpoint in endpoints}
    accepted = Counter(arrival.webhook_id for arrival in arrivals if arrival.accepted)
    by_subscription = grouped((one.subscription_id, one) for one in told)
    events = grouped((event.application_id, event.event_id) for event in answered)
    for endpoint in endpoints:
        subscription, its = endpoint.subscription, accounts[endpoint.group]
        its_events = set(events[subscription.application_id])
        add(its, its_events, by_subscription[subscription.id], accepted)
        its.problems += problems(its_events, by_subscription[subscription.id], accepted, unanswered)
    known = {one.id for one in told}
    for webhook_id, group in {one.webhook_id: one.group for one in arrivals if one.accepted}.items():
        if webhook_id not in known:
            accounts[group].problems.append(
                f"notification {webhook_id} arrived, and there is no such delivery"
            )
    return list(accounts.values())


def grouped(pairs: Iterable[tuple[UUID, T]]) -> dict[UUID, list[T]]:
    groups: dict[UUID, list[T]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups


def add(its: Account, events: Set[str], told: Sequence[Told], accepted: Mapping[str, int]) -> None:
    """One subscription to its group's account."""
    statuses = Counter(one.status for one in told if one.event_id in events)
    its.owed += len(events)
    its.delivered += statuses[Delivery.Status.SUCCEEDED]
    its.waiting += sum(statuses[status] for status in UNFINISHED)
    its.failed += statuses[Delivery.Status.FAILED]
    its.repeated += sum(accepted.get(one.id, 0) > 1 for one in told)


def problems(
    events: Set[str], told: Sequence[Told], accepted: Mapping[str, int], unanswered: int
) -> Iterator[str]:
    """What is lost, doubled or made up."""
    times = Counter(one.event_id for one in told)
    for event_id in sorted(events - times.keys()):
        yield f"event {event_id} was answered, and has no delivery"
    for event_id, number in times.items():
        if number > 1:
            yield f"event {event_id} has {number} deliveries"
    if (more := len(times.keys() - events)) > unanswered:
        yield f"{more} events have deliveries and were never answered; {unanswered} could be"
    for one in told:
        if contradiction := contradicted(one, one.id in accepted):
            yield f"delivery {one.id} is {one.status}, and {contradiction}"


def contradicted(one: Told, accepted: bool) -> str:
    """What speaks against the delivery's status. Pending and accepted is none: a worker was killed in between."""
    match one.status:
        case Delivery.Status.SUCCEEDED if not accepted:
            return "was never accepted"
        case Delivery.Status.FAILED if accepted:
            return "was accepted"
        case Delivery.Status.CANCELLED:
            return "nobody asked for that"
    return ""


def table(accounts: Sequence[Account]) -> str:
    rows = [HEADS, *(account.cells() for account in accounts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
