"""What every test may use. The database comes from tests/support/database.py, which pyproject.toml loads."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

pytest_plugins = [
    "tests.support.browser",
    "tests.support.emptying",
    "tests.support.languages",
    "tests.support.redis",
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
def nobody_is_paused() -> Iterator[None]:
    """What this process remembers of mail servers that asked for time is nothing to the next test."""
    yield
    from deliveries import domains  # not before Django is set up

    domains.paused.clear()
