"""Emails: one notification to one person, and the question whether they want any."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.header import Header
from email.policy import compat32
from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend

from deliveries.channels import EmailTarget, Notification, Report, Timings
from deliveries.channels.refusals import api_answer, plain, refusal, unusable
from deliveries.channels.wording import ANYBODY, Wording, confirmation_wording, notification_wording
from deliveries.letters.reader import Reader
from deliveries.letters.reading import name
from subscriptions.links import unsubscribe_link

NOT_KEPT = "(not kept)"

log = structlog.get_logger(__name__)


class Email(EmailMultiAlternatives):
    """Without folded headers: Python's folding leaves the first line of a long one empty."""

    def message(self, *args: Any, **kwargs: Any) -> Any:
        built = super().message(*args, **kwargs)
        built.policy = compat32.clone(max_line_length=None)
        return built


def send(notification: Notification, target: EmailTarget, now: datetime) -> Report:
    """Try once to tell one person of one event. Never raises."""
    try:
        return deliver(notification_message(notification, target, now))
    except Exception:
        log.exception("email broke", delivery=str(notification.delivery_id))
        return Report(
            succeeded=False, error="The email could not be written, for a fault of the service itself."
        )


def send_confirmation(
    email: str,
    application_name: str,
    event_types: Sequence[str],
    recipient_id: UUID,
    request_id: UUID,
    now: datetime,
    reader: Reader = ANYBODY,
) -> Report:
    """Try once to ask one person to confirm the address. Never raises."""
    try:
        wording = confirmation_wording(email, application_name, event_types, recipient_id, now, reader)
        return deliver(message(wording, email, request_id, now))
    except Exception:
        log.exception("email broke", request=str(request_id))
        return Report(
            succeeded=False, error="The email could not be written, for a fault of the service itself."
        )


def notification_message(notification: Notification, target: EmailTarget, now: datetime) -> Email:
    """The email, with the notification's exact bytes as an attachment."""
    wording = notification_wording(notification, target)
    email = message(wording, target.email, notification.delivery_id, now)
    email.extra_headers |= notification_headers(notification, target)
    email.attach("notification.json", notification.body(), "application/json")
    return email


def message(wording: Wording, to: str, message_id: UUID, now: datetime) -> Email:
    """The same id at each retry: a mail server or program that sees two copies can drop one."""
    email = Email(wording.subject, wording.text, to=[to])
    email.attach_alternative(wording.html, "text/html")
    email.extra_headers = {
        "Message-ID": f"<{message_id}@{domain()}>",
        "Date": format_datetime(now.astimezone(UTC)),
        "Auto-Submitted": "auto-generated",  # RFC 3834: out-of-office programs keep quiet
    }
    return email


def notification_headers(notification: Notification, target: EmailTarget) -> dict[str, str]:
    return {
        "List-Id": list_id(target.application_name, notification.subscription_id),
        "List-Unsubscribe": f"<{unsubscribe_link(target.recipient_id)}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",  # RFC 8058
        "openvolt-event-id": str(notification.event_id),
        "openvolt-attempt": str(notification.attempt),
        "openvolt-trigger": notification.trigger,
    }


def list_id(application_name: str, subscription_id: UUID) -> str:
    """RFC 2919: for people the application's name, for programs what an unsubscribe is from."""
    words = name(application_name).translate(str.maketrans("", "", '"\\<>'))
    phrase = f'"{words}"' if words.isascii() else Header(words, "utf-8").encode(linesep="")
    return f"{phrase} <{subscription_id}.{domain()}>"


def domain() -> str:
    """The sender's; that of our own pages when the sender has none."""
    own = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    return own or str(urlsplit(settings.PUBLIC_URL).hostname)


def deliver(email: Email) -> Report:
    """Hand it to the mail server or provider. Once that has accepted it, nothing can make it a failure."""
    began = time.monotonic()
    connection = get_connection()
    try:
        report = hand_over(email, connection)
    finally:
        close(connection)
    total_ms = round((time.monotonic() - began) * 1000, 1)
    return replace(report, request_headers=kept_headers(email), timings=Timings(total_ms=total_ms))


def hand_over(email: Email, connection: BaseEmailBackend) -> Report:
    try:
        connection.open()
    except Exception as error:
        return unusable(error)
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


def close(connection: BaseEmailBackend) -> None:
    try:
        connection.close()
    except Exception as error:
        log.info("mail connection closed badly", reason=str(error))


def kept_headers(email: Email) -> dict[str, str]:
    """For the history, which the application's developers read: the unsubscribe link is the recipient's alone."""
    named = {"Subject": email.subject, "From": email.from_email, "To": email.to[0]}
    hidden = {"List-Unsubscribe": NOT_KEPT} if "List-Unsubscribe" in email.extra_headers else {}
    return named | email.extra_headers | hidden
