"""A list of the operators' pages is narrowed down by what its pages offer, and by nothing else."""

import re
from html import unescape

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.admin_pages import OperatorAdmin
from accounts.models import AuditEntry, User
from deliveries.models import Attempt, Case, Delivery
from events.models import Event
from subscriptions.models import Subscription
from tests.support.tenants import Tenant

pytestmark = pytest.mark.django_db

LISTS = sorted(
    (model for model, pages in admin.site._registry.items() if isinstance(pages, OperatorAdmin)),
    key=lambda model: model._meta.label,
)


@pytest.fixture
def viewer() -> Client:
    person = User.objects.create_user("vera", is_staff=True)
    person.groups.add(Group.objects.get(name="viewer"))
    client = Client()
    client.force_login(person)
    return client


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


@pytest.mark.parametrize(
    ("model", "lookup", "value"),
    [
        (Event, "payload__startswith", '{"_id":"P'),
        (Event, "payload", "{}"),
        (Event, "id__gt", "01a20ce3-8d37-7586-87b1-473219a23dfc"),
        (Attempt, "response_body__contains", "a"),
        (Attempt, "response_headers__icontains", "a"),
        (Attempt, "error__regex", "^a"),
        (Case, "outcome__icontains", "a"),
        (AuditEntry, "after__icontains", "a"),
        (AuditEntry, "actor_id__startswith", "a"),
        (Subscription, "encrypted_headers__contains", "a"),
        (Subscription, "status__regex", "a"),
        (Delivery, "event__payload__startswith", "{"),
        (Delivery, "subscription__encrypted_headers__contains", "a"),
    ],
)
def test_what_is_masked_is_not_to_be_guessed_through_the_address_of_a_list(
    viewer: Client, caplog: pytest.LogCaptureFixture, model: type[Model], lookup: str, value: str
) -> None:
    answer = viewer.get(list_url(model), {lookup: value})

    assert answer.status_code == 400
    assert caplog.text == ""


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model.__name__)
def test_no_column_is_looked_into_that_the_list_offers_no_filter_for(
    viewer: Client, model: type[Model]
) -> None:
    for field in model._meta.get_fields():
        for lookup in ("contains", "startswith", "gt", "regex"):
            answer = viewer.get(list_url(model), {f"{field.name}__{lookup}": "1"})
            assert answer.status_code == 400, field.name


def links(content: str, page: str) -> set[str]:
    """Where a page leads that is a narrowed list."""
    found = {unescape(href) for href in re.findall(r'href="([^"]*\?[^"]*)"', content)}
    return {href if href.startswith("/") else page + href for href in found if "logout" not in href}


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model.__name__)
def test_every_link_that_a_list_or_the_page_of_a_row_offers_is_followed(
    admin_client: Client, model: type[Model]
) -> None:
    tenant = Tenant()
    tenant.recipient()
    Attempt.objects.create(
        delivery=tenant.delivery, number=1, trigger="scheduled", started_at=timezone.now(), duration_ms=1,
        outcome="failed",
    )  # fmt: skip
    pages = [list_url(model)]
    if row := model._default_manager.first():
        pages.append(f"{list_url(model)}{row.pk}/change/")

    offered = {
        link for page in pages for link in links(admin_client.get(page).content.decode(), page.split("?")[0])
    }

    for link in offered:
        assert admin_client.get(link).status_code == 200, link


def test_the_links_of_the_audit_log_and_of_the_front_page_are_followed(admin_client: Client) -> None:
    tenant = Tenant()
    Subscription.objects.filter(pk=tenant.webhook.pk).update(failing_since=timezone.now())
    narrowed = {"actor_id__exact": "x", "action__exact": "subscription.paused", "object_id__exact": "y"}

    assert admin_client.get(list_url(AuditEntry), narrowed).status_code == 200
    offered = links(admin_client.get("/admin/").content.decode(), "/admin/")
    assert len(offered) > 5
    for link in offered:
        assert admin_client.get(link).status_code == 200, link
