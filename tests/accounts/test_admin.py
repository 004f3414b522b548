from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey, Application, digest
from tests.support import factories

pytestmark = pytest.mark.django_db

ADD = "/admin/accounts/apikey/add/"
LIST = "/admin/accounts/apikey/"
NEW_KEY = {
    "kind": "application",
    "name": "staging",
    "scopes": ["read"],
    "expires_at_0": "",
    "expires_at_1": "",
}


def page(key: ApiKey) -> str:
    return reverse("admin:accounts_apikey_change", args=[key.pk])


def test_a_new_key_is_shown_once_and_works(admin_client: Client) -> None:
    owner = factories.application()

    answer = admin_client.post(ADD, {**NEW_KEY, "application": owner.pk})

    row = ApiKey.objects.get()
    shown = answer.content.decode().split('aria-label="The new API key">')[1].split("<")[0]
    assert ApiKey.objects.authenticate(shown, timezone.now()) == row
    assert (row.application, row.scopes) == (owner, ["read"])
    for later in (LIST, page(row), page(row) + "../history/", "/admin/"):
        assert shown not in admin_client.get(later).content.decode()


def test_a_key_is_not_left_in_cookies_or_caches(admin_client: Client) -> None:
    answer = admin_client.post(ADD, {**NEW_KEY, "kind": "platform", "application": "", "scopes": []})

    assert "no-store" in answer["cache-control"]
    assert not any("ovk_" in cookie.value for cookie in admin_client.cookies.values())


def test_the_hash_of_a_key_is_on_no_page(admin_client: Client) -> None:
    key = factories.application_key(factories.application())

    for url in (LIST, page(ApiKey.objects.get())):
        assert digest(key) not in admin_client.get(url).content.decode()


@pytest.mark.parametrize(
    ("kind", "with_application", "reason"),
    [
        ("application", False, "An application key acts for one application: choose it."),
        ("platform", True, "A platform key acts for every application: leave this empty."),
    ],
)
def test_a_key_of_the_wrong_owner_is_refused_in_words(
    admin_client: Client, kind: str, with_application: bool, reason: str
) -> None:
    owner = factories.application()

    answer = admin_client.post(
        ADD, {**NEW_KEY, "kind": kind, "application": owner.pk if with_application else ""}
    )

    assert reason in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_an_application_gets_no_more_keys_than_the_limit(admin_client: Client, settings) -> None:
    settings.MAX_API_KEYS = 1
    owner = factories.application()
    factories.application_key(owner)

    answer = admin_client.post(ADD, {**NEW_KEY, "application": owner.pk})

    assert "It has 1 valid keys. Revoke one first." in answer.content.decode()
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("name", ["Green\x1b[2JHomes", "Green\u0085Homes", "Green\x07"])
def test_names_have_no_control_characters_as_in_the_api(admin_client: Client, name: str) -> None:
    answers = [
        admin_client.post("/admin/accounts/application/add/", {"name": name}),
        admin_client.post(ADD, {**NEW_KEY, "kind": "platform", "scopes": [], "name": name}),
    ]

    assert all("control character" in answer.content.decode() for answer in answers)
    assert not Application.objects.exists()
    assert not ApiKey.objects.exists()


def test_revoking_asks_first_and_then_refuses_the_key(admin_client: Client) -> None:
    key = factories.application_key(factories.application())
    row = ApiKey.objects.get()
    press = {"action": "revoke", "_selected_action": str(row.pk), "from_page": "1"}

    asked = admin_client.post(LIST, press)
    row.refresh_from_db()
    assert "are refused at once" in asked.content.decode()
    assert row.revoked_at is None

    answer = admin_client.post(LIST, {**press, "confirmed": "1"}, follow=True)
    assert answer.request["PATH_INFO"] == page(row)
    assert "Revoked: 1 API key." in answer.content.decode()
    assert ApiKey.objects.authenticate(key, timezone.now()) is None


def test_a_key_can_be_renamed_and_given_an_end_and_nothing_else(admin_client: Client) -> None:
    factories.application_key(factories.application())
    row = ApiKey.objects.get()
    tomorrow = timezone.now() + timedelta(days=1)

    admin_client.post(
        page(row),
        {
            "name": "old production",
            "expires_at_0": f"{tomorrow:%Y-%m-%d}",
            "expires_at_1": "12:00:00",
            "kind": "platform",
            "scopes": [],
        },
    )

    row.refresh_from_db()
    assert (row.name, row.expires_at and row.expires_at.date()) == ("old production", tomorrow.date())
    assert (row.kind, row.scopes) == ("application", ["read", "write"])


def test_a_revoked_key_can_not_be_edited(admin_client: Client) -> None:
    factories.application_key(factories.application())
    ApiKey.objects.update(revoked_at=timezone.now())
    row = ApiKey.objects.get()

    assert admin_client.get(page(row)).status_code == 200
    assert admin_client.post(page(row), {"name": "again"}).status_code == 403


def test_an_application_leads_to_its_events_subscriptions_deliveries_and_keys(admin_client: Client) -> None:
    owner = factories.application()

    content = admin_client.get(reverse("admin:accounts_application_change", args=[owner.pk])).content.decode()

    for listed in (
        "events/event",
        "subscriptions/subscription",
        "deliveries/delivery",
        "accounts/apikey",
    ):
        url = f"/admin/{listed}/?application__id__exact={owner.pk}"
        assert f'href="{url}"' in content
        assert admin_client.get(url).status_code == 200
