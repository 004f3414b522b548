"""The API's reference in a real browser: offline, under the strict policy, narrow and wide, light and dark."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.support import browser as browser_support
from tests.support.browser import Sizes

pytestmark = pytest.mark.django_db(transaction=True)

SIZES: Sizes = [(390, "dark"), (1920, "light")]
PHONE: Sizes = [(390, "dark"), (390, "light")]
READ = (
    ".info .title",
    ".info .title pre.version",
    ".info .link .url",
    ".btn.authorize span",
    ".opblock-tag",
    ".opblock-summary-path",
    ".opblock-summary-description",
    ".opblock-summary-get .opblock-summary-method",
    ".opblock-summary-post .opblock-summary-method",
    ".opblock-summary-patch .opblock-summary-method",
    ".opblock-summary-delete .opblock-summary-method",
    ".opblock-description-wrapper p",
    ".opblock-section-header h4",
    ".parameter__name",
    ".parameter__in",
    ".headers-wrapper td",
    ".examples-select__section-label",
    ".btn.cancel",
    ".btn.execute",
    ".response-col_status",
    ".response-col_description__inner p",
)
IS_DARK = "parseInt(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]) < 60"
TOLD = {"dark": "html.dark-mode", "light": "html:not(.dark-mode)"}
CONTRAST = """
element => {
    const numbers = color => color.match(/[0-9.]+/g).map(Number);
    const luminance = color => color.slice(0, 3)
        .map(part => part / 255)
        .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
        const [red, green, blue, alpha = 1] = numbers(getComputedStyle(one).backgroundColor);
        layers.push([red, green, blue, alpha]);
        if (alpha === 1) break;
    }
    const under = layers.reduceRight(
        (below, [red, green, blue, alpha]) =>
            [red, green, blue].map((part, index) => part * alpha + below[index] * (1 - alpha)),
        [255, 255, 255],
    );
    const [one, other] = [luminance(numbers(getComputedStyle(element).color)), luminance(under)];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}
"""


def watch(page: Page, url: str) -> tuple[list[str], list[str]]:
    """Where the console's complaints, and the requests to other hosts, will be found."""
    complaints: list[str] = []
    strangers: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    own = (f"{url}/", "data:")
    page.on("request", lambda request: None if request.url.startswith(own) else strangers.append(request.url))
    return complaints, strangers


def open_docs(page: Page, url: str) -> None:
    answer = page.goto(f"{url}/docs/")
    assert answer
    assert answer.status == 200
    assert "unsafe" not in answer.headers["content-security-policy"]
    page.locator("#operations-events-publish_event").wait_for()


def test_the_reference_shows_every_call_and_keeps_to_the_policy(live_server, small_page: Page) -> None:
    page = small_page
    complaints, strangers = watch(page, live_server.url)

    open_docs(page, live_server.url)
    page.locator("#operations-events-publish_event .opblock-summary-control").click()
    page.get_by_text("Answers once the event and its deliveries are committed.").wait_for()
    page.locator("#operations-events-publish_event .try-out__btn").click()
    page.locator(".btn.execute").wait_for()

    document = page.evaluate("fetch('/v1/openapi.json').then(answer => answer.json())")
    calls = sum(len(operations) for operations in document["paths"].values())
    assert page.locator(".opblock-tag-section .opblock-summary-path").count() == calls
    assert page.locator("main").count() == 1
    for width in seen_at(page, SIZES):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for text in READ:
            assert contrast(page, text) >= 4.5, (text, width)
    assert complaints == []
    assert strangers == []


def seen_at(page: Page, sizes: Sizes) -> Iterator[int]:
    """Once the page's script has heard of the new colours, which the browser tells it with the next frame."""
    for (_, scheme), width in zip(sizes, browser_support.seen_at(page, sizes), strict=True):
        page.locator(TOLD[scheme]).wait_for(state="attached")
        assert page.evaluate(IS_DARK) is (scheme == "dark")
        yield width


def contrast(page: Page, selector: str) -> float:
    """How far a text's colour is from what is behind it (WCAG 2.2, 1.4.3)."""
    ratio: float = page.locator(selector).first.evaluate(CONTRAST)
    return ratio


def test_a_call_can_be_found_and_opened_with_the_keyboard_alone(live_server, page: Page) -> None:
    open_docs(page, live_server.url)

    page.keyboard.press("Tab")
    for _ in range(80):
        if page.evaluate("document.activeElement.closest('#operations-events-publish_event') !== null"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    page.get_by_text("Answers once the event and its deliveries are committed.").wait_for()


def test_a_sample_can_be_chosen_read_and_copied_with_the_keyboard_alone_on_a_phone(
    live_server, small_page: Page
) -> None:
    page = small_page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=live_server.url)
    complaints, _ = watch(page, live_server.url)
    open_docs(page, live_server.url)
    page.locator("#operations-events-publish_event .opblock-summary-control").click()
    samples = page.get_by_label("Code samples")
    samples.get_by_role("button", name="curl").focus()

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    samples.get_by_role("button", name="Python", pressed=True).wait_for()
    samples.get_by_role("button", name="curl", pressed=False).wait_for()
    for width in seen_at(page, PHONE):
        for text in (
            ".source code",
            ".languages [aria-pressed=true]",
            ".languages [aria-pressed=false]",
            ".copy",
        ):
            assert contrast(page, f".samples {text}") >= 4.5, text
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")

    samples.get_by_role("status").get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("import os")
    assert copied == samples.locator("code").inner_text()
    for _ in seen_at(page, PHONE):
        assert contrast(page, ".samples .said") >= 4.5
    assert complaints == []


def test_the_front_door_leads_to_the_reference(live_server, page: Page) -> None:
    page.goto(live_server.url)

    assert page.url == f"{live_server.url}/docs/"


def test_without_scripts_the_page_says_where_the_schema_is(live_server, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()

    page.goto(f"{live_server.url}/docs/")

    assert page.get_by_role("link", name="/v1/openapi.json").get_attribute("href") == "/v1/openapi.json"
    context.close()
