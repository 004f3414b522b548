"""Who has never chosen a time zone is offered the browser's: nobody has to look for it."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from subscriptions.links import confirm_link, preferences_link
from subscriptions.models import Recipient
from tests.support import factories

pytestmark = pytest.mark.django_db(transaction=True)

PROPOSED = "Proposed by your browser"


@pytest.fixture
def ann() -> Recipient:
    return factories.emails(factories.application()).recipients.get()


@pytest.fixture
def berlin(browser: Browser) -> Iterator[Page]:
    """A page of a browser that is there; what it says against the page is a failure."""
    context = browser.new_context(timezone_id="Europe/Berlin")
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []


def zone(recipient: Recipient) -> str:
    recipient.refresh_from_db()
    return recipient.timezone


def posted(client, link: str, **fields: str) -> str:
    return str(client.post(urlsplit(link).path, fields).content.decode())


def confirm(page: Page, live_server, ann: Recipient) -> None:
    page.goto(live_server.url + urlsplit(confirm_link(ann.id)).path)
    page.get_by_role("button").click()
    page.get_by_role("status").wait_for()


def choose(page: Page, live_server, ann: Recipient) -> None:
    page.goto(live_server.url + urlsplit(preferences_link(ann.id)).path)


def test_who_confirms_gets_the_browsers_zone_and_is_told_so(live_server, berlin, ann):
    confirm(berlin, live_server, ann)

    assert zone(ann) == "Europe/Berlin"
    assert "Times in the emails are those of Europe/Berlin." in berlin.inner_text("main")


def test_who_has_a_zone_keeps_it_when_confirming(live_server, berlin, ann):
    Recipient.objects.update(timezone="Asia/Tokyo")
    confirm(berlin, live_server, ann)

    assert zone(ann) == "Asia/Tokyo"


def test_the_choices_propose_the_browsers_zone_and_save_it_with_the_others(live_server, berlin, ann):
    Recipient.objects.update(status="confirmed")
    choose(berlin, live_server, ann)

    assert berlin.locator("[name=timezone]").input_value() == "Europe/Berlin"
    assert berlin.get_by_text(PROPOSED).is_visible()
    assert zone(ann) == "UTC"

    berlin.get_by_role("button").click()
    berlin.get_by_role("status").wait_for()
    assert zone(ann) == "Europe/Berlin"
    assert not berlin.get_by_text(PROPOSED).is_visible()


def test_who_has_chosen_something_with_utc_beside_it_keeps_utc(live_server, berlin, ann):
    Recipient.objects.update(status="confirmed", frequency="daily")
    choose(berlin, live_server, ann)

    assert berlin.locator("[name=timezone]").input_value() == "UTC"
    assert not berlin.get_by_text(PROPOSED).is_visible()


def test_without_scripts_all_is_as_before(live_server, browser, ann):
    context = browser.new_context(timezone_id="Europe/Berlin", java_script_enabled=False)
    page = context.new_page()
    confirm(page, live_server, ann)
    choose(page, live_server, ann)

    assert page.locator("[name=timezone]").input_value() == "UTC"
    assert not page.get_by_text(PROPOSED).is_visible()
    assert zone(ann) == "UTC"
    context.close()


@pytest.mark.parametrize("made_up", ["Mars/Phobos", "../../etc/passwd", "", "\x00", "GMT+5"])
def test_a_zone_that_is_none_is_not_taken(client, ann, made_up):
    assert "Times in the emails are UTC" in posted(client, confirm_link(ann.id), timezone=made_up)

    assert (zone(ann), ann.status) == ("UTC", "confirmed")
