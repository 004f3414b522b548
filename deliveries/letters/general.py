"""What is said of an event when nothing better is known: its type is new, or its payload has an odd shape."""

from django.utils.translation import gettext as _

from deliveries.letters import Letter, Told, pass_on
from deliveries.letters.events import SENTENCES
from deliveries.letters.facts import every_fact
from deliveries.letters.reading import clean
from events.event_types import EVENT_TYPES


def sentence(event_type: str) -> str:
    """In one sentence, what events of this type are about; empty for one that is not in the catalogue."""
    known = EVENT_TYPES.get(event_type)
    return _(SENTENCES.get(event_type, known.sentence)) if known else ""


def general_letter(told: Told) -> Letter:
    known = sentence(told.event_type)
    subject = known.rstrip(".") or _("New event: %(type)s") % {"type": clean(told.event_type)}
    what = _("%(sentence)s It was recorded for %(application)s on %(at)s, as “%(type)s”.") % {
        "sentence": known or _("Something happened."),
        "application": told.application,
        "at": told.happened,
        "type": clean(told.event_type),
    }
    return Letter(
        subject=subject,
        preview=what,
        what=what,
        meaning=_("This email can say it only in general words. The details below are what was recorded."),
        todo=_(
            "See whether the details concern you. If you don't know what to do with them, ask the people who develop "
            "%(application)s."
        )
        % {"application": told.application},
        action=pass_on(_("Pass it on to the developers"), subject, what),
        details=every_fact(told.payload, told.reader),
    )
