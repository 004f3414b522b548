"""The loop that tells: claim what is due, send it through its channel, settle, claim again.

django-q2 workers run `drain`. No transaction is open while the network is waited for, and the sending threads
never touch the database.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from functools import partial

import structlog
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from deliveries.channels import Report, email, webhook
from deliveries.claiming import Claim, claim
from deliveries.confirming import send_confirmation_requests
from deliveries.patience import patiently
from deliveries.settling import Tried, hold, settle
from deliveries.slots import slot
from deliveries.stopping import stopping
from deliveries.wakeup import wake
from subscriptions.models import Channel

SENDERS: dict[Channel, Callable[..., Report]] = {Channel.WEBHOOK: webhook.send, Channel.EMAIL: email.send}
THREADS = {"webhook": 16, "email": 4}  # half of them for one subscription at most: one that hangs leaves room
LONGEST_DRAIN = timedelta(seconds=30)
LONGEST_CONFIRMING = timedelta(seconds=10)  # before a drain of emails: notifications are due, too
LOOK_AGAIN = timedelta(milliseconds=100)

log = structlog.get_logger(__name__)


def drain(lane: str, clock: Callable[[], datetime] = timezone.now) -> int:
    """Tell everybody who is due in this lane; returns how many attempts were made.

    Ends when nothing is due, when the workers are told to stop, or after half a minute with a new wake-up.
    """
    with slot(lane) as free:
        if not free:
            return 0
        if lane == Channel.EMAIL:
            send_confirmation_requests(clock, over_after(LONGEST_CONFIRMING))
        with ThreadPoolExecutor(THREADS[lane], thread_name_prefix=f"send-{lane}") as threads:
            return Drain(lane, threads, clock).run()


def over_after(longest: timedelta) -> Callable[[], bool]:
    """A question that is answered with yes from then on, and as soon as the workers are told to stop."""
    ends_at = time.monotonic() + longest.total_seconds()
    return lambda: stopping.is_set() or time.monotonic() >= ends_at


class Drain:
    """One run of the loop over one lane."""

    def __init__(self, lane: str, threads: ThreadPoolExecutor, clock: Callable[[], datetime]) -> None:
        self.lane = lane
        self.threads = threads
        self.clock = clock
        self.is_over = over_after(LONGEST_DRAIN)
        self.looks_past_at = 0.0
        self.under_way: dict[Future[Tried], Claim] = {}
        self.attempts = 0

    def run(self) -> int:
        while self.claim_and_send() or self.under_way:
            self.settle_done()
        if self.is_over() and not stopping.is_set():
            wake([self.lane])
        return self.attempts

    def claim_and_send(self) -> bool:
        """Hand what is due to idle threads; returns whether anything was."""
        try:
            found = self.send_due()
            if found and self.may_look_past():
                self.send_due()
        except (OperationalError, InterfaceError) as error:
            if not self.under_way:
                raise
            self.claim_no_more(error)
            return False
        return found

    def send_due(self) -> bool:
        room = THREADS[self.lane] - len(self.under_way)
        if self.is_over() or room == 0:
            return False
        share, in_flight = THREADS[self.lane] // 2, list(self.under_way.values())
        claims = claim(self.lane, self.clock(), limit=room, share=share, in_flight=in_flight)
        for one in claims:
            if one.sendable:
                self.under_way[self.threads.submit(send, one, self.clock)] = one
        if unwanted := [one for one in claims if not one.sendable]:
            hold(unwanted, self.clock())
        return bool(claims)

    def may_look_past(self) -> bool:
        """Now and then: a subscription with a long backlog must not hide the others, and passing it over is slow."""
        if time.monotonic() < self.looks_past_at:
            return False
        self.looks_past_at = time.monotonic() + LOOK_AGAIN.total_seconds()
        return True

    def claim_no_more(self, error: Exception) -> None:
        """What was sent is known only here; it is to be settled when the database is back."""
        log.warning("claiming waits for the database", lane=self.lane, reason=str(error).strip())
        self.is_over = lambda: True

    def settle_done(self) -> None:
        done, _ = wait(self.under_way, timeout=LOOK_AGAIN.total_seconds(), return_when=FIRST_COMPLETED)
        if done:
            patiently(partial(self.settle, [future.result() for future in done]))
            self.attempts += len(done)
        for future in done:
            del self.under_way[future]

    def settle(self, tried: Sequence[Tried]) -> None:
        settle(tried, self.clock())


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
