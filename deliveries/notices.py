"""What the service itself has to tell people by email: duties, each to one address, that `deliveries.mailing` does."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Lower

from accounts.email_addresses import same_for_all, spellings
from deliveries.models import Notice
from deliveries.wakeup import wake
from subscriptions.models import Channel

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
GATHER_FOR = timedelta(seconds=10)  # news and reminders: what comes meanwhile goes out in the same email
MOST_QUESTIONS = 5  # a day, whether an address may be sent the emails of one application
MOST_QUESTIONS_AN_HOUR = 500  # of one application, whomever to: it can write down anybody's address
MOST_FALLBACKS = 100  # a day, to one address, instead of the webhooks of one application
MOST_A_DAY = {Notice.Kind.FALLBACK: MOST_FALLBACKS}  # of others, one for each subscription that it may have
EXISTING = Q(recipient__removed_at=None, subscription__deleted_at=None)


def add(notices: Sequence[Notice]) -> None:
    """Those whose occasion has had its notice, of this kind and to this address, are left out."""
    Notice.objects.bulk_create(notices, ignore_conflicts=True)
    wake([Channel.EMAIL])


def not_pestered(notices: Sequence[Notice], now: datetime) -> list[Notice]:
    """Without those to addresses that get enough of this kind, from this application, in a day."""
    times = recent(notices, now)
    kept = []
    for notice in notices:
        times[key(notice)] += 1
        if times[key(notice)] <= MOST_A_DAY.get(Notice.Kind(notice.kind), settings.MAX_SUBSCRIPTIONS):
            kept.append(notice)
    return kept


def in_turn(questions: Sequence[Notice], application: UUID, now: datetime) -> Sequence[Notice]:
    """Those of one application, due when its hour and the address's day have room. None is left out.

    Until the transaction's end nobody else counts.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"questions {application}"])
    waiting = EXISTING & Q(due_at__isnull=False)
    asked = Notice.objects.filter(application=application, kind=Notice.Kind.CONFIRMATION)
    before = asked.filter(waiting | Q(sent_at__gt=now - HOUR)).count()
    times = recent(questions, now)
    for place, question in enumerate(questions, before):
        days = times[key(question)] // MOST_QUESTIONS
        question.due_at = now + max(place // MOST_QUESTIONS_AN_HOUR * HOUR, days * DAY)
        times[key(question)] += 1
    return questions


def key(notice: Notice) -> tuple[object, ...]:
    return notice.application_id, notice.kind, same_for_all(notice.email)


def recent(notices: Sequence[Notice], now: datetime) -> Counter[tuple[object, ...]]:
    """How many there are of each such kind, sent in the last day or still to be sent."""
    waiting = Q(due_at__isnull=False) & (EXISTING | ~Q(kind=Notice.Kind.CONFIRMATION))
    fresh = waiting | Q(sent_at__gt=now - DAY)
    same = Notice.objects.annotate(address=Lower("email")).filter(
        fresh,
        application__in={notice.application_id for notice in notices},
        kind__in={notice.kind for notice in notices},
        address__in=spellings(notice.email for notice in notices),
    )
    found = same.values_list("application_id", "kind", "address")
    return Counter((application, kind, same_for_all(address)) for application, kind, address in found)


def forget_notices(before: datetime) -> int:
    """Delete those from before that are done with; returns how many they were."""
    return Notice.objects.filter(created_at__lt=before, due_at=None).delete()[0]
