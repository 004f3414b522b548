"""What staff see of what people should handle: what it is about, how it stands, and no name that deceives."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from playwright.sync_api import Page

from accounts.admin_pages import MASKED
from accounts.ids import uuid7
from accounts.models import Application, User
from deliveries.channels.case_wording import case_letter
from deliveries.failing import tell_gone
from deliveries.letters import Letter
from deliveries.lifecycle import disable
from deliveries.models import Case
from deliveries.publishing import publish
from subscriptions.models import Subscription
from tests.openvolt_events.test_admin_browser import sign_in
from tests.support import factories
from tests.support.browser import Sizes, seen_at

pytestmark = pytest.mark.django_db

LIST = "/admin/deliveries/case/"
REVOKED = "hosted_consent.revoked"
TURNED = "\u202e"
HOSTILE = f"https://evil.example/{TURNED}knab ruoy\u200b"


def revoked(owner: Application, customer: str | None) -> Case:
    """None: the event names the customer by an id alone."""
    named = {"customer": {"_id": "65a0", "name": customer}} if customer else {}
    event = publish(owner, REVOKED, factories.example(REVOKED) | named)
    case, _ = Case.objects.update_or_create(
        id=event.id,
        defaults={"kind": REVOKED, "application": owner, "event": event, "remind_at": timezone.now()},
    )
    return case


def gone(owner: Application) -> Case:
    subscription = factories.webhook(owner, "https://hooks.example.com/in?token=secret")
    disable(subscription, timezone.now(), "The receiver answered 410.")
    subscription.refresh_from_db()
    tell_gone(subscription, timezone.now())
    return Case.objects.get(subscription=subscription)


def page_of(case: Case) -> str:
    return f"{LIST}{case.pk}/change/"


def words(client: Client, path: str) -> str:
    """What is read of the page's content."""
    html = client.get(path).content.decode().partition("<main")[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def staff(role: str) -> Client:
    user = User.objects.create_user(f"{role}-person", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def test_the_list_says_whose_consent_and_which_receiver_each_is_about(admin_client: Client) -> None:
    owner = factories.application()
    for customer in ("Tom Okafor", "Zoë <b>Söhne</b>"):
        revoked(owner, customer)
    gone(owner)

    page = words(admin_client, LIST)

    for said in (
        "Consent revoked",
        "Tom Okafor",
        "Zoë &lt;b&gt;Söhne&lt;/b&gt;",
        "Webhooks to hooks.example.com are disabled",
    ):
        assert said in page
    assert "secret" not in page


def test_what_each_is_about_takes_no_query_a_row(admin_client: Client) -> None:
    owner = factories.application()

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert admin_client.get(LIST).status_code == 200
        return len(seen)

    revoked(owner, "Tom")
    gone(owner)
    few = queries()
    for _ in range(5):
        revoked(owner, "Tom")
        gone(owner)

    assert queries() == few


def test_whom_an_event_names_by_an_id_alone_is_called_as_an_earlier_event_did(admin_client: Client) -> None:
    owner = factories.application()
    payload = factories.example(REVOKED)
    named = {"_id": payload["customer_id"], "name": "Hawthorn Bakery Ltd"}
    publish(owner, "customer.created", factories.example("customer.created") | named)
    case = revoked(owner, None)

    for path in (LIST, page_of(case)):
        assert "Consent revoked by Hawthorn Bakery Ltd" in words(admin_client, path)


def test_what_a_case_is_about_is_written_once_a_page(admin_client: Client, monkeypatch: Any) -> None:
    written = []

    def writing(case: Case, *more: Any) -> Letter:
        written.append(case.pk)
        return case_letter(case, *more)

    monkeypatch.setattr("deliveries.admin.case_letter", writing)
    cases = [revoked(factories.application(), name) for name in ("Tom", "Zoë")]

    for path, about in ((LIST, cases), (page_of(cases[0]), cases[:1])):
        written.clear()
        assert admin_client.get(path).status_code == 200
        assert sorted(written) == sorted(case.pk for case in about)


def test_who_may_not_see_payloads_sees_no_customer(admin_client: Client) -> None:
    case = revoked(factories.application(), "Tom Okafor")
    viewer = staff("viewer")

    for path in (LIST, page_of(case)):
        page = words(viewer, path)
        assert "Tom" not in page
        assert MASKED in page
        assert REVOKED in page
    assert "Tom Okafor" in words(staff("operator"), LIST)


def test_a_case_whose_event_was_forgotten_is_still_listed(admin_client: Client) -> None:
    case = revoked(factories.application(), "Tom")
    Case.objects.update(event=uuid7())

    assert REVOKED in words(admin_client, LIST)
    assert REVOKED in words(admin_client, page_of(case))


def test_the_page_of_a_case_says_what_happened_and_only_what_there_is_to_say(admin_client: Client) -> None:
    case = revoked(factories.application(), "Tom Okafor")

    page = words(admin_client, page_of(case))
    assert "Tom Okafor withdrew the consent" in page
    assert "Told again" in page
    for absent in ("made from", "Outcome", "Taken", "Done:", "Subscription:"):
        assert absent not in page

    Case.objects.update(
        state="done", taken_by="ann@example.org", taken_at=timezone.now(), done_at=timezone.now()
    )
    done = words(admin_client, page_of(case))
    assert "Told again" not in done
    assert "ann@example.org" in done


def test_what_staff_have_marked_as_done_says_so_and_no_longer_who_had_it(admin_client: Client) -> None:
    case = revoked(factories.application(), "Tom Okafor")
    Case.objects.update(state="taken", taken_by="ann@example.org", taken_at=timezone.now())

    admin_client.post(LIST, {"action": "close", "_selected_action": str(case.pk), "from_page": "1"})

    for path in (LIST, page_of(case)):
        page = words(admin_client, path)
        assert "Openvolt staff" in page
        assert "ann@example.org" not in page


def test_the_page_of_an_outage_leads_to_its_subscription(admin_client: Client) -> None:
    case = gone(factories.application())

    page = admin_client.get(page_of(case)).content.decode()

    assert "Webhooks to hooks.example.com are disabled" in page
    assert f"/admin/subscriptions/subscription/{case.subscription_id}/change/" in page
    assert "Event:" not in page


LISTS = [
    "accounts/application",
    "accounts/apikey",
    "accounts/auditentry",
    "events/event",
    "subscriptions/subscription",
    "subscriptions/recipient",
    "deliveries/delivery",
    "deliveries/replay",
    "deliveries/notice",
    "deliveries/case",
]


def hostile() -> Application:
    """An application all of whose names turn the reading direction around, and have something in every list."""
    owner = factories.application(HOSTILE)
    owner.api_keys.create(kind="application", name=HOSTILE, prefix="ov_1", digest="1", scopes=["read"])
    Subscription.objects.filter(pk=factories.replay(factories.webhook(owner)).subscription_id).update(
        description=HOSTILE, failing_since=timezone.now()
    )
    factories.confirmed_emails(owner).recipients.get()
    Subscription.objects.filter(channel="email").update(description=HOSTILE)
    revoked(owner, HOSTILE)
    gone(owner)
    return owner


def test_no_name_in_any_list_turns_its_row_around(admin_client: Client) -> None:
    owner = hostile()

    for path in ["/admin/", *(f"/admin/{name}/" for name in LISTS)]:
        page = admin_client.get(path).content.decode()
        assert not re.search("[\u200b\u202e]", page), path
    lists = admin_client.get("/admin/accounts/application/").content.decode()
    assert "https://evil.example/knab ruoy" in lists
    chosen = admin_client.get(f"/admin/deliveries/case/?application__id__exact={owner.id}")
    assert TURNED not in chosen.content.decode()


def test_no_name_on_any_page_turns_it_around(admin_client: Client) -> None:
    owner = hostile()
    rows: list[Any] = [*owner.subscriptions.all(), *owner.cases.all(), *owner.deliveries.all()]

    for row in rows:
        options = row._meta
        path = f"/admin/{options.app_label}/{options.model_name}/{row.pk}/change/"
        assert TURNED not in admin_client.get(path).content.decode(), path


SIZES: Sizes = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]


@pytest.mark.django_db(transaction=True)
def test_the_pages_of_cases_fit(live_server, small_page: Page) -> None:
    owner = factories.application()
    open_case = revoked(owner, "Tom " * 40)
    gone(owner)
    complaints = sign_in(small_page, live_server.url)

    for path in (LIST, page_of(open_case)):
        small_page.goto(live_server.url + path)
        for width in seen_at(small_page, SIZES):
            assert small_page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert complaints == []
