"""Digests: what a recipient does not want at once gathers, and goes out as one email at its moment.

There is no table of digests. Deliveries to one recipient with the same moment have the same name in `Delivery.digest`,
a UUID of version 5, so that whoever makes one needs no look at the others. The claim (claiming.py) gives those that it
takes a new name, of version 8: the email's. Nothing joins them after that, and a retry is the same email.
"""

from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from django.db import connection
from django.db.models import CharField, Value
from django.db.models.functions import Cast, Substr
from django.db.models.lookups import Exact

from deliveries.claiming import GATHERING, IDLE
from deliveries.models import LONGEST_LEASE, Replay, Trigger
from deliveries.notices import GATHER_FOR
from subscriptions.models import Recipient
from subscriptions.rhythm import Frequency, Rhythm

REDATE = f"""
UPDATE deliveries_delivery SET next_attempt_at = %(at)s, digest = %(digest)s
WHERE subscription_id = %(subscription)s AND recipient_id = %(recipient)s AND status = 'pending'
    AND attempt_count = 0 AND NOT retry_requested AND (trigger = 'scheduled' OR replay_id IS NOT NULL)
    AND {IDLE} AND (digest IS NULL OR {GATHERING})
"""  # noqa: S608 - nothing from outside is in it

# As GATHERING, in the ORM: the name that a claim gave it.
IS_AN_EMAIL = Exact(Substr(Cast("digest", CharField()), 15, 1), Value("8"))

Due = tuple[datetime, UUID | None]


def due_for(recipient: Recipient | None, trigger: str, now: datetime) -> Due:
    """When a new delivery goes out, and in which digest.

    What somebody asked for goes at once: a replay of one event unless it is quiet, a test whatever the clock shows.
    """
    if recipient is None or trigger == Trigger.TEST:
        return now, None
    rhythm = recipient.rhythm
    if trigger == Trigger.REPLAY:
        rhythm = replace(rhythm, frequency=Frequency.AT_ONCE)
    return gathered(recipient.id, rhythm, now)


def due_with_others(replay: Replay, recipient: Recipient, now: datetime) -> Due:
    """For what a job replays, which may be many: with the recipient's digest, or soon, in as few emails as can be."""
    at, digest = due_for(recipient, Trigger.SCHEDULED, now)
    if digest is not None:
        return at, digest
    begins = replay.created_at + GATHER_FOR
    return max(begins, now), digest_at(recipient.id, begins)


@lru_cache(maxsize=4096)  # a batch of events has the same answer for each
def gathered(recipient_id: UUID, rhythm: Rhythm, now: datetime) -> Due:
    at = rhythm.next_digest(now)
    return (at, digest_at(recipient_id, at)) if at else (now, None)


def digest_at(recipient_id: UUID, moment: datetime) -> UUID:
    return uuid5(recipient_id, moment.astimezone(UTC).isoformat())


def due_together(recipient: Recipient, now: datetime) -> Due:
    """For what has gathered so far: with the next digest, or now, but in one email."""
    at, digest = due_for(recipient, Trigger.SCHEDULED, now)
    return at, digest or digest_at(recipient.id, at)


def redate(recipient: Recipient, now: datetime) -> None:
    """What waits for this recipient and was never tried follows the rhythm chosen now; at once, it is one email.

    The caller has locked the subscription. What is in an email already, and failed, stays in it.
    """
    at, digest = due_together(recipient, now)
    parameters: dict[str, Any] = {
        "at": at,
        "digest": digest,
        "subscription": recipient.subscription_id,
        "recipient": recipient.id,
        "now": now,
        "furthest": now + LONGEST_LEASE,
    }
    with connection.cursor() as cursor:
        cursor.execute(REDATE, parameters)
