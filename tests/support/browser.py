"""A Chromium for the browser tests: one that is there, or one that `python -m tests.support.browser` installs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MACOS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
FLAGS = [
    "--no-sandbox",  # it has none for root; the only pages it sees are our own
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
INSTALL_SECONDS = 600
PATIENCE = 120_000  # milliseconds, on a busy machine
Sizes = Sequence[tuple[int, Literal["light", "dark"]]]  # widths in pixels, and colours


def find() -> str | None:
    """The path of a browser that starts, if there is one."""
    candidates = [shutil.which(name) for name in NAMES] + [*MACOS, playwrights_own()]
    return next((path for path in candidates if path and starts(path)), None)


def playwrights_own() -> str:
    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def starts(path: str) -> bool:
    """Some are only a stub that tells how to install the real one."""
    if not Path(path).exists():
        return False
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def install() -> None:
    """The system's package when we may, else Playwright's own build. Says what it does, and does not raise."""
    commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        commands.insert(0, ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"])
        commands.insert(0, ["apt-get", "update"])
    for command in commands:
        if not find():
            print(f"Installing a browser for its tests (once): {' '.join(command)} …", flush=True)
            run_quietly(command)


def run_quietly(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"  {error}")
        return
    if done.returncode:
        print(f"  it failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


@pytest.fixture(scope="session")
def browser_executable() -> str:
    """Skips the test where no browser can be had; in CI, where nobody reads about skips, fails it."""
    path = find()
    if path is None:
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse("No Chromium is here, and none could be installed: python -m tests.support.browser says why.")
    return path


@pytest.fixture(scope="session")
def browser(browser_executable: str) -> Iterator[Browser]:
    # Playwright keeps an event loop in this thread, which Django would take for a reason to refuse its ORM.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_executable, args=FLAGS, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser without a past."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


STILL = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("*, ::before, ::after { transition: none !important }");
    document.adoptedStyleSheets.push(sheet);
}"""


def seen_at(page: Page, sizes: Sizes) -> Iterator[int]:
    """What is on the page, at each of these widths and in these colours: yields the width.

    Nothing fades from one to the next: a colour that is looked at is the one that stays. A policy against
    inline styles lets a script adopt a sheet. What a click leads to may be there before its styles are.
    """
    page.wait_for_load_state()
    page.evaluate(STILL)
    for width, scheme in sizes:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        yield width


@pytest.fixture
def small_page(page: Page) -> Page:
    """As of a phone in the dark, which is where a visit begins that `seen_at` goes on with."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark")
    return page


if __name__ == "__main__":
    if not find():
        install()
    if not find():
        print("No browser can be had here; its tests will be reported as skipped.")
