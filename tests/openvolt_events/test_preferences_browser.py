"""The page on which a recipient chooses, in a real browser: narrow and wide, light and dark, by keyboard."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from subscriptions.links import preferences_link
from subscriptions.models import Recipient
from tests.deliveries.test_email_layout import CONTRAST, FAINT
from tests.support import factories
from tests.support.browser import Sizes, seen_at

pytestmark = pytest.mark.django_db(transaction=True)

SIZES: Sizes = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]
OVERFLOWING = """() => [...document.querySelectorAll('main *')]
    .filter(one => one.getBoundingClientRect().right > document.querySelector('main').getBoundingClientRect().right + 1)
    .map(one => one.outerHTML.slice(0, 80))"""


@pytest.fixture
def ann() -> Recipient:
    owner = factories.application("A name that is as long as the names of companies sometimes are, Ltd")
    subscription = factories.confirmed_emails(owner, [f"{'a' * 60}@{'long.' * 20}example.org"])
    return subscription.recipients.get()


@pytest.fixture
def complaints(page: Page) -> Iterator[list[str]]:
    """What the browser has to say against the page: refusals of the policy among them."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield said
    assert [one for one in said if "422" not in one] == []  # that one is the answer to what is not valid


def address(live_server, recipient: Recipient) -> str:
    return str(live_server.url + urlsplit(preferences_link(recipient.id)).path)


@pytest.mark.parametrize("language", ["en", "de"])
def test_all_of_it_fits_and_is_readable_with_errors_too(
    live_server, small_page: Page, ann, language: str
) -> None:
    page = small_page
    Recipient.objects.filter(pk=ann.pk).update(language=language)
    page.goto(address(live_server, ann))
    look(page)

    page.locator("[name=quiet_from]").fill("22:00")
    for box in page.locator("[name=types]").all():
        box.uncheck()
    page.locator("button").click()
    page.get_by_role("alert").wait_for()
    look(page)


def look(page: Page) -> None:
    for width in seen_at(page, SIZES):
        faint = page.evaluate(FAINT, CONTRAST)
        assert faint["seen"] > 10
        assert faint["found"] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OVERFLOWING) == []


def test_with_the_keyboard_alone_a_choice_is_made_and_saved(live_server, page: Page, ann, complaints) -> None:
    page.goto(address(live_server, ann))

    tab_to(page, "[name=types]")
    page.keyboard.press("Space")
    tab_to(page, "[name=frequency]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    tab_to(page, "[name=digest_hour]")
    page.keyboard.press("ArrowDown")
    tab_to(page, "[name=quiet_from]")
    page.keyboard.type("1000PM" if is_twelve_hours(page) else "2200")
    tab_to(page, "[name=quiet_until]")
    page.keyboard.type("0630AM" if is_twelve_hours(page) else "0630")
    tab_to(page, "button")
    page.keyboard.press("Enter")

    page.get_by_role("status").filter(has_text="Saved.").wait_for()
    ann.refresh_from_db()
    assert len(ann.types) == page.locator("[name=types]").count() - 1
    assert (ann.frequency, ann.digest_hour) == ("daily", 9)
    assert (f"{ann.quiet_from:%H:%M}", f"{ann.quiet_until:%H:%M}") == ("22:00", "06:30")


def tab_to(page: Page, selector: str) -> None:
    """And see where one is."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"The tabulator does not come to {selector}.")


def is_twelve_hours(page: Page) -> bool:
    """Of a field for a time: what it shows depends on the browser's language, what it says does not."""
    return bool(
        page.evaluate(
            "new Intl.DateTimeFormat(navigator.language, {hour: 'numeric'}).resolvedOptions().hour12"
        )
    )


def test_each_error_is_tied_to_its_field(live_server, page: Page, ann, complaints) -> None:
    page.goto(address(live_server, ann))
    for box in page.locator("[name=types]").all():
        box.uncheck()
    page.locator("[name=quiet_from]").fill("22:00")
    page.locator("button").click()
    page.get_by_role("alert").wait_for()

    assert (
        described(page, "fieldset:has([name=types])")
        == "Choose at least one. To get none at all, unsubscribe."
    )
    assert described(page, "[name=quiet_until]") == "Give both times, or neither of them."
    assert page.locator("[name=quiet_until]").get_attribute("aria-invalid") == "true"
    assert page.locator("[name=quiet_from]").get_attribute("aria-invalid") is None


def described(page: Page, selector: str) -> str:
    """The text that a screen reader reads with this."""
    names = (page.locator(selector).get_attribute("aria-describedby") or "").split()
    return " ".join(page.locator(f"#{name}").inner_text().strip() for name in names)
