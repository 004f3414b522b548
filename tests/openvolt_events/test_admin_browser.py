"""The operators' dashboard in a real browser: under the strict policy, narrow and wide, light and dark, by keyboard."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page

from accounts.models import Application, User
from deliveries.models import Attempt, Delivery
from deliveries.publishing import publish
from subscriptions.models import Subscription
from tests.deliveries.test_email_layout import CONTRAST, FAINT
from tests.support import factories
from tests.support.browser import Sizes, seen_at

pytestmark = pytest.mark.django_db(transaction=True)

LONG_URL = "https://receiver.example.org/" + "a_long_way_down/" * 10
SIZES: Sizes = [(390, "dark"), (1280, "light"), (1920, "dark")]
READ_AT: Sizes = [(390, "dark"), (1280, "light")]


@pytest.fixture
def failed() -> Delivery:
    """A failed delivery of a failing subscription, with an attempt whose answer was long."""
    owner = factories.application("A name that is as long as the names of companies sometimes are, Ltd")
    subscription = factories.webhook(
        owner, LONG_URL, failing_since=timezone.now() - timedelta(hours=5), last_error="No such host. " * 9
    )
    factories.confirmed_emails(owner)
    publish(owner, "meter_data.received", factories.example("meter_data.received"), idempotency_key="k" * 255)
    Delivery.objects.filter(subscription=subscription).update(
        status="failed", next_attempt_at=None, finished_at=timezone.now()
    )
    delivery = Delivery.objects.get(subscription=subscription)
    Attempt.objects.create(
        delivery=delivery,
        number=1,
        trigger="scheduled",
        started_at=timezone.now(),
        duration_ms=15000,
        outcome="failed",
        status_code=503,
        request_headers={"webhook-signature": "v1," + "a" * 300},
        response_body="no " * 5000 + "x" * 1000,
        error="The receiver answered 503. " * 5,
    )
    return delivery


def sign_in(page: Page, url: str) -> list[str]:
    """Sign in as a superuser; returns where the console's errors will be found."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])
    return complaints


def every_page(delivery: Delivery) -> Iterator[str]:
    yield "/admin/"
    for model in (
        "accounts/application",
        "accounts/user",
        "accounts/apikey",
        "events/event",
        "events/idempotencykey",
        "subscriptions/subscription",
        "subscriptions/recipient",
        "deliveries/delivery",
        "deliveries/attempt",
        "deliveries/notice",
    ):
        yield f"/admin/{model}/"
    yield "/admin/accounts/apikey/add/"
    yield f"/admin/accounts/application/{delivery.application_id}/change/"
    yield f"/admin/events/event/{delivery.event_id}/change/"
    yield f"/admin/subscriptions/subscription/{delivery.subscription_id}/change/"
    yield f"/admin/deliveries/delivery/{delivery.pk}/change/"
    yield f"/admin/deliveries/attempt/{delivery.attempts.get().pk}/change/"


def test_every_page_fits_and_keeps_to_the_policy(live_server, small_page: Page, failed: Delivery) -> None:
    complaints = sign_in(small_page, live_server.url)

    for path in every_page(failed):
        answer = small_page.goto(live_server.url + path)
        assert answer
        assert answer.status == 200
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
        for width in seen_at(small_page, SIZES):
            assert small_page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert complaints == [], path


def test_the_front_page_a_list_and_a_row_can_be_read(live_server, small_page: Page, failed: Delivery) -> None:
    sign_in(small_page, live_server.url)

    for path in (
        "/admin/",
        "/admin/deliveries/delivery/?status__exact=failed",
        f"/admin/subscriptions/subscription/{failed.subscription_id}/change/",
    ):
        small_page.goto(live_server.url + path)
        for width in seen_at(small_page, READ_AT):
            faint = small_page.evaluate(FAINT, CONTRAST)
            assert faint["seen"] > 10
            assert faint["found"] == [], (path, width)


def test_on_a_phone_all_that_is_known_of_a_failing_subscription_is_in_sight(
    live_server, browser: Browser, failed: Delivery
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    sign_in(page, live_server.url)
    page.goto(live_server.url)
    page.goto(f"{live_server.url}/admin/")

    assert (
        page.evaluate(
            "(() => { const t = document.querySelector('.failing'); return t.scrollWidth - t.clientWidth })()"
        )
        == 0
    )
    context.close()


def test_the_filters_take_no_width_from_the_list_and_open_with_the_keyboard(
    live_server, browser: Browser, failed: Delivery
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    complaints = sign_in(page, live_server.url)
    page.goto(f"{live_server.url}/admin/deliveries/delivery/")
    filters, rows = page.locator("#changelist-filter"), page.locator("#result_list")

    assert not page.get_by_role("link", name="Held").is_visible()
    assert filters.bounding_box()["y"] < rows.bounding_box()["y"]  # type: ignore[index]
    filters.locator("summary").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Held").wait_for()
    page.get_by_role("link", name="Held").click()

    page.get_by_text("Nothing here fits.").wait_for()
    page.get_by_role("link", name="Clear all filters").click()
    page.locator("#result_list tbody tr").nth(1).wait_for()
    assert complaints == []
    context.close()


def test_a_failing_receiver_is_tested_from_the_front_page(live_server, page: Page, failed: Delivery) -> None:
    complaints = sign_in(page, live_server.url)
    page.goto(f"{live_server.url}/admin/")

    page.get_by_role("button", name="Send test").focus()
    page.keyboard.press("Enter")

    page.get_by_text("Test sent to: 1 subscription.").wait_for()
    assert str(failed.subscription_id) in page.url
    assert failed.subscription.deliveries.filter(trigger="test").count() == 1
    assert complaints == []


def test_a_delivery_is_retried_with_the_keyboard_alone(live_server, page: Page, failed: Delivery) -> None:
    complaints = sign_in(page, live_server.url)
    page.goto(f"{live_server.url}/admin/deliveries/delivery/{failed.pk}/change/")

    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") and page.evaluate(
            "document.activeElement.innerText.toLowerCase() === 'retry now'"
        ):
            break
    page.keyboard.press("Enter")

    page.get_by_text("Due now: 1 delivery.").wait_for()
    failed.refresh_from_db()
    assert failed.status == "pending"
    assert complaints == []


def test_a_key_is_issued_with_the_chooser_of_applications(live_server, page: Page, failed: Delivery) -> None:
    complaints = sign_in(page, live_server.url)
    page.goto(f"{live_server.url}/admin/accounts/apikey/add/")

    page.select_option("#id_kind", "application")
    page.click(".select2-selection")
    page.fill(".select2-search__field", "a name that is")
    page.locator(".select2-results__option--highlighted").wait_for()
    page.keyboard.press("Enter")
    page.check("#id_scopes_0")
    page.click("input[name=_save]")

    page.get_by_label("The new API key").wait_for()
    assert page.get_by_label("The new API key").inner_text().startswith("ovk_")
    assert Application.objects.get().api_keys.get().scopes == ["read"]
    assert complaints == []


def test_all_rows_of_a_list_are_paused_after_a_look_at_them(
    live_server, page: Page, failed: Delivery
) -> None:
    complaints = sign_in(page, live_server.url)
    for _ in range(11):
        factories.webhook(failed.application)
    page.goto(f"{live_server.url}/admin/subscriptions/subscription/")

    page.check("#action-toggle")
    page.select_option("select[name=action]", "pause")
    page.click("button[name=index]")
    page.get_by_role("heading", name="Pause: 13 subscriptions?").wait_for()
    page.click("input[type=submit][value=Pause]")

    page.get_by_text("Paused: 13 subscriptions.").wait_for()
    assert Subscription.objects.filter(status="paused").count() == 13
    assert complaints == []
