"""The loop that tells: claim what is due, send it through its channel, settle, claim again.

django-q2 workers run `drain`. No transaction is open while the network is waited for, and the sending threads
never touch the database.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from deliveries.channels import Report, email, webhook
from deliveries.claiming import Claim, claim
from deliveries.confirming import send_confirmation_requests
from deliveries.settling import Tried, hold, settle
from deliveries.slots import slot
from deliveries.stopping import stopping
from deliveries.wakeup import wake
from subscriptions.models import Channel

SENDERS = {Channel.WEBHOOK: webhook.send, Channel.EMAIL: email.send}
THREADS = {"webhook": 16, "email": 4}  # half of them for one subscription at most: one that hangs leaves room
LONGEST_DRAIN = timedelta(seconds=30)
LOOK_AGAIN = timedelta(milliseconds=100)
SETTLE_PATIENCE = timedelta(seconds=60)

log = structlog.get_logger(__name__)


def drain(lane: str, clock: Callable[[], datetime] = timezone.now) -> int:
    """Tell everybody who is due in this lane; returns how many attempts were made.

    Ends when nothing is due, when the workers are told to stop, or after half a minute with a new wake-up.
    """
    with slot(lane) as free:
        if not free:
            return 0
        if lane == Channel.EMAIL:
            send_confirmation_requests(clock)
        with ThreadPoolExecutor(THREADS[lane], thread_name_prefix=f"send-{lane}") as threads:
            return Drain(lane, threads, clock).run()


class Drain:
    """One run of the loop over one lane."""

    def __init__(self, lane: str, threads: ThreadPoolExecutor, clock: Callable[[], datetime]) -> None:
        self.lane = lane
        self.threads = threads
        self.clock = clock
        self.ends_at = time.monotonic() + LONGEST_DRAIN.total_seconds()
        self.under_way: dict[Future[Tried], Claim] = {}
        self.attempts = 0

    def run(self) -> int:
        while self.claim_and_send() or self.under_way:
            self.settle_done()
        if self.is_over() and not stopping.is_set():
            wake([self.lane])
        return self.attempts

    def is_over(self) -> bool:
        return stopping.is_set() or time.monotonic() >= self.ends_at

    def claim_and_send(self) -> bool:
        """Hand what is due to idle threads; returns whether anything was."""
        room = THREADS[self.lane] - len(self.under_way)
        if self.is_over() or room == 0:
            return False
        share = THREADS[self.lane] // 2
        in_flight = Counter(claim.delivery.subscription_id for claim in self.under_way.values())
        busy = [subscription for subscription, count in in_flight.items() if count >= share]
        claims = claim(self.lane, self.clock(), limit=room, share=share, busy=busy)
        if unwanted := [claim for claim in claims if not claim.sendable]:
            hold(unwanted, self.clock())
        for one in claims:
            if one.sendable:
                self.under_way[self.threads.submit(send, one, self.clock)] = one
        return bool(claims)

    def settle_done(self) -> None:
        done, _ = wait(self.under_way, timeout=LOOK_AGAIN.total_seconds(), return_when=FIRST_COMPLETED)
        if done:
            settle_patiently([future.result() for future in done], self.clock)
            self.attempts += len(done)
        for future in done:
            del self.under_way[future]


def send(one: Claim, clock: Callable[[], datetime]) -> Tried:
    """Make the attempt. Whatever goes wrong is a failed attempt, never an exception."""
    started_at, began = clock(), time.monotonic()
    try:
        report = SENDERS[Channel(one.delivery.channel)](one.notification(), one.target(), started_at)
    except Exception:
        log.exception("attempt broke", delivery=str(one.delivery.id))
        report = Report(
            succeeded=False, error="The attempt could not be made, for a fault of the service itself."
        )
    return Tried(one, report, started_at, timedelta(seconds=time.monotonic() - began))


def settle_patiently(tried: Iterable[Tried], clock: Callable[[], datetime]) -> None:
    """Settle; while the database is away, wait for it: what was sent is known only here."""
    tried, gives_up_at = list(tried), time.monotonic() + SETTLE_PATIENCE.total_seconds()
    while True:
        try:
            return settle(tried, clock())
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() >= gives_up_at:
                raise
            log.warning("settling waits for the database", attempts=len(tried), reason=str(error).strip())
            connection.close()
            time.sleep(0.5)
