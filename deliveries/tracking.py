"""What became of an email after it was accepted, as email providers tell: kept in its delivery's history, and acted on.

Anymail puts the providers' words into its own; here they become ours. A hard bounce, a complaint and an unsubscription
at the provider suppress the address, and so do many soft bounces with nothing delivered between them.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from anymail.signals import AnymailTrackingEvent, EventType, RejectReason  # type: ignore[import-untyped]
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import Lower

from accounts.email_addresses import same_for_all, spellings
from deliveries.channels.email import OUR_ID
from deliveries.channels.refusals import says_no_such_address
from deliveries.letters.reading import at, clean
from deliveries.models import Delivery, MailEvent
from deliveries.partitions import first_id
from deliveries.suppressing import recipients_at, suppress
from subscriptions.models import Suppression

Kind = MailEvent.Kind

LONGEST_DESCRIPTION = 500
LONGEST_EMAIL = 254
SOFT_BOUNCES = 5  # that suppress an address
SOFT_BOUNCES_WITHIN = timedelta(days=14)
FORGOTTEN_AT_ONCE = 5_000
MESSAGE_ID = re.compile(r"<?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@", re.ASCII | re.IGNORECASE)

KINDS = {
    EventType.DELIVERED: Kind.DELIVERED,
    EventType.DEFERRED: Kind.DEFERRED,
    EventType.BOUNCED: Kind.BOUNCED,
    EventType.COMPLAINED: Kind.COMPLAINED,
    EventType.UNSUBSCRIBED: Kind.UNSUBSCRIBED,
    EventType.REJECTED: Kind.REJECTED,
    EventType.FAILED: Kind.REJECTED,
}
# The provider did not even try, for what it knows of the address from before.
REJECTED_FOR = {
    RejectReason.INVALID: Kind.BOUNCED,
    RejectReason.BOUNCED: Kind.BOUNCED,
    RejectReason.SPAM: Kind.COMPLAINED,
    RejectReason.UNSUBSCRIBED: Kind.UNSUBSCRIBED,
}
# Anymail calls hard and soft bounces the same. Where each provider says that one is hard, and how.
HARD: dict[str, list[tuple[str, set[Any]]]] = {
    "Amazon SES": [("bounce.bounceType", {"Permanent"})],
    "Brevo": [("event", {"hard_bounce", "invalid_email"})],
    "MailerSend": [("type", {"activity.hard_bounced"})],
    "Mailgun": [("event-data.reason", {"bounce", "suppress-bounce"})],
    "Mailjet": [("hard_bounce", {True})],
    "Postmark": [("Type", {"HardBounce"}), ("SuppressionReason", {"HardBounce"})],
    "Resend": [("data.bounce.type", {"Permanent"})],
    "SendGrid": [("type", {"bounce"})],
    "SparkPost": [("msys.message_event.bounce_class", {"10", "30", "90"})],
}
# Anymail names these events by the message that told of them, and the same event may come in another message. Mailgun
# promises that no two events of a day have the same id.
SAME_WHEN_TOLD_AGAIN = {
    "Amazon SES": ("mail.messageId", "bounce.feedbackId", "complaint.feedbackId"),
    "Mailgun": ("event-data.id", "event-data.timestamp"),
}
WHY = {
    Kind.BOUNCED: "The address does not exist, or takes no email: {words}",
    Kind.COMPLAINED: "Its owner said that an email is spam. {words}",
    Kind.UNSUBSCRIBED: "Its owner unsubscribed at the email provider. {words}",
}
MANY = (
    f"{SOFT_BOUNCES} emails in {SOFT_BOUNCES_WITHIN.days} days came back, and none arrived between. {{words}}"
)
FORGET = """
DELETE FROM deliveries_mailevent WHERE id IN (
    SELECT id FROM deliveries_mailevent AS event
    WHERE id < %s AND NOT EXISTS (SELECT FROM deliveries_delivery WHERE id = event.delivery_id)
    ORDER BY id LIMIT %s
)
"""


@dataclass(frozen=True, slots=True)
class Told:
    """One event in our words. `id` is what our own metadata or message id named, most often a delivery."""

    kind: str
    email: str
    id: UUID | None
    at: datetime
    description: str
    key: str


def note(events: Iterable[AnymailTrackingEvent], provider: str, now: datetime) -> None:
    """Keep what a provider told, and act on what it has not told before. Opens and clicks are nobody's business."""
    told = {one.key: one for one in in_our_words(events, provider, now)}
    if not told:
        return
    with transaction.atomic():
        known = set(MailEvent.objects.filter(key__in=told).values_list("key", flat=True))
        new = [told[key] for key in sorted(told.keys() - known)]
        found = deliveries_of(new)
        kept = [row for one in new for row in rows(one, found[one.id, one.email], provider)]
        MailEvent.objects.bulk_create(kept, ignore_conflicts=True)
        if reasons := reasons_to_suppress(new, now):
            suppress(reasons, provider, now)


def in_our_words(events: Iterable[AnymailTrackingEvent], provider: str, now: datetime) -> Iterator[Told]:
    for event in events:
        kind, email = kind_of(event, provider), email_of(event.recipient)
        if kind and email:
            words = clean(text(event.mta_response) or text(event.description), LONGEST_DESCRIPTION)
            key = key_of(event, provider, kind, email)
            yield Told(kind, email, id_in(event), moment_of(event.timestamp, now), words, key)


def kind_of(event: AnymailTrackingEvent, provider: str) -> str | None:
    """None for what says nothing about whether an email arrived."""
    kind = KINDS.get(event.event_type)
    if kind == Kind.REJECTED:
        return REJECTED_FOR.get(event.reject_reason, kind)
    if kind == Kind.BOUNCED and not is_hard(event, provider):
        return Kind.SOFT_BOUNCED
    return kind


def is_hard(event: AnymailTrackingEvent, provider: str) -> bool:
    said = [(at(event.esp_event, path), values) for path, values in HARD[provider]]
    return says_no_such_address(text(event.mta_response)) or any(
        isinstance(value, str | bool) and value in values for value, values in said
    )


def text(value: object) -> str:
    return value if isinstance(value, str) else ""


def email_of(recipient: object) -> str:
    """As addresses are compared; empty for what is none that anything could have been sent to."""
    email = same_for_all(text(recipient).strip().strip("<>"))
    try:
        validate_email(email)
    except ValidationError:
        return ""
    return email if len(email) <= LONGEST_EMAIL else ""


def id_in(event: AnymailTrackingEvent) -> UUID | None:
    """Our metadata's, or the one that our Message-ID begins with."""
    metadata = event.metadata if isinstance(event.metadata, dict) else {}
    named = text(metadata.get(OUR_ID)) + "@"
    original = text(at(event.esp_event, "mail.commonHeaders.messageId"))  # Amazon SES gives the email another
    for candidate in (named, original, text(event.message_id)):
        if match := MESSAGE_ID.match(candidate):
            return UUID(match[1])
    return None


def moment_of(timestamp: object, now: datetime) -> datetime:
    """The provider's time; ours where it gave none, or one that is no moment of the past."""
    if not isinstance(timestamp, datetime) or timestamp.tzinfo is None:
        return now
    return timestamp if timestamp.year > 1 and timestamp < now else now


def key_of(event: AnymailTrackingEvent, provider: str, kind: str, email: str) -> str:
    """Stands for the event: the provider's own id, if it gives one, or all that tells it from others."""
    own = [at(event.esp_event, path) for path in SAME_WHEN_TOLD_AGAIN.get(provider, ())]
    if any(own):
        return hashed(provider, *map(str, own), kind, email)
    named = event.event_id or f"{event.message_id} {event.timestamp}"
    return hashed(provider, str(named), kind, email)


def hashed(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode(errors="replace")).hexdigest()


def rows(one: Told, deliveries: Sequence[UUID], provider: str) -> Iterator[MailEvent]:
    """One for each delivery that the email was for; one without, if there was none. The first has the event's key."""
    for nth, delivery_id in enumerate(deliveries or [None]):
        yield MailEvent(
            delivery_id=delivery_id,
            email=one.email,
            message=one.id,
            kind=one.kind,
            at=one.at,
            description=one.description,
            provider=provider,
            key=hashed(one.key, str(delivery_id)) if nth else one.key,
        )


def deliveries_of(told: Sequence[Told]) -> defaultdict[tuple[UUID | None, str], list[UUID]]:
    """By what was named, and the address: the delivery itself, or those of a digest. None of anybody else's."""
    found: defaultdict[tuple[UUID | None, str], list[UUID]] = defaultdict(list)
    ids, emails = {one.id for one in told if one.id}, {one.email for one in told}
    to_them = Delivery.objects.annotate(address=Lower("recipient__email")).filter(
        address__in=spellings(emails)
    )
    for id, address in to_them.filter(pk__in=ids).values_list("pk", "address"):
        found[id, same_for_all(address)].append(id)
    if digests := ids - {id for id, _ in found}:
        people = list(recipients_at(emails).values_list("pk", flat=True))
        of_digests = to_them.filter(recipient__in=people, digest__in=digests).order_by("pk")
        for digest, address, id in of_digests.values_list("digest", "address", "pk"):
            found[digest, same_for_all(address)].append(id)
    return found


def reasons_to_suppress(told: Sequence[Told], now: datetime) -> dict[str, str]:
    """The addresses that get nothing more, and why."""
    soft = {one.email: one.description for one in told if one.kind == Kind.SOFT_BOUNCED}
    many = {
        email: MANY.format(words=soft[email]).strip()
        for email, count in soft_bounces(soft, now).items()
        if count >= SOFT_BOUNCES
    }
    hard = {
        one.email: WHY[Kind(one.kind)].format(words=one.description).strip()
        for one in after_lifting([one for one in told if one.kind in WHY])
    }
    return many | hard


def after_lifting(told: Sequence[Told]) -> Iterator[Told]:
    """What is told late of before staff lifted the address's suppression is what they have dealt with."""
    emails = {one.email for one in told}
    lifted = dict(Suppression.objects.filter(email__in=emails).values_list("email", "lifted_at"))
    for one in told:
        lifted_at = lifted.get(one.email)
        if lifted_at is None or one.at > lifted_at:
            yield one


def soft_bounces(
    emails: Collection[str], now: datetime, taken: Mapping[str, datetime] = MappingProxyType({})
) -> Counter[str]:
    """How many emails came back from each address since one arrived there, or staff lifted its suppression.

    `taken` says of addresses when one arrived as far as the mail server knows.
    """
    if not emails:
        return Counter()
    recent = MailEvent.objects.filter(email__in=emails, at__gt=now - SOFT_BOUNCES_WITHIN)
    arrived = recent.filter(kind=Kind.DELIVERED).order_by().values_list("email").annotate(last=Max("at"))
    lifted = Suppression.objects.filter(email__in=emails).values_list("email", "lifted_at")
    since: dict[str, datetime] = {}
    for email, moment in [*arrived, *taken.items(), *lifted]:
        since[email] = max(filter(None, [since.get(email), moment]), default=now - SOFT_BOUNCES_WITHIN)
    came_back = recent.filter(kind=Kind.SOFT_BOUNCED).values_list("email", "at", "message", "pk")
    each = {
        (email, message or pk)
        for email, moment, message, pk in came_back
        if email not in since or moment > since[email]
    }
    return Counter(email for email, _ in each)


def forget_mail_events(before: datetime) -> int:
    """Delete the older ones whose deliveries are gone, some at a time; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(FORGET, [first_id(before), FORGOTTEN_AT_ONCE])
        return int(cursor.rowcount)
