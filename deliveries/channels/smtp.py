"""SMTP through Django's backend, with one deadline for a whole attempt, and one connection for several.

smtplib's time-out is per read: a server that drips its answers would hold a thread for ever. A watchdog that shuts
the socket down caps everything after the connect, whose own time-out is per address of the server's name.
"""

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp
from urllib3.util.wait import wait_for_read

from deliveries.channels.connections import shut, watchdog
from deliveries.channels.mime import content, envelope_address

GO_AHEAD = 354  # the reply to DATA
CLOSING = 421  # whatever was asked: the server hangs up, and has taken nothing
QUIT_PATIENCE = 1  # seconds; the message is accepted or refused by then


class Deadline:
    """Ends what goes on over a socket when the time of the attempt is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.passed = False
        self.ends_at = time.monotonic() + seconds
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._dog = watchdog()
        self._dog.watch(self)

    def watch(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.add(connection)
            if self.passed:
                shut(connection)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """A connection that broke because it was ended says so. A refusal that had come stays what it is."""
        try:
            yield
        except OSError as error:
            cut = isinstance(error, smtplib.SMTPServerDisconnected | ssl.SSLError)
            if self.passed and (cut or not isinstance(error, smtplib.SMTPException)):
                raise TimeoutError(f"it took longer than {settings.EMAIL_TIMEOUT:g} seconds") from error
            raise

    def cancel(self) -> None:
        self._dog.release(self)
        with self._lock:
            self._sockets.clear()

    def expire(self) -> None:
        with self._lock:
            self.passed = True
            for connection in self._sockets:
                shut(connection)


class Session(smtplib.SMTP):
    """A conversation under a deadline, which remembers what the server said last, and what to the message."""

    def __init__(self, deadline: Deadline, *args: Any, **kwargs: Any) -> None:
        self.deadline = deadline
        self.last_code = 0
        self.said: tuple[int, bytes] | None = None
        super().__init__(*args, **kwargs)

    def getreply(self) -> tuple[int, bytes]:
        """The first reply is the greeting, inside the constructor; STARTTLS changes the socket later."""
        if self.sock:
            self.deadline.watch(self.sock)
        reply = super().getreply()
        self.last_code = reply[0]
        return reply

    @property
    def has_ended(self) -> bool:
        return self.sock is None

    @property
    def may_have_been_told(self) -> bool:
        """Whether the server has been sent the message, or a part of it: only it knows whether it has all."""
        return self.said is not None or self.last_code == GO_AHEAD

    def data(self, msg: Any) -> tuple[int, bytes]:
        """Of a message whose lines end as they should: smtplib's own look for dots takes longer than all the rest."""
        self.putcmd("data")
        code, answer = self.getreply()
        if code != GO_AHEAD:
            raise smtplib.SMTPDataError(code, answer)
        self.send(dotted(msg))
        self.said = self.getreply()
        return self.said


def dotted(content: bytes) -> bytes:
    """With the dot that ends it, and those doubled that would (RFC 5321, section 4.5.2)."""
    end = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + end


class TLSSession(Session, smtplib.SMTP_SSL):
    """The same, under TLS from the first byte."""


class EmailBackend(smtp.EmailBackend):
    """Django's, for one attempt: `open`, `send_messages`, `close`.

    For several: `pause` after each but the last, and `resume` before the next. `timeout` is each attempt's.
    """

    connection: Session | None
    deadline: Deadline

    @property
    def connection_class(self) -> Callable[..., smtplib.SMTP]:  # type: ignore[override]
        return partial(TLSSession if self.use_ssl else Session, self.deadline)

    def open(self) -> bool | None:
        """Connect; the attempt's time runs from here."""
        if self.connection:
            return False
        self.deadline = Deadline(self.timeout or settings.EMAIL_TIMEOUT)
        with self.deadline.explained():
            return super().open()

    def pause(self) -> None:
        """The attempt is over, and the connection is kept."""
        self.deadline.cancel()

    def resume(self) -> bool:
        """The time of the next attempt runs. False if the connection is no good: nobody asked, but there is news."""
        session = self.connection
        if session is None or session.sock is None or wait_for_read(session.sock, 0):
            return False
        self.deadline = session.deadline = Deadline(settings.EMAIL_TIMEOUT)
        self.deadline.watch(session.sock)
        session.said, session.last_code = None, 0
        return True

    @property
    def is_lost(self) -> bool:
        """Whether the connection ended before the server could have taken the message."""
        session = self.connection
        return (
            session is not None
            and (session.has_ended or session.last_code == CLOSING)
            and not session.may_have_been_told
            and not self.deadline.passed
        )

    def _send(self, email_message: EmailMessage) -> bool:
        sender, recipients = email_message.from_email, email_message.recipients()
        with self.deadline.explained():
            self.connection.sendmail(  # type: ignore[union-attr]
                envelope_address(sender), list(map(envelope_address, recipients)), content(email_message)
            )
        return True

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
