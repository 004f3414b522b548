from typing import Any

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models

import accounts.ids
from events.partitioned import CreatePartitioned

ATTEMPT: list[Any] = [
    ("number", models.PositiveIntegerField()),
    (
        "trigger",
        models.CharField(
            choices=[
                ("scheduled", "Scheduled"),
                ("manual", "Manual"),
                ("replay", "Replay"),
                ("test", "Test"),
            ],
            max_length=9,
        ),
    ),
    ("started_at", models.DateTimeField()),
    ("duration_ms", models.FloatField()),
    ("timings", models.JSONField(default=dict)),
    (
        "outcome",
        models.CharField(choices=[("succeeded", "Succeeded"), ("failed", "Failed")], max_length=9),
    ),
    ("status_code", models.PositiveIntegerField(null=True)),
    ("request_headers", models.JSONField(default=dict)),
    ("response_headers", models.JSONField(default=dict)),
    ("response_body", models.TextField(blank=True)),
    ("response_truncated", models.BooleanField(default=False)),
    ("error", models.TextField(blank=True)),
    ("remote_ip", models.GenericIPAddressField(null=True)),
]


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
        ("events", "0001_initial"),
        ("subscriptions", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Replay",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
                (
                    "types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        help_text="Empty: all that the subscription wants.",
                        size=None,
                    ),
                ),
                (
                    "only",
                    models.CharField(
                        choices=[("failed", "Failed"), ("missed", "Missed"), ("all", "All")], max_length=6
                    ),
                ),
                (
                    "url",
                    models.URLField(
                        blank=True,
                        help_text="Where it is told instead; empty: to the subscription.",
                        max_length=2048,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("completed", "Completed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="running",
                        max_length=9,
                    ),
                ),
                (
                    "matched",
                    models.PositiveBigIntegerField(
                        help_text="Events; empty while they are counted.", null=True
                    ),
                ),
                (
                    "queued",
                    models.PositiveBigIntegerField(
                        default=0, help_text="Events that have new deliveries by it."
                    ),
                ),
                ("counted", models.PositiveBigIntegerField(default=0)),
                ("count_cursor", models.UUIDField()),
                ("cursor", models.UUIDField()),
                (
                    "pace",
                    models.PositiveSmallIntegerField(
                        default=16, help_text="Deliveries that may wait at a time."
                    ),
                ),
                ("paced_at", models.DateTimeField(help_text="When the last ones were added.", null=True)),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "application",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.application",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="replays",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(fields=["subscription", "-id"], name="replay_by_subscription"),
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="replay_due"
                    ),
                    models.Index(
                        condition=models.Q(("finished_at__isnull", False)),
                        fields=["finished_at"],
                        name="replay_finished",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at", None), ("status", "running")),
                            models.Q(
                                models.Q(("status", "running"), _negated=True),
                                ("due_at", None),
                                ("finished_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="replay_finished_when_not_running",
                    )
                ],
            },
        ),
        CreatePartitioned(
            by="id",
            name="Delivery",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "channel",
                    models.CharField(choices=[("webhook", "Webhook"), ("email", "Email")], max_length=7),
                ),
                (
                    "event_type",
                    models.CharField(
                        editable=False, help_text="Its event's, for lists by type.", max_length=100
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("held", "Held"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="pending",
                        max_length=9,
                    ),
                ),
                (
                    "trigger",
                    models.CharField(
                        choices=[
                            ("scheduled", "Scheduled"),
                            ("manual", "Manual"),
                            ("replay", "Replay"),
                            ("test", "Test"),
                        ],
                        default="scheduled",
                        max_length=9,
                    ),
                ),
                (
                    "elsewhere",
                    models.BooleanField(
                        default=False,
                        editable=False,
                        help_text="Goes to its replay's URL: the subscription's numbers, order and health know nothing of it.",
                    ),
                ),
                (
                    "retry_requested",
                    models.BooleanField(default=False, help_text="A person asked for the next attempt."),
                ),
                (
                    "sequence",
                    models.PositiveBigIntegerField(
                        blank=True,
                        editable=False,
                        help_text="Numbers what the subscription is told, without a gap; given when first claimed.",
                        null=True,
                    ),
                ),
                (
                    "ordering_key",
                    models.CharField(
                        blank=True,
                        editable=False,
                        help_text="Its subscription's deliveries with the same key go out one at a time; null: in no order.",
                        max_length=64,
                        null=True,
                    ),
                ),
                (
                    "position",
                    models.PositiveBigIntegerField(
                        blank=True,
                        editable=False,
                        help_text="Its place among those with the same ordering key.",
                        null=True,
                    ),
                ),
                (
                    "behind",
                    models.BooleanField(
                        default=False,
                        editable=False,
                        help_text="Not to be claimed before another with the same ordering key.",
                    ),
                ),
                (
                    "digest",
                    models.UUIDField(
                        blank=True,
                        editable=False,
                        help_text="Deliveries with the same go out in one email (deliveries/digests.py); null: in one of its own.",
                        null=True,
                    ),
                ),
                ("attempt_count", models.PositiveIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(blank=True, null=True)),
                ("leased_until", models.DateTimeField(blank=True, editable=False, null=True)),
                ("lease_id", models.UUIDField(blank=True, editable=False, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("finished_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "application",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="accounts.application",
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="events.event",
                    ),
                ),
                (
                    "recipient",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="subscriptions.recipient",
                    ),
                ),
                (
                    "replay",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        editable=False,
                        help_text="The job that made it.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="deliveries.replay",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "ordering": ("-id",),
            },
        ),
        migrations.SeparateDatabaseAndState(
            # Django wants a key of one column; that of a partitioned table has the column of its partitions.
            [
                CreatePartitioned(
                    by="delivery_id",
                    name="Attempt",
                    fields=[
                        ("pk", models.CompositePrimaryKey("delivery", "number", primary_key=True)),
                        ("id", models.UUIDField()),
                        (
                            "delivery",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.PROTECT,
                                to="deliveries.delivery",
                            ),
                        ),
                        *ATTEMPT,
                    ],
                ),
                migrations.RunSQL(
                    # Partition to partition: they have the same bounds, and it costs less than between the wholes.
                    """
                    ALTER TABLE deliveries_attempt_default ADD CONSTRAINT attempt_of_delivery
                        FOREIGN KEY (delivery_id) REFERENCES deliveries_delivery_default (id)
                        DEFERRABLE INITIALLY DEFERRED
                    """,
                    migrations.RunSQL.noop,
                ),
            ],
            [
                migrations.CreateModel(
                    name="Attempt",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=accounts.ids.uuid7,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        *ATTEMPT,
                        (
                            "delivery",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="attempts",
                                to="deliveries.delivery",
                            ),
                        ),
                    ],
                    options={
                        "ordering": ("delivery", "number"),
                        "constraints": [
                            models.UniqueConstraint(
                                fields=("delivery", "number"), name="attempt_number_once_a_delivery"
                            )
                        ],
                    },
                ),
            ],
        ),
        migrations.CreateModel(
            name="SequenceCounter",
            fields=[
                (
                    "subscription",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="sequence_counter",
                        serialize=False,
                        to="subscriptions.subscription",
                    ),
                ),
                ("last", models.PositiveBigIntegerField()),
                ("forgotten", models.PositiveBigIntegerField(db_default=0)),
            ],
        ),
        CreatePartitioned(
            by="delivery_id",
            name="SequenceNumber",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "subscription",
                        "number",
                        "delivery",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("number", models.PositiveBigIntegerField()),
                (
                    "delivery",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="deliveries.delivery",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="sequence",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Case",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        help_text="The event's type, or the kind of the notice.", max_length=100
                    ),
                ),
                ("facts", models.JSONField(default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("taken", "Taken"), ("done", "Done")],
                        default="open",
                        max_length=5,
                    ),
                ),
                ("taken_by", models.EmailField(blank=True, max_length=254)),
                ("taken_at", models.DateTimeField(blank=True, null=True)),
                ("outcome", models.CharField(blank=True, max_length=500)),
                ("done_at", models.DateTimeField(blank=True, null=True)),
                (
                    "remind_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When it is to be told again if nobody has taken it, or finished it; empty: not any more.",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "application",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="cases",
                        to="accounts.application",
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="events.event",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        blank=True,
                        help_text="That is disabled.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="cases",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(fields=["-created_at", "-id"], name="case_by_time"),
                    models.Index(fields=["application", "-created_at"], name="case_by_application"),
                    models.Index(
                        condition=models.Q(("state", "done"), _negated=True),
                        fields=["created_at"],
                        name="case_unfinished",
                    ),
                    models.Index(
                        condition=models.Q(("state", "done"), _negated=True),
                        fields=["remind_at"],
                        name="case_to_remind_of",
                    ),
                    models.Index(
                        condition=models.Q(("state", "taken")),
                        fields=["taken_at"],
                        name="case_taken",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("event__isnull", False), ("subscription", None)),
                            models.Q(("event", None), ("subscription__isnull", False)),
                            _connector="OR",
                        ),
                        name="case_of_an_event_or_a_subscription",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("done_at", None), ("state", "open"), ("taken_at", None), ("taken_by", "")
                            ),
                            models.Q(("done_at", None), ("state", "taken"), ("taken_at__isnull", False)),
                            models.Q(("done_at__isnull", False), ("state", "done")),
                            _connector="OR",
                        ),
                        name="case_taken_and_done",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("beat_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="heartbeat_is_one_row")
                ],
            },
        ),
        migrations.CreateModel(
            name="PausedDomain",
            fields=[
                ("domain", models.CharField(max_length=254, primary_key=True, serialize=False)),
                ("until", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="MailEvent",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("email", models.EmailField(help_text="As addresses are compared.", max_length=254)),
                (
                    "message",
                    models.UUIDField(
                        blank=True, help_text="What the email is known by, if that was told.", null=True
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("delivered", "Delivered"),
                            ("deferred", "Deferred"),
                            ("soft_bounced", "Soft Bounced"),
                            ("bounced", "Bounced"),
                            ("complained", "Complained"),
                            ("unsubscribed", "Unsubscribed"),
                            ("rejected", "Rejected"),
                        ],
                        max_length=12,
                    ),
                ),
                ("at", models.DateTimeField()),
                ("description", models.CharField(blank=True, max_length=500)),
                ("provider", models.CharField(max_length=50)),
                ("key", models.CharField(editable=False, max_length=64, unique=True)),
                (
                    "delivery",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="mail_events",
                        to="deliveries.delivery",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("delivery__isnull", False)),
                        fields=["delivery", "at"],
                        name="mail_event_by_delivery",
                    ),
                    models.Index(fields=["email", "-id"], name="mail_event_by_email"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("confirmation", "Confirmation"),
                            ("failing", "Failing"),
                            ("disabling", "Disabling"),
                            ("disabled", "Disabled"),
                            ("gone", "Gone"),
                            ("recovered", "Recovered"),
                            ("summary", "Summary"),
                            ("fallback", "Fallback"),
                            ("case_taken", "Case Taken"),
                            ("case_handed_over", "Case Handed Over"),
                            ("case_done", "Case Done"),
                            ("case_given_back", "Case Given Back"),
                            ("case_unhandled", "Case Unhandled"),
                            ("case_unfinished", "Case Unfinished"),
                        ],
                        max_length=20,
                    ),
                ),
                ("email", models.EmailField(max_length=254)),
                ("occasion", models.CharField(blank=True, max_length=100)),
                ("facts", models.JSONField(default=dict)),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now, null=True)),
                ("attempt_count", models.PositiveIntegerField(default=0)),
                ("sent_at", models.DateTimeField(null=True)),
                ("error", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "application",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="notices",
                        to="accounts.application",
                    ),
                ),
                (
                    "recipient",
                    models.ForeignKey(
                        blank=True,
                        help_text="If it is to one.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="notices",
                        to="subscriptions.recipient",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="notices",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="notice_due"
                    ),
                    models.Index(fields=["application", "kind", "-id"], name="notice_by_application"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        models.F("application"),
                        models.F("kind"),
                        models.F("occasion"),
                        django.db.models.functions.text.Lower("email"),
                        condition=models.Q(("occasion", ""), _negated=True),
                        name="notice_once_an_occasion",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("behind", False), ("status", "pending")),
                fields=["channel", "next_attempt_at"],
                name="delivery_due",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("attempt_count", 0), ("behind", False), ("status", "pending")),
                fields=["channel", "next_attempt_at"],
                name="delivery_first_attempt_due",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("behind", False), ("status", "pending")),
                fields=["channel", "subscription", "next_attempt_at"],
                name="delivery_due_by_subscription",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("position__isnull", False), ("status__in", ["pending", "held"])),
                fields=["subscription", "ordering_key", "position"],
                name="delivery_in_order",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status__in", ["pending", "held"])),
                fields=["subscription"],
                name="delivery_unfinished",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("digest__isnull", False), ("status", "pending")),
                fields=["digest"],
                name="delivery_in_digest",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["application", "-id"], name="delivery_by_application"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status", "succeeded"), _negated=True),
                fields=["application", "status", "-id"],
                name="delivery_by_status",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["application", "event_type", "-id"], name="delivery_by_type"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["application", "channel", "-id"], name="delivery_by_channel"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["subscription", "-id"], name="delivery_by_subscription"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status__in", ["held", "failed", "cancelled"])),
                fields=["status", "subscription", "-id"],
                name="delivery_stopped",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["event", "-id"], name="delivery_by_event"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("recipient__isnull", False)),
                fields=["recipient"],
                name="delivery_by_recipient",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("attempt_count", 0), ("replay__isnull", False), ("status", "pending")),
                fields=["replay"],
                name="delivery_waiting_of_replay",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("replay__isnull", False)),
                fields=["replay", "application", "-id"],
                name="delivery_by_replay",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("elsewhere", True), ("status", "pending")),
                fields=["channel", "next_attempt_at"],
                name="delivery_elsewhere_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("elsewhere", False),
                    models.Q(
                        ("channel", "webhook"),
                        ("position", None),
                        ("replay__isnull", False),
                        ("sequence", None),
                    ),
                    _connector="OR",
                ),
                name="delivery_elsewhere_by_replay",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("next_attempt_at__isnull", False), ("status", "pending")),
                    models.Q(models.Q(("status", "pending"), _negated=True), ("next_attempt_at", None)),
                    _connector="OR",
                ),
                name="delivery_next_attempt_when_pending",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("channel", "webhook"), ("recipient", None)),
                    models.Q(("channel", "email"), ("recipient__isnull", False)),
                    _connector="OR",
                ),
                name="delivery_recipient_by_channel",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("behind", False), ("ordering_key", None), ("position", None)),
                    models.Q(("ordering_key__isnull", False), ("position__isnull", False)),
                    _connector="OR",
                ),
                name="delivery_position_with_ordering_key",
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["id"], name="attempt_by_id"),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(("trigger__in", ["scheduled", "manual", "replay", "test"])),
                name="attempt_trigger",
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.CheckConstraint(
                condition=models.Q(("outcome__in", ["succeeded", "failed"])), name="attempt_outcome"
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "held", "succeeded", "failed", "cancelled"])),
                name="delivery_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("trigger__in", ["scheduled", "manual", "replay", "test"])),
                name="delivery_trigger",
            ),
        ),
        migrations.AddConstraint(
            model_name="mailevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "delivered",
                            "deferred",
                            "soft_bounced",
                            "bounced",
                            "complained",
                            "unsubscribed",
                            "rejected",
                        ],
                    )
                ),
                name="mail_event_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="notice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
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
                        ],
                    )
                ),
                name="notice_kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="replay",
            constraint=models.CheckConstraint(
                condition=models.Q(("only__in", ["failed", "missed", "all"])), name="replay_only"
            ),
        ),
        migrations.AddConstraint(
            model_name="replay",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["running", "completed", "cancelled"])),
                name="replay_status",
            ),
        ),
        migrations.RunSQL("CREATE SEQUENCE delivery_position", "DROP SEQUENCE delivery_position"),
        migrations.RunSQL(
            # Room in each page, so that a claim rewrites its row there and leaves the indexes alone.
            "ALTER TABLE deliveries_delivery_default SET (fillfactor = 80)",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(
            """
            CREATE TRIGGER attempt_is_immutable BEFORE UPDATE OR DELETE ON deliveries_attempt
                FOR EACH ROW EXECUTE FUNCTION openvolt_refuse_change(
                    '{"request_headers": {}, "response_headers": {}, "response_body": ""}'
                );
            """,
            "DROP TRIGGER attempt_is_immutable ON deliveries_attempt",
        ),
    ]
