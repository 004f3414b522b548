"""What is the same in all emails of one event: written once for a language and a time zone, then filled in.

A draft is written for somebody who does not exist, as a delivery that does not exist, and each place where these are
named becomes a gap. So nothing of one recipient can get into the email of another: no recipient's are known when it
is written. A letter that makes something else of them (a link that says when it was signed) has no draft.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from uuid import UUID, uuid4

from django.utils.html import escape

from deliveries.channels import EmailTarget, Notification
from deliveries.channels.keeping import Kept
from deliveries.channels.wording import Wording, notification_wording
from subscriptions.links import preferences_link, unsubscribe_link

MOST_KEPT = 128
LONGEST_PAYLOAD = 32 * 1024  # characters; a draft holds its event's payload, for it is known by that

NOBODY, NO_DELIVERY = uuid4(), uuid4()
NO_ADDRESS = f"{NOBODY.hex}@nobody.invalid"
TRACES = [NOBODY.hex, str(NOBODY), NO_DELIVERY.hex, str(NO_DELIVERY)]


@dataclass(frozen=True, slots=True)
class Draft:
    """Words with gaps, as `%` takes them, in the text and in the HTML."""

    words: Wording

    def filled(self, own: Mapping[str, str]) -> Wording:
        escaped = {gap: str(escape(words)) for gap, words in own.items()}
        return replace(self.words, text=self.words.text % own, html=self.words.html % escaped)


class Drafts(Kept):
    """Those of the events that are told at the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[tuple[Notification, EmailTarget], Draft | None] = {}
        self.writing = Lock()

    def forget(self) -> None:
        self.known = {}  # not cleared: others may be looking at it

    def wording(self, notification: Notification, target: EmailTarget) -> Wording | None:
        """None when there is no draft: outside of a drain, and of what has none."""
        if not self.keepers or len(notification.payload) > LONGEST_PAYLOAD:
            return None
        key, known = to_nobody(notification, target), self.known
        draft = known[key] if key in known else self.write(key)
        return draft.filled(own(notification.delivery_id, target)) if draft else None

    def write(self, key: tuple[Notification, EmailTarget]) -> Draft | None:
        """One at a time: all threads may have come for the same."""
        with self.writing:
            if len(self.known) >= MOST_KEPT:
                self.forget()
            known = self.known
            if key not in known:
                known[key] = draft_of(*key)
            return known[key]


def to_nobody(notification: Notification, target: EmailTarget) -> tuple[Notification, EmailTarget]:
    """What a letter is written from, without what is the recipient's alone."""
    return (
        replace(notification, delivery_id=NO_DELIVERY, sequence=0),
        replace(target, email=NO_ADDRESS, recipient_id=NOBODY),
    )


def own(delivery_id: UUID, target: EmailTarget) -> dict[str, str]:
    return {
        "delivery": str(delivery_id),
        "email": target.email,
        "preferences": preferences_link(target.recipient_id),
        "unsubscribe": unsubscribe_link(target.recipient_id),
    }


def draft_of(notification: Notification, target: EmailTarget) -> Draft | None:
    words, gaps = notification_wording(notification, target), own(notification.delivery_id, target)
    draft = Draft(replace(words, text=gapped(words.text, gaps), html=gapped(words.html, gaps)))
    left = repr(draft).lower()
    return None if any(trace in left for trace in TRACES) else draft


def gapped(words: str, gaps: Mapping[str, str]) -> str:
    words = words.replace("%", "%%")
    for gap, filling in gaps.items():
        words = words.replace(filling, f"%({gap})s")
    return words


drafts = Drafts()
