"""What is said of a case: on its page in the words of the letter that told of it, and in notes about it."""

from typing import Any

from django.utils.translation import gettext as _

from deliveries.cases import Person, handling_in
from deliveries.channels import EmailTarget
from deliveries.channels.wording import Wording, choices, own_letter, read, wording
from deliveries.letters import Letter, Told, outages
from deliveries.letters.general import general_letter
from deliveries.letters.handling import Note, Writer
from deliveries.letters.outages import Outage
from deliveries.letters.reader import Reader
from deliveries.letters.reading import isolated, name
from deliveries.models import Case, Notice
from subscriptions.links import case_link

ENDS: dict[str, outages.Writer] = {Notice.Kind.DISABLED: outages.disabled, Notice.Kind.GONE: outages.gone}


def reader_of(person: Person) -> Reader:
    one = person.recipient
    return Reader(one.timezone, one.language) if one else Reader()


def case_letter(case: Case, reader: Reader) -> Letter:
    """In the language that is on."""
    application = isolated(name(case.application.name))
    if case.event is None:
        return ENDS[case.kind](Outage(case.facts, application, str(case.subscription_id), reader))
    event = case.event
    told = Told(event.type, event.occurred_at, read(event.payload), application, reader)
    return own_letter(told) or general_letter(told)


def note_wording(write: Writer, case: Case, person: Person, by: str) -> Wording:
    reader = reader_of(person)
    with reader.language_on():
        about = case_letter(case, reader)
        note = Note(about, case_link(case.id, person.id), by, handling_in(case), reader)
        return wording(write(note), reader, note_frame(case, person))


def note_frame(case: Case, person: Person) -> dict[str, Any]:
    application = isolated(name(case.application.name))
    why = _("You get this because %(email)s was told of it by %(application)s, which uses Openvolt.")
    frame = {"application": application, "why": why % {"email": person.email, "application": application}}
    if person.recipient is None:
        return frame
    return frame | choices(EmailTarget(person.email, person.recipient.id, application))
