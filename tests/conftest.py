"""What every test may use. The database comes from tests/support/database.py, which pyproject.toml loads."""

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
# They start a whole service, or look at every page: one of them alone at the end would leave a worker idle.
LONGEST = {
    "test_admin_browser",
    "test_api_page",
    "test_bench",
    "test_demo",
    "test_fault_points",
    "test_fuzz",
    "test_killed_replays",
    "test_killed_workers",
    "test_ordering",
    "test_random_kills",
    "test_redis_broker",
    "test_serve",
    "test_server_bad_input",
    "test_several_machines",
}
HOUR = 3600  # seconds
LONGEST_BEFORE_THE_HOUR = 10  # of a test that would mind


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors, since many tests wait for something."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)


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
