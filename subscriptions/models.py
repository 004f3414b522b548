"""Who wants to know: subscriptions, the secrets that sign for them, and the people who get emails."""

import json
import secrets
from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.ids import uuid7
from accounts.models import Application
from subscriptions.encryption import EncryptedTextField

EVERY_TYPE = "*"
HIGHEST_RATE = 1000  # deliveries a second that a subscription can be limited to
LONGEST_COOLING = timedelta(minutes=5)
LONGEST_POINTER = 500  # characters


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
    description = models.CharField(max_length=500, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
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
    failing_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="The first failed attempt since the last success."
    )
    failure_count = models.PositiveIntegerField(
        default=0, editable=False, help_text="Failed attempts since the last success."
    )
    cooling_until = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="No attempt until then, and then one to find out."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    audited = (
        *("channel", "url_without_query", "recipient_emails", "event_types", "description"),
        *("metadata_names", "header_names", "retry_schedule", "rate_limit", "ordered", "ordering_key"),
        *("status", "status_reason"),
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
            GinIndex(fields=["event_types"], name="subscription_event_types"),
        ]
        constraints = [
            models.CheckConstraint(
                name="subscription_url_by_channel",
                condition=models.Q(channel="email", url="")
                | (models.Q(channel="webhook") & ~models.Q(url="")),
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
        ]

    def __str__(self) -> str:
        return self.description or self.url or f"emails to {self.application}"

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
        if self.channel != Channel.EMAIL:
            return []
        return sorted(self.recipients.filter(removed_at=None).values_list("email", flat=True))

    @property
    def is_active(self) -> bool:
        return self.status == self.Status.ACTIVE and self.deleted_at is None

    def wants(self, event_type: str) -> bool:
        return EVERY_TYPE in self.event_types or event_type in self.event_types

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
        """A new secret beside the old ones, which sign on for `overlap`; returns the new one."""
        self.valid(now).filter(subscription=subscription).filter(
            models.Q(expires_at=None) | models.Q(expires_at__gt=now + overlap)
        ).update(expires_at=now + overlap)
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


class Recipient(models.Model):
    """One person of an email subscription. Confirms the address once before anything is sent to it."""

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

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint("subscription", Lower("email"), name="recipient_once_a_subscription")
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def application_id(self) -> UUID:
        return self.subscription.application_id

    @property
    def wants_email(self) -> bool:
        """Whether events are kept for this person: sent when confirmed, held until then."""
        return self.removed_at is None and self.status in (self.Status.CONFIRMED, self.Status.UNCONFIRMED)
