import datetime

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import accounts.ids
from events.partitioned import CreatePartitioned


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        CreatePartitioned(
            by="id",
            name="Event",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("type", models.CharField(max_length=100)),
                ("occurred_at", models.DateTimeField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("payload", models.TextField()),
                ("test", models.BooleanField(default=False)),
                (
                    "published_by",
                    models.UUIDField(editable=False, help_text="The API key that published it.", null=True),
                ),
                (
                    "delivery_count",
                    models.PositiveIntegerField(default=0, help_text="Those that publishing it made."),
                ),
                (
                    "names_customer",
                    models.CharField(
                        editable=False,
                        help_text="The id of the customer whose name the payload tells.",
                        max_length=100,
                        null=True,
                    ),
                ),
                (
                    "application",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="events",
                        to="accounts.application",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("key", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("fingerprint", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "event",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="events.event"
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["application", "-id"], name="event_by_application"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["application", "type", "-id"], name="event_by_type"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["application", "occurred_at"], name="event_by_occurred_at"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                fields=["application", "names_customer", "-id"],
                name="event_by_names_customer",
                condition=models.Q(("names_customer__isnull", False)),
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(fields=["created_at"], name="idempotency_key_by_created_at"),
        ),
        migrations.AddConstraint(
            model_name="event",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "occurred_at__range",
                        (
                            datetime.datetime(1, 1, 1, 0, 0, tzinfo=datetime.UTC),
                            datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=datetime.UTC),
                        ),
                    )
                ),
                name="event_occurred_at_is_readable",
            ),
        ),
        migrations.RunSQL(
            """
            CREATE FUNCTION openvolt_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF TG_OP = 'DELETE' AND current_setting('openvolt.retention', TRUE) = 'over' THEN
                    RETURN OLD;  -- deliveries/retention.py, in its own transaction
                END IF;
                IF TG_OP = 'UPDATE' AND current_setting('openvolt.erasure', TRUE) = 'on'
                    AND to_jsonb(NEW) = to_jsonb(OLD) || TG_ARGV[0]::jsonb THEN
                    RETURN NEW;  -- deliveries/erasing.py, in its own transaction: only to what the trigger names
                END IF;
                RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME
                    USING ERRCODE = 'restrict_violation';
            END $$;
            CREATE TRIGGER event_is_immutable BEFORE UPDATE OR DELETE ON events_event
                FOR EACH ROW EXECUTE FUNCTION openvolt_refuse_change(
                    '{"payload": "null", "names_customer": null}'
                );
            """,
            "DROP TRIGGER event_is_immutable ON events_event; DROP FUNCTION openvolt_refuse_change()",
        ),
    ]
