import django.contrib.auth.models
import django.contrib.auth.validators
import django.contrib.postgres.fields
import django.core.serializers.json
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import accounts.ids
import accounts.names


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="Application",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=200, validators=[accounts.names.check_name])),
                (
                    "contacts",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.EmailField(max_length=254),
                        blank=True,
                        default=list,
                        help_text="Who is emailed about this application's health.",
                        size=None,
                    ),
                ),
                (
                    "reply_to",
                    models.EmailField(
                        blank=True,
                        help_text="Whom answers to its emails go to; empty: to the sender of every email.",
                        max_length=254,
                    ),
                ),
                (
                    "weekly_summary",
                    models.BooleanField(
                        default=False,
                        help_text="Each Monday, tell the contacts what became of the week's notifications.",
                    ),
                ),
                (
                    "summary_ended_by",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.EmailField(max_length=254),
                        blank=True,
                        default=list,
                        editable=False,
                        help_text="The contacts who have ended the summary for themselves, in lower case.",
                        size=None,
                    ),
                ),
                (
                    "contact_choices",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        editable=False,
                        help_text="How contacts read: the time zone and the language, by the address in lower case.",
                    ),
                ),
                (
                    "summarized_until",
                    models.DateTimeField(
                        editable=False,
                        help_text="The end of the last week that was told of, or had nothing to tell.",
                        null=True,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        error_messages={"unique": "A user with that username already exists."},
                        help_text="Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.",
                        max_length=150,
                        unique=True,
                        validators=[django.contrib.auth.validators.UnicodeUsernameValidator()],
                        verbose_name="username",
                    ),
                ),
                ("first_name", models.CharField(blank=True, max_length=150, verbose_name="first name")),
                ("last_name", models.CharField(blank=True, max_length=150, verbose_name="last name")),
                ("email", models.EmailField(blank=True, max_length=254, verbose_name="email address")),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="Designates whether the user can log into this admin site.",
                        verbose_name="staff status",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                        verbose_name="active",
                    ),
                ),
                (
                    "date_joined",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="date joined"),
                ),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "verbose_name": "user",
                "verbose_name_plural": "users",
                "abstract": False,
                "permissions": [("see_payloads", "Can see payloads and the bodies of attempts")],
            },
            managers=[
                ("objects", django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name="ApiKey",
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
                        choices=[("platform", "Platform"), ("application", "Application")], max_length=11
                    ),
                ),
                (
                    "name",
                    models.CharField(blank=True, max_length=200, validators=[accounts.names.check_name]),
                ),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[("read", "Read"), ("write", "Write")], max_length=5
                        ),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                ("prefix", models.CharField(editable=False, max_length=17)),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "replaced_at",
                    models.DateTimeField(
                        editable=False, help_text="When a rotation put another in its place.", null=True
                    ),
                ),
                (
                    "application",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_keys",
                        to="accounts.application",
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "ordering": ("-id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("application", None), ("kind", "platform")),
                            models.Q(("application__isnull", False), ("kind", "application")),
                            _connector="OR",
                        ),
                        name="api_key_application_by_kind",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "actor_kind",
                    models.CharField(
                        choices=[
                            ("staff", "Staff"),
                            ("api_key", "API key"),
                            ("command", "Command"),
                            ("person", "Person"),
                        ],
                        max_length=7,
                    ),
                ),
                ("actor_id", models.CharField(blank=True, max_length=40)),
                (
                    "actor",
                    models.CharField(
                        help_text="A user's name, or a key's first letters and name.", max_length=250
                    ),
                ),
                ("address", models.GenericIPAddressField(null=True)),
                ("request_id", models.CharField(blank=True, max_length=128)),
                ("action", models.CharField(max_length=50)),
                ("object_type", models.CharField(blank=True, max_length=50)),
                ("object_id", models.CharField(blank=True, max_length=40)),
                (
                    "before",
                    models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder),
                ),
                (
                    "after",
                    models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder),
                ),
                (
                    "application",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.application",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit log",
                "ordering": ("-id",),
                "indexes": [
                    models.Index(fields=["application", "-id"], name="audit_by_application"),
                    models.Index(fields=["actor_id", "-id"], name="audit_by_actor"),
                    models.Index(fields=["object_id", "-id"], name="audit_by_object"),
                    models.Index(fields=["action", "-id"], name="audit_by_action"),
                    models.Index(fields=["actor_kind", "-id"], name="audit_by_actor_kind"),
                    models.Index(fields=["at"], name="audit_by_time"),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("scopes__contained_by", ["read", "write"])), name="api_key_scopes"
            ),
        ),
        migrations.AddConstraint(
            model_name="auditentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("actor_kind__in", ["staff", "api_key", "command", "person"])),
                name="audit_actor_kind",
            ),
        ),
        migrations.RunSQL(
            """
            CREATE FUNCTION openvolt_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF TG_OP = 'DELETE' AND OLD.at < now() - interval '400 days' THEN
                    RETURN OLD;
                END IF;
                RAISE EXCEPTION 'entries of the audit log are never changed, and kept for 400 days'
                    USING ERRCODE = 'restrict_violation';
            END $$;
            CREATE TRIGGER audit_is_immutable BEFORE UPDATE OR DELETE ON accounts_auditentry
                FOR EACH ROW EXECUTE FUNCTION openvolt_refuse_audit_change();
            """,
            "DROP TRIGGER audit_is_immutable ON accounts_auditentry; DROP FUNCTION openvolt_refuse_audit_change()",
        ),
        migrations.RunSQL(
            """
            CREATE UNLOGGED TABLE accounts_request_count (
                caller text NOT NULL,
                began_at timestamptz NOT NULL,
                requests integer NOT NULL,
                PRIMARY KEY (caller, began_at)
            ) WITH (fillfactor = 50);
            CREATE FUNCTION openvolt_count_request(text, timestamptz) RETURNS integer LANGUAGE sql AS $$
                INSERT INTO accounts_request_count AS known (caller, began_at, requests) VALUES ($1, $2, 1)
                ON CONFLICT (caller, began_at) DO UPDATE SET requests = known.requests + 1
                RETURNING requests
            $$;
            """,
            "DROP FUNCTION openvolt_count_request; DROP TABLE accounts_request_count",
        ),
    ]
