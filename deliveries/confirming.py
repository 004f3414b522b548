"""Asking recipients to confirm their address: one email, tried again on the schedule of emails."""

from collections.abc import Callable
from datetime import datetime

from django.conf import settings
from django.db import transaction

from deliveries.channels import Report
from deliveries.channels.email import send_confirmation
from deliveries.claiming import LEASE_MARGIN, attempt_timeout
from deliveries.models import ConfirmationRequest
from subscriptions.models import Channel, Recipient


def send_confirmation_requests(clock: Callable[[], datetime]) -> None:
    """Send those that are due, one by one."""
    while request := claim_request(clock()):
        if is_wanted(request.recipient):
            settle_request(request, send_request(request, clock()), clock())


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
        recipient.status in (Recipient.Status.UNCONFIRMED, Recipient.Status.UNSUBSCRIBED)
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
    waits = settings.EMAIL_RETRY_SCHEDULE
    again = not report.succeeded and not report.permanent and request.attempt_count <= len(waits)
    request.due_at = now + waits[request.attempt_count - 1] if again else None
    request.sent_at = now if report.succeeded else None
    request.error = report.error
    request.save(update_fields=["due_at", "sent_at", "error"])
