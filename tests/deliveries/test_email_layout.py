"""How emails look: valid HTML, readable in light and dark, narrow and wide; and their bytes."""

import email.policy
import re
from collections.abc import Callable, Iterator, Sequence
from email import message_from_bytes
from email.message import EmailMessage
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import html5lib  # type: ignore[import-untyped]
import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page

from deliveries.letters import layout
from deliveries.letters.layout import inlined
from tests.deliveries.test_email_channel import text_of
from tests.deliveries.test_email_words import wording
from tests.lookbook import book
from tests.lookbook.book import write_book
from tests.lookbook.emails import Sample, samples, steady
from tests.lookbook.pictures import VIEWS, photograph

CONTRAST = 4.5  # WCAG 2.2, 1.4.3
ON_A_PAGE = 16
TITLE = re.compile(r"<title>.*?</title>", re.DOTALL)
BODY = re.compile(r"\s*<body([^>]*)>(.*)</body>\s*</html>\s*", re.DOTALL)
CELLS = {"full", "part", "fail", "none"}
OUTLINE = 3.0  # of what is drawn against what it is drawn on, 1.4.11
GMAIL_STYLES = 8192  # characters of styles that Gmail keeps
GMAIL_EMAIL = 100 * 1024  # bytes after which Gmail cuts an email off

# For every text that is shown: its colour against what is painted behind it, as ratios below `least`.
FAINT = """least => {
  const light = channel => { const c = channel / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const ground = element => {
    for (; element; element = element.parentElement) {
      const colour = numbers(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const ratio = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    seen += 1;
    const measured = ratio(numbers(getComputedStyle(element).color).slice(0, 3), ground(element));
    if (measured < least) found.push([walker.currentNode.data.trim(), measured]);
  }
  return {
    seen, found, width: innerWidth, widest: document.documentElement.scrollWidth,
    previews: [...document.querySelectorAll('.preview')].map(preview => preview.checkVisibility()),
  };
}"""


@cache
def every_email() -> dict[str, Sample]:
    return {sample.name: sample for sample in samples()}


def names() -> list[str]:
    return [*every_email()]


@cache
def tree(html: str) -> Any:
    """The elements. Raises on the first thing that is not HTML."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)


def parsed(sample: Sample) -> EmailMessage:
    return message_from_bytes(sample.content, policy=email.policy.default)


@pytest.fixture(params=names())
def sample(request: pytest.FixtureRequest) -> Sample:
    return every_email()[request.param]


def test_the_html_is_valid(sample):
    document = tree(sample.wording.html)

    assert document.get("lang") in {"en", "de"}
    assert document.find("head/title").text
    assert [*document.iter("script"), *document.iter("link"), *document.iter("form")] == []


def test_a_fault_of_the_html_would_be_found():
    with pytest.raises(html5lib.html5parser.ParseError):
        tree("<!DOCTYPE html><title>x</title><table><p>stray</table>")


def test_what_is_not_text_has_a_text_and_nothing_is_loaded_from_anywhere(sample):
    document = tree(sample.wording.html)

    for image in document.iter("img"):
        assert image.get("alt"), image.attrib
    for drawn in document.iterfind(".//*[@role='img']"):
        assert drawn.get("aria-label"), drawn.attrib
    assert (
        re.findall(r"(?i)\b(?:src|background|srcset)\s*=|url\(|@import|@font-face", sample.wording.html) == []
    )
    for link in document.iter("a"):
        own = (f"{settings.PUBLIC_URL}/{at}/" for at in ("recipients", "cases", "contacts", "docs"))
        assert link.get("href").startswith(("mailto:", *own))
        assert "".join(link.itertext()).strip()


def test_tables_that_only_hold_things_in_place_say_so(sample):
    for table in tree(sample.wording.html).iter("table"):
        assert table.get("role") in {"presentation", "img"} or "facts" in table.get("class")


def test_styles_are_in_the_attributes_and_the_rest_is_small_enough_to_be_kept(sample):
    document = tree(sample.wording.html)
    styles = "".join(style.text for style in document.iter("style"))

    assert len(styles) < GMAIL_STYLES
    assert len(sample.wording.html.encode()) < GMAIL_EMAIL
    for element in document.find("body").iter():
        if element.tag in {"td", "th", "p", "h1", "h2", "a"}:
            is_of_a_bar = element.get("class") in CELLS
            assert element.get("bgcolor" if is_of_a_bar else "style") is not None, (
                element.tag,
                element.attrib,
            )
    assert "data-css-inline" not in sample.wording.html
    assert "django-" not in sample.wording.html
    assert "{{" not in sample.wording.html.replace("{{ payload }}", "")


def test_styles_are_inlined_once_a_process_and_not_once_an_email(monkeypatch):
    sources = []

    def counted(source: str) -> str:
        sources.append(source)
        return inlined(source)

    monkeypatch.setattr(layout, "inlined", counted)
    layout.html_template.cache_clear()
    emails = [wording("meter.created"), wording("user.created"), wording("customer.created")]

    assert len(sources) == 1
    assert all("background-color: #0a58b0" in each.html for each in emails)


def test_what_django_fills_in_survives_the_inlining():
    source = (
        "<!DOCTYPE html><html><head><style>.a { color: red }</style></head><body>"
        '<table><tbody>{% for x in y %}<tr><td class="a"><a href="{{ x.url }}">{{ x|upper }}</a></td></tr>{% endfor %}'
        "</tbody></table></body></html>"
    )

    assert inlined(source) == source.replace("<style>.a { color: red }</style>", "").replace(
        '<td class="a">', '<td class="a" style="color: red;">'
    )


def test_every_text_is_readable_and_nothing_is_wider_than_the_screen(browser: Browser) -> None:
    """In every view that mail programs have of it. Emails share their styles, so many are seen on one page."""
    page = browser.new_page()
    steps = there_and_back(page)
    emails = list(every_email().items())
    for some in (emails[at : at + ON_A_PAGE] for at in range(0, len(emails), ON_A_PAGE)):
        names = [name for name, _ in some]
        page.set_content(on_one_page([sample.wording.html for _, sample in some]))
        for step in next(steps):
            step()
            seen = page.evaluate(FAINT, CONTRAST)
            assert seen["seen"] > 5 * len(some), names
            assert seen["found"] == [], (names, seen["width"])
            assert seen["widest"] <= seen["width"], names
            assert seen["previews"] == [False] * len(some), names
    page.close()


def on_one_page(emails: Sequence[str]) -> str:
    """With the head of the first, which all have but for its title."""
    heads, bodies = zip(*(each.split("</head>") for each in emails), strict=True)
    assert len({TITLE.sub("", head) for head in heads}) <= 2  # English and German
    insides = [BODY.sub(r"<div\1>\2</div>", body) for body in bodies]
    return f"{heads[0]}</head><body>{''.join(insides)}</body></html>"


def test_a_mail_program_shows_the_first_line_next_to_the_subject(sample):
    shown = "".join(tree(sample.wording.html).find("body").itertext()).strip()

    assert len(sample.first_line) > 10
    assert shown.startswith(sample.first_line)


def there_and_back(page: Page) -> Iterator[Sequence[Callable[[], None]]]:
    """The steps from view to view, for one page; for the next one from the last view back to the first."""

    def narrow() -> None:
        page.set_viewport_size({"width": 320, "height": 600})

    def wide() -> None:
        page.set_viewport_size({"width": 600, "height": 600})

    def light() -> None:
        page.emulate_media(color_scheme="light")

    def dark() -> None:
        page.emulate_media(color_scheme="dark")

    def stay() -> None:
        pass

    narrow()
    light()
    return cycle([(stay, dark, wide, light), (stay, dark, narrow, light)])


def test_a_text_that_is_too_faint_would_be_found(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(
        '<body style="background: #fff"><p style="color: #999">faint</p><p style="color: #666">not</p>'
    )

    found = page.evaluate(FAINT, CONTRAST)["found"]
    page.close()

    assert [text for text, _ in found] == ["faint"]


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_bars_filled_cells_stand_out_from_the_empty_ones(
    browser: Browser, colours: Literal["light", "dark"]
) -> None:
    context = browser.new_context(color_scheme=colours)
    page = context.new_page()
    page.set_content(every_email()["meter_data.received.gaps"].wording.html)

    ground = page.eval_on_selector(".none", "cell => getComputedStyle(cell).backgroundColor")
    full = page.eval_on_selector(".full", "cell => getComputedStyle(cell).backgroundColor")
    context.close()

    assert contrast(full, ground) >= OUTLINE


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted(map(luminance, (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_bytes_are_an_email_without_defects(sample):
    content = sample.content
    message = message_from_bytes(content, policy=email.policy.default)

    parts = [part for part in message.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in parts][:2] == ["text/plain", "text/html"]
    for part in message.walk():
        assert not part.defects
        for name, value in part.items():
            assert not value.defects, (name, value)
    assert steady(text_of(message)) == sample.wording.text
    assert steady(text_of(message, "html")).strip() == sample.wording.html.strip()
    assert [part.get_content_charset() for part in parts[:2]] == ["utf-8", "utf-8"]
    assert message["subject"] == sample.wording.subject
    assert message["to"] == "ann.reid@greenhomes.example"
    assert (message["bcc"], message["cc"]) == (None, None)
    assert max(map(len, content.split(b"\n"))) <= 998


def test_lines_are_short_enough_to_go_out_as_they_are():
    """Longer ones would be encoded, at a cost of time and size."""
    encodings = {
        part["content-transfer-encoding"]
        for name in ("hosted_consent.revoked", "meter.created.de", "meter_data.received.many")
        for part in parsed(every_email()[name]).walk()
        if part.get_content_maintype() == "text"
    }

    assert encodings <= {"7bit", "8bit"}


def test_the_plain_part_is_text_and_no_markup_that_was_stripped(sample):
    text = sample.wording.text

    assert re.findall(r"&[a-z#0-9]+;|</?(?:td|p|br|table)\b", text) == []
    assert "\n\n\n" not in text
    assert not any(line.endswith(" ") for line in text.split("\n") if line != "-- ")


def visible_files(directory: Path) -> Iterator[str]:
    return (path.name for path in directory.iterdir())


def test_the_look_book_shows_every_email(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "samples", lambda: every_email().values())

    index = write_book(tmp_path / "emails", "created", pictures=False)

    chosen = [name for name in names() if "created" in name]
    assert {*visible_files(index.parent)} == {
        "index.html",
        *(f"{name}.{part}" for name in chosen for part in ("html", "txt", "eml")),
    }
    for name in chosen:
        assert f'<section id="{name}">' in index.read_text()
    tree(index.read_text())


def test_the_look_book_has_pictures_of_each_view(tmp_path, browser):
    (tmp_path / "one.html").write_text(every_email()["confirm"].wording.html)
    (tmp_path / "one.txt").write_text(every_email()["confirm"].wording.text)

    for view in VIEWS:
        photograph(browser, view, tmp_path, ["one"])

    assert {*visible_files(tmp_path)} >= {
        f"one.{view}.png" for view in ("320-light", "320-dark", "600-light", "600-dark", "text")
    }
