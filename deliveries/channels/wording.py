"""What an email says: which templates, and what they are filled with."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.template import Context
from django.template.loader import select_template

from deliveries.channels import EmailTarget, Notification
from deliveries.templatetags.emails import clean, day, moment_text, name
from events.event_types import EVENT_TYPES
from subscriptions.links import CONFIRM_WITHIN, confirm_link, unsubscribe_link
from subscriptions.models import EVERY_TYPE

LONGEST_SUBJECT = 110
GENERAL = "general"
BLANK_LINES = re.compile(r"\n\s*\n\s*\n")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Wording:
    """An email's words: one line of subject, the text part, the HTML part."""

    subject: str
    text: str
    html: str


def sentences(event_types: Iterable[str]) -> list[str]:
    """In plain words, what a subscription to these event types (or `*`) is told."""
    wanted = set(event_types)
    known = [each.sentence for each in EVENT_TYPES.values() if wanted & {EVERY_TYPE, each.name}]
    return known + [clean(unknown) for unknown in sorted(wanted - {EVERY_TYPE} - EVENT_TYPES.keys())]


def notification_wording(notification: Notification, target: EmailTarget) -> Wording:
    """In the words of the event type's own templates; in general ones when there are none, or they don't fit."""
    payload = read(notification.payload)
    context = notification_context(notification, target, payload)
    event_type = EVENT_TYPES.get(notification.event_type)
    if event_type and not event_type.errors(payload):
        try:
            return filled([event_type.name, GENERAL], context)
        except Exception:
            log.exception("templates broke", event_type=event_type.name)
    return filled([GENERAL], context)


def read(payload: str) -> Any:
    """The payload's value; None for a text that is no JSON, which the email carries all the same."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def notification_context(notification: Notification, target: EmailTarget, payload: Any) -> dict[str, Any]:
    known = EVENT_TYPES.get(notification.event_type)
    return {
        "application_name": name(target.application_name),
        "email": target.email,
        "event_type": clean(notification.event_type),
        "summary": known.sentence.rstrip(".") if known else f"New event: {clean(notification.event_type)}",
        "sentence": known.sentence if known else "Something happened.",
        "payload": payload,
        "occurred_at": moment_text(notification.occurred_at),
        "event_id": notification.event_id,
        "delivery_id": notification.delivery_id,
        "test": notification.test,
        "unsubscribe_link": unsubscribe_link(target.recipient_id),
    }


def confirmation_wording(
    email: str, application_name: str, event_types: Sequence[str], recipient_id: UUID, now: datetime
) -> Wording:
    return filled(
        ["confirm"],
        {
            "application_name": name(application_name),
            "email": email,
            "sentences": sentences(event_types),
            "everything": EVERY_TYPE in event_types,
            "confirm_link": confirm_link(recipient_id),
            "confirm_until": day(now + CONFIRM_WITHIN),
        },
    )


def filled(names: Sequence[str], context: Mapping[str, Any]) -> Wording:
    """Each of the three parts from the first of these names that has a template for it."""
    headline = clean(rendered(names, "subject.txt", context, escape=False), LONGEST_SUBJECT)
    with_headline = {**context, "headline": headline}
    text = rendered(names, "txt", with_headline, escape=False)
    return Wording(
        subject=f"[Test] {headline}" if context.get("test") else headline,
        text=BLANK_LINES.sub("\n\n", text).strip() + "\n",
        html=rendered(names, "html", with_headline, escape=True),
    )


def rendered(names: Sequence[str], part: str, context: Mapping[str, Any], *, escape: bool) -> str:
    chosen = select_template([f"emails/{each}.{part}" for each in names])
    return str(chosen.template.render(Context(dict(context), autoescape=escape)))
