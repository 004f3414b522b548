"""What each role of the staff sees and does: every page and every action, for each of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db.models import Model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from accounts.admin_pages import MASKED
from accounts.models import ApiKey, Application, AuditEntry, User
from deliveries.admin_actions import (
    ASK_AGAIN,
    CANCEL,
    CLOSE,
    DELETE,
    GIVE_BACK,
    LIFT,
    PAUSE,
    REPLAY,
    RESUME,
    RETRY,
    SEND_TEST,
)
from deliveries.lifecycle import pause
from deliveries.models import Attempt, Case, Delivery, MailEvent, Replay
from events.models import Event, IdempotencyKey
from subscriptions.models import Recipient, Subscription, Suppression
from tests.support.tenants import Tenant

pytestmark = pytest.mark.django_db

ROLES = ["nobody", "viewer", "operator", "admin"]
OF_THE_SITE = {
    *("index", "login", "logout", "password_change", "password_change_done"),
    *("autocomplete", "jsi18n", "view_on_site", "app_list"),
    *("email", "email_html"),
}
FOR_ADMINS = {User}
FOR_SUPERUSERS = {Group}
EDITED = {Application, ApiKey, User}  # by admins
OPERATED = {
    action.name
    for action in (RETRY, CANCEL, REPLAY, PAUSE, RESUME, SEND_TEST, ASK_AGAIN, LIFT, GIVE_BACK, CLOSE)
}
FOR_ADMINS_ONLY = {DELETE.name, "revoke"}
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


@pytest.fixture
def tenant() -> Tenant:
    tenant = Tenant()
    tenant.recipient()
    event = tenant.event
    IdempotencyKey.objects.create(key="k", fingerprint="f", event=event)
    Case.objects.create(id=event.id, application=event.application, event=event, kind=event.type)
    Suppression.objects.create(email="eve@example.org", reason="It does not exist.", source="mail server")
    MailEvent.objects.create(
        email="eve@example.org", kind="bounced", at=timezone.now(), provider="x", key="k"
    )
    Attempt.objects.create(
        delivery=tenant.delivery,
        number=1,
        trigger="scheduled",
        started_at=timezone.now(),
        duration_ms=1,
        outcome="failed",
        request_headers={"Subject": "Meter of Ann"},
        response_body="of the receiver",
    )
    return tenant


def staff(role: str) -> Client:
    user = User.objects.create_user(f"{role}-person", is_staff=True)
    if role != "nobody":
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def url(model: type[Model], page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def may_see(role: str, model: type[Model]) -> bool:
    if role == "nobody" or model in FOR_SUPERUSERS:
        return False
    return role == "admin" or model not in FOR_ADMINS


def may_edit(role: str, model: type[Model]) -> bool:
    return role == "admin" and model in EDITED


def names_of(patterns: Any) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from names_of(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name


def test_every_page_of_the_admin_is_in_this_file() -> None:
    [site] = [one for one in get_resolver().url_patterns if getattr(one, "app_name", "") == "admin"]
    of_models = {
        f"{model._meta.app_label}_{model._meta.model_name}_{page}"
        for model in MODELS
        for page in ("changelist", "add", "change", "delete", "history")
    }

    assert set(names_of([site])) == OF_THE_SITE | of_models | {"auth_user_password_change"}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_role_sees_its_pages_and_no_others(tenant: Tenant, model: type[Model], role: str) -> None:
    client = staff(role)
    row = some(model)
    seen, edited = may_see(role, model), may_edit(role, model)

    answers = {
        "changelist": client.get(url(model, "changelist")),
        "change": client.get(url(model, "change", row.pk)),
        "history": client.get(url(model, "history", row.pk)),
        "add": client.get(url(model, "add")),
        "post to add": client.post(url(model, "add"), {}),
        "post to change": client.post(url(model, "change", row.pk), {"_continue": "1"}),
        "delete": client.get(url(model, "delete", row.pk)),
        "post to delete": client.post(url(model, "delete", row.pk), {"post": "yes"}),
    }

    let_in = {302: 200}  # to the list, after a form that was complete as it was
    statuses = {name: let_in.get(answer.status_code, answer.status_code) for name, answer in answers.items()}
    expected = dict.fromkeys(statuses, 403)
    expected |= dict.fromkeys(("changelist", "change", "history"), 200) if seen else {}
    expected |= dict.fromkeys(("add", "post to add", "post to change"), 200) if edited else {}
    assert statuses == expected
    assert model._default_manager.filter(pk=row.pk).exists()


def some(model: type[Model]) -> Model:
    """A row, of somebody else if it is a person."""
    if model is User:
        return User.objects.create_user("somebody")
    if model is AuditEntry:
        return AuditEntry.objects.create(actor_kind="staff", actor="x", action="x", object_type="x")
    row = model._default_manager.first()
    assert row is not None
    return row


def paused(tenant: Tenant) -> Subscription:
    return pause(tenant.webhook, timezone.now())


def taken(tenant: Tenant) -> Case:
    case = Case.objects.get()
    case.state, case.taken_by, case.taken_at = Case.State.TAKEN, "ann@example.org", timezone.now()
    case.save()
    return case


ACTIONS: dict[tuple[type[Model], str], Callable[[Tenant], Model]] = {
    (ApiKey, "revoke"): lambda tenant: tenant.other_key,
    (Case, "close"): lambda tenant: Case.objects.get(),
    (Case, "give_back"): taken,
    (Delivery, "cancel"): lambda tenant: tenant.delivery,
    (Delivery, "retry"): lambda tenant: tenant.delivery,
    (Event, "replay"): lambda tenant: tenant.event,
    (Replay, "cancel"): lambda tenant: tenant.replay,
    (Recipient, "ask_again"): lambda tenant: Recipient.objects.get(),
    (Subscription, "delete"): lambda tenant: tenant.webhook,
    (Subscription, "pause"): lambda tenant: tenant.webhook,
    (Subscription, "resume"): paused,
    (Subscription, "send_test"): lambda tenant: tenant.webhook,
    (Suppression, "lift"): lambda tenant: Suppression.objects.get(),
}


def test_every_action_of_the_admin_is_in_this_file() -> None:
    offered = {
        (model, str(getattr(action, "name", action)))
        for model in MODELS
        for action in admin.site._registry[model].actions or ()
    }

    assert offered == set(ACTIONS)
    assert {name for _, name in offered} == OPERATED | FOR_ADMINS_ONLY


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("model", "action"), ACTIONS)
def test_a_role_does_what_it_may_and_nothing_else(
    tenant: Tenant, model: type[Model], action: str, role: str
) -> None:
    client = staff(role)
    row = ACTIONS[model, action](tenant)
    allowed = role == "admin" or (role == "operator" and action in OPERATED)

    chosen = {"action": action, "_selected_action": str(row.pk), "confirmed": "1"}
    client.post(url(model, "changelist"), chosen)
    page = client.get(url(model, "change", row.pk)).content.decode()

    assert AuditEntry.objects.exists() == allowed
    assert allowed or f'value="{action}"' not in page


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_viewers_do_not_see_payloads_and_the_bodies_of_attempts(tenant: Tenant, role: str) -> None:
    client = staff(role)
    attempt = Attempt.objects.get()

    event = client.get(url(Event, "change", tenant.event.pk)).content.decode()
    tried = client.get(url(Attempt, "change", attempt.pk)).content.decode()

    shown = role != "viewer"
    assert ("meter_number" in event) == shown
    assert ("meter_number" in tried) == shown
    assert ("of the receiver" in tried) == shown
    assert ("Meter of Ann" in tried) == shown
    assert event.count(MASKED) == (0 if shown else 1)
    assert tried.count(MASKED) == (0 if shown else 4)


def test_no_list_or_front_page_shows_a_payload(tenant: Tenant) -> None:
    client = staff("viewer")
    pages = ["/admin/", *[url(model, "changelist") for model in MODELS if may_see("viewer", model)]]

    assert not [page for page in pages if "meter_number" in client.get(page).content.decode()]


def test_the_front_page_has_no_figures_for_who_may_see_nothing() -> None:
    assert 'class="figures"' in staff("viewer").get("/admin/").content.decode()
    assert 'class="figures"' not in staff("nobody").get("/admin/").content.decode()


PERSON = {
    "username": "changed",
    "is_active": "on",
    "is_staff": "on",
    "is_superuser": "on",
    "date_joined_0": "2026-11-03",
    "date_joined_1": "10:00:00",
}


def test_an_admin_makes_nobody_a_superuser_and_gives_no_single_permissions(tenant: Tenant) -> None:
    client = staff("admin")
    person = User.objects.create_user("somebody")
    permission = Group.objects.get(name="admin").permissions.first()
    assert permission is not None

    for target in (person, User.objects.get(username="admin-person")):
        fields = {**PERSON, "username": target.username, "user_permissions": [str(permission.pk)]}
        assert client.post(url(User, "change", target.pk), fields).status_code == 302

        target.refresh_from_db()
        assert (target.is_superuser, target.user_permissions.count()) == (False, 0)


def test_an_admin_does_not_touch_superusers(admin_user: User) -> None:
    client = staff("admin")

    assert client.post(url(User, "change", admin_user.pk), PERSON).status_code == 403
    password = {"password1": "tulip-Nine-9", "password2": "tulip-Nine-9"}
    assert client.post(f"/admin/accounts/user/{admin_user.pk}/password/", password).status_code == 403

    admin_user.refresh_from_db()
    assert (admin_user.username, admin_user.check_password("password")) == ("admin", True)


def test_a_key_that_an_admin_makes_works_and_an_operator_makes_none(tenant: Tenant) -> None:
    fields = {"kind": "platform", "application": "", "scopes": [], "expires_at_0": "", "expires_at_1": ""}
    before = ApiKey.objects.count()

    assert staff("operator").post(url(ApiKey, "add"), fields).status_code == 403
    assert ApiKey.objects.count() == before
    assert staff("admin").post(url(ApiKey, "add"), fields).status_code == 200
    assert ApiKey.objects.count() == before + 1


def test_a_permission_that_somebody_gave_a_role_is_gone_with_the_next_migration() -> None:
    viewer, operator = Group.objects.get(name="viewer"), Group.objects.get(name="operator")
    too_many = operator.permissions.exclude(pk__in=viewer.permissions.all())
    viewer.permissions.add(*too_many)

    call_command("migrate", verbosity=0)

    assert too_many.exists()
    assert not viewer.permissions.filter(codename="change_delivery").exists()
