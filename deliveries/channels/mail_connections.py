"""Connections to the mail server or provider, kept from one email to the next while a drain is at work.

Each thread that sends takes one and gives it back, so there are never more than threads. Who sends outside of a drain
has a new one for each email.
"""

import time

import structlog
from django.core.mail.backends.base import BaseEmailBackend

from deliveries.channels.keeping import Kept

LONGEST_IDLE = 10  # seconds; mail servers hang up after a minute or more, and say so or don't

log = structlog.get_logger(__name__)


class Connections(Kept):
    """Those that nobody uses at the moment, each with when it was given back."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: list[tuple[float, BaseEmailBackend]] = []

    def forget(self) -> None:
        while last := self.last():
            close(last[1])

    def take(self) -> BaseEmailBackend | None:
        """One that was used moments ago and still works, ready for the next email; None when there is none."""
        while last := self.last():
            since, connection = last
            if time.monotonic() - since <= LONGEST_IDLE and is_ready(connection):
                return connection
            close(connection)
        return None

    def last(self) -> tuple[float, BaseEmailBackend] | None:
        with self.lock:
            return self.idle.pop() if self.idle else None

    def give_back(self, connection: BaseEmailBackend) -> None:
        """After an email that was accepted; after any other, nobody knows what the connection is good for."""
        if pause := getattr(connection, "pause", None):
            pause()
        with self.lock:
            if self.keepers:
                self.idle.append((time.monotonic(), connection))
                return
        close(connection)


def is_ready(connection: BaseEmailBackend) -> bool:
    """SMTP says itself whether it goes on. A provider's HTTP session makes new connections as it needs them."""
    resume = getattr(connection, "resume", None)
    return resume is None or bool(resume())


def close(connection: BaseEmailBackend) -> None:
    try:
        connection.close()
    except Exception as error:
        log.info("mail connection closed badly", reason=str(error))


connections = Connections()
