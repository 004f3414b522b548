"""Asking recipients to confirm their address: one email, tried again on the schedule of emails."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import transaction

from deliveries.channels import Report
from deliveries.channels.email import send_confirmation
from deliveries.claiming import LEASE_MARGIN, attempt_timeout
from deliveries.models import ConfirmationRequest
from deliveries.patience import patiently
from deliveries.settling import UNSTORABLE
from deliveries.stopping import stopping
from subscriptions.models import Channel, Recipient


def send_confirmation_requests(
    clock: Callable[[], datetime], is_over: Callable[[], bool] = stopping.is_set
) -> None:
    """Send those that are due, one by one, until it is over; the rest stays due."""
    while not is_over() and (request := claim_request(clock())):
        if is_wanted(request.recipient):
            report = send_request(request, clock())
            patiently(partial(settle_request, request, report, clock()))


def claim_request(now: datetime) -> ConfirmationRequest | None:
    """Take the one that waits longest; it is due again when its lease has run out."""
    with transaction.atomic():
        request = (
            ConfirmationRequest.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("recipient__subscription__application")
            .filter(due_at__lte=now)
            .order_by("due_at")
            .first()
        )
        if request is not None:
            wanted = is_wanted(request.recipient)
            request.due_at = now + attempt_timeout(Channel.EMAIL) + LEASE_MARGIN if wanted else None
            request.attempt_count += 1
            request.save(update_fields=["due_at", "attempt_count"])
    return request


def is_wanted(recipient: Recipient) -> bool:
    return (
        recipient.status == Recipient.Status.UNCONFIRMED
        and recipient.removed_at is None
        and recipient.subscription.deleted_at is None
    )


def send_request(request: ConfirmationRequest, now: datetime) -> Report:
    recipient = request.recipient
    return send_confirmation(
        recipient.email,
        recipient.subscription.application.name,
        recipient.subscription.event_types,
        recipient.id,
        request.id,
        now,
    )


def settle_request(request: ConfirmationRequest, report: Report, now: datetime) -> None:
    """Write it down; at worst without the reason, so that the email is not sent again and again."""
    try:
        write(request, report, report.error, now)
    except UNSTORABLE:
        write(request, report, "The email failed; the answer could not be stored.", now)


def write(request: ConfirmationRequest, report: Report, error: str, now: datetime) -> None:
    """Unless another worker has taken the request since: its number of attempts tells."""
    waits = settings.EMAIL_RETRY_SCHEDULE
    again = not report.succeeded and not report.permanent and request.attempt_count <= len(waits)
    with transaction.atomic():
        ConfirmationRequest.objects.filter(pk=request.pk, attempt_count=request.attempt_count).update(
            due_at=now + waits[request.attempt_count - 1] if again else None,
            sent_at=now if report.succeeded else None,
            error=error,
        )
