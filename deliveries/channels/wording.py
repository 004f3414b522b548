"""What an email says: which letter it is, in whose language and time, and who gets it why."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.email_addresses import same_for_all
from accounts.models import Application
from deliveries.channels import EmailTarget, Handling, Notification
from deliveries.letters import Action, Letter, Told, Unnamed
from deliveries.letters.digest import EXTENTS, digest_letter
from deliveries.letters.events import LETTERS
from deliveries.letters.fallback import Missed, fallback_question, mark, reason
from deliveries.letters.general import general_letter, sentence
from deliveries.letters.handling import HANDLED, handled, with_button
from deliveries.letters.layout import as_html, as_text
from deliveries.letters.numbers import number
from deliveries.letters.outages import Outage, Writer
from deliveries.letters.reader import Reader
from deliveries.letters.reading import clean, cut, in_quotes, isolated, name, said, searchable
from deliveries.letters.stretches import legend
from events.event_types import EVENT_TYPES
from subscriptions.links import (
    CONFIRM_WITHIN,
    case_link,
    confirm_link,
    contact_id,
    preferences_link,
    reading_link,
    unsubscribe_link,
)
from subscriptions.models import EVERY_TYPE

LONGEST_SUBJECT = 110
LONGEST_HTML = 100_000  # bytes; Gmail cuts an email off after 102 KB, with the links at its end
ANYBODY = Reader()

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Wording:
    """An email's words: one line of subject, the text part, the HTML part; and where a POST ends emails of its kind."""

    subject: str
    text: str
    html: str
    leave: str = ""


def sentences(event_types: Iterable[str]) -> list[str]:
    """In plain words, what a subscription to these event types (or `*`) is told."""
    wanted = set(event_types)
    known = [sentence(each) for each in EVENT_TYPES if wanted & {EVERY_TYPE, each}]
    return known + [said(unknown) for unknown in sorted(wanted - {EVERY_TYPE} - EVENT_TYPES.keys())]


def notification_wording(notification: Notification, target: EmailTarget) -> Wording:
    """In the words of the event type's own letter; in general ones when there is none, or the payload doesn't fit."""
    reader = Reader(target.timezone, target.language)
    with reader.language_on():
        told = told_of(notification, target, reader)
        letter = handled(best_letter(told), told)
        return wording(letter, reader, notification_frame(told, notification, target))


def told_of(notification: Notification, target: EmailTarget, reader: Reader) -> Told:
    is_case = notification.event_type in HANDLED
    return Told(
        notification.event_type,
        notification.occurred_at,
        read(notification.payload),
        isolated(name(target.application_name)),
        reader,
        case_link(notification.event_id, target.recipient_id) if is_case else "",
        notification.handling,
        isolated(name(notification.customer)),
        is_on_it(target.email, notification.handling),
    )


def is_on_it(email: str, handling: Handling | None) -> bool:
    return bool(handling and not handling.done_at and same_for_all(handling.by) == same_for_all(email))


def own_letter(told: Told) -> Letter | None:
    known, write = EVENT_TYPES.get(told.event_type), LETTERS.get(told.event_type)
    if write and known and not known.errors(told.payload):
        try:
            return write(told)
        except Unnamed:
            return None
        except Exception:
            log.exception("letter broke", event_type=told.event_type)
    return None


def read(payload: str) -> Any:
    """The payload's value; None for a text that is no JSON, which the email carries all the same."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def notification_frame(told: Told, notification: Notification, target: EmailTarget) -> dict[str, Any]:
    """What stands around a letter that tells of an event."""
    return {
        "application": told.application,
        "test": _("This is a test.") if notification.test else "",
        "test_meaning": _("Nothing has happened; the details are made up."),
        **replayed([notification]),
        "facts": [
            (_("Application"), told.application),
            (_("Happened"), told.happened),
            (_("Time zone"), zone(told.reader)),
        ],
        "quote": _(
            "The attached notification.json has the complete record for programs. If you need help, quote these:"
        ),
        "ids": [
            _("Event %(id)s (%(type)s)") % {"id": notification.event_id, "type": clean(told.event_type)},
            _("Delivery %(id)s") % {"id": notification.delivery_id},
        ],
        "why": why_told(target, told.application),
        **choices(target),
    }


def replayed(notifications: Sequence[Notification]) -> dict[str, str]:
    """What tells a replay from something new; of a digest, if it has nothing else."""
    if any(each.trigger != "replay" for each in notifications):
        return {}
    told = _("This is a replay: somebody had it sent later, and you may have been told of it before.")
    return {"mark": _("[Replay] %(subject)s"), "first": told}


def why_told(target: EmailTarget, application: str) -> str:
    why = _("You get this because %(email)s agreed to get emails about %(application)s, which uses Openvolt.")
    return f"{why % {'email': target.email, 'application': application}} {called(target.purpose)}".strip()


def called(purpose: str) -> str:
    """Tells a subscription from others to the same address; empty if its people have no words for it."""
    words = {"purpose": in_quotes(isolated(name(purpose)))}
    return _("They call these emails “%(purpose)s”.") % words if words["purpose"] else ""


def zone(reader: Reader) -> str:
    """UTC is mostly the zone of who has chosen none."""
    name = reader.zone_name
    return _("UTC; choose yours by the link at the end") if name == "UTC" else name


def choices(target: EmailTarget) -> dict[str, Action]:
    """What its reader can change without an account."""
    choose, link = _("Choose what you get, and when"), preferences_link(target.recipient_id)
    return {
        "choices": Action(choose, link, _("%(label)s: %(url)s") % {"label": choose, "url": link}),
        "leave": Action(_("Unsubscribe"), unsubscribe_link(target.recipient_id), ""),
    }


def fallback_wording(notification: Notification, target: EmailTarget, missed: Missed) -> Wording:
    """The event's own letter, below the reason why it comes by email."""
    reader = Reader(target.timezone, target.language)
    with reader.language_on():
        told = told_of(notification, target, reader)
        frame = notification_frame(told, notification, target) | {
            "first": reason(missed, reader),
            "mark": mark(missed),
            "why": _(
                "You get this because %(email)s agreed to be told by email when a webhook of %(application)s, which "
                "uses Openvolt, fails or is late."
            )
            % {"email": target.email, "application": told.application},
        }
        letter = handled(best_letter(told), told)
        return wording(letter, reader, frame)


def digest_wording(notifications: Sequence[Notification], target: EmailTarget) -> Wording:
    """Several events in one email, each with the subject that its own email would have."""
    reader = Reader(target.timezone, target.language)
    with reader.language_on():
        application = isolated(name(target.application_name))
        all_told = [told_of(each, target, reader) for each in notifications]
        frame = digest_frame(application, notifications, target, reader)
        for extent in EXTENTS:
            letter = digest_letter(all_told, application, reader, best_letter, frame["choices"], extent)
            words = wording(letter, reader, frame)
            if len(words.html.encode()) <= LONGEST_HTML:
                break
        return words


def best_letter(told: Told) -> Letter:
    return own_letter(told) or general_letter(told)


def digest_frame(
    application: str, notifications: Sequence[Notification], target: EmailTarget, reader: Reader
) -> dict[str, Any]:
    return {
        "application": application,
        "facts": [(_("Application"), application), (_("Time zone"), zone(reader))],
        "quote": _(
            "The attached notifications.json has the complete records for programs. If you need help, quote this:"
        ),
        "ids": [_("Delivery %(id)s") % {"id": notifications[0].delivery_id}],
        "why": why_told(target, application),
        **choices(target),
        **replayed(notifications),
    }


def confirmation_wording(
    email: str,
    application_name: str,
    event_types: Sequence[str],
    recipient_id: UUID,
    now: datetime,
    reader: Reader = ANYBODY,
    webhook: str = "",
    purpose: str = "",
) -> Wording:
    """`webhook` is the URL of which only failures are told."""
    with reader.language_on():
        application = isolated(name(application_name))
        letter = question(email, application, event_types, confirm_link(recipient_id), now, reader)
        letter = replace(letter, meaning=f"{called(purpose)} {letter.meaning}".strip())
        letter = fallback_question(letter, email, application, webhook) if webhook else letter
        why = _(
            "Not expected, or not wanted? Ignore this email. Unless you confirm, no such emails are sent to you."
        )
        refuse = Action(_("Do not ask me again"), unsubscribe_link(recipient_id), "")
        return wording(letter, reader, {"application": application, "why": why, "choices": refuse})


def outage_wording(
    write: Writer,
    facts: Mapping[str, Any],
    email: str,
    application: Application,
    subscription_id: str,
    reader: Reader = ANYBODY,
) -> Wording:
    """To a contact of the application, whose address nobody has confirmed."""
    with reader.language_on():
        letter = write(Outage(facts, isolated(name(application.name)), subscription_id, reader))
        if page := contacts_page(facts, email):
            letter = with_button(letter, page)
        return wording(letter, reader, outage_frame(email, application, [subscription_id], reader))


def contacts_page(facts: Mapping[str, Any], email: str) -> str:
    """Where the contact says to be on it, if it is a case."""
    case = facts.get("case")
    return case_link(UUID(case), contact_id(UUID(case), email)) if case else ""


def outage_frame(
    email: str, application: Application, subscription_ids: Iterable[str], reader: Reader
) -> dict[str, Any]:
    called = isolated(name(application.name))
    return {
        "application": called,
        "facts": [(_("Application"), called), (_("Time zone"), reader.zone_name)],
        "quote": _("If you need help, quote this:"),
        "ids": [_("Subscription %(id)s") % {"id": id} for id in subscription_ids],
        "why": _(
            "You get this because %(email)s is a contact for %(application)s, which uses Openvolt. To have it "
            "changed, answer this email or ask the people who develop %(application)s."
        )
        % {"email": email, "application": called},
        **contact_choices(application, email),
    }


def contact_choices(application: Application, email: str) -> dict[str, Action]:
    link = reading_link(application.id, email)
    return {"choices": Action(_("Choose the language and the time zone"), link, "")}


def question(
    email: str, application: str, event_types: Sequence[str], link: str, now: datetime, reader: Reader
) -> Letter:
    words = {"application": application, "email": email}
    everything = _(
        "%(application)s, which uses Openvolt, wants to email %(email)s about everything that happens there:"
    )
    some = _("%(application)s, which uses Openvolt, wants to email %(email)s about this:")
    return Letter(
        subject=_("Please confirm: emails about %(application)s") % words,
        preview=_("Nothing more is sent to %(email)s unless you confirm.") % words,
        what=(everything if EVERY_TYPE in event_types else some) % words,
        items=sentences(event_types),
        meaning=_("Do you want these emails?"),
        action=Action(
            _("Yes, see and confirm"),
            link,
            _("Open this page and press the button: %(link)s") % {"link": link},
        ),
        small=_("The link works until %(day)s. You can unsubscribe at any time later.")
        % {"day": reader.day(now + CONFIRM_WITHIN)},
    )


def wording(letter: Letter, reader: Reader, frame: dict[str, Any]) -> Wording:
    """The letter laid out, in the language that is on. `frame` says where it comes from, and why."""
    headline = cut(" ".join(letter.subject.split()), LONGEST_SUBJECT)
    words = {"letter": letter, "language": reader.language, "headline": headline, **headings(letter), **frame}
    mark = _("[Test] %(subject)s") if frame.get("test") else frame.get("mark", "%(subject)s")
    return Wording(undecoded(searchable(mark % {"subject": headline})), as_text(words), as_html(words))


def undecoded(subject: str) -> str:
    """So that nobody's program takes a part of a name for an encoded word (RFC 2047), which may hold anything."""
    return subject.replace("=?", "= ?")


def headings(letter: Letter) -> dict[str, Any]:
    more = letter.data.more if letter.data else 0
    return {
        "todo_title": _("What you can do"),
        "details_title": _("Details"),
        "meter_word": _("Meter"),
        "legend": legend(),
        "more": ngettext(
            "And %(count)s more meter, listed in the attachment",
            "And %(count)s more meters, listed in the attachment",
            more,
        )
        % {"count": number(more)},
    }
