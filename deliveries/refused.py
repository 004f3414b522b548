"""What mail servers say of an address as they refuse it: that it does not exist, or what may mean the same.

The first suppresses it at once. The second counts like a soft bounce, of which providers tell (tracking.py): a mailbox
that is "unavailable" may be so for a while.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Max
from django.db.models.functions import Lower

from accounts.email_addresses import same_for_all, spellings
from deliveries.channels import Report
from deliveries.letters.reading import clean
from deliveries.models import Delivery, MailEvent, Notice
from deliveries.suppressing import recipients_at, suppress
from deliveries.tracking import LONGEST_DESCRIPTION, SOFT_BOUNCES, SOFT_BOUNCES_WITHIN, soft_bounces

MAIL_SERVER = "mail server"
MANY = (
    f"The mail server refused the address for {SOFT_BOUNCES} emails in {SOFT_BOUNCES_WITHIN.days} days, "
    "and took none in between: {words}"
)


@dataclass(frozen=True, slots=True)
class Refused:
    """One email that was tried; `message` is what it is known by."""

    email: str
    message: UUID
    report: Report


def note_refused(refused: Iterable[Refused], now: datetime) -> None:
    """Suppress the addresses that do not exist, and those that were refused too often."""
    gone: dict[str, str] = {}
    unsure: dict[str, Refused] = {}
    for one in refused:
        if one.report.no_such_address:
            gone[one.email] = one.report.error
        elif one.report.perhaps_no_such_address:
            unsure[str(one.message)] = one
    if unsure:
        gone = too_often(unsure.values(), now) | gone
    if gone:
        suppress(gone, MAIL_SERVER, now)


def too_often(refused: Collection[Refused], now: datetime) -> dict[str, str]:
    """Keep these; returns why an address is to be suppressed, for each that is. Told again, none counts again."""
    said = {same_for_all(one.email): words_of(one.report) for one in refused}
    MailEvent.objects.bulk_create(
        (
            MailEvent(
                email=same_for_all(one.email),
                message=one.message,
                kind=MailEvent.Kind.SOFT_BOUNCED,
                at=now,
                description=words_of(one.report),
                provider=MAIL_SERVER,
                key=f"refused {one.message}",
            )
            for one in refused
        ),
        ignore_conflicts=True,
    )
    many = [email for email, count in soft_bounces(said, now).items() if count >= SOFT_BOUNCES]
    since = {email: taken for email in many if (taken := last_taken(email, now))}
    counts = soft_bounces(many, now, since)
    return {email: MANY.format(words=said[email]) for email in many if counts[email] >= SOFT_BOUNCES}


def words_of(report: Report) -> str:
    return clean(report.response_body, LONGEST_DESCRIPTION)


def last_taken(email: str, now: datetime) -> datetime | None:
    """When the mail server last took an email to this address, of those that are recent."""
    after = now - SOFT_BOUNCES_WITHIN
    told = Delivery.objects.filter(
        recipient__in=list(recipients_at([email]).values_list("pk", flat=True)),
        status=Delivery.Status.SUCCEEDED,
        finished_at__gt=after,
    )
    noticed = Notice.objects.annotate(address=Lower("email")).filter(
        address__in=spellings([email]), sent_at__gt=after
    )
    moments = [
        told.aggregate(last=Max("finished_at"))["last"],
        noticed.aggregate(last=Max("sent_at"))["last"],
    ]
    return max(filter(None, moments), default=None)
