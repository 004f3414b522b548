"""Digests: several notifications to one person, in one email."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog

from deliveries.channels import EmailTarget, Notification, Report
from deliveries.channels.email import deliver, feedback_id, list_headers, message, notification_message
from deliveries.channels.mime import Email
from deliveries.channels.wording import digest_wording

UNWRITTEN = "The email could not be written, for a fault of the service itself."

log = structlog.get_logger(__name__)


def send(notifications: Sequence[Notification], digest: UUID, target: EmailTarget, now: datetime) -> Report:
    """Try once to tell one person of all of these. Never raises."""
    try:
        return deliver(digest_message(notifications, digest, target, now))
    except Exception:
        log.exception("digest broke", digest=str(digest))
        return Report(succeeded=False, error=UNWRITTEN)


def digest_message(
    notifications: Sequence[Notification], digest: UUID, target: EmailTarget, now: datetime
) -> Email:
    """The email, with the notifications' exact bytes in one JSON array. One that is alone has its own email."""
    first, *others = notifications
    if not others:
        return notification_message(first, target, now, digest)
    words = digest_wording(each_event_once(notifications), target)
    email = message(words, target.email, digest, now, target.reply_to)
    email.extra_headers |= list_headers(first.subscription_id, target)
    email.extra_headers |= {
        "Feedback-ID": feedback_id(first.subscription_id, "digest"),
        "openvolt-attempt": str(first.attempt),
        "openvolt-trigger": first.trigger,
    }
    email.attach("notifications.json", as_array(notifications), "application/json")
    return email


def each_event_once(notifications: Sequence[Notification]) -> list[Notification]:
    """The earliest of it: a replay may have come while it waited."""
    events: dict[UUID, Notification] = {}
    for each in notifications:
        events.setdefault(each.event_id, each)
    return list(events.values())


def as_array(notifications: Sequence[Notification]) -> bytes:
    return b"[" + b",\n".join(each.body() for each in notifications) + b"]\n"
