"""The loop that tells: claim what is due, send it through its channel, settle, claim again.

django-q2 workers run `drain`. No transaction is open while the network is waited for, and the sending threads
never touch the database.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from deliveries.channels import Report, email, webhook
from deliveries.claiming import Claim, Limits, claim, claim_past_the_front
from deliveries.confirming import send_confirmation_requests
from deliveries.patience import patiently
from deliveries.senders import Senders
from deliveries.settling import Tried, hold, put_back_unsent, settle
from deliveries.slots import slot
from deliveries.stopping import stopping
from deliveries.wakeup import wake
from deliveries.windows import Windows
from subscriptions.models import Channel

SENDERS: dict[Channel, Callable[..., Report]] = {Channel.WEBHOOK: webhook.send, Channel.EMAIL: email.send}
THREADS = {"webhook": 16, "email": 4}  # more take the interpreter from each other
MOST_SLOW = {"webhook": 64, "email": 4}  # threads beside these, for attempts that take long
CLAIMED = 256  # that wait in a drain at a time
SHARE = 64  # of them, of one subscription
LONGEST_DRAIN = timedelta(seconds=30)
LONGEST_CONFIRMING = timedelta(seconds=10)  # before a drain of emails: notifications are due, too
LOOK_AGAIN = 0.05  # seconds; for what has come due while others are in flight
LOOK_PAST = 0.1  # seconds
TOGETHER = 0.005  # seconds; to look at many results at a time costs less than at each
SETTLE_AFTER = 0.1  # seconds
SETTLE_AT = 128

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
        with Senders(partial(send, clock=clock), f"send-{lane}").at_work() as senders:
            return Drain(lane, senders, clock).run()


def over_after(longest: timedelta) -> Callable[[], bool]:
    """A question that is answered with yes from then on, and as soon as the workers are told to stop."""
    ends_at = time.monotonic() + longest.total_seconds()
    return lambda: stopping.is_set() or time.monotonic() >= ends_at


class Drain:
    """One run of the loop over one lane."""

    def __init__(self, lane: str, senders: Senders[Claim, Tried], clock: Callable[[], datetime]) -> None:
        self.lane = lane
        self.senders = senders
        self.clock = clock
        self.is_over = over_after(LONGEST_DRAIN)
        self.windows = Windows(THREADS[lane], MOST_SLOW[lane])
        self.look_at = self.look_past_at = self.settle_at = 0.0
        self.tried: list[Tried] = []
        self.attempts = 0

    def run(self) -> int:
        while self.claim_due() or self.windows.is_busy or self.tried:
            self.hand_out()
            self.collect()
            if self.tried and self.is_time_to_settle():
                self.settle()
        if self.is_over() and not stopping.is_set():
            wake([self.lane])
        return self.attempts

    def claim_due(self) -> bool:
        """Take what is due, if there is room and it is time to look; returns whether anything was there."""
        is_busy = self.windows.is_busy or self.tried
        if is_busy and not self.is_over() and time.monotonic() < self.look_at:
            return False
        try:
            self.put_back_late()
            if self.is_over() or self.windows.waiting > CLAIMED // 4:
                return False
            claims = self.claim()
        except (OperationalError, InterfaceError) as error:
            if not is_busy:
                raise
            self.claim_no_more(error)
            return False
        self.look_at = time.monotonic() + (0 if len(claims) >= SHARE else LOOK_AGAIN)
        return bool(claims)

    def claim(self) -> list[Claim]:
        limits = Limits(
            limit=CLAIMED - self.windows.waiting,
            share=SHARE,
            full=self.windows.full(SHARE),
            probes=self.windows.unproven_room,
        )
        claims = claim(self.lane, self.clock(), limits)
        if len(claims) < limits.limit // 2 and time.monotonic() >= self.look_past_at:
            self.look_past_at = time.monotonic() + LOOK_PAST
            claims += claim_past_the_front(self.lane, self.clock(), limits)
        if unwanted := [one for one in claims if not one.sendable]:
            hold(unwanted, self.clock())
        self.windows.add(one for one in claims if one.sendable)
        return claims

    def put_back_late(self) -> None:
        """What waited so long that its lease would be too short for an attempt; at the end, all that waits."""
        now, over = self.clock(), self.is_over()
        if late := self.windows.give_back(lambda one: not over and one.begin_by > now):
            put_back_unsent(late)

    def hand_out(self) -> None:
        self.windows.hand_out(self.senders.put, time.monotonic())
        self.senders.be(min(THREADS[self.lane], self.windows.in_flight.total()) + len(self.windows.slow))

    def claim_no_more(self, error: Exception) -> None:
        """What was sent is known only here; it is to be settled when the database is back."""
        log.warning("claiming waits for the database", lane=self.lane, reason=str(error).strip())
        self.is_over = lambda: True

    def collect(self) -> None:
        if len(self.windows.quick) > THREADS[self.lane] // 2:
            time.sleep(TOGETHER)
        for one in self.senders.results(TOGETHER if self.tried else LOOK_AGAIN):
            if not self.tried:
                self.settle_at = time.monotonic() + SETTLE_AFTER
            self.tried.append(one)
            self.windows.back(one.claim, one.report.succeeded)

    def is_time_to_settle(self) -> bool:
        return (
            len(self.tried) >= SETTLE_AT or time.monotonic() >= self.settle_at or not self.windows.in_flight
        )

    def settle(self) -> None:
        tried, self.tried = self.tried, []
        patiently(lambda: settle(tried, self.clock()))
        self.attempts += len(tried)


def send(one: Claim, clock: Callable[[], datetime]) -> Tried:
    """Make the attempt. Whatever goes wrong is a failed attempt, never an exception."""
    started_at, began = clock(), time.monotonic()
    try:
        report = SENDERS[Channel(one.delivery.channel)](one.notification(), one.target, started_at)
    except Exception:
        log.exception("attempt broke", delivery=str(one.delivery.id))
        report = Report(
            succeeded=False, error="The attempt could not be made, for a fault of the service itself."
        )
    return Tried(one, report, started_at, timedelta(seconds=time.monotonic() - began))
