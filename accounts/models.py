"""Whose it is: applications, the people who work with them, and the keys that act for them."""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.utils import timezone

from accounts.audit import AuditEntry, picture, record
from accounts.ids import uuid7
from accounts.keys import PREFIX_LENGTH, mode_of, new_key
from accounts.names import check_name
from accounts.visible_text import visible

__all__ = ["ApiKey", "Application", "AuditEntry", "Scope", "User", "digest"]

LAST_USED_PRECISION = timedelta(minutes=1)


class User(AbstractUser):
    """A person who signs in."""

    audited = ("username", "email", "is_active", "is_staff", "is_superuser", "roles", "own_permissions")

    class Meta(AbstractUser.Meta):
        permissions = [("see_payloads", "Can see payloads and the bodies of attempts")]

    @property
    def roles(self) -> list[str]:
        return sorted(self.groups.values_list("name", flat=True))

    @property
    def own_permissions(self) -> list[str]:
        """Those beside the roles'."""
        return sorted(self.user_permissions.values_list("codename", flat=True))


class Application(models.Model):
    """The tenant: a developer's app on the platform. Nothing ever crosses from one to another."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=200, validators=[check_name])
    contacts = ArrayField(
        models.EmailField(),
        default=list,
        blank=True,
        help_text="Who is emailed about this application's health.",
    )
    reply_to = models.EmailField(
        blank=True, help_text="Whom answers to its emails go to; empty: to the sender of every email."
    )
    weekly_summary = models.BooleanField(
        default=False, help_text="Each Monday, tell the contacts what became of the week's notifications."
    )
    summary_ended_by = ArrayField(
        models.EmailField(),
        default=list,
        blank=True,
        editable=False,
        help_text="The contacts who have ended the summary for themselves, in lower case.",
    )
    contact_choices = models.JSONField(
        default=dict,
        blank=True,
        editable=False,
        help_text="How contacts read: the time zone and the language, by the address in lower case.",
    )
    summarized_until = models.DateTimeField(
        null=True,
        editable=False,
        help_text="The end of the last week that was told of, or had nothing to tell.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    audited = ("name", "contacts", "reply_to", "weekly_summary")

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return visible(self.name) or str(self.id)

    @property
    def application_id(self) -> UUID:
        """Its own, as every row of an application has it."""
        return self.id

    def has_contact(self, email: str) -> bool:
        return email.lower() in map(str.lower, self.contacts)

    @property
    def summary_contacts(self) -> list[str]:
        """The contacts who have not ended the weekly summary for themselves."""
        return [email for email in self.contacts if email.lower() not in self.summary_ended_by]

    def reads(self, email: str) -> tuple[str, str]:
        """In which time zone, and which language, this contact reads: the chosen ones, or the service's own."""
        own = settings.TIME_ZONE, settings.LANGUAGE_CODE.partition("-")[0]
        timezone, language = self.contact_choices.get(email.lower(), own)
        return timezone, language

    def let_read(self, email: str, timezone: str, language: str) -> None:
        """As this contact has chosen."""
        with transaction.atomic():
            locked = Application.objects.select_for_update(no_key=True).get(pk=self.pk)
            self.contact_choices = locked.contact_choices | {email.lower(): [timezone, language]}
            self.save(update_fields=["contact_choices"])


class Scope(models.TextChoices):
    READ = "read"
    WRITE = "write"


def digest(key: str) -> str:
    """What is stored of a key. It has 256 random bits, so a plain hash can't be guessed back.

    How long the look-up of a hash takes says nothing about a key: who sends one can't choose how its hash begins.
    """
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
        key = new_key(settings.API_KEY_MODE)
        row = self.create(
            kind=kind,
            name=name,
            application=application,
            scopes=list(scopes),
            expires_at=expires_at,
            prefix=key[:PREFIX_LENGTH],
            digest=digest(key),
        )
        return row, key

    def authenticate(self, key: str, now: datetime) -> "ApiKey | None":
        """The valid key's row, its use noted (to the minute); None for any other text.

        The database is asked only about what can be a key, and is one of this service's mode.
        """
        if mode_of(key) != settings.API_KEY_MODE:
            return None
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
    name = models.CharField(max_length=200, blank=True, validators=[check_name])
    scopes = ArrayField(models.CharField(max_length=5, choices=Scope.choices), default=list, blank=True)
    prefix = models.CharField(max_length=PREFIX_LENGTH, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    replaced_at = models.DateTimeField(
        null=True, editable=False, help_text="When a rotation put another in its place."
    )

    audited = ("kind", "name", "prefix", "scopes", "expires_at", "revoked_at")

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                name="api_key_application_by_kind",
                condition=models.Q(kind="platform", application=None)
                | models.Q(kind="application", application__isnull=False),
            ),
            models.CheckConstraint(
                name="api_key_scopes", condition=models.Q(scopes__contained_by=["read", "write"])
            ),
        ]

    def __str__(self) -> str:
        return f"{visible(self.name)} ({self.prefix}…)" if self.name else f"{self.prefix}…"

    def revoke(self, now: datetime) -> None:
        """Refuse it from now on; a second time changes nothing."""
        with transaction.atomic():
            before = picture(self)
            if ApiKey.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=now):
                record("api_key.revoked", self, before, {**before, "revoked_at": now})

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
