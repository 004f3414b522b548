"""Reminders: what nobody has taken for a working day is told once more, to all who were told of it.

A task looks for such cases every minute. That a case was told again and the duties to do so are written in one
transaction, so that a worker that is killed leaves either nothing or all of it.
"""

import zlib
from datetime import datetime

from django.conf import settings
from django.db import transaction

from deliveries.cases import Person, awake, notice, reminder_at, tell, told
from deliveries.chores import alone, attempt, earlier_clock
from deliveries.models import Case, Notice
from deliveries.stopping import stopping

LOCK = zlib.crc32(b"openvolt reminders")


def sweep() -> None:
    """Does nothing while another worker does it, on whatever machine."""
    if not settings.HANDLING_REMINDER:
        return
    with alone(LOCK) as is_mine:
        if is_mine:
            attempt(remind, earlier_clock())


def remind(now: datetime) -> int:
    """One case at a time; returns how many they were."""
    done = 0
    while not stopping.is_set() and remind_of_one(now):
        done += 1
    return done


def remind_of_one(now: datetime) -> bool:
    """Whether there was one. One that somebody holds, who takes it just now, is left to the next sweep."""
    with transaction.atomic():
        due = Case.objects.to_remind_of(now).select_related("application")
        case = due.select_for_update(of=("self",), skip_locked=True).first()
        if case is None:
            return False
        tell([reminder(case, person, now) for person in told(case)], now)
        case.remind_at = None
        case.save(update_fields=["remind_at"])
    return True


def reminder(case: Case, person: Person, now: datetime) -> Notice:
    """Not before the person's own working day has passed."""
    at = max(now, reminder_at(case.created_at, person.timezone) or now)
    return notice(case, Notice.Kind.CASE_UNHANDLED, person, str(case.id), "", awake(person, at))
