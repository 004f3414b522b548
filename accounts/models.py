"""Whose it is: applications, the people who work with them, and the keys that act for them."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from accounts.ids import uuid7

KEY_PREFIX_LENGTH = 12
LAST_USED_PRECISION = timedelta(minutes=1)


class User(AbstractUser):
    """A person who signs in."""


class Application(models.Model):
    """The tenant: a developer's app on the platform. Nothing ever crosses from one to another."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=200)
    contacts = ArrayField(
        models.EmailField(),
        default=list,
        blank=True,
        help_text="Who is emailed about this application's health.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name


class Scope(models.TextChoices):
    READ = "read"
    WRITE = "write"


def digest(key: str) -> str:
    """What is stored of a key. It has 256 random bits, so a plain hash can't be guessed back."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def valid(self, now: datetime) -> "ApiKeyQuerySet":
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        return self.filter(unexpired, revoked_at=None)

    def issue(
        self,
        *,
        kind: str,
        name: str,
        application: Application | None = None,
        scopes: Iterable[str] = (),
        expires_at: datetime | None = None,
    ) -> tuple["ApiKey", str]:
        """Make a key; return its row and the key itself, which can't be had again."""
        key = f"ovk_{secrets.token_urlsafe(32)}"
        row = self.create(
            kind=kind,
            name=name,
            application=application,
            scopes=list(scopes),
            expires_at=expires_at,
            prefix=key[:KEY_PREFIX_LENGTH],
            digest=digest(key),
        )
        return row, key

    def authenticate(self, key: str, now: datetime) -> "ApiKey | None":
        """The valid key's row, its use noted (to the minute); None for any other text."""
        row = self.valid(now).select_related("application").filter(digest=digest(key)).first()
        if row and (row.last_used_at is None or row.last_used_at < now - LAST_USED_PRECISION):
            self.filter(pk=row.pk).update(last_used_at=now)
        return row


class ApiKey(models.Model):
    """What a program shows to act: a platform key publishes, an application key acts for its application."""

    class Kind(models.TextChoices):
        PLATFORM = "platform"
        APPLICATION = "application"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=11, choices=Kind.choices)
    application = models.ForeignKey(
        Application, models.CASCADE, null=True, blank=True, related_name="api_keys"
    )
    name = models.CharField(max_length=200, blank=True)
    scopes = ArrayField(models.CharField(max_length=5, choices=Scope.choices), default=list, blank=True)
    prefix = models.CharField(max_length=KEY_PREFIX_LENGTH, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                name="api_key_application_by_kind",
                condition=models.Q(kind="platform", application=None)
                | models.Q(kind="application", application__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)" if self.name else f"{self.prefix}…"

    def revoke(self, now: datetime) -> None:
        """Refuse it from now on; a second time changes nothing."""
        ApiKey.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=now)

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
