import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models

import accounts.ids
import subscriptions.as_written
import subscriptions.encryption
import subscriptions.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Subscription",
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
                ("url", models.URLField(blank=True, max_length=2048)),
                (
                    "event_types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100), size=None
                    ),
                ),
                (
                    "filter",
                    subscriptions.as_written.AsWrittenJSONField(
                        blank=True,
                        default=dict,
                        help_text="JSON pointers into the payload, each with the values allowed there.",
                    ),
                ),
                ("description", models.CharField(blank=True, max_length=500)),
                ("metadata", subscriptions.as_written.AsWrittenJSONField(blank=True, default=dict)),
                (
                    "encrypted_headers",
                    subscriptions.encryption.EncryptedTextField(default="{}", editable=False),
                ),
                (
                    "retry_schedule",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(),
                        blank=True,
                        help_text="Waits between attempts in seconds; empty: the service's RETRY_SCHEDULE.",
                        null=True,
                        size=None,
                    ),
                ),
                (
                    "rate_limit",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Attempts that may begin in any second; empty: no limit.",
                        null=True,
                    ),
                ),
                (
                    "ordered",
                    models.BooleanField(
                        default=False,
                        help_text="Its deliveries go out one at a time, in the order of publishing.",
                    ),
                ),
                (
                    "ordering_key",
                    models.CharField(
                        blank=True,
                        help_text="A JSON pointer into the payload: order is kept among those with the same value there.",
                        max_length=500,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "Active"), ("paused", "Paused"), ("disabled", "Disabled")],
                        default="active",
                        max_length=8,
                    ),
                ),
                ("status_reason", models.CharField(blank=True, max_length=500)),
                (
                    "moving",
                    models.BooleanField(
                        default=False,
                        editable=False,
                        help_text="Its deliveries are being held, released or cancelled, as its state says, some at a time.",
                    ),
                ),
                (
                    "failing_since",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="The first failed attempt since the last success.",
                        null=True,
                    ),
                ),
                (
                    "failure_count",
                    models.PositiveIntegerField(
                        default=0, editable=False, help_text="Failed attempts since the last success."
                    ),
                ),
                (
                    "cooling_until",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="No attempt until then, and then one to find out.",
                        null=True,
                    ),
                ),
                (
                    "last_failed_at",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="The last failed attempt since the last success.",
                        null=True,
                    ),
                ),
                (
                    "last_error",
                    models.TextField(blank=True, editable=False, help_text="What that attempt came to."),
                ),
                (
                    "disable_at",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="When it is disabled unless an attempt succeeds; the application's contacts were told.",
                        null=True,
                    ),
                ),
                (
                    "told_failing_since",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="Since when it was failing as its application's contacts were told; empty once it is over.",
                        null=True,
                    ),
                ),
                (
                    "fallback_types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        help_text="What its recipient is emailed about when the webhook fails or is late; empty: nobody is.",
                        null=True,
                        size=None,
                    ),
                ),
                (
                    "fallback_after",
                    models.DurationField(
                        blank=True,
                        help_text="What takes longer to arrive is late; empty: nothing is.",
                        null=True,
                    ),
                ),
                (
                    "fallback_looked_until",
                    models.DateTimeField(
                        blank=True,
                        editable=False,
                        help_text="What was made before was looked at when it might have been late.",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("deleted_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "application",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="subscriptions",
                        to="accounts.application",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="Pace",
            fields=[
                (
                    "subscription",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        serialize=False,
                        to="subscriptions.subscription",
                    ),
                ),
                ("next_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Recipient",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("email", models.EmailField(max_length=254)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("unconfirmed", "Unconfirmed"),
                            ("confirmed", "Confirmed"),
                            ("unsubscribed", "Unsubscribed"),
                            ("suppressed", "Suppressed"),
                        ],
                        default="unconfirmed",
                        max_length=12,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("confirmed_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("unsubscribed_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("removed_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        default=list,
                        help_text="Of the subscription's event types those that this person wants; empty: all.",
                        size=None,
                    ),
                ),
                (
                    "frequency",
                    models.CharField(
                        choices=[("at_once", "At Once"), ("hourly", "Hourly"), ("daily", "Daily")],
                        default="at_once",
                        max_length=7,
                    ),
                ),
                (
                    "digest_hour",
                    models.PositiveSmallIntegerField(default=8, help_text="When a daily digest goes out."),
                ),
                (
                    "notes",
                    models.BooleanField(
                        default=True, help_text="Is told when somebody handles what they were told of."
                    ),
                ),
                (
                    "quiet_from",
                    models.TimeField(blank=True, help_text="No email from then on.", null=True),
                ),
                ("quiet_until", models.TimeField(blank=True, null=True)),
                ("timezone", models.CharField(default="UTC", max_length=64)),
                ("language", models.CharField(default="en", max_length=8)),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="recipients",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
            },
        ),
        migrations.CreateModel(
            name="SigningSecret",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "secret",
                    subscriptions.encryption.EncryptedTextField(default=subscriptions.models.new_secret),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="secrets",
                        to="subscriptions.subscription",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Suppression",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "email",
                    models.EmailField(help_text="As addresses are compared.", max_length=254, unique=True),
                ),
                ("reason", models.CharField(max_length=500)),
                ("source", models.CharField(help_text="Who said so.", max_length=50)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("lifted_at", models.DateTimeField(blank=True, editable=False, null=True)),
            ],
            options={
                "ordering": ("-id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                        name="suppression_email_in_lower_case",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(
                condition=models.Q(("deleted_at", None)),
                fields=["application", "-id"],
                name="subscription_by_application",
            ),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(
                condition=models.Q(("deleted_at", None), ("failing_since__isnull", False)),
                fields=["failing_since"],
                name="subscription_failing",
            ),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(
                condition=models.Q(("cooling_until__isnull", False)),
                fields=["cooling_until"],
                name="subscription_cooling",
            ),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(
                condition=models.Q(("moving", True)), fields=["id"], name="subscription_moving"
            ),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(
                condition=models.Q(("deleted_at", None), ("fallback_after__isnull", False)),
                fields=["fallback_looked_until"],
                name="subscription_late_fallback",
            ),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=django.contrib.postgres.indexes.GinIndex(
                fields=["event_types"], name="subscription_event_types"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("channel", "email"), ("url", "")),
                    models.Q(("channel", "webhook"), models.Q(("url", ""), _negated=True)),
                    _connector="OR",
                ),
                name="subscription_url_by_channel",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("event_types__len__gt", 0)), name="subscription_has_event_types"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("rate_limit", None),
                    models.Q(("channel", "webhook"), ("rate_limit__range", (1, 1000))),
                    _connector="OR",
                ),
                name="subscription_rate_limit",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ordered", False), ("ordering_key", "")),
                    models.Q(("channel", "webhook"), ("ordered", True)),
                    _connector="OR",
                ),
                name="subscription_ordered",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("fallback_after", None), ("fallback_looked_until", None), ("fallback_types", None)
                    ),
                    models.Q(
                        ("channel", "webhook"),
                        ("fallback_types__len__gt", 0),
                        models.Q(
                            models.Q(("fallback_after", None), ("fallback_looked_until", None)),
                            models.Q(
                                ("fallback_after__isnull", False), ("fallback_looked_until__isnull", False)
                            ),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="subscription_fallback",
            ),
        ),
        migrations.AddIndex(
            model_name="recipient",
            index=models.Index(django.db.models.functions.text.Lower("email"), name="recipient_by_email"),
        ),
        migrations.AddConstraint(
            model_name="recipient",
            constraint=models.UniqueConstraint(
                models.F("subscription"),
                django.db.models.functions.text.Lower("email"),
                name="recipient_once_a_subscription",
            ),
        ),
        migrations.AddConstraint(
            model_name="recipient",
            constraint=models.CheckConstraint(
                condition=models.Q(("digest_hour__range", (0, 23))), name="recipient_digest_hour"
            ),
        ),
        migrations.AddConstraint(
            model_name="recipient",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("quiet_from", None), ("quiet_until", None)),
                    models.Q(
                        ("quiet_from__isnull", False),
                        ("quiet_until__isnull", False),
                        models.Q(("quiet_from", models.F("quiet_until")), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="recipient_quiet_hours",
            ),
        ),
        migrations.AddConstraint(
            model_name="recipient",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["unconfirmed", "confirmed", "unsubscribed", "suppressed"])
                ),
                name="recipient_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="recipient",
            constraint=models.CheckConstraint(
                condition=models.Q(("frequency__in", ["at_once", "hourly", "daily"])),
                name="recipient_frequency",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "paused", "disabled"])),
                name="subscription_status",
            ),
        ),
    ]
