"""Which of the claimed deliveries go out now: one subscription can't hold up another.

Each subscription has a window: how many of its attempts may be in flight at a time. It grows by one with each success
and halves with each failure (AIMD). Each host and port has one, too, for all that is sent there; it halves only when no
answer comes, since one subscription's refusals say nothing about its neighbours. What is claimed beyond a window waits
here for a moment, then goes back at no cost.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import lru_cache
from urllib.parse import urlsplit
from uuid import UUID

from deliveries.channels import WebhookTarget
from deliveries.claiming import Claim

FIRST_SIZE = 4
MOST_REMEMBERED = 10_000  # subscriptions whose sizes this process keeps from one drain to the next
SLOW_AFTER = timedelta(seconds=1).total_seconds()

sizes: dict[UUID, int] = {}
host_sizes: dict[str, int] = {}


def size_of(subscription_id: UUID) -> int:
    return sizes.get(subscription_id, FIRST_SIZE)


def is_proven(subscription_id: UUID) -> bool:
    """Whether its window has grown beyond a new one's: it has succeeded here, and failed little since."""
    return size_of(subscription_id) > FIRST_SIZE


def is_untried(subscription_id: UUID) -> bool:
    """Whether nothing is known of it here: no attempt has come to its end or taken long, and it is not failing."""
    return subscription_id not in sizes


@lru_cache(MOST_REMEMBERED)
def host_of(url: str) -> str:
    """The host and port of a webhook, as the URL names them."""
    return urlsplit(url).netloc.lower()


def destination(one: Claim) -> str:
    """What an attempt shares a window with, beside its subscription. All emails go to one mail server: it has none."""
    return host_of(one.target.url) if isinstance(one.target, WebhookTarget) else ""


class Windows:
    """The claimed deliveries of one drain: those that wait, and those in flight.

    Whoever is not proven has half of the `threads` at most, all together. An attempt that takes long is set aside: it
    counts no more, and its thread is replaced, until there are `most_slow` of them. A quarter of these is kept for
    subscriptions that were never tried here: nobody who is known to fail or to hang keeps a new one waiting.
    """

    def __init__(self, threads: int, most_slow: int, widest: int) -> None:
        self.widest = widest
        self.room_for_unproven = threads // 2
        self.most_slow = most_slow
        self.kept_for_untried = most_slow // 4
        self.queues: dict[UUID, deque[Claim]] = {}
        self.waiting = 0
        self.in_flight: Counter[UUID] = Counter()
        self.quick: dict[UUID, tuple[float, Claim]] = {}
        self.slow: dict[UUID, Claim] = {}
        self.at_host: dict[str, set[UUID]] = {}
        self.halved_at: dict[str, float] = {}

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self.in_flight)

    @property
    def out(self) -> list[Claim]:
        """Those in flight."""
        return [*(one for _, one in self.quick.values()), *self.slow.values()]

    @property
    def unproven(self) -> int:
        """How many attempts are out to subscriptions that are not proven, without those set aside."""
        return sum(not is_proven(one.way) for _, one in self.quick.values())

    @property
    def room_for_tried(self) -> int:
        """How many attempts may be out to subscriptions that are not proven, for one that was tried to have another."""
        may_hang = self.most_slow - self.kept_for_untried - len(self.slow)
        return min(self.room_for_unproven, may_hang)

    @property
    def unproven_room(self) -> int:
        """How many more attempts may go out to subscriptions that were tried and are not proven."""
        return max(self.room_for_tried - self.unproven, 0)

    @property
    def room_for_untried(self) -> int:
        """The same for one of which nothing is known, whatever others do."""
        may_hang = max(self.most_slow - len(self.slow), self.room_for_unproven // 2)
        return min(self.room_for_unproven, may_hang)

    def full(self, most: int) -> list[UUID]:
        """The subscriptions of which no more should be claimed: `most` are here, or as many as can go out soon."""
        here = self.in_flight + Counter({id: len(queue) for id, queue in self.queues.items()})
        return [id for id, count in here.items() if count >= (most if is_proven(id) else size_of(id))]

    def add(self, claims: Iterable[Claim]) -> None:
        for one in claims:
            id = one.way
            self.queues.setdefault(id, deque()).append(one)
            self.waiting += 1
            if one.is_probe:
                sizes[id] = 1

    def hand_out(self, send: Callable[[Claim], None], now: float) -> None:
        """Give away what the windows let through, the subscriptions in turns. `now` is monotonic."""
        self.set_aside_slow(now)
        unproven, rooms = self.unproven, {True: self.room_for_untried, False: self.room_for_tried}
        turns = deque(self.queues)
        while turns and len(self.quick) < self.widest:
            id = turns.popleft()
            proven = is_proven(id)
            if self.in_flight[id] >= size_of(id) or not (proven or unproven < rooms[is_untried(id)]):
                continue
            if not self.has_host_room(destination(self.queues[id][0]), proven):
                continue
            send(self.take(id, now))
            unproven += not proven
            if id in self.queues:
                turns.append(id)

    def has_host_room(self, host: str, proven: bool) -> bool:
        """Whoever is proven does not wait for the attempts of others that hang at the same host."""
        here = self.at_host.get(host, set())
        count = len(here - self.slow.keys()) if proven and self.slow else len(here)
        return not host or count < host_sizes.get(host, self.widest)

    def note_host(self, one: Claim, answered: bool, now: float) -> None:
        """What hung at the same time counts once: of these attempts none knew of the others."""
        host = destination(one)
        size = host_sizes.get(host, self.widest)
        if answered and host in host_sizes:
            host_sizes[host] = min(size + 1, self.widest)
        elif not answered and now - self.halved_at.get(host, -SLOW_AFTER) >= SLOW_AFTER:
            self.halved_at[host] = now
            host_sizes[host] = max(size // 2, 1)

    def set_aside_slow(self, now: float) -> None:
        slow = []
        for since, one in self.quick.values():
            if now - since < SLOW_AFTER:
                break  # they stand in the order in which they went out
            slow.append(one)
            sizes.setdefault(one.way, FIRST_SIZE)  # tried
        for one in slow[: self.most_slow - len(self.slow)]:
            del self.quick[one.delivery.id]
            self.slow[one.delivery.id] = one

    def take(self, id: UUID, now: float) -> Claim:
        queue = self.queues[id]
        one = queue.popleft()
        if not queue:
            del self.queues[id]
        self.waiting -= 1
        self.in_flight[id] += 1
        self.quick[one.delivery.id] = now, one
        self.at_host.setdefault(destination(one), set()).add(one.delivery.id)
        return one

    def back(self, one: Claim, succeeded: bool) -> None:
        """An attempt has come to its end."""
        id = one.way
        self.came_back(one)
        if len(sizes) > MOST_REMEMBERED:
            sizes.clear()
            host_sizes.clear()
        sizes[id] = min(size_of(id) + 1, self.widest) if succeeded else max(size_of(id) // 2, 1)

    def came_back(self, one: Claim) -> None:
        """It is in flight no more."""
        id = one.way
        self.in_flight[id] -= 1
        if self.in_flight[id] <= 0:
            del self.in_flight[id]
        self.quick.pop(one.delivery.id, None)
        self.slow.pop(one.delivery.id, None)
        host = destination(one)
        here = self.at_host.get(host, set())
        here.discard(one.delivery.id)
        if not here:
            self.at_host.pop(host, None)

    def give_back(self, is_wanted: Callable[[Claim], bool]) -> list[Claim]:
        """Take out those that wait and are not wanted here any longer."""
        unwanted = [one for queue in self.queues.values() for one in queue if not is_wanted(one)]
        if unwanted:
            kept = {id: deque(filter(is_wanted, queue)) for id, queue in self.queues.items()}
            self.queues = {id: queue for id, queue in kept.items() if queue}
            self.waiting -= len(unwanted)
        return unwanted
