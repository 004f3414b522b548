"""Pictures of emails in a real browser, at the widths and in the colours that mail programs show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

from tests.support.browser import FLAGS, find

TEXT_PAGE = (
    '<!DOCTYPE html><meta charset="utf-8"><body style="margin:16px;font:14px/1.45 monospace;white-space:pre-wrap;'
    'overflow-wrap:anywhere">{}'
)


@dataclass(frozen=True)
class View:
    """One way to look at an email: a part of it, a width in pixels, light or dark."""

    name: str
    part: str
    width: int
    colours: Literal["light", "dark"]


VIEWS = (
    View("600-light", "html", 600, "light"),
    View("600-dark", "html", 600, "dark"),
    View("320-light", "html", 320, "light"),
    View("320-dark", "html", 320, "dark"),
    View("text", "txt", 600, "light"),
)


def photographed(directory: Path, names: Sequence[str]) -> bool:
    """Whether there was a browser to take the pictures with."""
    path = find()
    if path is None:
        print("No Chromium is here, so there are no pictures: python -m tests.support.browser installs one.")
        return False
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for view in VIEWS:
            photograph(browser, view, directory, names)
        browser.close()
    return True


def photograph(browser: Browser, view: View, directory: Path, names: Sequence[str]) -> None:
    context = browser.new_context(viewport={"width": view.width, "height": 400}, color_scheme=view.colours)
    page = context.new_page()
    for name in names:
        content = (directory / f"{name}.{view.part}").read_text()
        page.set_content(content if view.part == "html" else TEXT_PAGE.format(escape(content)))
        page.screenshot(path=directory / f"{name}.{view.name}.png", full_page=True)
    context.close()
