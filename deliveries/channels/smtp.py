"""SMTP through Django's backend, with one deadline for a whole attempt.

smtplib's time-out is per read: a server that drips its answers would hold a thread for ever. A timer that shuts
the socket down caps everything after the connect, whose own time-out is per address of the server's name.
"""

import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp

QUIT_PATIENCE = 1  # seconds; the message is accepted or refused by then


class Deadline:
    """Ends what goes on over a socket when the time of the attempt is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.add(connection)
            if self.passed:
                shut_down(connection)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """A connection that broke because it was ended says so. A refusal that had come stays what it is."""
        try:
            yield
        except OSError as error:
            cut = isinstance(error, smtplib.SMTPServerDisconnected | ssl.SSLError)
            if self.passed and (cut or not isinstance(error, smtplib.SMTPException)):
                raise TimeoutError(f"it took longer than {self.seconds:g} seconds") from error
            raise

    def cancel(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._sockets.clear()

    def _end(self) -> None:
        with self._lock:
            self.passed = True
            for connection in self._sockets:
                shut_down(connection)


def shut_down(connection: socket.socket) -> None:
    """At the level of TCP, also under TLS: the thread that reads must not find its TLS object gone."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return


class Session(smtplib.SMTP):
    """A conversation under a deadline, which remembers what the server said to the message."""

    def __init__(self, deadline: Deadline, *args: Any, **kwargs: Any) -> None:
        self.deadline = deadline
        self.said: tuple[int, bytes] | None = None
        super().__init__(*args, **kwargs)

    def getreply(self) -> tuple[int, bytes]:
        """The first reply is the greeting, inside the constructor; STARTTLS changes the socket later."""
        if self.sock:
            self.deadline.watch(self.sock)
        return super().getreply()

    def data(self, msg: Any) -> tuple[int, bytes]:
        self.said = super().data(msg)
        return self.said


class TLSSession(Session, smtplib.SMTP_SSL):
    """The same, under TLS from the first byte."""


class EmailBackend(smtp.EmailBackend):
    """Django's, for one attempt: `open`, `send_messages`, `close`."""

    deadline: Deadline

    @property
    def connection_class(self) -> Callable[..., smtplib.SMTP]:  # type: ignore[override]
        return partial(TLSSession if self.use_ssl else Session, self.deadline)

    def open(self) -> bool | None:
        """Connect; the attempt's time runs from here."""
        if self.connection:
            return False
        self.deadline = Deadline(settings.EMAIL_TIMEOUT)
        with self.deadline.explained():
            return super().open()

    def _send(self, email_message: EmailMessage) -> bool:
        with self.deadline.explained():
            return super()._send(email_message)  # type: ignore[misc]

    def close(self) -> None:
        """Say goodbye, and wait for the answer only a little."""
        for connection in (self.connection, self._partial_connection):  # type: ignore[attr-defined]
            if connection is not None and connection.sock is not None:
                connection.sock.settimeout(QUIT_PATIENCE)
        try:
            super().close()
        finally:
            self.deadline.cancel()

    @property
    def said(self) -> tuple[int, bytes] | None:
        """The server's code and text for the last message."""
        return getattr(self.connection, "said", None)

    @property
    def remote_ip(self) -> str | None:
        try:
            return str(self.connection.sock.getpeername()[0])  # type: ignore[union-attr]
        except (AttributeError, OSError):
            return None
