from typing import Any

import django.db.models.deletion
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
            name="ConfirmationRequest",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("due_at", models.DateTimeField(default=django.utils.timezone.now, null=True)),
                ("attempt_count", models.PositiveIntegerField(default=0)),
                ("sent_at", models.DateTimeField(null=True)),
                ("error", models.TextField(blank=True)),
                (
                    "recipient",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="confirmation_requests",
                        to="subscriptions.recipient",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)),
                        fields=["due_at"],
                        name="confirmation_due",
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
            index=models.Index(fields=["subscription", "-id"], name="delivery_by_subscription"),
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
