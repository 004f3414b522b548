"""Which domains get no emails for a moment: their mail server, or ours on their behalf, has just asked for time.

What has to wait for that is due again when the moment is over. It costs no attempt, and other domains don't wait
with it. The thread that was asked tells its own process at once; the drain writes it down for all others, which look
with each claim, not with each email. Notices are sent one by one, and go by what is written down alone.
"""

import re
import time
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import QuerySet

from deliveries.channels import EmailTarget, Report
from deliveries.channels.smtp import CLOSING
from deliveries.claiming import Claim
from deliveries.models import PausedDomain

PAUSE = timedelta(seconds=30)
# Too many, too fast, come back later (RFC 3463). A full mailbox and the like say nothing about the domain.
ASKS_FOR_TIME = re.compile(r"(?<![\d.])4\.(?:7\.\d{1,3}|3\.[12]|4\.5)(?!\d)", re.ASCII)
MOST_REMEMBERED = 10_000

paused: dict[str, float] = {}  # until when, by the monotonic clock


def domain_of(one: Claim) -> str:
    """Empty for a webhook's claim."""
    return domain_at(one.target.email) if isinstance(one.target, EmailTarget) else ""


def domain_at(email: str) -> str:
    return email.rpartition("@")[2].lower()


def is_paused(one: Claim) -> bool:
    if not paused:
        return False
    until = paused.get(domain := domain_of(one))
    if until is not None and time.monotonic() >= until:
        paused.pop(domain, None)
        return False
    return until is not None


def note_refusal(one: Claim, report: Report) -> None:
    """Leave the domain alone for a moment, if that was asked for."""
    if (domain := domain_of(one)) and asks_for_time(report):
        if len(paused) >= MOST_REMEMBERED:
            paused.clear()
        paused[domain] = time.monotonic() + PAUSE.total_seconds()


def pause(domains: Collection[str], now: datetime) -> None:
    """For all workers, of all machines."""
    PausedDomain.objects.bulk_create(
        [PausedDomain(domain=domain, until=now + PAUSE) for domain in sorted(domains)],
        update_conflicts=True,
        unique_fields=["domain"],
        update_fields=["until"],
    )


def look_for_pauses(now: datetime) -> None:
    """What others were asked for. Nobody waits for longer than a pause, whatever their clocks say."""
    for domain, until in standing(now).values_list("domain", "until"):
        ends_at = time.monotonic() + (until - now).total_seconds()
        paused[domain] = max(paused.get(domain, ends_at), ends_at)


def wants_time(email: str, now: datetime) -> bool:
    """Whether the domain of this address is left alone now: asked for each notice, of which there are few."""
    return standing(now).filter(domain=domain_at(email)).exists()


def standing(now: datetime) -> QuerySet[PausedDomain]:
    return PausedDomain.objects.filter(until__gt=now, until__lte=now + PAUSE)


def forget_pauses(now: datetime) -> int:
    """Delete those that are over; returns how many they were."""
    return PausedDomain.objects.filter(until__lte=now).delete()[0]


def asks_for_time(report: Report) -> bool:
    return report.status_code == CLOSING or bool(ASKS_FOR_TIME.match(report.response_body))
