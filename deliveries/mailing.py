"""Sending notices, the emails of the service's own, each tried again on the schedule of emails.

A kind of notice is a line in `WORDS`, or in `EMAILS` if it is more than words, and one in `REASONS`. Of those in
`TOGETHER`, all that one address is to be told about one application go out in one email, or in as few as can be.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import transaction

from deliveries.cases import handling_of, person_told
from deliveries.cases import why_not as why_no_note
from deliveries.channels import Report
from deliveries.channels.case_wording import note_wording, notes_wording
from deliveries.channels.email import fallback_message, message, send_email
from deliveries.channels.mime import Email
from deliveries.channels.outages_wording import outages_wording
from deliveries.channels.summary_wording import summary_wording
from deliveries.channels.wording import Wording, confirmation_wording, outage_wording
from deliveries.claiming import LEASE_MARGIN, email_target, notification
from deliveries.customers import customers_in, customers_of
from deliveries.domains import PAUSE, asks_for_time, domain_at, pause, wants_time
from deliveries.failing import why_untold
from deliveries.fallback import why_not_told
from deliveries.letters import handling, outages, outages_together
from deliveries.letters.fallback import Missed
from deliveries.letters.reader import Reader
from deliveries.models import Case, Delivery, Notice, NoticeQuerySet
from deliveries.notice_headers import headers_of
from deliveries.notices import GATHER_FOR
from deliveries.patience import patiently
from deliveries.refused import Refused, note_refused
from deliveries.settling import UNSTORABLE
from deliveries.stopping import stopping
from deliveries.summaries import why_not_summed_up
from subscriptions.models import Recipient, Suppression

MOST_TOGETHER = 20  # in one email: with the longest names it stays below what Gmail shows


def send_notices(clock: Callable[[], datetime], is_over: Callable[[], bool] = stopping.is_set) -> None:
    """Send those that are due, one email after the other, until it is over; the rest stays due."""
    while not is_over() and (first := longest_waiting(clock())):
        if notices := [one for one in claim_notices(first, clock()) if one.due_at is not None]:
            report = send_in_one_email(notices, clock())
            patiently(partial(settle_notices, notices, report, clock()))
            note_refused([Refused(notices[0].email, notices[0].id, report)], clock())
            if asks_for_time(report):
                pause([domain_at(notices[0].email)], clock())


def longest_waiting(now: datetime) -> Notice | None:
    """One that nobody is about to claim."""
    with transaction.atomic():
        return Notice.objects.select_for_update(skip_locked=True).due(now).first()


def claim_notices(first: Notice, now: datetime) -> list[Notice]:
    """Take this one, and those that go out with it; none, if somebody else was faster, or the domain wants time.

    They are due again when the lease has run out; never, if they are not to be sent. All are locked in one order, with
    nothing held before: of two who claim at once one gets the whole email, and there is no deadlock.
    """
    with transaction.atomic():
        claimed = list(going_out_with(first, now).select_for_update(of=("self",)))
        if wants_time(first.email, now):
            Notice.objects.filter(pk__in=[one.pk for one in claimed]).update(due_at=now + PAUSE)
            return []
        for notice in claimed:
            notice.error = why_not(notice)
            notice.due_at = None if notice.error else now + longest_attempt() + LEASE_MARGIN
            notice.attempt_count += not notice.error
        Notice.objects.bulk_update(claimed, ["due_at", "attempt_count", "error"])
    return claimed


def longest_attempt() -> timedelta:
    """Nobody renews the lease of a notice."""
    return timedelta(seconds=settings.EMAIL_TIMEOUT + settings.EMAIL_ANSWER_TIMEOUT)


def going_out_with(first: Notice, now: datetime) -> NoticeQuerySet:
    """It, and the others that are told in the same email, also those that gather still.

    What was tried goes out again as the same email, known by its moment: nothing joins it. What is more than an email
    should name is the next one.
    """
    same = (
        Notice.objects.due(now + GATHER_FOR)
        .filter(attempt_count=first.attempt_count)
        .select_related("application", "recipient", "subscription")
        .defer("subscription__encrypted_headers")
        .order_by("id")
    )
    if first.kind not in TOGETHER:
        return same.filter(pk=first.pk)
    same = same.filter(
        application=first.application_id,
        kind=first.kind,
        email__iexact=first.email,
        recipient=first.recipient_id,
    )
    same = same.filter(due_at=first.due_at) if first.attempt_count else same
    return same[:MOST_TOGETHER]


def why_not(notice: Notice) -> str:
    """Why it is not to be sent, in a plain sentence; empty if it is."""
    if Suppression.objects.of([notice.email]):
        return "The address is suppressed."
    return REASONS[notice.kind](notice)


def why_not_asked(notice: Notice) -> str:
    recipient, subscription = notice.recipient, notice.subscription
    if recipient is None or recipient.removed_at or subscription is None or subscription.deleted_at:
        return "The recipient or the subscription was removed."
    if recipient.status != Recipient.Status.UNCONFIRMED:
        return f"The recipient is {recipient.status} already."
    return ""


def send_in_one_email(notices: Sequence[Notice], now: datetime) -> Report:
    return send_email(partial(email, notices, now), notices[0].id)


def email(notices: Sequence[Notice], now: datetime) -> Email:
    """Known by the first of them, at each retry."""
    first = notices[0]
    if write := EMAILS.get(first.kind):
        return write(first, now)
    letter = message(words(notices, now), first.email, first.id, now, first.application.reply_to)
    letter.extra_headers |= headers_of(notices)
    return letter


def words(notices: Sequence[Notice], now: datetime) -> Wording:
    *others, latest = notices
    return TOGETHER[latest.kind](notices, now) if others else WORDS[latest.kind](latest, now)


def question(notice: Notice, now: datetime) -> Wording:
    assert notice.recipient is not None and notice.subscription is not None  # noqa: S101, PT018
    recipient, subscription = notice.recipient, notice.subscription
    return confirmation_wording(
        notice.email,
        notice.application.name,
        subscription.emailed_types,
        recipient.id,
        now,
        Reader(recipient.timezone, recipient.language),
        webhook=subscription.url,
        purpose="" if subscription.url else subscription.description,
    )


def outage(write: outages.Writer, notice: Notice, _: datetime) -> Wording:
    subscription, reader = str(notice.subscription_id), contact_reader(notice)
    return outage_wording(write, notice.facts, notice.email, notice.application, subscription, reader)


def several_outages(write: outages_together.Writer, notices: Sequence[Notice], now: datetime) -> Wording:
    """Of a subscription, only the latest."""
    latest = notices[-1]
    told = {str(one.subscription_id): one.facts for one in notices}
    if len(told) == 1:
        return WORDS[latest.kind](latest, now)
    return outages_wording(write, told, latest.email, latest.application, contact_reader(latest))


def case_notes(write: handling.WriterOfSeveral, notices: Sequence[Notice], _: datetime) -> Wording:
    cases = Case.objects.select_related("application", "event").in_bulk(
        [one.facts["case"] for one in notices]
    )
    told = [(cases[UUID(one.facts["case"])], person_told(one)) for one in notices]
    return notes_wording(write, told, customers_in(cases.values()))


def contact_reader(notice: Notice) -> Reader:
    return Reader(*notice.application.reads(notice.email))


def case_note(write: handling.Writer, notice: Notice, _: datetime) -> Wording:
    case = Case.objects.select_related("application", "event").get(pk=notice.facts["case"])
    customer = customers_in([case]).get(case.pk, "")
    return note_wording(write, case, person_told(notice), notice.facts["by"], customer)


def summed_up(notice: Notice, _: datetime) -> Wording:
    return summary_wording(notice.facts, notice.email, notice.application, contact_reader(notice))


def fallback(notice: Notice, now: datetime) -> Email:
    assert notice.recipient is not None and notice.subscription is not None  # noqa: S101, PT018
    delivery = Delivery.objects.select_related("event").get(pk=notice.facts["delivery"])
    last_error = delivery.attempts.order_by("-number").values_list("error", flat=True).first()
    missed = Missed(
        url=notice.subscription.url,
        has_failed=delivery.status == Delivery.Status.FAILED,
        attempts=delivery.attempt_count,
        due_at=delivery.created_at,
        now=now,
        last_error=last_error or "",
    )
    on_it = handling_of([delivery.event_id]).get(delivery.event_id)
    customer = customers_of([(delivery.application_id, delivery.event)]).get(delivery.event_id, "")
    told = notification(delivery, delivery.attempt_count, delivery.trigger, on_it, customer)
    return fallback_message(told, email_target(notice.subscription, notice.recipient), missed, notice.id, now)


def settle_notices(notices: Sequence[Notice], report: Report, now: datetime) -> None:
    """Write it down; at worst without the reason, so that the email is not sent again and again."""
    try:
        write(notices, report, report.error, now)
    except UNSTORABLE:
        write(notices, report, "The email failed; the answer could not be stored.", now)


def write(notices: Sequence[Notice], report: Report, error: str, now: datetime) -> None:
    """Unless another worker has taken the notices since: their number of attempts, the same for all, tells."""
    waits, attempts = settings.EMAIL_RETRY_SCHEDULE, notices[0].attempt_count
    again = not report.succeeded and not report.permanent and attempts <= len(waits)
    with transaction.atomic():
        Notice.objects.filter(pk__in=[one.pk for one in notices], attempt_count=attempts).update(
            due_at=now + waits[attempts - 1] if again else None,
            sent_at=now if report.succeeded else None,
            error=error,
        )


WORDS: dict[str, Callable[[Notice, datetime], Wording]] = {
    Notice.Kind.CONFIRMATION: question,
    Notice.Kind.FAILING: partial(outage, outages.failing),
    Notice.Kind.DISABLING: partial(outage, outages.disabling),
    Notice.Kind.DISABLED: partial(outage, outages.disabled),
    Notice.Kind.GONE: partial(outage, outages.gone),
    Notice.Kind.RECOVERED: partial(outage, outages.recovered),
    Notice.Kind.SUMMARY: summed_up,
    Notice.Kind.CASE_TAKEN: partial(case_note, handling.taken),
    Notice.Kind.CASE_HANDED_OVER: partial(case_note, handling.handed_over),
    Notice.Kind.CASE_DONE: partial(case_note, handling.done),
    Notice.Kind.CASE_GIVEN_BACK: partial(case_note, handling.given_back),
    Notice.Kind.CASE_UNHANDLED: partial(case_note, handling.unhandled),
    Notice.Kind.CASE_UNFINISHED: partial(case_note, handling.unfinished),
}
TOGETHER: dict[str, Callable[[Sequence[Notice], datetime], Wording]] = {
    Notice.Kind.FAILING: partial(several_outages, outages_together.failing),
    Notice.Kind.DISABLING: partial(several_outages, outages_together.disabling),
    Notice.Kind.DISABLED: partial(several_outages, outages_together.disabled),
    Notice.Kind.GONE: partial(several_outages, outages_together.gone),
    Notice.Kind.RECOVERED: partial(several_outages, outages_together.recovered),
    Notice.Kind.CASE_TAKEN: partial(case_notes, handling.taken_together),
    Notice.Kind.CASE_HANDED_OVER: partial(case_notes, handling.handed_over_together),
    Notice.Kind.CASE_DONE: partial(case_notes, handling.done_together),
    Notice.Kind.CASE_GIVEN_BACK: partial(case_notes, handling.given_back_together),
    Notice.Kind.CASE_UNHANDLED: partial(case_notes, handling.unhandled_together),
    Notice.Kind.CASE_UNFINISHED: partial(case_notes, handling.unfinished_together),
}
EMAILS: dict[str, Callable[[Notice, datetime], Email]] = {Notice.Kind.FALLBACK: fallback}
REASONS: dict[str, Callable[[Notice], str]] = {
    Notice.Kind.CONFIRMATION: why_not_asked,
    Notice.Kind.FAILING: why_untold,
    Notice.Kind.DISABLING: why_untold,
    Notice.Kind.DISABLED: why_untold,
    Notice.Kind.GONE: why_untold,
    Notice.Kind.RECOVERED: why_untold,
    Notice.Kind.SUMMARY: why_not_summed_up,
    Notice.Kind.FALLBACK: why_not_told,
    Notice.Kind.CASE_TAKEN: why_no_note,
    Notice.Kind.CASE_HANDED_OVER: why_no_note,
    Notice.Kind.CASE_DONE: why_no_note,
    Notice.Kind.CASE_GIVEN_BACK: why_no_note,
    Notice.Kind.CASE_UNHANDLED: why_no_note,
    Notice.Kind.CASE_UNFINISHED: why_no_note,
}
