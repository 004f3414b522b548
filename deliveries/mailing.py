"""Sending notices, the emails of the service's own: one by one, each tried again on the schedule of emails.

A kind of notice is a line in `WORDS`, or in `EMAILS` if it is more than words, and one in `REASONS`.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import transaction

from deliveries.cases import person_told
from deliveries.cases import why_not as why_no_note
from deliveries.channels import Report
from deliveries.channels.case_wording import note_wording
from deliveries.channels.email import fallback_message, send_email, send_letter
from deliveries.channels.mime import Email
from deliveries.channels.summary_wording import summary_wording
from deliveries.channels.wording import Wording, confirmation_wording, outage_wording
from deliveries.claiming import LEASE_MARGIN, attempt_timeout, email_target, notification
from deliveries.failing import why_untold
from deliveries.fallback import why_not_told
from deliveries.letters import handling, outages
from deliveries.letters.fallback import Missed
from deliveries.letters.reader import Reader
from deliveries.models import Case, Delivery, Notice
from deliveries.patience import patiently
from deliveries.settling import UNSTORABLE
from deliveries.stopping import stopping
from deliveries.summaries import why_not_summed_up
from deliveries.suppressing import suppress_refused
from subscriptions.models import Channel, Recipient, Suppression


def send_notices(clock: Callable[[], datetime], is_over: Callable[[], bool] = stopping.is_set) -> None:
    """Send those that are due, one by one, until it is over; the rest stays due."""
    while not is_over() and (notice := claim_notice(clock())):
        if notice.due_at is not None:
            report = send_notice(notice, clock())
            patiently(partial(settle_notice, notice, report, clock()))
            suppress_refused({notice.email: report}, clock())


def claim_notice(now: datetime) -> Notice | None:
    """Take the one that waits longest. It is due again when its lease has run out; never, if it is not to be sent."""
    with transaction.atomic():
        notice = (
            Notice.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("application", "recipient", "subscription")
            .defer("subscription__encrypted_headers")
            .due(now)
            .first()
        )
        if notice is not None:
            notice.error = why_not(notice)
            notice.due_at = None if notice.error else now + attempt_timeout(Channel.EMAIL) + LEASE_MARGIN
            notice.attempt_count += not notice.error
            notice.save(update_fields=["due_at", "attempt_count", "error"])
    return notice


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


def send_notice(notice: Notice, now: datetime) -> Report:
    if write := EMAILS.get(notice.kind):
        return send_email(partial(write, notice, now), notice.id)
    return send_letter(partial(WORDS[notice.kind], notice, now), notice.email, notice.id, now)


def question(notice: Notice, now: datetime) -> Wording:
    assert notice.recipient is not None and notice.subscription is not None  # noqa: S101, PT018
    recipient, event_types = notice.recipient, notice.subscription.emailed_types
    reader = Reader(recipient.timezone, recipient.language)
    webhook = notice.subscription.url
    return confirmation_wording(
        notice.email, notice.application.name, event_types, recipient.id, now, reader, webhook
    )


def outage(write: outages.Writer, notice: Notice, _: datetime) -> Wording:
    return outage_wording(
        write, notice.facts, notice.email, notice.application.name, str(notice.subscription_id)
    )


def case_note(write: handling.Writer, notice: Notice, _: datetime) -> Wording:
    case = Case.objects.select_related("application", "event").get(pk=notice.facts["case"])
    return note_wording(write, case, person_told(notice), notice.facts["by"])


def summed_up(notice: Notice, _: datetime) -> Wording:
    return summary_wording(notice.facts, notice.email, notice.application)


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
    told = notification(delivery, delivery.attempt_count, delivery.trigger)
    return fallback_message(told, email_target(notice.subscription, notice.recipient), missed, notice.id, now)


def settle_notice(notice: Notice, report: Report, now: datetime) -> None:
    """Write it down; at worst without the reason, so that the email is not sent again and again."""
    try:
        write(notice, report, report.error, now)
    except UNSTORABLE:
        write(notice, report, "The email failed; the answer could not be stored.", now)


def write(notice: Notice, report: Report, error: str, now: datetime) -> None:
    """Unless another worker has taken the notice since: its number of attempts tells."""
    waits = settings.EMAIL_RETRY_SCHEDULE
    again = not report.succeeded and not report.permanent and notice.attempt_count <= len(waits)
    with transaction.atomic():
        Notice.objects.filter(pk=notice.pk, attempt_count=notice.attempt_count).update(
            due_at=now + waits[notice.attempt_count - 1] if again else None,
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
    Notice.Kind.CASE_UNHANDLED: partial(case_note, handling.unhandled),
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
    Notice.Kind.CASE_UNHANDLED: why_no_note,
}
