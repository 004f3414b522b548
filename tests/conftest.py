"""What every test may use. The database comes from tests/support/database.py, which pyproject.toml loads."""

import gc
import os
import time
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

# The same examples in every run: who has broken nothing is not to be told of what a new one finds.
hypothesis.settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("steady")

pytest_plugins = [
    "tests.support.factories",  # before the others, which import it
    "tests.support.api",
    "tests.support.browser",
    "tests.support.emptying",
    "tests.support.languages",
    "tests.support.redis",
    "tests.support.workers",
]
# Those that take longest, the longest first: one of them alone at the end would leave the other workers idle.
LONGEST = """
    serve bench random_kills code_samples server_bad_input fault_points admin_pages killed_workers fuzz demo
    admin_browser api_page admin_roles lifecycle ordering docs_page load redis_broker killed_changes
    killed_replays failing webhook_channel admin_lookups several_machines mail_webhooks smtp_stages
    clock_jumps retention email_layout api_bad_input api_events retries_page audit api_filters
    hostile_emails cases case_pages api_tenancy preferences_browser admin_emails recipient_pages digests
    admin api_subscriptions together email_channel failed_for_good api_schema replaying browser_zone
    api_body_limits api_throttling email_german admin_front limits rhythm generated_client
""".split()  # noqa: SIM905 - nobody would read a line for each
HOUR = 3600  # seconds
LONGEST_BEFORE_THE_HOUR = 10  # of a test that would mind


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors, since many tests wait for something. Two more take longer."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_collection_finish() -> None:
    """The tests themselves stay until the end: the collector need not look through thousands of them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def quick(settings: Any) -> None:
    """To hash a password as in production, or to list all static files for each client, takes longer than a test."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def within_one_hour() -> None:
    """What is counted from the hour, the day or the month ends with it: a test that would see that begins after it."""
    left = HOUR - time.time() % HOUR
    if left < LONGEST_BEFORE_THE_HOUR:
        time.sleep(left)


@pytest.fixture(autouse=True)
def nobody_is_paused() -> Iterator[None]:
    """What this process remembers of mail servers that asked for time is nothing to the next test."""
    yield
    from deliveries import domains  # not before Django is set up

    domains.paused.clear()
