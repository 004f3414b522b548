"""Why a person gets by email what a webhook should have told. Of the URL's query nothing is said: it may be a token."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deliveries.letters import Letter
from deliveries.letters.answers import answer
from deliveries.letters.numbers import number
from deliveries.letters.outages import LONGEST_RECEIVER
from deliveries.letters.reader import Reader
from deliveries.letters.reading import isolated, said

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LEAST = 2  # of a unit, or a smaller one is counted


@dataclass(frozen=True)
class Missed:
    """What became of the webhook: it has failed for good, or is late. `last_error` is the history's, in English."""

    url: str
    has_failed: bool
    attempts: int
    due_at: datetime
    now: datetime
    last_error: str = ""

    @property
    def words(self) -> Mapping[str, Any]:
        return {
            "receiver": receiver(self.url),
            "count": number(self.attempts),
            "late": length(self.now - self.due_at),
        }


def receiver(url: str) -> str:
    """The host."""
    return isolated(said(urlsplit(url).netloc, LONGEST_RECEIVER) or _("the receiver"))


def mark(missed: Missed) -> str:
    """What the subject is put into."""
    return _("[Webhook failed] %(subject)s") if missed.has_failed else _("[Webhook late] %(subject)s")


def reason(missed: Missed, reader: Reader) -> str:
    why = failed(missed) if missed.has_failed else late(missed, reader)
    return f"{why} {answer(missed.last_error)}".strip()


def failed(missed: Missed) -> str:
    return (
        ngettext(
            "The webhook to %(receiver)s failed for good, after %(count)s attempt: nobody there knows of this.",
            "The webhook to %(receiver)s failed for good, after %(count)s attempts: nobody there knows of this.",
            missed.attempts,
        )
        % missed.words
    )


def late(missed: Missed, reader: Reader) -> str:
    what = _(
        "The webhook to %(receiver)s is late by %(late)s: it was due on %(due)s, has not arrived yet, and may still do "
        "so."
    )
    return what % {**missed.words, "due": reader.moment(missed.due_at)}


def length(wait: timedelta) -> str:
    """In the largest unit of which there are at least two."""
    if wait >= LEAST * DAY:
        return ngettext("%(count)s day", "%(count)s days", wait // DAY) % {"count": number(wait // DAY)}
    if wait >= LEAST * HOUR:
        return ngettext("%(count)s hour", "%(count)s hours", wait // HOUR) % {"count": number(wait // HOUR)}
    minutes = max(wait // MINUTE, 1)
    return ngettext("%(count)s minute", "%(count)s minutes", minutes) % {"count": number(minutes)}


def fallback_question(question: Letter, email: str, application: str, url: str) -> Letter:
    """The question whether an address may be written to, when that is only instead of a webhook."""
    what = _(
        "%(application)s, which uses Openvolt, tells %(receiver)s by webhook what happens. When one of these fails for "
        "good or is late, it wants to email %(email)s instead:"
    )
    words = {"application": application, "email": email, "receiver": receiver(url)}
    return replace(
        question,
        subject=_("Please confirm: emails when webhooks of %(application)s fail") % words,
        what=what % words,
    )
