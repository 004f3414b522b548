"""A mail server on loopback that keeps what it takes, and misbehaves on request."""

import asyncio
import email
import email.policy
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from django.test import override_settings

from tests.support.running import free_port


class Mailbox:
    """Handler of aiosmtpd. `answers` says what to reply at a stage: greeting, MAIL, RCPT, DATA (after the dot)."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.envelopes: list[Envelope] = []
        self.connections = 0
        self.thinks_for = 0.0  # seconds, after the dot

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return [self.answers["EHLO"]] if "EHLO" in self.answers else responses

    async def handle_HELO(self, server: SMTP, session: Session, envelope: Envelope, hostname: str) -> str:
        session.host_name = hostname
        return self.answers.get("EHLO", "250 hello")

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "RCPT" in self.answers:
            return self.answers["RCPT"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(self.thinks_for)
        if "DATA" in self.answers:
            return self.answers["DATA"]
        self.envelopes.append(envelope)
        return "250 2.0.0 queued as 4711"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return self.answers.get("QUIT", "221 bye")

    def messages(self) -> list[EmailMessage]:
        return [parsed(content) for content in self.contents()]

    def contents(self) -> list[bytes]:
        """As they came over the line."""
        return [envelope.original_content or b"" for envelope in self.envelopes]

    def message(self) -> EmailMessage:
        """The only one."""
        [message] = self.messages()
        return message


def parsed(content: bytes) -> EmailMessage:
    return email.message_from_bytes(content, policy=email.policy.default)


def refuse_sign_in(*_: Any) -> AuthResult:
    return AuthResult(success=False, handled=False, message="535 5.7.8 wrong password")


@contextmanager
def mail_server(**options: Any) -> Iterator[Mailbox]:
    """Runs the server; EMAIL_* settings point to it."""
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        with smtp_settings(controller.port):
            yield mailbox
    finally:
        controller.stop()


@contextmanager
def scripted_server(*lines: bytes, drip: bool = False, hang: bool = False) -> Iterator[list[bytes]]:
    """Answers each connection with these lines, one for the greeting and one after each command; then it hangs up.

    With `drip`, it adds a line instead that never ends, a character ten times a second; with `hang`, it says no more.
    Yields the list of what clients have sent.
    """
    heard: list[bytes] = []
    stopping = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while not stopping.is_set():
                client, _ = server.accept()
                with client, suppress(OSError):
                    converse(client)
                    if drip:
                        drip_to(client)
                    if hang:
                        client.settimeout(5)
                        while client.recv(65536):
                            pass

    def drip_to(client: socket.socket) -> None:
        client.sendall(b"220-")
        while not stopping.wait(0.1):
            client.sendall(b"x")

    def converse(client: socket.socket) -> None:
        commands = client.makefile("rb")
        for number, line in enumerate(lines):
            if number:
                heard.append(
                    until_the_dot(commands) if lines[number - 1][:3] == b"354" else commands.readline()
                )
            client.sendall(line)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        with smtp_settings(server.getsockname()[1]):
            yield heard
    finally:
        stopping.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def until_the_dot(commands: Any) -> bytes:
    content = b""
    while (line := commands.readline()) not in (b".\r\n", b""):
        content += line
    return content


def smtp_settings(port: int, **more: Any) -> override_settings:
    return override_settings(
        EMAIL_BACKEND="deliveries.channels.smtp.EmailBackend",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=port,
        EMAIL_HOST_USER="",
        EMAIL_HOST_PASSWORD="",
        EMAIL_USE_TLS=False,
        EMAIL_USE_SSL=False,
        EMAIL_TIMEOUT=5,
        EMAIL_ANSWER_TIMEOUT=5,
        **more,
    )
