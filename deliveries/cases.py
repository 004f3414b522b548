"""Who handles what a person should handle: a consent was revoked, a key replaced, an endpoint disabled.

A case is opened with the emails that tell of it. Whoever is first to say so has it, can give it back, hand it over or
finish it. Each of these is one conditional UPDATE: of two who press at the same moment one wins, the other sees who.
The others who were told get a short note, if they wish.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings
from django.db import connection, transaction

from accounts.audit import picture, record
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
RESUMED = "The subscription was resumed."
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

    @property
    def timezone(self) -> str:
        return self.recipient.timezone if self.recipient else "UTC"

    @property
    def wants_notes(self) -> bool:
        """Contacts have no page to say so on."""
        return self.recipient is not None and self.recipient.notes

    def is_at(self, email: str) -> bool:
        return self.email.lower() == email.lower()


def open_cases(deliveries: Iterable[Delivery]) -> None:
    """For new deliveries to people. Those that are replayed tell of the case that there is."""
    cases: dict[UUID, Case] = {}
    for one in deliveries:
        if one.event_type in HANDLED and one.recipient is not None and one.trigger != Trigger.TEST:
            case = cases.setdefault(one.event_id, case_of(one))
            case.remind_at = earlier(case.remind_at, reminder_at(one.created_at, one.recipient.timezone))
    if cases:
        Case.objects.bulk_create(cases.values(), ignore_conflicts=True)


def case_of(delivery: Delivery) -> Case:
    return Case(
        id=delivery.event_id,
        kind=delivery.event_type,
        application_id=delivery.application_id,
        event_id=delivery.event_id,
        created_at=delivery.created_at,
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
    """Resumed, it needs nobody any more."""
    unfinished = Case.objects.filter(subscription=subscription).unfinished()
    unfinished.update(state=State.DONE, done_at=now, outcome=RESUMED)


def reminder_at(since: datetime, timezone: str) -> datetime | None:
    if not settings.HANDLING_REMINDER:
        return None
    return after_working(settings.HANDLING_REMINDER, since, timezone)


def earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(filter(None, [one, other]), default=None)


def take(case: Case, by: Person, now: datetime) -> bool:
    """Whether this person is the first to say so."""
    taken = {"state": State.TAKEN, "taken_by": by.email, "taken_at": now}
    with transaction.atomic():
        if not change(case, "taken", {"state": State.OPEN}, taken):
            return False
        note_to_others(case, Kind.CASE_TAKEN, by, now)
        return True


def give_back(case: Case, by: Person, now: datetime) -> bool:
    with transaction.atomic():
        return change(case, "given_back", held_by(by), reopened(case, by.timezone, now))


def hand_over(case: Case, by: Person, to: Person, now: datetime) -> bool:
    with transaction.atomic():
        if not change(case, "handed_over", held_by(by), {"taken_by": to.email, "taken_at": now}):
            return False
        occasion = f"{case.id} {by.id.hex} {now:%Y-%m-%d}"
        tell([notice(case, Kind.CASE_HANDED_OVER, to, occasion, by.email, awake(to, now))], now)
        return True


def finish(case: Case, by: Person, outcome: str, now: datetime) -> bool:
    done = {"state": State.DONE, "done_at": now, "outcome": clean(outcome, LONGEST_OUTCOME)}
    with transaction.atomic():
        if not change(case, "done", held_by(by), done):
            return False
        note_to_others(case, Kind.CASE_DONE, by, now)
        return True


def reopen(case: Case, now: datetime) -> bool:
    """By staff, of one that somebody has and can't see to."""
    with transaction.atomic():
        return change(case, "given_back", {"state": State.TAKEN}, reopened(case, "UTC", now))


def close(case: Case, now: datetime) -> bool:
    """By staff, whoever has it."""
    done = {"state": State.DONE, "done_at": now, "outcome": ""}
    if case.is_open:
        done |= {"taken_by": "", "taken_at": None}
    with transaction.atomic():
        return change(case, "done", {"state": case.state, "done_at": None}, done)


def held_by(person: Person) -> dict[str, Any]:
    return {"state": State.TAKEN, "taken_by__iexact": person.email}


def reopened(case: Case, timezone: str, now: datetime) -> dict[str, Any]:
    """Nobody's, with a new working day, unless it was told again already."""
    remind_at = case.remind_at and reminder_at(now, timezone)
    return {"state": State.OPEN, "taken_by": "", "taken_at": None, "remind_at": remind_at}


def change(case: Case, what: str, only: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether it was still so; if not, somebody else was first, and the row that comes back says who."""
    before = picture(case)
    is_changed = bool(Case.objects.filter(pk=case.pk, **only).update(**values))
    case.refresh_from_db()
    if is_changed:
        record(f"case.{what}", case, before, picture(case))
    return is_changed


def note_to_others(case: Case, kind: Notice.Kind, by: Person, now: datetime) -> None:
    """To those who wish, once of each who takes it; in the rhythm in which they are told of events."""
    others = [one for one in told(case) if one.wants_notes and not one.is_at(by.email)]
    occasion = f"{case.id} {by.id.hex}"
    tell([notice(case, kind, one, occasion, by.email, in_rhythm(one, now)) for one in others], now)


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
        facts={"case": str(case.id), "person": str(to.id), "by": by},
        due_at=due_at,
    )


def person_told(notice: Notice) -> Person:
    return Person(UUID(notice.facts["person"]), notice.email, notice.recipient)


def tell(notices: Sequence[Notice], now: datetime) -> None:
    if notices:
        add(not_pestered(notices, now))


def told(case: Case) -> list[Person]:
    """Those whose email of it was sent, each address once."""
    people = (
        recipients(case, deliveries__status=Delivery.Status.SUCCEEDED) if case.event_id else contacts(case)
    )
    return list({person.email.lower(): person for person in people}.values())


def recipients(case: Case, **more: Any) -> list[Person]:
    wanted = Recipient.objects.filter(
        status=Recipient.Status.CONFIRMED,
        removed_at=None,
        subscription__deleted_at=None,
        subscription__application=case.application_id,
        deliveries__event=case.event_id,
        **more,
    )
    return [Person(one.id, one.email, one) for one in wanted.order_by("-id").distinct()]


def contacts(case: Case) -> list[Person]:
    return [Person(contact_id(case.id, email), email) for email in case.application.contacts]


def person_with(case: Case, id: UUID) -> Person | None:
    """Whom a link to this case was made for; None if that is no recipient or contact any more."""
    if case.event_id is None:
        return next((one for one in contacts(case) if one.id == id), None)
    existing = {"removed_at": None, "subscription__deleted_at": None}
    one = Recipient.objects.filter(pk=id, subscription__application=case.application_id, **existing).first()
    return Person(one.id, one.email, one) if one else None


def handling_of(event_ids: Collection[UUID]) -> dict[UUID, Handling]:
    """Who is on it, of those of these events that somebody handles."""
    taken = Case.objects.filter(pk__in=event_ids, taken_at__isnull=False) if event_ids else ()
    return {case.pk: handling for case in taken if (handling := handling_in(case))}


def handling_in(case: Case) -> Handling | None:
    if case.taken_at is None:
        return None
    return Handling(case.taken_by, case.taken_at, case.done_at, case.outcome)


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
        return notice.email.lower() in map(str.lower, notice.application.contacts)
    return recipient.removed_at is None and recipient.status == Recipient.Status.CONFIRMED


def why_not_taken(notice: Notice, case: Case) -> str:
    if not (notice.recipient and notice.recipient.notes):
        return "The recipient wants no such notes."
    is_so = case.is_taken and case.taken_by == notice.facts["by"]
    return "" if is_so else "It is no longer as the note says."


def why_not_done(notice: Notice, case: Case) -> str:
    if not (notice.recipient and notice.recipient.notes):
        return "The recipient wants no such notes."
    return "" if case.is_done else "It is no longer as the note says."


def why_not_handed_over(notice: Notice, case: Case) -> str:
    is_theirs = case.is_taken and case.taken_by.lower() == notice.email.lower()
    return "" if is_theirs else "It is no longer theirs."


def why_not_unhandled(_: Notice, case: Case) -> str:
    return "" if case.is_open else "Somebody has it, or it is done."


WHY_NOT: dict[str, Callable[[Notice, Case], str]] = {
    Kind.CASE_TAKEN: why_not_taken,
    Kind.CASE_DONE: why_not_done,
    Kind.CASE_HANDED_OVER: why_not_handed_over,
    Kind.CASE_UNHANDLED: why_not_unhandled,
}


def forget_cases(before: datetime) -> int:
    """Delete the older ones whose events are gone, some at a time; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(FORGET, [before, FORGOTTEN_AT_ONCE])
        return int(cursor.rowcount)
