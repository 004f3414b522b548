"""Telling them: the duty to tell, each try of it, and the pulse of those who do."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import uuid7
from accounts.models import Application
from events.models import Event
from subscriptions.models import Channel, Recipient, Subscription

HEARTBEAT_FRESH = timedelta(minutes=3)
LONGEST_LEASE = timedelta(minutes=10)  # what ends later was given by a clock that was ahead
LATE = timedelta(minutes=5)  # a due delivery that waits longer is stuck


class Trigger(models.TextChoices):
    """Why an attempt is made."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    REPLAY = "replay"
    TEST = "test"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def pending(self) -> "DeliveryQuerySet":
        return self.filter(status=Delivery.Status.PENDING)

    def held(self) -> "DeliveryQuerySet":
        return self.filter(status=Delivery.Status.HELD)

    def unfinished(self) -> "DeliveryQuerySet":
        return self.filter(status__in=[Delivery.Status.PENDING, Delivery.Status.HELD])

    def idle(self, now: datetime) -> "DeliveryQuerySet":
        """Those that no worker holds."""
        return self.exclude(leased_until__gt=now, leased_until__lte=now + LONGEST_LEASE)

    def due(self, now: datetime) -> "DeliveryQuerySet":
        """Those whose next attempt should have begun and has not, the longest waiting first."""
        due = self.pending().idle(now).filter(behind=False, next_attempt_at__lte=now)
        return due.order_by("next_attempt_at")

    def waiting_for_a_worker(self, now: datetime) -> "DeliveryQuerySet":
        """Those of the due that nothing but a worker can be waited for: their subscriptions have no limit, and work."""
        return self.due(now).filter(subscription__failing_since=None, subscription__rate_limit=None)


class Delivery(models.Model):
    """The duty to tell one subscription (for email: one recipient) of one event.

    A pending delivery's `next_attempt_at` is the queue and the clock. A worker that has claimed it holds a
    lease; when that runs out, whoever comes next may claim it.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        HELD = "held"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    application = models.ForeignKey(Application, models.PROTECT, related_name="deliveries", db_index=False)
    event = models.ForeignKey(Event, models.PROTECT, related_name="deliveries", db_index=False)
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="deliveries", db_index=False)
    recipient = models.ForeignKey(
        Recipient, models.PROTECT, null=True, blank=True, related_name="deliveries", db_index=False
    )
    channel = models.CharField(max_length=7, choices=Channel.choices)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    trigger = models.CharField(max_length=9, choices=Trigger.choices, default=Trigger.SCHEDULED)
    retry_requested = models.BooleanField(default=False, help_text="A person asked for the next attempt.")
    sequence = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        editable=False,
        help_text="Numbers what the subscription is told, without a gap; given when first claimed.",
    )
    ordering_key = models.CharField(  # noqa: DJ001 - "" is a key like any other
        max_length=64,
        null=True,
        blank=True,
        editable=False,
        help_text="Its subscription's deliveries with the same key go out one at a time; null: in no order.",
    )
    position = models.PositiveBigIntegerField(
        null=True, blank=True, editable=False, help_text="Its place among those with the same ordering key."
    )
    behind = models.BooleanField(
        default=False,
        editable=False,
        help_text="Not to be claimed before another with the same ordering key.",
    )
    attempt_count = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True, editable=False)
    lease_id = models.UUIDField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True, editable=False)

    audited = ("status", "next_attempt_at")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("-id",)
        indexes = [
            models.Index(
                fields=["channel", "next_attempt_at"],
                name="delivery_due",
                condition=models.Q(status="pending", behind=False),
            ),
            models.Index(
                fields=["channel", "next_attempt_at"],
                name="delivery_first_attempt_due",
                condition=models.Q(status="pending", behind=False, attempt_count=0),
            ),
            models.Index(
                fields=["channel", "subscription", "next_attempt_at"],
                name="delivery_due_by_subscription",
                condition=models.Q(status="pending", behind=False),
            ),
            models.Index(
                fields=["subscription", "ordering_key", "position"],
                name="delivery_in_order",
                condition=models.Q(status__in=["pending", "held"], position__isnull=False),
            ),
            models.Index(
                fields=["subscription"],
                name="delivery_unfinished",
                condition=models.Q(status__in=["pending", "held"]),
            ),
            models.Index(fields=["application", "-id"], name="delivery_by_application"),
            models.Index(
                fields=["application", "status", "-id"],
                name="delivery_by_status",
                condition=~models.Q(status="succeeded"),
            ),
            models.Index(fields=["subscription", "-id"], name="delivery_by_subscription"),
            models.Index(fields=["event", "-id"], name="delivery_by_event"),
            models.Index(
                fields=["recipient"],
                name="delivery_by_recipient",
                condition=models.Q(recipient__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="delivery_next_attempt_when_pending",
                condition=models.Q(status="pending", next_attempt_at__isnull=False)
                | (~models.Q(status="pending") & models.Q(next_attempt_at=None)),
            ),
            models.CheckConstraint(
                name="delivery_recipient_by_channel",
                condition=models.Q(channel="webhook", recipient=None)
                | models.Q(channel="email", recipient__isnull=False),
            ),
            models.CheckConstraint(
                name="delivery_position_with_ordering_key",
                condition=models.Q(ordering_key=None, position=None, behind=False)
                | models.Q(ordering_key__isnull=False, position__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.id}"

    @property
    def test(self) -> bool:
        return self.trigger == Trigger.TEST

    @property
    def next_trigger(self) -> str:
        return Trigger.MANUAL if self.retry_requested else self.trigger


class SequenceCounter(models.Model):
    """The last number that a subscription's deliveries have. Who gives numbers holds its row until the commit.

    Of the numbers up to `forgotten` some are gone, with deliveries whose retention has ended.
    Without a foreign key in the database, whose check would wait for a pause that waits for the claim's rows.
    """

    subscription = models.OneToOneField(
        Subscription, models.PROTECT, primary_key=True, related_name="sequence_counter", db_constraint=False
    )
    last = models.PositiveBigIntegerField()
    forgotten = models.PositiveBigIntegerField(db_default=0)

    def __str__(self) -> str:
        return f"{self.last} of {self.subscription_id}"


class SequenceNumber(models.Model):
    """Which delivery has which number among its subscription's: the other direction of `Delivery.sequence`.

    The first claim of a delivery adds it, and nothing changes it. `manage.py reconcile` checks what a foreign key
    would, which would cost each claim more than the number does. The key has the delivery, since the table is in
    partitions by it; that a number is given once is ensured by the lock on its counter.
    """

    pk = models.CompositePrimaryKey("subscription", "number", "delivery")
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, related_name="sequence", db_constraint=False, db_index=False
    )
    number = models.PositiveBigIntegerField()
    delivery = models.ForeignKey(
        Delivery, models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )

    def __str__(self) -> str:
        return f"number {self.number} of {self.subscription_id}"


def schedule_of(channel: str, subscription: Subscription) -> list[timedelta]:
    """The waits between attempts, before jitter."""
    if channel == Channel.EMAIL:
        return settings.EMAIL_RETRY_SCHEDULE
    own = subscription.retry_schedule
    return settings.RETRY_SCHEDULE if own is None else [timedelta(seconds=wait) for wait in own]


class Attempt(models.Model):
    """One try of a delivery. Never changed: the database refuses UPDATE, and DELETE before its retention ends.

    In the database the key is (`delivery`, `number`), since the table is in partitions by the delivery. The body that
    was sent is not kept: `Notification.body` makes the same bytes from the event.
    """

    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    delivery = models.ForeignKey(Delivery, models.PROTECT, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField()
    trigger = models.CharField(max_length=9, choices=Trigger.choices)
    started_at = models.DateTimeField()
    duration_ms = models.FloatField()
    timings = models.JSONField(default=dict)
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    status_code = models.PositiveIntegerField(null=True)
    request_headers = models.JSONField(default=dict)
    response_headers = models.JSONField(default=dict)
    response_body = models.TextField(blank=True)
    response_truncated = models.BooleanField(default=False)
    error = models.TextField(blank=True)
    remote_ip = models.GenericIPAddressField(null=True)

    class Meta:
        ordering = ("delivery", "number")
        indexes = [models.Index(fields=["id"], name="attempt_by_id")]
        constraints = [
            models.UniqueConstraint(fields=["delivery", "number"], name="attempt_number_once_a_delivery")
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.outcome}"


class ConfirmationRequest(models.Model):
    """The duty to ask a recipient to confirm the address; the email lane does it, and tries again."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    recipient = models.ForeignKey(Recipient, models.CASCADE, related_name="confirmation_requests")
    due_at = models.DateTimeField(null=True, default=timezone.now)
    attempt_count = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["due_at"], name="confirmation_due", condition=models.Q(due_at__isnull=False))
        ]

    def __str__(self) -> str:
        return f"confirmation request to {self.recipient}"


class Heartbeat(models.Model):
    """When a worker last did a task: the proof that the queue is worked off, not just alive."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    beat_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(name="heartbeat_is_one_row", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"last beat {self.beat_at:%Y-%m-%d %H:%M:%S} UTC"

    def is_fresh(self, now: datetime) -> bool:
        return now - self.beat_at <= HEARTBEAT_FRESH
