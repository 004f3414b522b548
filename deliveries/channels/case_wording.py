"""What is said of a case: on its page in the words of the letter that told of it, and in notes about it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from deliveries.cases import Person, handling_in
from deliveries.channels import EmailTarget
from deliveries.channels.wording import Wording, best_letter, choices, contact_choices, read, wording
from deliveries.letters import Letter, Told, outages
from deliveries.letters.handling import Note, Writer, WriterOfSeveral
from deliveries.letters.outages import Outage
from deliveries.letters.reader import Reader
from deliveries.letters.reading import isolated, name
from deliveries.models import Case, Notice
from subscriptions.links import case_link

NOBODY_NAMED: Mapping[UUID, str] = MappingProxyType({})
ENDS: dict[str, outages.Writer] = {Notice.Kind.DISABLED: outages.disabled, Notice.Kind.GONE: outages.gone}


def reader_of(person: Person) -> Reader:
    return Reader(person.timezone, person.language)


def case_letter(case: Case, reader: Reader, customer: str = "") -> Letter:
    """In the language that is on."""
    application = isolated(name(case.application.name))
    if case.event is None:
        return ENDS[case.kind](Outage(case.facts, application, str(case.subscription_id), reader))
    event = case.event
    told = Told(
        event.type,
        event.occurred_at,
        read(event.payload),
        application,
        reader,
        customer=isolated(name(customer)),
    )
    return best_letter(told)


def note_wording(write: Writer, case: Case, person: Person, by: str, customer: str = "") -> Wording:
    reader = reader_of(person)
    with reader.language_on():
        note = note_on(case, person, by, reader, customer)
        return wording(write(note), reader, note_frame(case, person))


def notes_wording(
    write: WriterOfSeveral, told: Sequence[tuple[Case, Person]], customers: Mapping[UUID, str] = NOBODY_NAMED
) -> Wording:
    """Several cases, all of one application, each with the same reader as its link names them."""
    reader = reader_of(told[0][1])
    with reader.language_on():
        notes = [note_on(case, person, "", reader, customers.get(case.id, "")) for case, person in told]
        return wording(write(notes), reader, note_frame(*told[0]))


def note_on(case: Case, person: Person, by: str, reader: Reader, customer: str) -> Note:
    """In the language that is on."""
    about, url = case_letter(case, reader, customer), case_link(case.id, person.id)
    happened_at = case.event.occurred_at if case.event else case.created_at
    return Note(about, url, by, handling_in(case), reader, happened_at)


def note_frame(case: Case, person: Person) -> dict[str, Any]:
    application = isolated(name(case.application.name))
    why = _("You get this because %(email)s was told of it by %(application)s, which uses Openvolt.")
    frame = {"application": application, "why": why % {"email": person.email, "application": application}}
    if person.recipient is None:
        return frame | contact_choices(case.application, person.email)
    return frame | choices(EmailTarget(person.email, person.recipient.id, application))
