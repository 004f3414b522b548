"""The loop that tells: claim what is due, send it through its channel, settle, claim again.

django-q2 workers run `drain`. No transaction is open while the network is waited for, and the sending threads
never touch the database.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from deliveries.channels import EmailTarget, Report, digests, email, webhook
from deliveries.channels.drafts import drafts
from deliveries.channels.mail_connections import connections
from deliveries.claiming import (
    LEASE_MARGIN,
    Claim,
    Limits,
    attempt_timeout,
    claim,
    claim_past_the_front,
)
from deliveries.domains import (
    PAUSE,
    asks_for_time,
    domain_of,
    is_paused,
    look_for_pauses,
    note_refusal,
    pause,
)
from deliveries.mailing import send_notices
from deliveries.ordering import Runs
from deliveries.pacing import Pacing
from deliveries.patience import patiently
from deliveries.refused import Refused, note_refused
from deliveries.resting import resting
from deliveries.senders import Senders
from deliveries.settling import Tried, hold, postpone, put_back_unsent, renew, settle
from deliveries.slots import slot
from deliveries.stopping import stopping
from deliveries.wakeup import wake
from deliveries.windows import Windows
from subscriptions.models import Channel

SENDERS: dict[Channel, Callable[..., Report]] = {Channel.WEBHOOK: webhook.send, Channel.EMAIL: email.send}
THREADS = {"webhook": 16, "email": 4}  # more take the interpreter from each other
MOST_SLOW = {"webhook": 64, "email": 4}  # threads beside these, for attempts that take long
WIDEST = {"webhook": 32, "email": 64}  # attempts that are out to the threads, under way or at hand
CLAIMED = 256  # that wait in a drain at a time
SHARE = {"webhook": 64, "email": 128}  # of them, of one subscription
LONGEST_DRAIN = timedelta(seconds=30)
LONGEST_MAILING = timedelta(seconds=10)  # of notices, before a drain of emails: notifications are due, too
LOOK_AGAIN = 0.05  # seconds; for what has come due while others are in flight
LOOK_PAST = 0.1  # seconds
LOOK_PAST_ANYWAY = 1.0  # seconds; with enough at the front
LOOK_PAST_SHARE = 10  # times as long as the look takes, at least, between two
TOGETHER = 0.005  # seconds; to look at many results at a time costs less than at each
SETTLE_AFTER = 0.1  # seconds
RENEW_AFTER = timedelta(seconds=10)  # beyond the moment by which an attempt had to begin
BETWEEN_RENEWALS = 10.0  # seconds
SETTLE_AT = 128

log = structlog.get_logger(__name__)


def drain(lane: str, clock: Callable[[], datetime] = timezone.now) -> int:
    """Tell everybody who is due in this lane; returns how many attempts were made.

    Ends when nothing is due, when the workers are told to stop, or after half a minute with a new wake-up.
    """
    with slot(lane) as free:
        if not free:
            return 0
        with connections.kept(), drafts.kept():
            return drain_in_slot(lane, clock)


def drain_in_slot(lane: str, clock: Callable[[], datetime]) -> int:
    if lane == Channel.EMAIL:
        send_notices(clock, over_after(LONGEST_MAILING))
    if lane == Channel.WEBHOOK:
        webhook.get_ready()
    pacing = Pacing()
    with Senders(partial(send, clock=clock, pacing=pacing), f"send-{lane}").at_work() as senders:
        return Drain(lane, senders, clock, pacing).run()


def over_after(longest: timedelta) -> Callable[[], bool]:
    """A question that is answered with yes from then on, and as soon as the workers are told to stop."""
    ends_at = time.monotonic() + longest.total_seconds()
    return lambda: stopping.is_set() or time.monotonic() >= ends_at


class Drain:
    """One run of the loop over one lane."""

    def __init__(
        self,
        lane: str,
        senders: Senders[Claim, Tried | Claim],
        clock: Callable[[], datetime],
        pacing: Pacing,
    ) -> None:
        self.pacing = pacing
        self.lane = lane
        self.senders = senders
        self.clock = clock
        self.is_over = over_after(LONGEST_DRAIN)
        self.windows = Windows(THREADS[lane], MOST_SLOW[lane], WIDEST[lane])
        self.runs = Runs()
        self.look_at = self.looked_past_at = self.looking_took = self.settle_at = self.renewed_at = 0.0
        self.tried: list[Tried] = []
        self.unsent: list[Claim] = []
        self.resting: Collection[UUID] = ()
        self.attempts = 0

    def run(self) -> int:
        while self.claim_due() or self.is_busy:
            self.hand_out()
            self.collect()
            if self.tried and self.is_time_to_settle():
                self.settle()
            if time.monotonic() >= self.renewed_at + BETWEEN_RENEWALS:
                self.renew()
        if self.is_over() and not stopping.is_set():
            wake([self.lane])
        return self.attempts

    @property
    def is_busy(self) -> bool:
        return bool(self.windows.is_busy or self.tried or self.unsent or self.pacing.waiting)

    def claim_due(self) -> bool:
        """Take what is due, if there is room and it is time to look; returns whether anything was there."""
        is_busy = self.is_busy
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
        self.look_at = time.monotonic() + (0 if len(claims) >= SHARE[self.lane] else LOOK_AGAIN)
        return bool(claims)

    def claim(self) -> list[Claim]:
        self.resting = resting(self.clock()).keys()
        limits = Limits(
            limit=CLAIMED - self.windows.waiting,
            share=SHARE[self.lane],
            full=[*self.windows.full(SHARE[self.lane]), *self.resting, *self.just_failed()],
            probes=self.windows.unproven_room,
            runs=max(CLAIMED - self.runs.waiting, 0),
        )
        claims = claim(self.lane, self.clock(), limits)
        self.admit(claims)
        pause = LOOK_PAST if len(claims) < limits.limit // 2 else LOOK_PAST_ANYWAY
        if time.monotonic() >= self.looked_past_at + max(pause, LOOK_PAST_SHARE * self.looking_took):
            enough = [one.delivery.subscription_id for one in claims if one.is_probe or one.is_paced]
            claims += self.look_past(replace(limits, full=[*limits.full, *enough]))
        return claims

    def look_past(self, limits: Limits) -> list[Claim]:
        began = time.monotonic()
        claims = claim_past_the_front(self.lane, self.clock(), limits)
        self.looked_past_at = time.monotonic()
        self.looking_took = self.looked_past_at - began
        self.admit(claims)
        return claims

    def admit(self, claims: Sequence[Claim]) -> None:
        now = self.clock()
        if claims and self.lane == Channel.EMAIL:
            look_for_pauses(now)
        wanted, unwanted, early = [], [], []
        for one in claims:
            if not one.sendable or one.is_quiet(now):
                unwanted.append(one)
            elif is_paused(one):
                early.append(one)
            else:
                wanted.append(one)
        if unwanted:
            hold(unwanted, now)
        if early:
            postpone(early, now + PAUSE)
        self.let_go(self.runs.firsts(wanted))

    def let_go(self, claims: Iterable[Claim]) -> None:
        """Let them out as soon as there is room for them, and their moment has come."""
        limited = []
        for one in claims:
            if one.is_paced:
                limited.append(one)
            else:
                self.windows.add([one])
        try:
            self.unsent += self.pacing.add(limited)
        except (OperationalError, InterfaceError) as error:
            self.unsent += limited
            self.claim_no_more(error)

    def just_failed(self) -> Iterable[UUID]:
        """Those of whom it is decided only when they are settled whether they cool down."""
        return (one.claim.way for one in self.tried if not one.report.succeeded)

    def put_back_late(self) -> None:
        """What missed its moment, waits for too long, or rests by now; at the end, all that waits."""
        late, self.unsent, is_wanted = self.unsent, [], self.wanted()
        late += self.windows.give_back(is_wanted)
        late += self.pacing.give_back() if self.is_over() else []
        late += self.runs.rest(late) + self.runs.give_back(is_wanted)
        if late:
            put_back_unsent(late)

    def wanted(self) -> Callable[[Claim], bool]:
        """Whether a claim's lease is long enough for an attempt, as of now, and nothing has come between."""
        now, is_over = self.clock(), self.is_over()

        def is_wanted(one: Claim) -> bool:
            rests = one.is_probe and one.delivery.subscription_id in self.resting
            return one.begin_by > now and not (rests or is_over)

        return is_wanted

    def hand_out(self) -> None:
        self.windows.add(self.pacing.ready(time.monotonic()))
        self.windows.hand_out(self.senders.put, time.monotonic())
        self.senders.be(min(THREADS[self.lane], self.windows.in_flight.total()) + len(self.windows.slow))

    def renew(self) -> None:
        """A mail server may think for long about what it has got: whoever else sends it makes a second copy.

        Leases are not made longer for that: what a killed worker held waits for their end.
        """
        self.renewed_at = time.monotonic()
        now = self.clock()
        if long := [one for one in self.windows.out if one.begin_by + RENEW_AFTER < now]:
            patiently(lambda: renew(long, now + attempt_timeout(self.lane) + LEASE_MARGIN))

    def claim_no_more(self, error: Exception) -> None:
        """What was sent is known only here; it is to be settled when the database is back."""
        log.warning("claiming waits for the database", lane=self.lane, reason=str(error).strip())
        self.is_over = lambda: True

    def collect(self) -> None:
        if len(self.windows.quick) > THREADS[self.lane] // 2:
            time.sleep(TOGETHER)
        patience = min(TOGETHER if self.tried else LOOK_AGAIN, self.pacing.wait(time.monotonic()))
        following: list[Claim] = []
        for one in self.senders.results(patience):
            if isinstance(one, Claim):
                self.windows.came_back(one)
                self.pacing.forget(one)
                self.unsent.append(one)
                continue
            if not self.tried:
                self.settle_at = time.monotonic() + SETTLE_AFTER
            self.tried += one.each
            self.windows.back(one.claim, one.report.succeeded)
            answered = one.report.status_code is not None
            self.windows.note_host(one.claim, answered, time.monotonic())
            self.pacing.forget(one.claim)
            if one.report.succeeded:
                following += self.runs.next(one.claim)
            else:
                self.unsent += self.runs.rest([one.claim])
        self.let_go(following)

    def is_time_to_settle(self) -> bool:
        return len(self.tried) >= SETTLE_AT or time.monotonic() >= self.settle_at or not self.windows.is_busy

    def settle(self) -> None:
        tried, self.tried = self.tried, []
        patiently(lambda: settle(tried, self.clock()))
        if refused := [refused_of(one) for one in tried if one.report.permanent and address_of(one)]:
            patiently(lambda: note_refused(refused, self.clock()))
        if asked := {domain_of(one.claim) for one in tried if asks_for_time(one.report)} - {""}:
            patiently(lambda: pause(asked, self.clock()))
        self.attempts += len(tried)


def address_of(one: Tried) -> str:
    return one.claim.target.email if isinstance(one.claim.target, EmailTarget) else ""


def refused_of(one: Tried) -> Refused:
    delivery = one.claim.delivery
    return Refused(address_of(one), delivery.digest or delivery.id, one.report)


def send(one: Claim, clock: Callable[[], datetime], pacing: Pacing) -> Tried | Claim:
    """Make the attempt, or give the claim back when its moment has passed. A failure is never an exception."""
    if one.begin_by <= clock() or is_paused(one) or not pacing.may_begin(one):
        return one
    started_at, began = clock(), time.monotonic()
    try:
        report = attempt(one, started_at)
    except Exception:
        log.exception("attempt broke", delivery=str(one.delivery.id))
        report = Report(
            succeeded=False, error="The attempt could not be made, for a fault of the service itself."
        )
    if not report.succeeded:
        note_refusal(one, report)
    return Tried(one, report, started_at, duration(report) or timedelta(seconds=time.monotonic() - began))


def duration(report: Report) -> timedelta | None:
    """As the channel has it; None if it broke."""
    total_ms = report.timings.total_ms
    return None if total_ms is None else timedelta(milliseconds=total_ms)


def attempt(one: Claim, now: datetime) -> Report:
    if one.delivery.digest is not None and isinstance(one.target, EmailTarget):
        return digests.send([each.notification() for each in one.each], one.delivery.digest, one.target, now)
    return SENDERS[Channel(one.delivery.channel)](one.notification(), one.target, now)
