"""Who handles what a person should handle: a consent was revoked, a key replaced, an endpoint disabled.

A case is opened with the emails that tell of it. Whoever is first to say so has it, can give it back, hand it over or
finish it. Each of these is one conditional UPDATE: of two who press at the same moment one wins, the other sees who.
The others who were told get a short note, if they wish. What somebody has who is not told of such things any more is
given back for them (reminding.py).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import connection, transaction
from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast, Lower
from django.utils.translation import gettext_noop

from accounts.audit import picture, record
from accounts.email_addresses import same_for_all
from deliveries.channels import Handling
from deliveries.letters.handling import HANDLED, LONGEST_OUTCOME
from deliveries.letters.reading import clean
from deliveries.models import Case, Delivery, Notice, Trigger
from deliveries.notices import add, not_pestered
from deliveries.working_hours import after_working
from subscriptions.links import contact_id
from subscriptions.models import Recipient, Subscription

State, Kind = Case.State, Notice.Kind

OUTAGES = {Kind.DISABLED.value, Kind.GONE.value}
RESUMED = gettext_noop("The subscription was resumed.")  # read in the language of whoever reads it
FORGOTTEN_AT_ONCE = 5_000
FORGET = """
DELETE FROM deliveries_case WHERE id IN (
    SELECT id FROM deliveries_case AS old
    WHERE created_at < %s AND NOT EXISTS (SELECT FROM events_event WHERE id = old.event_id)
    ORDER BY created_at LIMIT %s
)
"""


@dataclass(frozen=True)
class Person:
    """Somebody who was told: a recipient, or a contact of the application. `id` is what links name."""

    id: UUID
    email: str
    recipient: Recipient | None = None
    contact_reads: tuple[str, str] = ("UTC", "en")
    told_at: datetime | None = None

    @property
    def timezone(self) -> str:
        return self.recipient.timezone if self.recipient else self.contact_reads[0]

    @property
    def language(self) -> str:
        return self.recipient.language if self.recipient else self.contact_reads[1]

    @property
    def wants_notes(self) -> bool:
        """Contacts have no page to say so on."""
        return self.recipient is not None and self.recipient.notes

    def is_at(self, email: str) -> bool:
        return same_for_all(self.email) == same_for_all(email)


def open_cases(deliveries: Iterable[Delivery]) -> None:
    """For new deliveries to people. Those that are replayed tell of the case that there is."""
    open_those(
        (one, one.recipient, one.created_at)
        for one in deliveries
        if one.recipient is not None and one.trigger != Trigger.TEST
    )


def open_missed(missed: Iterable[tuple[Delivery, Recipient]], now: datetime) -> None:
    """For what a webhook could not tell, which these people are told of now."""
    open_those((delivery, person, now) for delivery, person in missed)


def open_those(told: Iterable[tuple[Delivery, Recipient, datetime]]) -> None:
    cases: dict[UUID, Case] = {}
    for delivery, person, since in told:
        if delivery.event_type in HANDLED:
            case = cases.setdefault(delivery.event_id, case_of(delivery, since))
            case.remind_at = earlier(case.remind_at, reminder_at(since, person.timezone))
    if cases:
        Case.objects.bulk_create(cases.values(), ignore_conflicts=True)


def case_of(delivery: Delivery, since: datetime) -> Case:
    return Case(
        id=delivery.event_id,
        kind=delivery.event_type,
        application_id=delivery.application_id,
        event_id=delivery.event_id,
        created_at=since,
    )


def open_outages(
    kind: str, disabled: Sequence[Subscription], facts: Mapping[UUID, dict[str, Any]], now: datetime
) -> None:
    """For subscriptions whose end the contacts are told of; each one's facts name its case then."""
    cases = [
        Case(
            id=uuid5(one.id, str(one.told_failing_since)),
            kind=kind,
            application_id=one.application_id,
            subscription=one,
            facts=dict(facts[one.id]),
            remind_at=reminder_at(now, "UTC"),
            created_at=now,
        )
        for one in disabled
        if one.application.contacts
    ]
    for case in cases:
        facts[case.subscription_id]["case"] = str(case.id)  # type: ignore[index]  # it has one
    Case.objects.bulk_create(cases, ignore_conflicts=True)


def close_outages(subscription: Subscription, now: datetime) -> None:
    """Resumed, it needs nobody any more, and is said to be done by nobody: whoever had it need not have resumed it."""
    unfinished = Case.objects.filter(subscription=subscription).unfinished()
    unfinished.update(state=State.DONE, done_at=now, outcome=RESUMED, taken_by="", taken_at=None)


def reminder_at(since: datetime, timezone: str) -> datetime | None:
    if not settings.HANDLING_REMINDER:
        return None
    return after_working(settings.HANDLING_REMINDER, since, timezone)


def earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(filter(None, [one, other]), default=None)


def take(case: Case, by: Person, now: datetime) -> bool:
    """Whether this person is the first to say so, now or before: a button can be pressed twice."""
    taken = held(by, now) | {"state": State.TAKEN}
    with transaction.atomic():
        if not change(case, "taken", {"state": State.OPEN}, taken):
            return case.is_taken and by.is_at(case.taken_by)
        note_to(others(case, by), case, Kind.CASE_TAKEN, by.email, now)
        return True


def held(by: Person, now: datetime) -> dict[str, Any]:
    return {"taken_by": by.email, "taken_at": now, "remind_at": reminder_at(now, by.timezone)}


def give_back(case: Case, by: Person, now: datetime) -> bool:
    with transaction.atomic():
        if not change(case, "given_back", held_by(by, case), reopened(by.timezone, now)):
            return False
        note_given_back(others(case, by), case, by.email, now)
        return True


def hand_over(case: Case, by: Person, to: Person, now: datetime) -> bool:
    """The others hear who is on it now, as when it was taken."""
    with transaction.atomic():
        if not change(case, "handed_over", held_by(by, case), held(to, now)):
            return False
        occasion = occasion_of(case, now)
        tell([notice(case, Kind.CASE_HANDED_OVER, to, occasion, by.email, awake(to, now))], now)
        note_to(others(case, by, to), case, Kind.CASE_TAKEN, to.email, now)
        return True


def finish(case: Case, by: Person, outcome: str, now: datetime) -> bool:
    """Whether it is done, by this person and with this outcome, now or before."""
    done = {"state": State.DONE, "done_at": now, "outcome": clean(outcome, LONGEST_OUTCOME)}
    with transaction.atomic():
        if not change(case, "done", held_by(by, case), done):
            return case.is_done and by.is_at(case.taken_by) and case.outcome == done["outcome"]
        note_to(others(case, by), case, Kind.CASE_DONE, by.email, now)
        return True


def reopen(case: Case, now: datetime) -> bool:
    """By staff, of one that somebody has and can't see to."""
    by = case.taken_by
    with transaction.atomic():
        only = {"state": State.TAKEN, "taken_by": by}
        if not change(case, "given_back", only, reopened("UTC", now)):
            return False
        note_given_back(others(case), case, by, now)
        return True


def without_holder() -> QuerySet[Case]:
    """Those that somebody has who is no recipient, or contact, of the application any more; of taken ones by index."""
    taken = Case.objects.filter(state=State.TAKEN).annotate(holder=Lower("taken_by"))
    recipients = (
        Recipient.objects.told()
        .annotate(address=Lower("email"))
        .filter(address=OuterRef("holder"), subscription__application=OuterRef("application"))
    )
    contacts = Cast(Lower(Cast("application__contacts", TextField())), ArrayField(TextField()))
    is_contact = Q(contacts__contains=[F("holder")])
    gone = Q(event__isnull=False) & ~Exists(recipients) | Q(event=None) & ~is_contact
    return taken.annotate(contacts=contacts).filter(gone).order_by("taken_at")


def close(case: Case, now: datetime) -> bool:
    """By staff, whoever has it, of whom nobody is to think that they have done it."""
    done = {"state": State.DONE, "done_at": now, "outcome": "", "taken_by": "", "taken_at": None}
    with transaction.atomic():
        if not change(case, "done", {"state": case.state, "done_at": None}, done):
            return False
        note_to(others(case), case, Kind.CASE_DONE, "", now)
        return True


def held_by(person: Person, case: Case) -> dict[str, Any]:
    """However the address was spelled where this person took it."""
    spelled = case.taken_by if person.is_at(case.taken_by) else person.email
    return {"state": State.TAKEN, "taken_by": spelled}


def reopened(timezone: str, now: datetime) -> dict[str, Any]:
    """Nobody's, with a new working day."""
    return {
        "state": State.OPEN,
        "taken_by": "",
        "taken_at": None,
        "remind_at": reminder_at(now, timezone),
    }


def change(case: Case, what: str, only: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether it was still so; if not, somebody else was first, and the row that comes back says who."""
    before = picture(case)
    is_changed = bool(Case.objects.filter(pk=case.pk, **only).update(**values))
    case.refresh_from_db()
    if is_changed:
        record(f"case.{what}", case, before, picture(case))
    return is_changed


def others(case: Case, *but: Person) -> list[Person]:
    """Who were told of it and wish to hear what becomes of it, without these."""
    return [one for one in told(case) if one.wants_notes and not any(one.is_at(each.email) for each in but)]


def note_to(people: Iterable[Person], case: Case, kind: Notice.Kind, by: str, now: datetime) -> None:
    """In the rhythm in which they are told of events."""
    occasion = occasion_of(case, now)
    tell([notice(case, kind, one, occasion, by, in_rhythm(one, now)) for one in people], now)


def note_given_back(people: Iterable[Person], case: Case, by: str, now: datetime) -> None:
    """Not to those whose note that somebody has it was not sent yet: it is not sent any more."""
    waiting = Notice.objects.filter(
        application=case.application_id,
        kind=Kind.CASE_TAKEN,
        occasion__startswith=str(case.id),
        due_at__isnull=False,
        attempt_count=0,
    )
    unaware = {same_for_all(email) for email in waiting.values_list("email", flat=True)}
    aware = [one for one in people if same_for_all(one.email) not in unaware]
    note_to(aware, case, Kind.CASE_GIVEN_BACK, by, now)


def occasion_of(case: Case, moment: datetime) -> str:
    return f"{case.id} {moment.isoformat()}"


def in_rhythm(person: Person, now: datetime) -> datetime:
    return (person.recipient and person.recipient.rhythm.next_digest(now)) or now


def awake(person: Person, moment: datetime) -> datetime:
    return person.recipient.rhythm.awake(moment) if person.recipient else moment


def notice(case: Case, kind: Notice.Kind, to: Person, occasion: str, by: str, due_at: datetime) -> Notice:
    return Notice(
        kind=kind,
        application_id=case.application_id,
        email=to.email,
        recipient=to.recipient,
        subscription_id=to.recipient.subscription_id if to.recipient else case.subscription_id,
        occasion=occasion,
        facts={"case": str(case.id), "person": str(to.id), "by": by, "since": since(case)},
        due_at=due_at,
    )


def since(case: Case) -> str | None:
    """Names the time for which somebody has it."""
    return case.taken_at.isoformat() if case.taken_at else None


def person_told(notice: Notice) -> Person:
    reads = notice.application.reads(notice.email)
    return Person(UUID(notice.facts["person"]), notice.email, notice.recipient, reads)


def tell(notices: Sequence[Notice], now: datetime) -> None:
    if notices:
        add(not_pestered(notices, now))


def told(case: Case) -> list[Person]:
    """Those whose email of it was sent, each address once."""
    people = recipients(case) if case.event_id else contacts(case)
    return list({same_for_all(person.email): person for person in people}.values())


def recipients(case: Case) -> list[Person]:
    """Of its own email, or of the one that came instead of a webhook."""
    confirmed = Recipient.objects.told().filter(subscription__application=case.application_id)
    emailed = confirmed.filter(
        deliveries__event=case.event_id, deliveries__status=Delivery.Status.SUCCEEDED
    ).annotate(told_at=Min("deliveries__finished_at"))
    missed = Delivery.objects.filter(event=case.event_id, recipient=None).values_list("id", flat=True)
    instead = confirmed.filter(
        notices__application=case.application_id,
        notices__kind=Kind.FALLBACK,
        notices__occasion__in=[str(id) for id in missed],
        notices__sent_at__isnull=False,
    ).annotate(told_at=Min("notices__sent_at"))
    people = {
        one.id: Person(one.id, one.email, one, told_at=one.told_at)
        for query in (emailed, instead)
        for one in query
    }
    return [people[id] for id in sorted(people, reverse=True)]


def contacts(case: Case) -> list[Person]:
    owner = case.application
    return [
        Person(contact_id(case.id, email), email, contact_reads=owner.reads(email))
        for email in owner.contacts
    ]


def person_with(case: Case, id: UUID) -> Person | None:
    """Whom a link to this case was made for; None if that is no recipient or contact any more."""
    if case.event_id is None:
        return next((one for one in contacts(case) if one.id == id), None)
    one = Recipient.objects.told().filter(pk=id, subscription__application=case.application_id).first()
    return Person(one.id, one.email, one) if one else None


def handling_of(event_ids: Collection[UUID]) -> dict[UUID, Handling]:
    """Who is on it, or has done it, of those of these events that somebody handles."""
    taken = Case.objects.filter(pk__in=event_ids).exclude(state=State.OPEN) if event_ids else ()
    return {case.pk: handling for case in taken if (handling := handling_in(case))}


def handling_in(case: Case) -> Handling | None:
    """By nobody, if staff or a resume have ended it."""
    since = case.taken_at or case.done_at
    return Handling(case.taken_by, since, case.done_at, case.outcome) if since else None


def why_not(notice: Notice) -> str:
    """Why a note about a case is not to be sent any more; empty if it is."""
    case = Case.objects.filter(pk=notice.facts["case"]).first()
    if case is None:
        return "What it is about was forgotten."
    if not is_still_told(notice):
        return "The recipient or contact was removed, or wants no emails."
    return WHY_NOT[notice.kind](notice, case)


def is_still_told(notice: Notice) -> bool:
    recipient = notice.recipient
    if recipient is None:
        return notice.application.has_contact(notice.email)
    return recipient.removed_at is None and recipient.status == Recipient.Status.CONFIRMED


def why_not_noted(is_so: Callable[[Notice, Case], bool], notice: Notice, case: Case) -> str:
    if not (notice.recipient and notice.recipient.notes):
        return "The recipient wants no such notes."
    return "" if is_so(notice, case) else "It is no longer as the note says."


def is_held_since(notice: Notice, case: Case) -> bool:
    return case.is_taken and since(case) == notice.facts["since"]


def why_not_theirs(notice: Notice, case: Case) -> str:
    return "" if is_held_since(notice, case) else "It is no longer theirs."


def why_not_unhandled(_: Notice, case: Case) -> str:
    if case.remind_at is not None:
        return "It was given back meanwhile; it is told again later."
    return "" if case.is_open else "Somebody has it, or it is done."


WHY_NOT: dict[str, Callable[[Notice, Case], str]] = {
    Kind.CASE_TAKEN: partial(why_not_noted, is_held_since),
    Kind.CASE_DONE: partial(why_not_noted, lambda _, case: case.is_done),
    Kind.CASE_GIVEN_BACK: partial(why_not_noted, lambda _, case: case.is_open),
    Kind.CASE_HANDED_OVER: why_not_theirs,
    Kind.CASE_UNHANDLED: why_not_unhandled,
    Kind.CASE_UNFINISHED: why_not_theirs,
}


def forget_cases(before: datetime) -> int:
    """Delete the older ones whose events are gone, some at a time; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(FORGET, [before, FORGOTTEN_AT_ONCE])
        return int(cursor.rowcount)
