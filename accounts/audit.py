"""Who changed what: a log that the database only ever adds to.

What a person or a key does is recorded by the function that does it, in the same transaction. Who acts is set once a
request, or once a command; what nobody does, a worker's own doing, is not recorded. Publishing is not, either: an
event is never changed, and names the key that published it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from accounts.ids import uuid7

KEPT = timedelta(days=400)  # a year, and time to look; the database refuses to delete earlier (0001_initial)
ITS_CLOCK = timedelta(days=1)  # may be another than ours

Picture = Mapping[str, Any]


class AuditEntry(models.Model):
    """One thing that somebody did. `before` and `after` hold what it changed, never a secret.

    The ids are no foreign keys but for the tenant's: the log outlives what it is about.
    """

    class ActorKind(models.TextChoices):
        STAFF = "staff"
        API_KEY = "api_key", "API key"
        COMMAND = "command"
        PERSON = "person"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(default=timezone.now)
    actor_kind = models.CharField(max_length=7, choices=ActorKind.choices)
    actor_id = models.CharField(max_length=40, blank=True)
    actor = models.CharField(max_length=250, help_text="A user's name, or a key's first letters and name.")
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=128, blank=True)
    application = models.ForeignKey(
        "accounts.Application", models.PROTECT, null=True, related_name="+", db_index=False
    )
    action = models.CharField(max_length=50)
    object_type = models.CharField(max_length=50, blank=True)
    object_id = models.CharField(max_length=40, blank=True)
    before = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    after = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    class Meta:
        verbose_name_plural = "audit log"
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["application", "-id"], name="audit_by_application"),
            models.Index(fields=["actor_id", "-id"], name="audit_by_actor"),
            models.Index(fields=["object_id", "-id"], name="audit_by_object"),
            models.Index(fields=["action", "-id"], name="audit_by_action"),
            models.Index(fields=["actor_kind", "-id"], name="audit_by_actor_kind"),
            models.Index(fields=["at"], name="audit_by_time"),
        ]
        constraints = [
            models.CheckConstraint(
                name="audit_actor_kind",
                condition=models.Q(actor_kind__in=["staff", "api_key", "command", "person"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"


@dataclass(frozen=True)
class Actor:
    """Who does it, and from where."""

    kind: str
    id: str
    name: str
    address: str | None = None
    request_id: str = ""


_actor: ContextVar[Actor | None] = ContextVar("actor", default=None)


@contextmanager
def acting(actor: Actor | None) -> Iterator[None]:
    """What is done inside is done by the actor; with None by nobody, until `act_as` says more."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def act_as(actor: Actor) -> None:
    """From here to the end of the `acting` around it."""
    _actor.set(actor)


def acting_key() -> UUID | None:
    """The id of the API key that acts, if one does."""
    actor = _actor.get()
    return UUID(actor.id) if actor and actor.kind == AuditEntry.ActorKind.API_KEY else None


def picture(row: models.Model) -> dict[str, Any]:
    """What the log may know of a row: the attributes that its class names in `audited`."""
    return {name: getattr(row, name) for name in getattr(row, "audited", ())}


def record(
    action: str, row: models.Model | None, before: Picture | None = None, after: Picture | None = None
) -> None:
    """Add to the log that the actor did this to the row, with what differs between `before` and `after`."""
    actor = _actor.get()
    if actor is None:
        return
    old, new = before or {}, after or {}
    AuditEntry.objects.create(
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor=actor.name,
        address=actor.address,
        request_id=actor.request_id,
        application_id=getattr(row, "application_id", None),
        action=action,
        object_type=(row._meta.model_name or "") if row else "",
        object_id=str(row.pk) if row else "",
        before=without(old, new),
        after=without(new, old),
    )


def without(picture: Picture, other: Picture) -> dict[str, Any]:
    return {name: value for name, value in picture.items() if name not in other or other[name] != value}


def forget_old_entries(now: datetime) -> int:
    """Delete what is older than the log is kept; returns how many entries that were."""
    return AuditEntry.objects.filter(at__lt=now - KEPT - ITS_CLOCK).delete()[0]
