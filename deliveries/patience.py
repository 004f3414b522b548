"""Waiting for a database that went away, with news that is known only here."""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from django.db import InterfaceError, OperationalError, connection

PATIENCE = timedelta(seconds=60)
BETWEEN_TRIES = timedelta(milliseconds=500)

log = structlog.get_logger(__name__)


def patiently(write: Callable[[], None]) -> None:
    """Run `write`, a transaction of its own, again and again while the database is away."""
    gives_up_at = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() >= gives_up_at:
                raise
            log.warning("what was sent waits for the database", reason=str(error).strip())
            connection.close()
            time.sleep(BETWEEN_TRIES.total_seconds())
