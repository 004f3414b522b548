"""Gives every test run a PostgreSQL of its own, and the settings that tests count on.

A pytest plugin that `addopts` loads before Django's settings are read. The process that starts the run owns the
server and takes it down; pytest-xdist's workers inherit its address, and have a database each.
With DATABASE_URL set, that server is used.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from openvolt_events.postgres import THROWAWAY_SETTINGS, EmbeddedPostgres

SETTINGS = {
    "DEBUG": "0",
    "SECRET_KEY": "only-for-tests-of-whatever-they-are",
    "EMAIL_URL": "memory:",
    "PUBLIC_URL": "http://localhost:8000",
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
}


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Runs around pytest-django's own, which reads the settings."""
    os.environ.update(SETTINGS)
    os.environ.setdefault("ENCRYPTION_KEYS", Fernet.generate_key().decode())
    if "DATABASE_URL" not in os.environ:
        start_postgres()
    return (yield)


def start_postgres() -> None:
    directory = Path(tempfile.mkdtemp(prefix="openvolt-tests-"))
    postgres = EmbeddedPostgres(directory, THROWAWAY_SETTINGS | {"max_connections": "200"})

    def take_down() -> None:
        postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)

    atexit.register(take_down)
    postgres.start()
    os.environ["DATABASE_URL"] = postgres.url()
