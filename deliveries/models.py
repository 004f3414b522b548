"""Telling them: the duty to tell, each try of it, and the pulse of those who do."""

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower
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


class ReplayQuerySet(models.QuerySet["Replay"]):
    def running(self) -> "ReplayQuerySet":
        return self.filter(status=Replay.Status.RUNNING)

    def due(self, now: datetime) -> "ReplayQuerySet":
        """Those of which a step is to be made, the longest waiting first."""
        return self.filter(due_at__lte=now).order_by("due_at")

    def end(self, status: str, now: datetime) -> int:
        return self.running().update(status=status, due_at=None, finished_at=now)


class Replay(models.Model):
    """The job to tell a subscription again of what was published in a span of time (replaying.py).

    It goes from event to event, the oldest first; `cursor` is the last one that it has looked at. While `matched` is
    not known it counts, and `count_cursor` and `counted` say how far it is.
    """

    class Only(models.TextChoices):
        FAILED = "failed"
        MISSED = "missed"
        ALL = "all"

    class Status(models.TextChoices):
        RUNNING = "running"
        COMPLETED = "completed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    application = models.ForeignKey(Application, models.PROTECT, related_name="+", db_index=False)
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="replays", db_index=False)
    since = models.DateTimeField()
    until = models.DateTimeField()
    types = ArrayField(
        models.CharField(max_length=100), blank=True, help_text="Empty: all that the subscription wants."
    )
    only = models.CharField(max_length=6, choices=Only.choices)
    url = models.URLField(
        max_length=2048, blank=True, help_text="Where it is told instead; empty: to the subscription."
    )
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.RUNNING)
    matched = models.PositiveBigIntegerField(null=True, help_text="Events; empty while they are counted.")
    queued = models.PositiveBigIntegerField(default=0, help_text="Events that have new deliveries by it.")
    counted = models.PositiveBigIntegerField(default=0)
    count_cursor = models.UUIDField()
    cursor = models.UUIDField()
    pace = models.PositiveSmallIntegerField(default=16, help_text="Deliveries that may wait at a time.")
    paced_at = models.DateTimeField(null=True, help_text="When the last ones were added.")
    due_at = models.DateTimeField(null=True, default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    audited = ("subscription_id", "since", "until", "types", "only", "url_without_query", "status")

    objects = ReplayQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["subscription", "-id"], name="replay_by_subscription"),
            models.Index(fields=["due_at"], name="replay_due", condition=models.Q(due_at__isnull=False)),
            models.Index(
                fields=["finished_at"],
                name="replay_finished",
                condition=models.Q(finished_at__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="replay_only", condition=models.Q(only__in=["failed", "missed", "all"])
            ),
            models.CheckConstraint(
                name="replay_status", condition=models.Q(status__in=["running", "completed", "cancelled"])
            ),
            models.CheckConstraint(
                name="replay_finished_when_not_running",
                condition=models.Q(status="running", finished_at=None)
                | (~models.Q(status="running") & models.Q(due_at=None, finished_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return f"replay {self.id}"

    @property
    def url_without_query(self) -> str:
        """Where it leads, without what may be a token."""
        return urlsplit(self.url)._replace(query="", fragment="").geturl()

    @property
    def is_elsewhere(self) -> bool:
        return bool(self.url)


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

    def in_flight(self, now: datetime) -> "DeliveryQuerySet":
        """Those that a worker holds. They were due, which an index tells of."""
        return self.pending().filter(behind=False, next_attempt_at__lte=now, leased_until__gt=now)


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
    event_type = models.CharField(max_length=100, editable=False, help_text="Its event's, for lists by type.")
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    trigger = models.CharField(max_length=9, choices=Trigger.choices, default=Trigger.SCHEDULED)
    replay = models.ForeignKey(
        Replay,
        models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="deliveries",
        db_index=False,
        help_text="The job that made it.",
    )
    elsewhere = models.BooleanField(
        default=False,
        editable=False,
        help_text="Goes to its replay's URL: the subscription's numbers, order and health know nothing of it.",
    )
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
    digest = models.UUIDField(
        null=True,
        blank=True,
        editable=False,
        help_text="Deliveries with the same go out in one email (deliveries/digests.py); null: in one of its own.",
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
            models.Index(
                fields=["digest"],
                name="delivery_in_digest",
                condition=models.Q(status="pending", digest__isnull=False),
            ),
            models.Index(fields=["application", "-id"], name="delivery_by_application"),
            models.Index(
                fields=["application", "status", "-id"],
                name="delivery_by_status",
                condition=~models.Q(status="succeeded"),
            ),
            models.Index(fields=["application", "event_type", "-id"], name="delivery_by_type"),
            models.Index(fields=["application", "channel", "-id"], name="delivery_by_channel"),
            models.Index(fields=["subscription", "-id"], name="delivery_by_subscription"),
            models.Index(
                fields=["status", "subscription", "-id"],
                name="delivery_stopped",
                condition=models.Q(status__in=["held", "failed", "cancelled"]),
            ),
            models.Index(fields=["event", "-id"], name="delivery_by_event"),
            models.Index(
                fields=["recipient"],
                name="delivery_by_recipient",
                condition=models.Q(recipient__isnull=False),
            ),
            models.Index(
                fields=["replay"],
                name="delivery_waiting_of_replay",
                condition=models.Q(status="pending", attempt_count=0, replay__isnull=False),
            ),
            models.Index(  # the application is asked for, too: without it here, the planner sorts the whole replay
                fields=["replay", "application", "-id"],
                name="delivery_by_replay",
                condition=models.Q(replay__isnull=False),
            ),
            models.Index(
                fields=["channel", "next_attempt_at"],
                name="delivery_elsewhere_due",
                condition=models.Q(status="pending", elsewhere=True),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="delivery_status",
                condition=models.Q(status__in=["pending", "held", "succeeded", "failed", "cancelled"]),
            ),
            models.CheckConstraint(
                name="delivery_trigger",
                condition=models.Q(trigger__in=["scheduled", "manual", "replay", "test"]),
            ),
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
            models.CheckConstraint(
                name="delivery_elsewhere_by_replay",
                condition=models.Q(elsewhere=False)
                | models.Q(channel="webhook", replay__isnull=False, sequence=None, position=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.id}"

    @property
    def test(self) -> bool:
        return self.trigger == Trigger.TEST


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
            models.UniqueConstraint(fields=["delivery", "number"], name="attempt_number_once_a_delivery"),
            models.CheckConstraint(
                name="attempt_trigger",
                condition=models.Q(trigger__in=["scheduled", "manual", "replay", "test"]),
            ),
            models.CheckConstraint(
                name="attempt_outcome", condition=models.Q(outcome__in=["succeeded", "failed"])
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.outcome}"


class MailEvent(models.Model):
    """What became of an email after the mail server or provider had accepted it, as its webhooks tell.

    Some tell of no delivery that is known here, only of an address; so do those that stand for a refusal which may mean
    that it does not exist (refused.py). Without a foreign key in the database, for a delivery goes with its partition;
    housekeeping deletes those that outlive theirs. `key` stands for what the provider calls this event: told again, it
    is not new.
    """

    class Kind(models.TextChoices):
        DELIVERED = "delivered"
        DEFERRED = "deferred"
        SOFT_BOUNCED = "soft_bounced"
        BOUNCED = "bounced"
        COMPLAINED = "complained"
        UNSUBSCRIBED = "unsubscribed"
        REJECTED = "rejected"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    delivery = models.ForeignKey(
        Delivery,
        models.DO_NOTHING,
        null=True,
        blank=True,
        related_name="mail_events",
        db_constraint=False,
        db_index=False,
    )
    email = models.EmailField(max_length=254, help_text="As addresses are compared.")
    message = models.UUIDField(
        null=True, blank=True, help_text="What the email is known by, if that was told."
    )
    kind = models.CharField(max_length=12, choices=Kind.choices)
    at = models.DateTimeField()
    description = models.CharField(max_length=500, blank=True)
    provider = models.CharField(max_length=50)
    key = models.CharField(max_length=64, unique=True, editable=False)

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(
                fields=["delivery", "at"],
                name="mail_event_by_delivery",
                condition=models.Q(delivery__isnull=False),
            ),
            models.Index(fields=["email", "-id"], name="mail_event_by_email"),
        ]
        constraints = [
            models.CheckConstraint(
                name="mail_event_kind",
                condition=models.Q(
                    kind__in=[
                        "delivered",
                        "deferred",
                        "soft_bounced",
                        "bounced",
                        "complained",
                        "unsubscribed",
                        "rejected",
                    ]
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.email}"


class NoticeQuerySet(models.QuerySet["Notice"]):
    def due(self, now: datetime) -> "NoticeQuerySet":
        """Those whose next attempt should have begun, the longest waiting first."""
        return self.filter(due_at__lte=now).order_by("due_at")


class Notice(models.Model):
    """The duty to send one person one email of the service's own; the email lane does it, and tries again.

    Of a kind, an address gets one for an `occasion`, if there is one. `facts` are what the letter needs to know;
    `error` is why the last attempt failed, or none was made.
    """

    class Kind(models.TextChoices):
        CONFIRMATION = "confirmation"
        FAILING = "failing"
        DISABLING = "disabling"
        DISABLED = "disabled"
        GONE = "gone"
        RECOVERED = "recovered"
        SUMMARY = "summary"
        FALLBACK = "fallback"
        CASE_TAKEN = "case_taken"
        CASE_HANDED_OVER = "case_handed_over"
        CASE_DONE = "case_done"
        CASE_GIVEN_BACK = "case_given_back"
        CASE_UNHANDLED = "case_unhandled"
        CASE_UNFINISHED = "case_unfinished"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    application = models.ForeignKey(Application, models.CASCADE, related_name="notices", db_index=False)
    email = models.EmailField(max_length=254)
    recipient = models.ForeignKey(
        Recipient, models.CASCADE, null=True, blank=True, related_name="notices", help_text="If it is to one."
    )
    subscription = models.ForeignKey(
        Subscription, models.CASCADE, null=True, blank=True, related_name="notices"
    )
    occasion = models.CharField(max_length=100, blank=True)
    facts = models.JSONField(default=dict)
    due_at = models.DateTimeField(null=True, default=timezone.now)
    attempt_count = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = NoticeQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(fields=["due_at"], name="notice_due", condition=models.Q(due_at__isnull=False)),
            models.Index(fields=["application", "kind", "-id"], name="notice_by_application"),
        ]
        constraints = [
            models.UniqueConstraint(
                "application",
                "kind",
                "occasion",
                Lower("email"),
                name="notice_once_an_occasion",
                condition=~models.Q(occasion=""),
            ),
            models.CheckConstraint(
                name="notice_kind",
                condition=models.Q(
                    kind__in=[
                        "confirmation",
                        "failing",
                        "disabling",
                        "disabled",
                        "gone",
                        "recovered",
                        "summary",
                        "fallback",
                        "case_taken",
                        "case_handed_over",
                        "case_done",
                        "case_given_back",
                        "case_unhandled",
                        "case_unfinished",
                    ]
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} notice to {self.email}"


class CaseQuerySet(models.QuerySet["Case"]):
    def unfinished(self) -> "CaseQuerySet":
        return self.exclude(state=Case.State.DONE)

    def to_remind_of(self, now: datetime) -> "CaseQuerySet":
        """Those that nobody has taken, or finished, for a working day, the longest waiting first."""
        return self.unfinished().filter(remind_at__lte=now).order_by("remind_at")


class Case(models.Model):
    """Something that a person should handle, and who does (cases.py).

    The id is that of its event, or is made from a subscription that was disabled and since when it had failed: there is
    one for each of these. `facts` are what letters say of the latter. Without a foreign key to the event in the
    database, for that goes with its partition; housekeeping deletes those that outlive theirs.
    """

    class State(models.TextChoices):
        OPEN = "open"
        TAKEN = "taken"
        DONE = "done"

    id = models.UUIDField(primary_key=True, editable=False)
    application = models.ForeignKey(Application, models.CASCADE, related_name="cases", db_index=False)
    kind = models.CharField(max_length=100, help_text="The event's type, or the kind of the notice.")
    event = models.ForeignKey(
        Event,
        models.DO_NOTHING,
        null=True,
        blank=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    subscription = models.ForeignKey(
        Subscription,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="cases",
        help_text="That is disabled.",
    )
    facts = models.JSONField(default=dict)
    state = models.CharField(max_length=5, choices=State.choices, default=State.OPEN)
    taken_by = models.EmailField(max_length=254, blank=True)
    taken_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=500, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    remind_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When it is to be told again if nobody has taken it, or finished it; empty: not any more.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    audited = ("state", "taken_by")

    objects = CaseQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="case_by_time"),
            models.Index(fields=["application", "-created_at"], name="case_by_application"),
            models.Index(fields=["created_at"], name="case_unfinished", condition=~models.Q(state="done")),
            models.Index(fields=["remind_at"], name="case_to_remind_of", condition=~models.Q(state="done")),
            models.Index(fields=["taken_at"], name="case_taken", condition=models.Q(state="taken")),
        ]
        constraints = [
            models.CheckConstraint(
                name="case_of_an_event_or_a_subscription",
                condition=models.Q(event__isnull=False, subscription=None)
                | models.Q(event=None, subscription__isnull=False),
            ),
            models.CheckConstraint(
                name="case_taken_and_done",
                condition=models.Q(state="open", taken_at=None, taken_by="", done_at=None)
                | models.Q(state="taken", taken_at__isnull=False, done_at=None)
                | models.Q(state="done", done_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def is_open(self) -> bool:
        return self.state == self.State.OPEN

    @property
    def is_taken(self) -> bool:
        return self.state == self.State.TAKEN

    @property
    def is_done(self) -> bool:
        return self.state == self.State.DONE


class PausedDomain(models.Model):
    """A domain, in lower case, that gets no emails until then: one of the workers was asked for time (domains.py)."""

    domain = models.CharField(max_length=254, primary_key=True)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.domain} until {self.until:%Y-%m-%d %H:%M:%S} UTC"


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
