"""The page behind the button of an email about something that a person should handle.

The link names what it is about and who has it, and needs no account. Opening the page changes nothing (mail servers
open links to look for malware); its buttons do, and only as long as what they are pressed for is still so.
"""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone

from accounts.audit import AuditEntry, act_as
from deliveries.cases import Person, finish, give_back, hand_over, handling_in, person_with, take, told
from deliveries.channels.case_wording import case_letter, reader_of
from deliveries.customers import customers_in
from deliveries.letters.handling import LONGEST_OUTCOME, page_for, who, write_to_them, yours
from deliveries.letters.reader import Reader
from deliveries.models import Case
from openvolt_events.actors import actor
from openvolt_events.recipients import browsers_reader, known, say
from openvolt_events.token_pages import TokenPage
from subscriptions.links import BrokenLink, ExpiredLink, case_and_person

Act = Callable[[Case, Person, QueryDict, datetime], bool]


def likely_reader(request: HttpRequest, id: UUID) -> Reader:
    """The recipient with this id, if there is one."""
    recipient = known(id)
    return Reader(recipient.timezone, recipient.language) if recipient else browsers_reader(request)


def existing(case_id: UUID) -> Case | None:
    """With all that its page says; not one whose event was forgotten."""
    case = Case.objects.select_related("application", "event").filter(pk=case_id).first()
    return None if case and case.event_id and case.event is None else case


def change(request: HttpRequest, case: Case, person: Person) -> HttpResponse:
    act = ACTS.get(request.POST.get("do", ""))
    if act is None:
        return show(request, case, person, status=HTTPStatus.BAD_REQUEST)
    act_as(actor(request, AuditEntry.ActorKind.PERSON, "", person.email[:250]))
    is_done = act(case, person, request.POST, timezone.now())
    status = HTTPStatus.OK if is_done else HTTPStatus.CONFLICT
    return show(request, case, person, status=status, is_changed=is_done, is_late=not is_done)


def handed_to(case: Case, person: Person, form: QueryDict, now: datetime) -> bool:
    """To one of the others who were told; to anybody else, nothing happens."""
    to = next((one for one in others(case, person) if str(one.id) == form.get("to")), None)
    return to is not None and hand_over(case, person, to, now)


ACTS: dict[str, Act] = {
    "take": lambda case, person, _, now: take(case, person, now),
    "give_back": lambda case, person, _, now: give_back(case, person, now),
    "hand_over": handed_to,
    "done": lambda case, person, form, now: finish(case, person, form.get("outcome", ""), now),
}


def others(case: Case, person: Person) -> list[Person]:
    return [one for one in told(case) if not one.is_at(person.email)]


def show(
    request: HttpRequest, case: Case, person: Person, status: int = HTTPStatus.OK, **more: Any
) -> HttpResponse:
    """In the person's language, and time."""
    reader = reader_of(person)
    with reader.language_on():
        is_mine, handling = case.is_taken and person.is_at(case.taken_by), handling_in(case)
        context = {
            "case": case,
            "letter": case_letter(case, reader, customers_in([case]).get(case.pk, "")),
            "is_mine": is_mine,
            "who": who(handling, reader),
            "yours": yours(handling, reader) if handling else "",
            "write_to_them": write_to_them(case.taken_by),
            "page_for": page_for(person.email, case.application.name),
            "others": others(case, person) if is_mine else [],
            "longest_outcome": LONGEST_OUTCOME,
            "language": reader.language,
        }
        return render(request, "cases/case.html", context | more, status=status)


class CasePage(TokenPage):
    page = staticmethod(show)
    change = staticmethod(change)

    def answer(self, request: HttpRequest, token: str, act: Any) -> HttpResponse:
        """Only for somebody who is still told; otherwise say what is wrong with the link."""
        try:
            case_id, person_id = case_and_person(token)
        except ExpiredLink as link:
            reader = likely_reader(request, link.person_id)
            return say(request, "cases/expired.html", reader, status=HTTPStatus.GONE)
        except BrokenLink:
            return say(
                request, "recipients/broken.html", browsers_reader(request), status=HTTPStatus.NOT_FOUND
            )
        case = existing(case_id)
        person = person_with(case, person_id) if case else None
        if case is None or person is None:
            # A test has no case, and what is older than the retention has none any more.
            return say(request, "cases/forgotten.html", likely_reader(request, person_id))
        return act(request, case, person)
