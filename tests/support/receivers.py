"""Real receivers on loopback for tests: well-behaved ones, misbehaving ones, and ones with certificates.

    with Receiver(Answer(500), Answer(204)) as receiver:   # the last answer repeats
        ... send to receiver.url ...
        receiver.wait_for(2)
    assert receiver.requests[0].headers["webhook-id"] == ...

`RawReceiver` runs a script with each connection's bare socket: `hang`, `reset`, `say(…)`, `drip(…)`.
`Authority` makes certificates for `Receiver(tls=…)`.
"""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATIENCE = (
    30  # seconds after which a receiver gives up, so that what should have been cut fails and does not hang
)


@dataclass(frozen=True)
class Answer:
    """What a receiver says, how long it thinks before, and whether it keeps the connection."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: datetime.timedelta = datetime.timedelta(0)
    close: bool = False


@dataclass(frozen=True)
class Received:
    """One request as it came. `connection` is the sender's port, which tells connections apart.

    `server_name` is the host that was asked for in TLS (SNI); `resumed` says whether its session was an earlier one's.
    """

    method: str
    path: str
    raw_headers: list[tuple[str, str]]
    body: bytes
    connection: int
    server_name: str | None
    resumed: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """By names in small letters."""
        return {name.lower(): value for name, value in self.raw_headers}


class Receiver:
    """An HTTP/1.1 server on a free port of 127.0.0.1 that answers as scripted and remembers what came."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers) or [Answer()]
        self.requests: list[Received] = []
        self.closing = Event()
        self.changed = Condition()
        self.server = Server(self, tls)
        self.port = self.server.server_port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/webhooks"

    def __enter__(self) -> Self:
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def receive(self, request: Received) -> Answer:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
            return self.answers[min(len(self.requests), len(self.answers)) - 1]

    @property
    def connections(self) -> int:
        """How many connections brought requests."""
        return len({request.connection for request in self.requests})

    def wait_for(self, count: int, seconds: float = 30) -> list[Received]:
        """The requests, once there are so many."""
        with self.changed:
            came = self.changed.wait_for(lambda: len(self.requests) >= count, seconds)
        assert came, f"{len(self.requests)} of {count} requests came within {seconds} s"
        return self.requests


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, receiver: Receiver, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.receiver = receiver
        self.tls = tls

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: a handshake that fails ends this connection only."""
        with contextlib.suppress(OSError):
            sock = self.tls.wrap_socket(request, server_side=True) if self.tls else request
            Handler(sock, client_address, self)
            sock.close()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        answer = self.server.receiver.receive(
            Received(
                method=self.command,
                path=self.path,
                raw_headers=self.headers.items(),
                body=body,
                connection=self.client_address[1],
                server_name=getattr(self.connection, "asked_for", None),
                resumed=bool(getattr(self.connection, "session_reused", False)),
            )
        )
        self.server.receiver.closing.wait(answer.after.total_seconds())
        self.send_response(answer.status)
        for header, value in answer.headers.items():
            self.send_header(header, value)
        if answer.status != 204:
            self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = self.close_connection or answer.close

    do_GET = do_PUT = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing among the tests' output."""


Script = Callable[[socket.socket, Event], None]


class RawReceiver:
    """Listens on 127.0.0.1 and runs the script with every connection, and an event that says when to stop."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.closing = Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/webhooks"

    def __enter__(self) -> Self:
        Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            self.script(connection, self.closing)


def read_request(connection: socket.socket) -> bytes:
    """One whole request with a content-length; empty when the sender has closed the connection."""
    came = b""
    while b"\r\n\r\n" not in came:
        piece = connection.recv(65536)
        if not piece:
            return b""
        came += piece
    head, _, body = came.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    ]
    while len(body) < int(lengths[0]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def hang(connection: socket.socket, closing: Event) -> None:
    """Take the request and never answer."""
    closing.wait(PATIENCE)


def hang_up(connection: socket.socket, closing: Event) -> None:
    """Take the request and close without a word."""
    read_request(connection)


def reset(connection: socket.socket, closing: Event) -> None:
    """Take the request and tear the connection down."""
    read_request(connection)
    tear_down(connection)


def tear_down(connection: socket.socket) -> None:
    """Close it so that the other side gets a reset (RST)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def say(*answers: bytes) -> Script:
    """Answer the requests of one connection with these bytes, then close it."""

    def script(connection: socket.socket, closing: Event) -> None:
        for answer in answers:
            if not read_request(connection):
                return
            connection.sendall(answer)

    return script


def drip(first: bytes, piece: bytes, every: float = 0.05) -> Script:
    """Answer with `first`, and then with one more `piece` at a time, for longer than any deadline of a test."""

    def script(connection: socket.socket, closing: Event) -> None:
        read_request(connection)
        connection.sendall(first)
        ends_at = time.monotonic() + PATIENCE
        while time.monotonic() < ends_at and not closing.wait(every):
            connection.sendall(piece)

    return script


def flood(first: bytes, total: int) -> Script:
    """Answer with `first` and then so many bytes, as fast as they are taken."""

    def script(connection: socket.socket, closing: Event) -> None:
        read_request(connection)
        connection.sendall(first)
        block = b"x" * 65536
        for _ in range(total // len(block)):
            connection.sendall(block)

    return script


class Authority:
    """A certificate authority of the test's own. `bundle` is its certificate, for WEBHOOK_CA_BUNDLE."""

    def __init__(self, directory: Path, name: str = "Test Authority") -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self.sign(self.name, self.key, [x509.BasicConstraints(ca=True, path_length=0)])
        self.bundle = directory / f"{name}.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, host: str = "127.0.0.1", **validity: datetime.datetime) -> ssl.SSLContext:
        """For a receiver that shows a certificate for `host`; `not_before` and `not_after` can be given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = remember_name
        self.certify(context, host, **validity)
        return context

    def certify(
        self, context: ssl.SSLContext, host: str = "127.0.0.1", **validity: datetime.datetime
    ) -> None:
        """From now on it shows this authority's certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        self.load(context, key, self.sign(subject, key, [alternative_name(host)], **validity))

    def expired(self, host: str = "127.0.0.1") -> ssl.SSLContext:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        return self.context(host, not_before=now - 9 * day, not_after=now - day)

    def sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extensions: list[x509.ExtensionType],
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
    ) -> x509.Certificate:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before or now - day)
            .not_valid_after(not_after or now + day)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def load(
        self, context: ssl.SSLContext, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        path = self.directory / f"{certificate.serial_number}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)


def self_signed(directory: Path, host: str = "127.0.0.1") -> ssl.SSLContext:
    """For a receiver that vouches for itself."""
    authority, context = Authority(directory, host), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.sign(authority.name, authority.key, [alternative_name(host)])
    authority.load(context, authority.key, certificate)
    return context


def alternative_name(host: str) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    except ValueError:
        return x509.SubjectAlternativeName([x509.DNSName(host)])


def remember_name(sock: Any, name: str | None, context: ssl.SSLContext) -> None:
    sock.asked_for = name
