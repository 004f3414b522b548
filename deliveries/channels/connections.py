"""Connections to receivers: to an address that was checked, kept for the next webhook, cut at the deadline.

The classes here sit inside urllib3's (2.x), where `HTTPAdapter.send` of requests comes by. What one attempt needs to
know on that way (its deadline) and leaves behind (phases, the address) is its `Exchange`.
"""

import http.client
import os
import socket
import time
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address
from threading import Condition, Lock, Thread
from typing import Any, Protocol, Self

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Retry, parse_url

from deliveries.channels.tls import ResumingSocket, tls_context, was_resuming
from subscriptions.addresses import DEFAULT_PORTS, Address, allowed_addresses

HOSTS = 32  # that connections are kept for
CONNECTIONS = 16  # kept for one host: as many as a drain has threads
LONGEST_KEPT = timedelta(minutes=5)  # then the name is looked up, and its addresses are checked, again
MOST_INTERIM_ANSWERS = 10


class Phase(StrEnum):
    """What an attempt is waiting for."""

    START = "start"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    FIRST_BYTE = "first_byte"
    ANSWER = "answer"
    END = "end"


class Exchange:
    """One attempt under way: its deadline, its phases, and the socket that is shut when the deadline passes."""

    def __init__(self, patience: timedelta) -> None:
        self.patience = patience
        self.began = time.monotonic()
        self.ends_at = self.began + patience.total_seconds()
        self.phase = Phase.START
        self.phase_began = self.began
        self.took: dict[Phase, float] = {}
        self.remote_ip: str | None = None
        self.reused = False
        self.may_reuse = True
        self.expired = False
        self._socket: socket.socket | None = None
        self._lock = Lock()

    def __enter__(self) -> Self:
        """Within this block the thread's connections are this exchange's, until its deadline."""
        self._token, self._dog = current.set(self), watchdog()
        self._dog.watch(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self._dog.release(self)
        current.reset(self._token)
        self.enter(Phase.END)

    def enter(self, phase: Phase) -> None:
        now = time.monotonic()
        self.took[self.phase] = now - self.phase_began
        self.phase, self.phase_began = phase, now

    def remaining(self) -> float:
        """Seconds until the deadline; raises `TimeoutError` when there are none."""
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0 or self.expired:
            self.expired = True
            raise TimeoutError("the attempt's deadline has passed")
        return seconds

    def hold(self, sock: socket.socket) -> None:
        """From now on this is the socket to shut at the deadline."""
        with self._lock:
            self._socket = sock
        self.remaining()

    def let_go(self) -> None:
        """The socket is the pool's again, and may be another attempt's at once."""
        with self._lock:
            self._socket = None

    def start_afresh(self) -> None:
        """Once more, on a new connection, under the same deadline; the first try's phases count no more."""
        self.may_reuse = self.reused = False
        self.remote_ip = None
        self.enter(Phase.START)
        self.took.clear()

    def expire(self) -> None:
        with self._lock:
            self.expired = True
            shut(self._socket)


def shut(sock: socket.socket | None) -> None:
    """Wake up whoever reads from or writes to it. `SSLSocket.shutdown` would first go on without encryption."""
    if sock is not None:
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


current: ContextVar[Exchange] = ContextVar("current")


class Timed(Protocol):
    """What ends at a deadline."""

    ends_at: float

    def expire(self) -> None: ...


class Watchdog:
    """One thread that ends every exchange at its deadline. Time-outs of sockets can't: each byte renews them."""

    def __init__(self) -> None:
        self.watched: set[Timed] = set()
        self.wakes_at = 0.0
        self.changed = Condition()
        Thread(target=self.run, name="watchdog", daemon=True).start()

    def watch(self, exchange: Timed) -> None:
        with self.changed:
            self.watched.add(exchange)
            if exchange.ends_at < self.wakes_at:
                self.changed.notify()

    def release(self, exchange: Timed) -> None:
        with self.changed:
            self.watched.discard(exchange)

    def run(self) -> None:
        with self.changed:
            while True:
                now = time.monotonic()
                for exchange in [one for one in self.watched if one.ends_at <= now]:
                    exchange.expire()
                    self.watched.discard(exchange)
                self.wakes_at = min((one.ends_at for one in self.watched), default=float("inf"))
                self.changed.wait(self.wakes_at - now if self.watched else None)


def connect(host: str, port: int, scheme: str, options: Any) -> tuple[socket.socket, Address]:
    """A socket that is connected to one of the host's addresses, all of which were checked."""
    exchange = current.get()
    exchange.enter(Phase.DNS)
    addresses = allowed_addresses(scheme, host, port, timedelta(seconds=exchange.remaining()))
    exchange.enter(Phase.CONNECT)
    for tried, address in enumerate(addresses, start=1):
        exchange.remote_ip = str(address)
        left = len(addresses) - tried
        try:
            return connect_to(address, port, exchange.remaining() / (left + 1), options), address
        except OSError:
            if not left or exchange.expired:
                raise
    raise OSError(f"{host} has no address")


def connect_to(address: Address, port: int, patience: float, options: Any) -> socket.socket:
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options or ():
            sock.setsockopt(*option)
        sock.settimeout(patience)
        sock.connect((str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


class Head:
    """The lines of an answer's headers. http.client takes the end of the stream for the empty line that ends them."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def readline(self, limit: int) -> bytes:
        line: bytes = self.stream.readline(limit)
        if not line:
            raise http.client.IncompleteRead(b"")
        return line


class Answer(http.client.HTTPResponse):
    """An answer that notes when it begins, and that passes over the interim ones before it (1xx)."""

    def begin(self) -> None:
        """One without a body has come whole with its headers."""
        try:
            super().begin()
        finally:
            if isinstance(self.fp, Head):
                self.fp = self.fp.stream
        if self.length == 0 and not self.isclosed():
            self._close_conn()  # type: ignore[attr-defined]

    def _read_and_discard_trailer(self) -> None:
        """Of trailers there may be as many as of headers; http.client goes on for as long as some come."""
        http.client._read_headers(self.fp)  # type: ignore[attr-defined]

    def _read_status(self) -> tuple[str, int, str]:
        if self.fp.peek(1):
            current.get().enter(Phase.ANSWER)
        for _ in range(MOST_INTERIM_ANSWERS):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status >= 200:
                self.fp = Head(self.fp)  # type: ignore[assignment]  # `begin` takes it off again
                return version, status, reason
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.HTTPException("it switches to a protocol that was not asked for (101)")
            http.client._read_headers(self.fp)  # type: ignore[attr-defined]
        raise http.client.HTTPException(f"more than {MOST_INTERIM_ANSWERS} interim answers")


class CheckedConnection(HTTPConnection):
    """Connects to checked addresses only; `Host` and the name in TLS stay the URL's."""

    scheme = "http"
    response_class = Answer
    remote_ip = ""
    opened_at = 0.0

    def _new_conn(self) -> socket.socket:
        sock, address = connect(self._dns_host, self.port, self.scheme, self.socket_options)
        self.remote_ip, self.opened_at = str(address), time.monotonic()
        exchange = current.get()
        exchange.hold(sock)
        sock.settimeout(exchange.remaining())  # the handshake, unlike an answer, keeps to it as a whole
        if self.scheme == "https":
            exchange.enter(Phase.TLS)
        return sock

    def connect(self) -> None:
        super().connect()
        current.get().hold(self.sock)
        current.get().enter(Phase.FIRST_BYTE)

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        """Hold the body back for `send`. Its length is among the headers."""
        self.body: bytes = body
        super().request(method, url, headers=headers, **options | {"chunked": False})

    def send(self, data: Any) -> None:
        """The head and the body in one write: two would be two packets, and wake the receiver twice."""
        body, self.body = self.body, b""
        super().send(data + body)

    def putheader(self, header: str | bytes, *values: Any) -> None:
        """Without the looks of http.client and urllib3 for what can't be here: the channel has checked each header."""
        value = values[0].decode("ascii") if isinstance(values[0], bytes) else values[0]
        self._output(f"{header!s}: {value}".encode("ascii"))  # type: ignore[attr-defined]

    def take_up(self, exchange: Exchange) -> None:
        """Go on with the connection that is there, unless this exchange wants, or its age demands, a new one."""
        if self.sock is None:
            return
        if not exchange.may_reuse or time.monotonic() - self.opened_at > LONGEST_KEPT.total_seconds():
            self.close()
            return
        exchange.reused, exchange.remote_ip = True, self.remote_ip
        exchange.hold(self.sock)
        exchange.enter(Phase.FIRST_BYTE)


class CheckedTLSConnection(CheckedConnection, HTTPSConnection):
    scheme = "https"

    def connect(self) -> None:
        """A receiver that can't cope with a session instead of passing over it is connected to once more, without."""
        try:
            super().connect()
        except OSError as failure:
            if not was_resuming(failure):
                raise
            super().connect()

    def keep_session(self) -> None:
        if isinstance(self.sock, ResumingSocket):
            self.sock.keep_session()

    def close(self) -> None:
        self.keep_session()
        super().close()


class CheckedPool(HTTPConnectionPool):
    ConnectionCls = CheckedConnection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        connection.take_up(current.get())
        return connection

    def _put_conn(self, connection: Any) -> None:
        current.get().let_go()
        super()._put_conn(connection)


class CheckedTLSPool(CheckedPool, HTTPSConnectionPool):
    ConnectionCls = CheckedTLSConnection

    def _put_conn(self, connection: Any) -> None:
        if connection:
            connection.keep_session()
        super()._put_conn(connection)


class CheckedPools(PoolManager):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pool_classes_by_scheme = {"http": CheckedPool, "https": CheckedTLSPool}

    def connection_from_host(
        self, host: str | None, port: int | None = None, scheme: str | None = None, pool_kwargs: Any = None
    ) -> HTTPConnectionPool:
        """By these three alone: in all else the pools of one manager are the same."""
        place = {"scheme": scheme, "host": host, "port": port or DEFAULT_PORTS[str(scheme)]}
        return self.connection_from_pool_key(tuple(place.values()), self.connection_pool_kw | place)  # type: ignore[arg-type]


class CheckedAdapter(HTTPAdapter):
    """requests' adapter over checked connections: no proxies, no cookies, no second tries."""

    def __init__(self, ca_bundle: str) -> None:
        self.tls = tls_context(ca_bundle)
        super().__init__(HOSTS, CONNECTIONS)
        self.max_retries = Retry(total=False)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = CheckedPools(
            connections, maxsize=maxsize, block=block, ssl_context=self.tls, **options
        )

    def get_connection_with_tls_context(self, request: PreparedRequest, *_: Any, **__: Any) -> Any:
        """The connections to the request's host; there is no proxy to look for."""
        return self.poolmanager.connection_from_host(*host_of(str(request.url)))

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        return request.path_url

    def cert_verify(self, *_: Any) -> None:
        """`tls_context` does it, and reads the certificates once, not at every connect."""

    def build_response(self, request: PreparedRequest, answer: Any) -> Any:
        """urllib3's answer as it is: what requests would wrap around it nobody looks at."""
        return answer


@lru_cache(maxsize=4096)
def host_of(url: str) -> tuple[str | None, int | None, str | None]:
    parts = parse_url(url)
    return parts.host, parts.port, parts.scheme


class Shared:
    """What all attempts of one process share; made when the first one needs it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.adapters: dict[str, CheckedAdapter] = {}
        self.watchdog: Watchdog | None = None


shared = Shared()


def adapter(ca_bundle: str) -> CheckedAdapter:
    """This process's connections."""
    with shared.lock:
        if ca_bundle not in shared.adapters:
            shared.adapters[ca_bundle] = CheckedAdapter(ca_bundle)
        return shared.adapters[ca_bundle]


def watchdog() -> Watchdog:
    with shared.lock:
        shared.watchdog = shared.watchdog or Watchdog()
        return shared.watchdog


def start_over() -> None:
    """A forked process has no watchdog's thread, and must not speak on the connections of its parent."""
    global shared
    shared = Shared()


os.register_at_fork(after_in_child=start_over)
