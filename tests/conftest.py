"""What every test may use. The database comes from tests/support/database.py, which pyproject.toml loads."""

from typing import Any

import pytest

pytest_plugins = ["tests.support.browser", "tests.support.languages", "tests.support.redis"]


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """To hash one as in production takes longer than most tests, on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
