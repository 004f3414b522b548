"""SMTP through Django's backend, with one deadline for a whole attempt, and one connection for several.

smtplib's time-out is per read: a server that drips its answers would hold a thread for ever. A watchdog that shuts
the socket down caps everything after the connect, whose own time-out is per address of the server's name. Once the
email is sent, there is a second deadline, for the answer: who hangs up too early makes a second copy.
"""

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp
from urllib3.util.wait import wait_for_read

from deliveries.channels.connections import shut, watchdog
from deliveries.channels.mime import Email, content, envelope_address

ACCEPTED = 250
WILL_FORWARD = 251  # a recipient, accepted
GO_AHEAD = 354  # the reply to DATA
CLOSING = 421  # whatever was asked: the server hangs up, and has taken nothing
QUIT_PATIENCE = 1  # seconds; the message is accepted or refused by then


class Deadline:
    """Ends what goes on over a socket when the time of the attempt is over."""

    def __init__(self, seconds: float) -> None:
        self.reason = f"it took longer than {settings.EMAIL_TIMEOUT:g} seconds"
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
                raise TimeoutError(self.reason) from error
            raise

    def wait_for_answer(self) -> None:
        """The email is sent: from now on the server has time to think (RFC 5321, section 4.5.3.2.6)."""
        self.reason = (
            f"there was no answer for {settings.EMAIL_ANSWER_TIMEOUT:g} seconds after the email was sent"
        )
        self.ends_at = time.monotonic() + settings.EMAIL_ANSWER_TIMEOUT
        self._dog.watch(self)

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

    def hand_over(self, sender: str, recipients: Sequence[str], message: EmailMessage) -> None:
        """Raises what `sendmail` raises."""
        self.ehlo_or_helo_if_needed()
        data, body = content(message), ""
        if not data.isascii():
            if self.has_extn("8bitmime"):  # RFC 6152
                body = " BODY=8BITMIME"
            elif isinstance(message, Email):
                data = message.seven_bit_content()
        size = f" size={len(data)}" if self.has_extn("size") else ""
        to = [f"rcpt TO:<{recipient}>" for recipient in recipients]
        replies = self.replies([f"mail FROM:<{sender}>{size}{body}", *to, "data"])
        code, answer = next(replies)
        if code != ACCEPTED:
            raise smtplib.SMTPSenderRefused(code, answer, sender)
        answers = {recipient: next(replies) for recipient in recipients}
        if not any(code in (ACCEPTED, WILL_FORWARD) for code, _ in answers.values()):
            raise smtplib.SMTPRecipientsRefused(answers)
        code, answer = next(replies)
        if code != GO_AHEAD:
            raise smtplib.SMTPDataError(code, answer)
        self.send(dotted(data))
        self.deadline.wait_for_answer()
        self.said = code, answer = self.getreply()
        if code != ACCEPTED:
            raise smtplib.SMTPDataError(code, answer)

    def replies(self, commands: Sequence[str]) -> Iterator[tuple[int, bytes]]:
        """All commands go out at once where the server takes them so (RFC 2920): two round trips an email, not four."""
        at_once = ["\r\n".join(commands)] if self.has_extn("pipelining") else commands
        if any("\n" in command or "\r" in command for command in commands):
            raise ValueError("a command of SMTP is one line")
        for command in at_once:
            self.send(f"{command}\r\n")
            for _ in range(len(commands) // len(at_once)):
                yield self.getreply()


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
            is_new = super().open()
        if self.connection and self.connection.sock:
            self.connection.sock.settimeout(settings.EMAIL_TIMEOUT + settings.EMAIL_ANSWER_TIMEOUT)
        return is_new

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
            self.connection.hand_over(  # type: ignore[union-attr]
                envelope_address(sender), list(map(envelope_address, recipients)), email_message
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
