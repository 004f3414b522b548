"""The audit log: who did what, on what, before and after, from where; and that nobody rewrites it."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.admin_lists import earliest_id
from accounts.audit import KEPT, acting, forget_old_entries, record
from accounts.keys import PREFIX_LENGTH
from accounts.models import ApiKey, AuditEntry, User, digest
from deliveries.publishing import publish
from events.models import Event
from subscriptions.links import confirm_link
from subscriptions.models import Recipient, SigningSecret, Subscription
from tests.support import factories
from tests.support.api import Api, calls, path_of, problem_of
from tests.support.tenants import Tenant

pytestmark = pytest.mark.django_db

STORES_NOTHING = {("POST", "events/preview"), ("POST", "subscriptions/preview")}
IS_ITS_OWN_ENTRY = {("POST", "events"), ("POST", "events/batch")}


@pytest.fixture
def tenant() -> Tenant:
    return Tenant()


Id = Callable[[Tenant], Any]
WRITES: dict[tuple[str, str], tuple[Id, Any, list[str]]] = {
    ("POST", "applications"): (
        lambda tenant: "",
        {"name": "New"},
        ["application.created", "api_key.created"],
    ),
    ("POST", "api-keys"): (lambda tenant: "", {"name": "new"}, ["api_key.created"]),
    ("POST", "api-keys/<id:id>/rotate"): (lambda tenant: tenant.other_key.id, {}, ["api_key.rotated"]),
    ("DELETE", "api-keys/<id:id>"): (lambda tenant: tenant.other_key.id, None, ["api_key.revoked"]),
    ("POST", "subscriptions"): (
        lambda tenant: "",
        {"channel": "email", "recipients": ["ann@example.org"], "event_types": ["*"]},
        ["subscription.created"],
    ),
    ("PATCH", "subscriptions/<id:id>"): (
        lambda tenant: tenant.webhook.id,
        {"description": "Invoices"},
        ["subscription.changed"],
    ),
    ("DELETE", "subscriptions/<id:id>"): (
        lambda tenant: tenant.webhook.id,
        None,
        ["subscription.deleted"],
    ),
    ("POST", "subscriptions/<id:id>/pause"): (
        lambda tenant: tenant.webhook.id,
        None,
        ["subscription.paused"],
    ),
    ("POST", "subscriptions/<id:id>/resume"): (
        lambda tenant: tenant.webhook.id,
        None,
        ["subscription.resumed"],
    ),
    ("POST", "subscriptions/<id:id>/rotate-secret"): (
        lambda tenant: tenant.webhook.id,
        {},
        ["subscription.secret_rotated"],
    ),
    ("POST", "subscriptions/<id:id>/test"): (
        lambda tenant: tenant.webhook.id,
        {},
        ["subscription.tested"],
    ),
    ("POST", "subscriptions/<id:id>/replays"): (
        lambda tenant: tenant.webhook.id,
        {"since": "2026-10-25T00:00:00Z", "only": "all", "url": "http://127.0.0.1:9/?token=in-the-query"},
        ["replay.started"],
    ),
    ("POST", "replays/<id:id>/cancel"): (lambda tenant: tenant.replay.id, None, ["replay.cancelled"]),
    ("POST", "events/<id:id>/replay"): (lambda tenant: tenant.event.id, {}, ["event.replayed"]),
    ("POST", "deliveries/<id:id>/retry"): (lambda tenant: tenant.delivery.id, None, ["delivery.retried"]),
    ("POST", "deliveries/<id:id>/cancel"): (
        lambda tenant: tenant.delivery.id,
        None,
        ["delivery.cancelled"],
    ),
}


def test_every_call_that_writes_is_in_this_file():
    writing = {call for call in calls() if call[0] != "GET"}

    assert writing - STORES_NOTHING - IS_ITS_OWN_ENTRY == set(WRITES)


@pytest.mark.parametrize("call", WRITES, ids=" ".join)
def test_every_write_says_who_did_what_and_from_where(tenant: Tenant, call: tuple[str, str]):
    method, route = call
    id_of, body, actions = WRITES[call]
    key = factories.platform_key() if route == "applications" else tenant.key

    response = Api(key).call(method, path_of(route, id_of(tenant)), body, x_request_id="from-the-test")

    assert response.status_code in (200, 201, 202, 204)
    entries = AuditEntry.objects.order_by("id")
    assert [entry.action for entry in entries] == actions
    for entry in entries:
        assert entry.actor_kind == "api_key"
        assert entry.actor_id == str(ApiKey.objects.get(digest=digest(key)).id)
        assert key[:PREFIX_LENGTH] in entry.actor
        assert (entry.address, entry.request_id) == ("127.0.0.1", "from-the-test")
        assert entry.application is not None


@pytest.mark.parametrize("call", WRITES, ids=" ".join)
def test_no_key_secret_or_payload_is_in_the_log(tenant: Tenant, call: tuple[str, str]):
    method, route = call
    tenant.webhook.headers = {"authorization": "Bearer of-the-receiver"}
    tenant.webhook.url = "https://hooks.example.com/in?token=in-the-query"
    tenant.webhook.save()
    key = factories.platform_key() if route == "applications" else tenant.key
    id_of, body, _ = WRITES[call]

    answer = Api(key).call(method, path_of(route, id_of(tenant)), body)

    shown = answer.json() if answer.content else {}
    secrets = {key, tenant.key, digest(key), "of-the-receiver", "in-the-query", tenant.event.payload}
    secrets |= {shown[name] for name in ("api_key", "secret") if shown.get(name)}
    secrets |= {secret.secret for secret in SigningSecret.objects.all()}
    written = json.dumps(list(AuditEntry.objects.values()), default=str)
    assert AuditEntry.objects.exists()
    assert not [secret for secret in secrets if secret in written]


def test_a_change_is_written_with_what_was_before_and_nothing_that_stayed(tenant: Tenant):
    tenant.api.patch(
        f"/v1/subscriptions/{tenant.webhook.id}",
        {"url": "http://127.0.0.1:10/new?token=x", "headers": {"x-token": "abc"}, "metadata": {"team": "a"}},
    )

    entry = AuditEntry.objects.get()
    assert (entry.object_type, entry.object_id) == ("subscription", str(tenant.webhook.id))
    assert entry.before == {
        "url_without_query": "http://127.0.0.1:9/",
        "header_names": [],
        "metadata_names": [],
    }
    assert entry.after == {
        "url_without_query": "http://127.0.0.1:10/new",
        "header_names": ["x-token"],
        "metadata_names": ["team"],
    }


def test_a_change_of_values_of_headers_alone_says_of_which_and_never_what(tenant: Tenant):
    path = f"/v1/subscriptions/{tenant.webhook.id}"
    tenant.api.patch(path, {"headers": {"x-token": "first", "x-team": "a", "x-old": "1"}})

    tenant.api.patch(path, {"headers": {"x-token": "second", "x-team": "a"}})

    entry = AuditEntry.objects.latest("id")
    assert entry.before == {"header_names": ["x-old", "x-team", "x-token"]}
    assert entry.after == {"header_names": ["x-team", "x-token"], "changed_header_values": ["x-token"]}


def test_a_change_of_recipients_says_who_came_and_who_went(tenant: Tenant):
    emails = factories.emails(tenant.application, ["ann@example.org", "bob@example.org"])

    tenant.api.patch(f"/v1/subscriptions/{emails.id}", {"recipients": ["bob@example.org", "eve@example.org"]})

    entry = AuditEntry.objects.get()
    assert entry.before == {"recipient_emails": ["ann@example.org", "bob@example.org"]}
    assert entry.after == {"recipient_emails": ["bob@example.org", "eve@example.org"]}


def test_a_rotation_names_the_new_key_and_when_the_old_one_ends(tenant: Tenant):
    new = tenant.api.post(f"/v1/api-keys/{tenant.other_key.id}/rotate", {"overlap_seconds": 60}).json()

    entry = AuditEntry.objects.get()
    assert entry.before == {"expires_at": None}
    assert entry.after["new_key"] == new["id"]
    assert entry.after["expires_at"] > timezone.now().isoformat()[:10]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/subscriptions/019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4/pause", 404),
        ("/v1/api-keys?nonsense=1", 422),
    ],
)
def test_what_was_refused_is_not_in_the_log(tenant: Tenant, path: str, status: int):
    problem_of(tenant.api.post(path), status)

    assert not AuditEntry.objects.exists()


def test_what_does_not_commit_is_not_in_the_log(tenant: Tenant):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deliveries.api_keys.publish", None)
        assert tenant.api.post(f"/v1/api-keys/{tenant.other_key.id}/rotate").status_code == 500

    assert not AuditEntry.objects.exists()
    assert ApiKey.objects.get(id=tenant.other_key.id).expires_at is None


def test_what_is_written_down_can_not_fail_without_undoing_the_write(tenant: Tenant):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("accounts.audit.AuditEntry.objects.create", None)
        assert tenant.api.post(f"/v1/subscriptions/{tenant.webhook.id}/pause").status_code == 500

    assert Subscription.objects.get(id=tenant.webhook.id).status == "active"


def test_nobody_is_taken_for_who_was_served_before(tenant: Tenant):
    emails = factories.emails(tenant.application)
    recipient = Recipient.objects.get(subscription=emails)
    tenant.api.post(f"/v1/subscriptions/{tenant.webhook.id}/pause")
    before = AuditEntry.objects.count()

    link = confirm_link(recipient.id).removeprefix(settings.PUBLIC_URL)
    assert Client().post(link).status_code == 200
    publish(tenant.application, "meter.created", factories.example("meter.created"))
    record("nobody.acts", tenant.webhook)

    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("statement", ["UPDATE {} SET actor = 'somebody else'", "DELETE FROM {}"])
def test_the_database_refuses_to_change_the_log(tenant: Tenant, statement: str):
    tenant.api.post(f"/v1/subscriptions/{tenant.webhook.id}/pause")

    with (
        pytest.raises(IntegrityError, match="never changed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement.format(AuditEntry._meta.db_table))

    assert "production" in AuditEntry.objects.get().actor


def test_entries_go_when_they_have_been_kept_long_enough_and_not_before(tenant: Tenant):
    tenant.api.post(f"/v1/subscriptions/{tenant.webhook.id}/pause")
    entry = AuditEntry.objects.get()
    AuditEntry.objects.create(
        actor_kind="staff",
        actor="ann",
        action="old",
        object_type="x",
        at=timezone.now() - KEPT - timedelta(days=2),
    )
    nearly = AuditEntry.objects.create(
        actor_kind="staff",
        actor="ann",
        action="nearly old",
        object_type="x",
        at=timezone.now() - KEPT + timedelta(hours=1),
    )

    assert forget_old_entries(timezone.now()) == 1

    assert set(AuditEntry.objects.all()) == {entry, nearly}
    with pytest.raises(IntegrityError), transaction.atomic():
        nearly.delete()


def staff_edit(client: Client, url: str, **fields: Any) -> AuditEntry:
    answer = client.post(url, fields)
    assert answer.status_code in (200, 302)
    return AuditEntry.objects.latest("id")


def test_an_edit_in_the_admin_says_who_and_what_was_before(admin_client: Client, tenant: Tenant):
    url = f"/admin/accounts/application/{tenant.application.id}/change/"

    entry = staff_edit(admin_client, url, name="Greener", contacts="owner@greenhomes.example")

    assert (entry.actor_kind, entry.actor, entry.action) == ("staff", "admin", "application.changed")
    assert (entry.before, entry.after) == ({"name": "Green Homes"}, {"name": "Greener"})
    assert (entry.application, entry.address) == (tenant.application, "127.0.0.1")
    assert entry.request_id


def test_a_save_that_changes_nothing_is_not_in_the_log(admin_client: Client, tenant: Tenant):
    url = f"/admin/accounts/application/{tenant.application.id}/change/"

    admin_client.post(url, {"name": "Green Homes", "contacts": "owner@greenhomes.example"})

    assert not AuditEntry.objects.exists()


def test_a_key_made_in_the_admin_is_in_the_log_without_itself(admin_client: Client, tenant: Tenant):
    fields = {"kind": "application", "application": tenant.application.id, "scopes": ["read"], "name": "new"}

    entry = staff_edit(
        admin_client, "/admin/accounts/apikey/add/", **fields, expires_at_0="", expires_at_1=""
    )

    made = ApiKey.objects.get(name="new")
    assert (entry.action, entry.object_id) == ("api_key.created", str(made.id))
    assert entry.after["prefix"] == made.prefix
    assert made.digest not in json.dumps(entry.after)


def test_staff_who_are_made_more_are_in_the_log(admin_client: Client):
    person = User.objects.create_user("ann", password="not in the log")
    url = f"/admin/accounts/user/{person.pk}/"
    group = str(person.groups.model.objects.get(name="operator").pk)
    joined = {"date_joined_0": "2026-11-03", "date_joined_1": "10:00:00"}

    made = staff_edit(
        admin_client, f"{url}change/", username="ann", is_active="on", is_staff="on", groups=[group], **joined
    )
    password = staff_edit(admin_client, f"{url}password/", password1="tulip-Nine-9", password2="tulip-Nine-9")

    assert made.before == {"is_staff": False, "roles": []}
    assert made.after == {"is_staff": True, "roles": ["operator"]}
    assert (password.action, password.before, password.after) == ("user.password_changed", {}, {})


def test_an_own_password_that_changes_is_in_the_log(admin_client: Client, admin_user: User):
    passwords = {"old_password": "password", "new_password1": "tulip-Nine-9", "new_password2": "tulip-Nine-9"}

    entry = staff_edit(admin_client, "/admin/password_change/", **passwords)

    assert (entry.action, entry.object_id) == ("user.password_changed", str(admin_user.pk))


@pytest.mark.parametrize(
    ("page", "action", "row", "entry"),
    [
        ("deliveries/delivery", "retry", lambda tenant: tenant.delivery, "delivery.retried"),
        ("deliveries/delivery", "cancel", lambda tenant: tenant.delivery, "delivery.cancelled"),
        ("events/event", "replay", lambda tenant: tenant.event, "event.replayed"),
        ("deliveries/replay", "cancel", lambda tenant: tenant.replay, "replay.cancelled"),
        ("subscriptions/subscription", "pause", lambda tenant: tenant.webhook, "subscription.paused"),
        ("subscriptions/subscription", "send_test", lambda tenant: tenant.webhook, "subscription.tested"),
        ("subscriptions/subscription", "delete", lambda tenant: tenant.webhook, "subscription.deleted"),
        ("accounts/apikey", "revoke", lambda tenant: tenant.other_key, "api_key.revoked"),
        (
            "subscriptions/recipient",
            "ask_again",
            lambda tenant: tenant.recipient(),
            "recipient.asked_again",
        ),
    ],
)
def test_every_action_in_the_admin_is_in_the_log(
    admin_client: Client, tenant: Tenant, page: str, action: str, row: Id, entry: str
):
    chosen = row(tenant)

    admin_client.post(
        f"/admin/{page}/", {"action": action, "_selected_action": str(chosen.pk), "confirmed": "1"}
    )

    [written] = AuditEntry.objects.all()
    assert (written.action, written.object_id, written.actor) == (entry, str(chosen.pk), "admin")
    assert written.application == tenant.application


def test_the_log_is_read_in_the_admin_and_changed_nowhere(admin_client: Client, tenant: Tenant):
    tenant.api.post(f"/v1/subscriptions/{tenant.webhook.id}/pause")
    tenant.api.post(f"/v1/subscriptions/{tenant.webhook.id}/resume")
    entry = AuditEntry.objects.latest("id")
    page = f"/admin/accounts/auditentry/{entry.pk}/"

    listed = admin_client.get("/admin/accounts/auditentry/").content.decode()
    shown = admin_client.get(f"{page}change/").content.decode()

    assert "subscription.paused" in listed
    assert "subscription.resumed" in listed
    assert "&quot;status&quot;: &quot;active&quot;" in shown
    for url in ("/admin/accounts/auditentry/add/", f"{page}change/", f"{page}delete/"):
        assert admin_client.post(url, {"actor": "x", "post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    "narrowed",
    [
        {"actor_kind__exact": "api_key"},
        {"created": "day"},
        {"application__id__exact": "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"},
        {"actor_id__exact": "7"},
        {"action__exact": "subscription.paused"},
        {"object_id__exact": "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"},
        {"q": "subscription.paused"},
        {"q": "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("no_dead_rows")
def test_however_the_log_is_narrowed_down_there_is_an_index_for_it(admin_client: Client, narrowed):
    fill_the_log(5000)
    with CaptureQueriesContext(connection) as captured:
        assert admin_client.get("/admin/accounts/auditentry/", narrowed).status_code == 200

    asked = [query["sql"] for query in captured if 'FROM "accounts_auditentry"' in query["sql"]]
    assert asked
    with connection.cursor() as cursor:
        for sql in asked:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Seq Scan on accounts_auditentry" not in plan, plan


def fill_the_log(entries: int) -> None:
    """With entries of a month ago."""
    kinds, first = ["staff", "command"], earliest_id(timezone.now() - timedelta(days=30))
    AuditEntry.objects.bulk_create(
        AuditEntry(
            id=UUID(int=first.int + number),
            actor_kind=kinds[number % 2],
            actor="x",
            action=f"a{number % 50}",
            object_type="x",
        )
        for number in range(entries)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE accounts_auditentry")


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/batch"])
def test_an_event_names_the_key_that_published_it(admin_client: Client, tenant: Tenant, path: str):
    key = factories.platform_key()
    change = {"application_id": str(tenant.application.id), "type": "meter.created"}
    change["payload"] = factories.example("meter.created")

    answer = Api(key).post(path, {"events": [change]} if path.endswith("batch") else change)

    assert answer.status_code == 201
    event = Event.objects.latest("id")
    assert event.published_by == ApiKey.objects.get(digest=digest(key)).id
    assert key[:PREFIX_LENGTH] in admin_client.get(f"/admin/events/event/{event.id}/change/").content.decode()
    assert not AuditEntry.objects.exists()


def test_acting_ends_with_its_block(tenant: Tenant):
    with acting(None):
        tenant.api.post(f"/v1/subscriptions/{tenant.webhook.id}/pause")

    record("nobody.acts", tenant.webhook)

    assert [entry.action for entry in AuditEntry.objects.all()] == ["subscription.paused"]
