"""Order, for subscriptions that want it: their deliveries go out one at a time, and who fails holds those behind it.

Each delivery of an ordered subscription has a key and a position. Order is kept among those with the same key; the
first of them that is not finished is the only one that may go out. A claim takes it together with the next few, the
run, which then follow one by one in the same drain.

Those that wait for others are marked (`behind`), so that they are in no index of what is due; the claim does that
(claiming.py). Not marked is always safe, marked for ever would be lost: whoever finishes a delivery calls
`let_next_go` before the commit. Finishers of one subscription take turns by the lock on its row, and so the last of
them sees what the others have done; the one that marks holds a lock on an unfinished delivery ahead, and so the mark is
there before that one is finished.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connection

from deliveries.claiming import Claim, ClaimedDelivery
from deliveries.models import Delivery
from events.models import Event
from events.payloads import Payload
from events.pointers import NOWHERE, value_at
from subscriptions.models import Subscription

POSITIONS = "SELECT nextval('delivery_position') FROM generate_series(1, %s)"
LET_NEXT_GO = """
WITH next AS MATERIALIZED (
    SELECT first.* FROM unnest(%s::uuid[], %s::text[]) AS key (subscription_id, ordering_key) CROSS JOIN LATERAL (
        SELECT id, behind, subscription_id, ordering_key FROM deliveries_delivery AS delivery
        WHERE (delivery.subscription_id, delivery.ordering_key, delivery.position)
                > (key.subscription_id, key.ordering_key, 0)
            AND status IN ('pending', 'held') AND position IS NOT NULL
        ORDER BY delivery.subscription_id, delivery.ordering_key, delivery.position LIMIT 1
    ) AS first
    WHERE first.subscription_id = key.subscription_id AND first.ordering_key = key.ordering_key
), locked AS (
    SELECT id FROM deliveries_delivery
    WHERE id = ANY(ARRAY(SELECT id FROM next WHERE behind)) ORDER BY id FOR NO KEY UPDATE
)
UPDATE deliveries_delivery SET behind = FALSE WHERE id = ANY(ARRAY(SELECT id FROM locked))
"""

Key = tuple[UUID, str]
RunKey = tuple[UUID, UUID, str | None]


def put_in_order(deliveries: Iterable[Delivery]) -> None:
    """Give those of ordered subscriptions their keys and positions. They are new, and in the order of publishing.

    The positions come from a sequence, so that what is published after an answer has a higher one than what was
    answered, whatever the clocks say.
    """
    ordered = [one for one in deliveries if one.subscription.ordered and not one.elsewhere]
    if not ordered:
        return
    values = Values()
    for delivery, position in zip(ordered, positions(len(ordered)), strict=True):
        if delivery.ordering_key is None:
            delivery.ordering_key = key_of(values.at(delivery.event, delivery.subscription))
        delivery.position = position


def give_key(delivery: Delivery, payload: Payload) -> Delivery:
    """Its key, where one depends on the payload, which may have been looked into already."""
    delivery.ordering_key = key_in(payload, delivery.subscription)
    return delivery


def key_in(payload: Payload, subscription: Subscription) -> str | None:
    """None where no key depends on the payload."""
    pointer = subscription.ordering_key
    return key_of(value_at(pointer, payload.value)) if pointer else None


def positions(count: int) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(POSITIONS, [count])
        return sorted(row[0] for row in cursor.fetchall())


class Values:
    """What is at the pointers of subscriptions, in payloads that are parsed once each."""

    def __init__(self) -> None:
        self.parsed: dict[UUID, Any] = {}

    def at(self, event: Event, subscription: Subscription) -> Any:
        """NOWHERE for what is not in the payload, and for a subscription whose order has no key."""
        if not subscription.ordering_key:
            return NOWHERE
        if event.id not in self.parsed:
            self.parsed = {event.id: event.payload_json}  # deliveries of one event stand together
        return value_at(subscription.ordering_key, self.parsed[event.id])


def key_of(value: Any) -> str:
    """A hash, since values may be long. Objects are the same whatever the order of their members."""
    text = "" if value is NOWHERE else json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


EVERYTHING = key_of(NOWHERE)


def let_next_go(finished: Collection[Key]) -> None:
    """Of each key, mark off the first that is not finished.

    The caller has locked the subscriptions, and has finished what it finishes in a statement before.
    """
    if not finished:
        return
    keys = sorted(set(finished))
    with connection.cursor() as cursor:
        cursor.execute(LET_NEXT_GO, [list(column) for column in zip(*keys, strict=True)])


def keys_of(deliveries: Iterable[Delivery | ClaimedDelivery]) -> list[Key]:
    """The keys of those that are in an order."""
    return [(one.subscription_id, one.ordering_key) for one in deliveries if one.ordering_key is not None]


def first_unfinished(delivery: Delivery) -> Delivery | None:
    """The one of its key that is to go out first, which may be itself; None when it is in no order."""
    if delivery.position is None:
        return None
    same_key = Delivery.objects.filter(
        subscription=delivery.subscription_id, ordering_key=delivery.ordering_key, position__isnull=False
    )
    return same_key.unfinished().order_by("position").first()


def run_key(one: Claim) -> RunKey:
    """Those of one claim: a key is claimed again only when that claim's lease is over."""
    return one.lease_id, one.delivery.subscription_id, one.delivery.ordering_key


class Runs:
    """The claimed deliveries of one drain that wait for the one before them to succeed."""

    def __init__(self) -> None:
        self.runs: dict[RunKey, deque[Claim]] = {}

    @property
    def waiting(self) -> int:
        return sum(len(run) for run in self.runs.values())

    def firsts(self, claims: Sequence[Claim]) -> Iterator[Claim]:
        """Those that may go out now; the others are kept until it is their turn."""
        ordered = [one for one in claims if one.delivery.position is not None]
        yield from (one for one in claims if one.delivery.position is None)
        seen = set()
        for one in sorted(ordered, key=attrgetter("delivery.position")):
            if (key := run_key(one)) in seen:
                self.runs.setdefault(key, deque()).append(one)
            else:
                seen.add(key)
                yield one

    def next(self, succeeded: Claim) -> list[Claim]:
        """The one that may go out after it, if there is one here."""
        if not (run := self.runs.get(key := run_key(succeeded))):
            return []
        following = run.popleft()
        if not run:
            del self.runs[key]
        return [following]

    def rest(self, unsuccessful: Iterable[Claim]) -> list[Claim]:
        """Take out those that would have come after one of these."""
        return [one for first in unsuccessful for one in self.runs.pop(run_key(first), ())]

    def give_back(self, is_wanted: Callable[[Claim], bool]) -> list[Claim]:
        """Take out those that are not wanted here any longer; of one claim these are all or none."""
        unwanted = [run[0] for run in self.runs.values() if not is_wanted(run[0])]
        return self.rest(unwanted)
