"""Reminders: what nobody has taken for a working day is told once more, to all who were told of it.

Whoever took it and did not finish it within a working day is reminded, too. A task looks for such cases every minute.
That a case was told again and the duties to do so are written in one transaction, so that a worker that is killed
leaves either nothing or all of it.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from django.conf import settings

from deliveries.cases import (
    Person,
    awake,
    notice,
    occasion_of,
    reminder_at,
    reopen,
    tell,
    told,
    without_holder,
)
from deliveries.chores import do, in_batches
from deliveries.models import Case, Notice
from deliveries.notices import GATHER_FOR


def sweep() -> None:
    steps = [let_go, remind] if settings.HANDLING_REMINDER else [let_go]
    do("reminders", *steps)


def let_go(now: datetime) -> int:
    """What somebody has who was removed, unsubscribed or suppressed is nobody's again; returns how many those were."""
    due = without_holder().select_related("application")
    return in_batches(due, 1, lambda locked: [reopen(case, now) for case in locked])


def remind(now: datetime) -> int:
    """One case at a time; returns how many they were. One that somebody is taking just now is left for later."""
    due = Case.objects.to_remind_of(now).select_related("application")
    return in_batches(due, 1, partial(remind_of, now=now))


def remind_of(locked: Sequence[Case], now: datetime) -> None:
    """While nobody was told of it, there is nothing to remind of."""
    for case in locked:
        people = told(case)
        tell(reminders(case, people, now), now)
        case.remind_at = None if people else reminder_at(now, "UTC")
        case.save(update_fields=["remind_at"])


def reminders(case: Case, people: Sequence[Person], now: datetime) -> list[Notice]:
    if case.is_open:
        return [reminder(case, Notice.Kind.CASE_UNHANDLED, one, now) for one in people]
    mine = [one for one in people if one.is_at(case.taken_by)]
    return [reminder(case, Notice.Kind.CASE_UNFINISHED, one, now) for one in mine]


def reminder(case: Case, kind: Notice.Kind, person: Person, now: datetime) -> Notice:
    """Not before a working day has passed since the person was told, by that person's calendar."""
    assert case.remind_at is not None  # noqa: S101
    told_at = person.told_at or case.created_at
    at = max(now, reminder_at(told_at, person.timezone) or now)
    at = awake(person, at + GATHER_FOR)
    return notice(case, kind, person, occasion_of(case, case.remind_at), case.taken_by, at)
