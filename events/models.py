"""What happened: one change on the platform that is relevant to one application."""

import json
from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.utils import timezone

from accounts.ids import uuid7
from accounts.models import Application
from events.event_types import LONGEST_CUSTOMER_ID

ERASED = "null"  # no event type's schema takes it
# Those that Python can read; PostgreSQL knows more.
MOMENTS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


class Event(models.Model):
    """One change. Never altered: the database refuses UPDATE, and DELETE before its retention ends.

    The table is in partitions by `id`, and so by time (deliveries/partitions.py). `payload` is JSON text, so that its
    bytes go out as they came in, keys in their order.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    application = models.ForeignKey(Application, models.PROTECT, related_name="events", db_index=False)
    type = models.CharField(max_length=100)
    occurred_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)
    payload = models.TextField()
    test = models.BooleanField(default=False)
    published_by = models.UUIDField(null=True, editable=False, help_text="The API key that published it.")
    delivery_count = models.PositiveIntegerField(default=0, help_text="Those that publishing it made.")
    names_customer = models.CharField(  # noqa: DJ001 - most name none, and the index is of those that do
        max_length=LONGEST_CUSTOMER_ID,
        null=True,
        editable=False,
        help_text="The id of the customer whose name the payload tells.",
    )

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["application", "-id"], name="event_by_application"),
            models.Index(fields=["application", "type", "-id"], name="event_by_type"),
            models.Index(fields=["application", "occurred_at"], name="event_by_occurred_at"),
            models.Index(
                fields=["application", "names_customer", "-id"],
                name="event_by_names_customer",
                condition=models.Q(names_customer__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(occurred_at__range=MOMENTS), name="event_occurred_at_is_readable"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"

    @property
    def is_erased(self) -> bool:
        """Whether its payload was blanked (`manage.py erase`)."""
        return self.payload == ERASED

    @property
    def payload_json(self) -> Any:
        return json.loads(self.payload)


class IdempotencyKey(models.Model):
    """A publisher's own name for one publish: the same again answers the first event again.

    `fingerprint` is the hash of what was published under it, to tell a repeat from a mistake.
    """

    key = models.CharField(max_length=255, primary_key=True)
    fingerprint = models.CharField(max_length=64)
    event = models.ForeignKey(Event, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        # Not BRIN: rows take the room of those that were deleted, and what BRIN knows of a page's oldest row stays.
        indexes = [models.Index(fields=["created_at"], name="idempotency_key_by_created_at")]

    def __str__(self) -> str:
        return self.key
