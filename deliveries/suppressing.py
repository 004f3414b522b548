"""Addresses that nothing is sent to: what puts one on the list, and who takes it off again.

An address that does not exist, or whose owner complained, costs the sender's good name with each further email. So it
is suppressed for every application, for good; only staff lift that.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Lower

from accounts.audit import picture, record
from accounts.email_addresses import same_for_all, spellings
from deliveries.lifecycle import NotPossible, ask_in_turn, cancel_unfinished
from deliveries.locking import lock_out_all_publishers
from subscriptions.models import Recipient, Suppression

LONGEST_REASON = 500


def suppress(reasons: Mapping[str, str], source: str, now: datetime) -> None:
    """Send nothing more to these addresses, and cancel what was to be sent. `reasons` says why, for each.

    Said again of one that is suppressed, it reaches who has added the address meanwhile.
    """
    cut = {same_for_all(email): reason[:LONGEST_REASON] for email, reason in sorted(reasons.items())}
    with transaction.atomic():
        note(cut, source, now)
        known = [Recipient.Status.UNCONFIRMED, Recipient.Status.CONFIRMED]
        ids = locked(recipients_at(cut).filter(status__in=known))
        Recipient.objects.filter(pk__in=ids).update(status=Recipient.Status.SUPPRESSED)
        cancel_unfinished(Q(recipient__in=ids), now)


def note(reasons: Mapping[str, str], source: str, now: datetime) -> None:
    """Those that are suppressed already keep their first reason; those that were lifted are so again."""
    again = Suppression.objects.select_for_update().filter(email__in=reasons).exclude(lifted_at=None)
    lifted = list(again.order_by("email"))
    for one in lifted:
        one.reason, one.source, one.created_at, one.lifted_at = reasons[one.email], source, now, None
    Suppression.objects.bulk_update(lifted, ["reason", "source", "created_at", "lifted_at"])
    Suppression.objects.bulk_create(
        (
            Suppression(email=email, reason=reason, source=source, created_at=now)
            for email, reason in reasons.items()
        ),
        ignore_conflicts=True,
    )


def recipients_at(emails: Collection[str]) -> QuerySet[Recipient]:
    """Whoever has one of these addresses, however it is spelled."""
    return Recipient.objects.annotate(address=Lower("email")).filter(address__in=spellings(emails))


def locked(theirs: QuerySet[Recipient]) -> list[UUID]:
    """The ids of these recipients, under their subscriptions' locks."""
    subscriptions = set(theirs.values_list("subscription_id", flat=True))
    lock_out_all_publishers(subscriptions)
    return list(theirs.filter(subscription__in=subscriptions).values_list("pk", flat=True))


def decline(recipient: Recipient, now: datetime) -> None:
    """Who was asked whether to be told wants nothing, and no more such questions from this application."""
    with transaction.atomic():
        asked = recipients_at([recipient.email]).filter(
            status=Recipient.Status.UNCONFIRMED, subscription__application=recipient.application_id
        )
        ids = locked(asked)
        Recipient.objects.filter(pk__in=ids).update(status=Recipient.Status.UNSUBSCRIBED, unsubscribed_at=now)
        cancel_unfinished(Q(recipient__in=ids), now)
    recipient.refresh_from_db()


def lift(suppression: Suppression, now: datetime) -> Suppression:
    """Whoever has the address is unconfirmed again, and is asked. Raises NotPossible when it is lifted already."""
    with transaction.atomic():
        one = Suppression.objects.select_for_update().get(pk=suppression.pk)
        if not one.is_standing:
            raise NotPossible("The address is not suppressed any more.")
        before = picture(one)
        one.lifted_at = now
        one.save(update_fields=["lifted_at"])
        ids = locked(recipients_at([one.email]).filter(status=Recipient.Status.SUPPRESSED))
        theirs = Recipient.objects.filter(pk__in=ids)
        theirs.update(status=Recipient.Status.UNCONFIRMED, confirmed_at=None)
        ask_again(theirs.filter(removed_at=None, subscription__deleted_at=None), now)
        record("suppression.lifted", one, before, picture(one))
    return one


def ask_again(recipients: QuerySet[Recipient], now: datetime) -> None:
    """The latest first."""
    asked = recipients.select_related("subscription").defer("subscription__encrypted_headers")
    by_application: defaultdict[UUID, list[Recipient]] = defaultdict(list)
    for recipient in asked.order_by("-id"):
        by_application[recipient.application_id].append(recipient)
    for application in sorted(by_application):
        ask_in_turn(by_application[application], application, now)
