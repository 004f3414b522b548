"""Emails: one notification to one person, and the question whether they want any."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, parseaddr
from functools import lru_cache
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend

from deliveries.channels import EmailTarget, Notification, Report, Timings
from deliveries.channels.drafts import drafts
from deliveries.channels.mail_connections import close, connections
from deliveries.channels.mime import Email
from deliveries.channels.refusals import api_answer, plain, refusal, unusable
from deliveries.channels.smtp import CLOSING
from deliveries.channels.wording import Wording, fallback_wording, notification_wording
from deliveries.letters.fallback import Missed
from deliveries.letters.reading import name, searchable
from subscriptions.links import unsubscribe_link

NOT_IN_A_FEEDBACK_ID = re.compile(r"[^\w.-]", re.ASCII)
NOT_KEPT = "(not kept)"
OUR_ID = "openvolt_id"
SHORTEST_ATTEMPT = 0.1  # seconds

log = structlog.get_logger(__name__)


def send(notification: Notification, target: EmailTarget, now: datetime) -> Report:
    """Try once to tell one person of one event. Never raises."""
    try:
        return deliver(notification_message(notification, target, now))
    except Exception:
        log.exception("email broke", delivery=str(notification.delivery_id))
        return Report(
            succeeded=False, error="The email could not be written, for a fault of the service itself."
        )


def send_email(write: Callable[[], Email], id: UUID) -> Report:
    """Try once to send one person an email of the service's own. Never raises."""
    try:
        return deliver(write())
    except Exception:
        log.exception("email broke", notice=str(id))
        return Report(
            succeeded=False, error="The email could not be written, for a fault of the service itself."
        )


def notification_message(
    notification: Notification, target: EmailTarget, now: datetime, id: UUID | None = None
) -> Email:
    """The email, with the notification's exact bytes as an attachment."""
    wording = drafts.wording(notification, target) or notification_wording(notification, target)
    email = message(wording, target.email, id or notification.delivery_id, now, target.reply_to)
    return complete(email, notification, target)


def fallback_message(
    notification: Notification, target: EmailTarget, missed: Missed, id: UUID, now: datetime
) -> Email:
    """The email about what a webhook missed, with the notification that it would have got."""
    wording = fallback_wording(notification, target, missed)
    return complete(message(wording, target.email, id, now, target.reply_to), notification, target)


def complete(email: Email, notification: Notification, target: EmailTarget) -> Email:
    email.extra_headers |= notification_headers(notification, target)
    email.attach("notification.json", notification.body(), "application/json")
    return email


def message(wording: Wording, to: str, id: UUID, now: datetime, reply_to: str) -> Email:
    """The same id at each retry: a mail server or program that sees two copies can drop one.

    `reply_to` is the application's address for answers to all of its emails; empty when it has none.
    """
    email = Email(wording.subject, wording.text, to=[to], reply_to=[reply_to] if reply_to else None)
    email.attach_alternative(wording.html, "text/html")
    email.metadata = {OUR_ID: str(id)}  # type: ignore[attr-defined]  # Anymail's; it comes back in webhooks
    email.extra_headers = {
        "Message-ID": message_id(id),
        "Date": format_datetime(now.astimezone(UTC)),
        "Auto-Submitted": "auto-generated",  # RFC 3834: out-of-office programs keep quiet
        **(one_click(wording.leave) if wording.leave else {}),
    }
    return email


def message_id(id: UUID) -> str:
    return f"<{id}@{domain()}>"


def notification_headers(notification: Notification, target: EmailTarget) -> dict[str, str]:
    return {
        **list_headers(notification.subscription_id, target),
        "Feedback-ID": feedback_id(notification.subscription_id, notification.event_type),
        "openvolt-event-id": str(notification.event_id),
        "openvolt-attempt": str(notification.attempt),
        "openvolt-trigger": notification.trigger,
    }


def list_headers(subscription_id: UUID, target: EmailTarget) -> dict[str, str]:
    return {
        "List-Id": list_id(target.application_name, subscription_id),
        **one_click(unsubscribe_link(target.recipient_id)),
    }


def one_click(link: str) -> dict[str, str]:
    """RFC 8058: mail programs have a button that posts to the link."""
    return {"List-Unsubscribe": f"<{link}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def feedback_id(source: UUID, kind: str) -> str:
    """By which Gmail tells the sender of complaints: from which subscription, about which kind of email."""
    return f"{source}:{NOT_IN_A_FEEDBACK_ID.sub('_', kind)[:60]}:openvolt"


def list_id(application_name: str, source: UUID) -> str:
    """RFC 2919: for people the application's name, for programs what an unsubscribe is from."""
    words = searchable(name(application_name)).translate(str.maketrans("", "", '"\\<>'))
    phrase = f'"{words}"' if words.isascii() else Header(words, "utf-8").encode(linesep="")
    return f"{phrase} <{source}.{domain()}>"


def domain() -> str:
    """The sender's; that of our own pages when the sender has none."""
    return domain_of(settings.DEFAULT_FROM_EMAIL) or str(urlsplit(settings.PUBLIC_URL).hostname)


@lru_cache(8)
def domain_of(sender: str) -> str:
    return parseaddr(sender)[1].rpartition("@")[2]


def deliver(email: Email) -> Report:
    """Hand it to the mail server or provider. Once that has accepted it, nothing can make it a failure."""
    began = time.monotonic()
    report = over_kept_connection(email) or over_new_connection(email, began + settings.EMAIL_TIMEOUT)
    total_ms = round((time.monotonic() - began) * 1000, 1)
    return replace(report, request_headers=kept_headers(email), timings=Timings(total_ms=total_ms))


def over_kept_connection(email: Email) -> Report | None:
    """None when there is none, or it ended before the other side could have taken the email: it may go again."""
    connection = connections.take()
    if connection is None:
        return None
    report = hand_over(email, connection)
    is_refused = report.status_code not in (None, CLOSING)
    is_lost = not (report.succeeded or is_refused) and getattr(connection, "is_lost", False)
    put_away(connection, report)
    return None if is_lost else report


def over_new_connection(email: Email, ends_at: float) -> Report:
    """Within what is left of the attempt's time."""
    connection = get_connection(timeout=max(ends_at - time.monotonic(), SHORTEST_ATTEMPT))
    try:
        connection.open()
    except Exception as error:
        close(connection)
        return unusable(error)
    report = hand_over(email, connection)
    put_away(connection, report)
    return report


def put_away(connection: BaseEmailBackend, report: Report) -> None:
    if report.succeeded:
        connections.give_back(connection)
    else:
        close(connection)


def hand_over(email: Email, connection: BaseEmailBackend) -> Report:
    remote_ip = getattr(connection, "remote_ip", None)
    try:
        email.connection = connection
        email.send()
    except Exception as error:
        return replace(refusal(error), remote_ip=remote_ip)
    return replace(answer(email, connection), remote_ip=remote_ip)


def answer(email: Email, connection: BaseEmailBackend) -> Report:
    """What the other side said, where the backend tells: a provider's HTTP answer, or SMTP."""
    response = getattr(getattr(email, "anymail_status", None), "esp_response", None)
    if response is not None:
        return api_answer(response.status_code, response.text)
    code, text = getattr(connection, "said", None) or (None, b"")
    return Report(succeeded=True, status_code=code, response_body=plain(text))


def kept_headers(email: Email) -> dict[str, str]:
    """For the history, which the application's developers read: the unsubscribe link is the recipient's alone."""
    named = {"Subject": email.subject, "From": email.from_email, "To": email.to[0]}
    hidden = {"List-Unsubscribe": NOT_KEPT} if "List-Unsubscribe" in email.extra_headers else {}
    return named | email.extra_headers | hidden
