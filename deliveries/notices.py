"""What the service itself has to tell people by email: duties, each to one address, that `deliveries.mailing` does."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Lower

from deliveries.models import Notice
from deliveries.wakeup import wake
from subscriptions.models import Channel

DAY = timedelta(days=1)
MOST_QUESTIONS = 5  # a day, whether an address may be sent the emails of one application
MOST_FALLBACKS = 100  # a day, to one address, instead of the webhooks of one application
MOST_A_DAY = {
    Notice.Kind.CONFIRMATION: MOST_QUESTIONS,
    Notice.Kind.FALLBACK: MOST_FALLBACKS,
}  # of others, one for each subscription that it may have


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


def key(notice: Notice) -> tuple[object, ...]:
    return notice.application_id, notice.kind, notice.email.lower()


def recent(notices: Sequence[Notice], now: datetime) -> Counter[tuple[object, ...]]:
    """How many there are of each such kind, sent in the last day or still to be sent."""
    fresh = Q(due_at__isnull=False) | Q(sent_at__gt=now - DAY)
    same = Notice.objects.annotate(address=Lower("email")).filter(
        fresh,
        application__in={notice.application_id for notice in notices},
        kind__in={notice.kind for notice in notices},
        address__in={notice.email.lower() for notice in notices},
    )
    return Counter(same.values_list("application_id", "kind", "address"))


def forget_notices(before: datetime) -> int:
    """Delete those from before that are done with; returns how many they were."""
    return Notice.objects.filter(created_at__lt=before, due_at=None).delete()[0]
