"""Who wants to know: subscriptions, the secrets that sign for them, and the people who get emails."""

import json
import secrets
from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.functional import cached_property

from accounts.email_addresses import same_for_all, spellings
from accounts.ids import uuid7
from accounts.limits import LimitReached
from accounts.models import Application
from accounts.visible_text import visible
from events.payloads import Payload
from events.pointers import LONGEST_POINTER
from subscriptions.as_written import AsWrittenJSONField
from subscriptions.encryption import EncryptedTextField
from subscriptions.filters import Conditions, conditions_of, unmet
from subscriptions.rhythm import Frequency, Rhythm

EVERY_TYPE = "*"
HIGHEST_RATE = 1000  # deliveries a second that a subscription can be limited to
LONGEST_COOLING = timedelta(minutes=5)


class Channel(models.TextChoices):
    WEBHOOK = "webhook"
    EMAIL = "email"


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def existing(self) -> "SubscriptionQuerySet":
        return self.filter(deleted_at=None)

    def active(self) -> "SubscriptionQuerySet":
        return self.existing().filter(status=Subscription.Status.ACTIVE)

    def matching(self, types: Iterable[str]) -> "SubscriptionQuerySet":
        """Those that want at least one of these event types."""
        return self.existing().filter(event_types__overlap=[EVERY_TYPE, *types])

    def failing(self) -> "SubscriptionQuerySet":
        return self.existing().exclude(failing_since=None)

    def cooling(self, now: datetime) -> "SubscriptionQuerySet":
        """Those that have failed again and again, and are left alone for a while."""
        return self.filter(cooling_until__gt=now)


class Subscription(models.Model):
    """A set of event types (or `*`) and a channel. A deleted one stays as a row for its deliveries' history."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        PAUSED = "paused"
        DISABLED = "disabled"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    application = models.ForeignKey(Application, models.PROTECT, related_name="subscriptions")
    channel = models.CharField(max_length=7, choices=Channel.choices)
    url = models.URLField(max_length=2048, blank=True)
    event_types = ArrayField(models.CharField(max_length=100))
    filter = AsWrittenJSONField(
        default=dict,
        blank=True,
        help_text="JSON pointers into the payload, each with the values allowed there.",
    )
    description = models.CharField(max_length=500, blank=True)
    metadata = AsWrittenJSONField(default=dict, blank=True)
    encrypted_headers = EncryptedTextField(default="{}", editable=False)
    retry_schedule = ArrayField(
        models.PositiveIntegerField(),
        null=True,
        blank=True,
        help_text="Waits between attempts in seconds; empty: the service's RETRY_SCHEDULE.",
    )
    rate_limit = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Attempts that may begin in any second; empty: no limit."
    )
    ordered = models.BooleanField(
        default=False, help_text="Its deliveries go out one at a time, in the order of publishing."
    )
    ordering_key = models.CharField(
        max_length=LONGEST_POINTER,
        blank=True,
        help_text="A JSON pointer into the payload: order is kept among those with the same value there.",
    )
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.ACTIVE)
    status_reason = models.CharField(max_length=500, blank=True)
    moving = models.BooleanField(
        default=False,
        editable=False,
        help_text="Its deliveries are being held, released or cancelled, as its state says, some at a time.",
    )
    failing_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="The first failed attempt since the last success."
    )
    failure_count = models.PositiveIntegerField(
        default=0, editable=False, help_text="Failed attempts since the last success."
    )
    cooling_until = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="No attempt until then, and then one to find out."
    )
    last_failed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="The last failed attempt since the last success."
    )
    last_error = models.TextField(blank=True, editable=False, help_text="What that attempt came to.")
    disable_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When it is disabled unless an attempt succeeds; the application's contacts were told.",
    )
    told_failing_since = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Since when it was failing as its application's contacts were told; empty once it is over.",
    )
    fallback_types = ArrayField(
        models.CharField(max_length=100),
        null=True,
        blank=True,
        help_text="What its recipient is emailed about when the webhook fails or is late; empty: nobody is.",
    )
    fallback_after = models.DurationField(
        null=True, blank=True, help_text="What takes longer to arrive is late; empty: nothing is."
    )
    fallback_looked_until = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="What was made before was looked at when it might have been late.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    audited = (
        *("channel", "url_without_query", "recipient_emails", "event_types", "filter", "description"),
        *("fallback_types", "fallback_after"),
        *("metadata_names", "header_names", "retry_schedule", "rate_limit", "ordered", "ordering_key"),
        *("status", "status_reason"),
    )
    health = (
        *("failing_since", "failure_count", "cooling_until"),
        *("last_failed_at", "last_error", "disable_at"),
    )

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(
                fields=["application", "-id"],
                name="subscription_by_application",
                condition=models.Q(deleted_at=None),
            ),
            models.Index(
                fields=["failing_since"],
                name="subscription_failing",
                condition=models.Q(deleted_at=None, failing_since__isnull=False),
            ),
            models.Index(
                fields=["cooling_until"],
                name="subscription_cooling",
                condition=models.Q(cooling_until__isnull=False),
            ),
            models.Index(fields=["id"], name="subscription_moving", condition=models.Q(moving=True)),
            models.Index(
                fields=["fallback_looked_until"],
                name="subscription_late_fallback",
                condition=models.Q(deleted_at=None, fallback_after__isnull=False),
            ),
            GinIndex(fields=["event_types"], name="subscription_event_types"),
        ]
        constraints = [
            models.CheckConstraint(
                name="subscription_url_by_channel",
                condition=models.Q(channel="email", url="")
                | (models.Q(channel="webhook") & ~models.Q(url="")),
            ),
            models.CheckConstraint(
                name="subscription_status", condition=models.Q(status__in=["active", "paused", "disabled"])
            ),
            models.CheckConstraint(
                name="subscription_has_event_types", condition=models.Q(event_types__len__gt=0)
            ),
            models.CheckConstraint(
                name="subscription_rate_limit",
                condition=models.Q(rate_limit=None)
                | models.Q(channel="webhook", rate_limit__range=(1, HIGHEST_RATE)),
            ),
            models.CheckConstraint(
                name="subscription_ordered",
                condition=models.Q(ordered=False, ordering_key="")
                | models.Q(ordered=True, channel="webhook"),
            ),
            models.CheckConstraint(
                name="subscription_fallback",
                condition=models.Q(fallback_types=None, fallback_after=None, fallback_looked_until=None)
                | models.Q(channel="webhook", fallback_types__len__gt=0)
                & (
                    models.Q(fallback_after=None, fallback_looked_until=None)
                    | models.Q(fallback_after__isnull=False, fallback_looked_until__isnull=False)
                ),
            ),
        ]

    def __str__(self) -> str:
        return visible(self.description) or self.url or f"emails to {self.application}"

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the owner wants with every webhook; values may be credentials."""
        headers: dict[str, str] = json.loads(self.encrypted_headers)
        return headers

    @headers.setter
    def headers(self, headers: dict[str, str]) -> None:
        self.encrypted_headers = json.dumps(headers)

    @property
    def header_names(self) -> list[str]:
        return sorted(self.headers)

    @property
    def metadata_names(self) -> list[str]:
        return sorted(self.metadata)

    @property
    def url_without_query(self) -> str:
        """Where it leads, without what may be a token."""
        return urlsplit(self.url)._replace(query="", fragment="").geturl()

    @property
    def recipient_emails(self) -> list[str]:
        if self.channel != Channel.EMAIL and self.fallback_types is None:
            return []
        return sorted(self.recipients.filter(removed_at=None).values_list("email", flat=True))

    @property
    def is_active(self) -> bool:
        return self.status == self.Status.ACTIVE and self.deleted_at is None

    def wants(self, event_type: str, payload: Payload) -> bool:
        """Whether it is to be told of an event with this type and payload."""
        return self.wants_type(event_type) and self.unmet_condition(payload) is None

    def wants_type(self, event_type: str) -> bool:
        return EVERY_TYPE in self.event_types or event_type in self.event_types

    def falls_back_on(self, event_type: str) -> bool:
        """Whether its recipient is emailed about an event of this type that the webhook could not tell."""
        return not {EVERY_TYPE, event_type}.isdisjoint(self.fallback_types or [])

    @property
    def emailed_types(self) -> list[str]:
        """Of what its recipients may get emails; those of a webhook only when it fails or is late."""
        if self.channel == Channel.EMAIL or EVERY_TYPE in (self.fallback_types or []):
            return self.event_types
        return self.fallback_types or []

    def unmet_condition(self, payload: Payload) -> str | None:
        """The first pointer of its filter that does not let the payload through. Without a filter nothing is parsed."""
        return unmet(self.conditions, payload.value) if self.filter else None

    @cached_property
    def conditions(self) -> Conditions:
        return conditions_of(self.filter)

    def forget_failures(self) -> None:
        """All of its `health` as if it had never failed."""
        self.failing_since = self.cooling_until = self.last_failed_at = self.disable_at = None
        self.failure_count, self.last_error = 0, ""

    def is_cooling(self, now: datetime) -> bool:
        """A longer pause than any that is made is from before the clock was put back."""
        return self.cooling_until is not None and now < self.cooling_until <= now + LONGEST_COOLING


class Pace(models.Model):
    """When the next attempt of a subscription with a `rate_limit` may begin, by the database's clock.

    Whoever takes moments to begin at holds the row until the commit. A table of its own, so that the subscription's
    row, which publishers and settling lock, is left alone.
    """

    subscription = models.OneToOneField(Subscription, models.CASCADE, primary_key=True)
    next_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"pace of {self.subscription_id}"


def new_secret() -> str:
    """A signing secret: `whsec_` and the base64 of 32 random bytes (Standard Webhooks)."""
    return f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


class SigningSecretQuerySet(models.QuerySet["SigningSecret"]):
    def valid(self, now: datetime) -> "SigningSecretQuerySet":
        """Those that sign now, newest first."""
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        return self.filter(unexpired).order_by("-created_at", "-id")

    def rotate(self, subscription: Subscription, overlap: timedelta, now: datetime) -> str:
        """A new secret beside the old ones, which sign on for `overlap`; returns the new one.

        Raises LimitReached, inside the caller's transaction, when there would be too many that sign.
        """
        old = self.valid(now).filter(subscription=subscription)
        old.filter(models.Q(expires_at=None) | models.Q(expires_at__gt=now + overlap)).update(
            expires_at=now + overlap
        )
        if old.count() >= settings.MAX_SECRETS:
            raise LimitReached(
                f"{settings.MAX_SECRETS} secrets of the subscription sign already, which is the limit (MAX_SECRETS). "
                "Wait until one ends, or rotate with overlap_seconds 0, which ends them all."
            )
        return self.create(subscription=subscription, secret=new_secret(), created_at=now).secret


class SigningSecret(models.Model):
    """What signs a subscription's webhooks. Several can be valid at a time."""

    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="secrets")
    secret = EncryptedTextField(default=new_secret)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = SigningSecretQuerySet.as_manager()

    def __str__(self) -> str:
        return f"signing secret of {self.subscription_id}"

    def is_valid(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now


class RecipientQuerySet(models.QuerySet["Recipient"]):
    def who_declined(self, application_id: UUID, emails: Iterable[str]) -> set[str]:
        """Of these addresses, those that were asked by this application and wanted nothing, nor to be asked again."""
        addresses = (
            self.filter(
                subscription__application=application_id,
                status=Recipient.Status.UNSUBSCRIBED,
                confirmed_at=None,
            )
            .annotate(address=Lower("email"))
            .filter(address__in=spellings(emails))
        )
        return {same_for_all(email) for email in addresses.values_list("email", flat=True)}

    def told(self) -> "RecipientQuerySet":
        """Those whom emails are sent to, unless the subscription is paused or disabled."""
        return self.filter(status=Recipient.Status.CONFIRMED, removed_at=None, subscription__deleted_at=None)


class Recipient(models.Model):
    """One person of an email subscription, or the one on whom a webhook subscription falls back.

    Confirms the address once before anything is sent to it.
    """

    class Status(models.TextChoices):
        UNCONFIRMED = "unconfirmed"
        CONFIRMED = "confirmed"
        UNSUBSCRIBED = "unsubscribed"
        SUPPRESSED = "suppressed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="recipients")
    email = models.EmailField(max_length=254)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.UNCONFIRMED)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    confirmed_at = models.DateTimeField(null=True, blank=True, editable=False)
    unsubscribed_at = models.DateTimeField(null=True, blank=True, editable=False)
    removed_at = models.DateTimeField(null=True, blank=True, editable=False)
    types = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text="Of the subscription's event types those that this person wants; empty: all.",
    )
    frequency = models.CharField(max_length=7, choices=Frequency.choices, default=Frequency.AT_ONCE)
    digest_hour = models.PositiveSmallIntegerField(default=8, help_text="When a daily digest goes out.")
    notes = models.BooleanField(
        default=True, help_text="Is told when somebody handles what they were told of."
    )
    quiet_from = models.TimeField(null=True, blank=True, help_text="No email from then on.")
    quiet_until = models.TimeField(null=True, blank=True)
    timezone = models.CharField(max_length=64, default="UTC")
    language = models.CharField(max_length=8, default="en")

    objects = RecipientQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint("subscription", Lower("email"), name="recipient_once_a_subscription"),
            models.CheckConstraint(
                name="recipient_status",
                condition=models.Q(status__in=["unconfirmed", "confirmed", "unsubscribed", "suppressed"]),
            ),
            models.CheckConstraint(
                name="recipient_frequency", condition=models.Q(frequency__in=["at_once", "hourly", "daily"])
            ),
            models.CheckConstraint(
                name="recipient_digest_hour", condition=models.Q(digest_hour__range=(0, 23))
            ),
            models.CheckConstraint(
                name="recipient_quiet_hours",
                condition=models.Q(quiet_from=None, quiet_until=None)
                | (
                    models.Q(quiet_from__isnull=False, quiet_until__isnull=False)
                    & ~models.Q(quiet_from=models.F("quiet_until"))
                ),
            ),
        ]
        indexes = [models.Index(Lower("email"), name="recipient_by_email")]

    def __str__(self) -> str:
        return self.email

    @property
    def application_id(self) -> UUID:
        return self.subscription.application_id

    @property
    def wants_email(self) -> bool:
        """Whether events are kept for this person: sent when confirmed, held until then."""
        return self.removed_at is None and self.status in (self.Status.CONFIRMED, self.Status.UNCONFIRMED)

    @property
    def rhythm(self) -> Rhythm:
        return Rhythm(self.frequency, self.digest_hour, self.quiet_from, self.quiet_until, self.timezone)

    def wants(self, event_type: str) -> bool:
        return not self.types or event_type in self.types


class SuppressionQuerySet(models.QuerySet["Suppression"]):
    def standing(self) -> "SuppressionQuerySet":
        return self.filter(lifted_at=None)

    def of(self, emails: Iterable[str]) -> set[str]:
        """Of these addresses, as they are compared, those that get nothing."""
        asked = {same_for_all(email) for email in emails}
        return set(self.standing().filter(email__in=asked).values_list("email", flat=True))


class Suppression(models.Model):
    """An address that nothing is sent to, whichever application asks: it does not exist, or who has it complained.

    A lifted one stays as a row: that it was suppressed once is worth knowing.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(max_length=254, unique=True, help_text="As addresses are compared.")
    reason = models.CharField(max_length=500)
    source = models.CharField(max_length=50, help_text="Who said so.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    lifted_at = models.DateTimeField(null=True, blank=True, editable=False)

    audited = ("email", "reason", "source", "lifted_at")

    objects = SuppressionQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                name="suppression_email_in_lower_case", condition=models.Q(email=Lower("email"))
            )
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def is_standing(self) -> bool:
        return self.lifted_at is None
