"""When the attempts of a subscription with a `rate_limit` may begin, however many workers and machines there are.

PostgreSQL hands out moments to begin at, by its own clock; a worker counts the time to its moment from the answer on,
so that no two machines compare clocks. A moment is good for a tenth of a second: who comes later takes another one. The
moments are so far apart that no second ever sees more than the limit, although each may be used late: the limit is
kept exactly, and a subscription that always has more to send gets ten elevenths of it.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction

from deliveries.claiming import Claim

SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)
AHEAD = timedelta(seconds=1)  # that a worker takes moments for
GRACE = timedelta(milliseconds=100)  # in which a moment may be used
USABLE = timedelta(milliseconds=80)  # of it; the rest is for looking at the clock and setting off
LONGEST_SPACING = SECOND + GRACE
LEAD = 0.02  # seconds before its moment that a delivery is given to its thread

KNOWN = """
INSERT INTO subscriptions_pace (subscription_id, next_at)
SELECT id, clock_timestamp() FROM unnest(%s::uuid[]) AS id ORDER BY id ON CONFLICT DO NOTHING
"""
LOCK = """
SELECT subscription_id, next_at, clock_timestamp() FROM subscriptions_pace
WHERE subscription_id = ANY(%s) ORDER BY subscription_id FOR UPDATE
"""
ADVANCE = """
UPDATE subscriptions_pace AS pace SET next_at = taken.next_at
FROM unnest(%s::uuid[], %s::timestamptz[]) AS taken (subscription_id, next_at)
WHERE pace.subscription_id = taken.subscription_id
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """When an attempt may begin, on this machine's monotonic clock, and until when."""

    at: float
    until: float

    def reached(self) -> bool:
        """Wait for it; returns whether it is still good."""
        time.sleep(max(self.at - time.monotonic(), 0))
        return time.monotonic() <= self.until


def spacing(rate: int) -> timedelta:
    """Between two moments: rounded up, so that `rate` of them take a second and the grace at least."""
    return -(-LONGEST_SPACING // MICROSECOND // rate) * MICROSECOND


def moments(next_at: datetime, now: datetime, rate: int, wanted: int) -> tuple[list[datetime], datetime]:
    """As many as are wanted and lie within the next second, and the first one that is free after them.

    A `next_at` further ahead than anything was ever handed out is from before the clock was put back.
    """
    every = spacing(rate)
    first = max(min(next_at, now + AHEAD + every), now)
    count = min(max((now + AHEAD - first) // every + 1, 0), wanted)
    return [first + nth * every for nth in range(count)], first + count * every


def take_moments(limits: Mapping[UUID, int], wanted: Mapping[UUID, int]) -> dict[UUID, list[Moment]]:
    """The moments at which attempts of these subscriptions may begin, by each one's limit."""
    asked_at, taken, next_at = time.monotonic(), {}, {}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(KNOWN, [list(limits)])
        cursor.execute(LOCK, [list(limits)])
        rows, answered_at = cursor.fetchall(), time.monotonic()
        for id, free_at, now in rows:
            dates, next_at[id] = moments(free_at, now, limits[id], wanted[id])
            taken[id] = [usable(date - now, asked_at, answered_at) for date in dates]
        cursor.execute(ADVANCE, [list(next_at), list(next_at.values())])
    return taken


def usable(ahead: timedelta, asked_at: float, answered_at: float) -> Moment:
    """The database looked at its clock somewhere between the question and the answer; each end is on the safe side."""
    return Moment(answered_at + ahead.total_seconds(), asked_at + (ahead + USABLE).total_seconds())


class Pacing:
    """The claims of one drain that wait for their moments."""

    def __init__(self) -> None:
        self.moments: dict[UUID, Moment] = {}
        self.waiting: deque[Claim] = deque()

    def add(self, claims: Sequence[Claim]) -> list[Claim]:
        """Take a moment for each; returns those for which there is none soon."""
        waiting: dict[UUID, list[Claim]] = {}
        for one in claims:
            waiting.setdefault(one.delivery.subscription_id, []).append(one)
        if not waiting:
            return []
        limits = {id: some[0].subscription.rate_limit or 1 for id, some in waiting.items()}
        taken = take_moments(limits, {id: len(some) for id, some in waiting.items()})
        for id, some in waiting.items():
            for one, moment in zip(some, taken[id], strict=False):
                self.moments[one.delivery.id] = moment
                self.waiting.append(one)
        self.waiting = deque(sorted(self.waiting, key=self.begins_at))
        return [one for id, some in waiting.items() for one in some[len(taken[id]) :]]

    def begins_at(self, one: Claim) -> float:
        return self.moments[one.delivery.id].at

    def ready(self, now: float) -> Iterable[Claim]:
        """Those whose moment is near. `now` is monotonic."""
        while self.waiting and self.begins_at(self.waiting[0]) <= now + LEAD:
            yield self.waiting.popleft()

    def wait(self, now: float) -> float:
        """Seconds until the next one is ready."""
        return max(self.begins_at(self.waiting[0]) - LEAD - now, 0) if self.waiting else float("inf")

    def may_begin(self, one: Claim) -> bool:
        """Wait for its moment, in the thread that sends it; one without a limit begins at once."""
        moment = self.moments.get(one.delivery.id)
        return moment is None or moment.reached()

    def give_back(self) -> list[Claim]:
        given, self.waiting = list(self.waiting), deque()
        return given

    def forget(self, one: Claim) -> None:
        self.moments.pop(one.delivery.id, None)
