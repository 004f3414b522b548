"""gunicorn's threads, for requests that have wholly arrived: who sends slowly, or never ends, holds none of them.

gunicorn's own `gthread` reads in the thread that answers, and waits for ever: sixteen connections that send a byte now
and then would stop the service. Here the loop that accepts also gathers, within limits of time and memory. What is
refused before the application sees it is a problem document, too.
"""

import gc
import json
import re
import selectors
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from logging.config import dictConfig
from typing import Any
from uuid import uuid4

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from gunicorn import http
from gunicorn.glogging import Logger
from gunicorn.http import errors
from gunicorn.workers.gthread import TConn, ThreadWorker

from openvolt_events.callers import UNKNOWN, parsed
from openvolt_events.middleware import CONTENT_SECURITY_POLICY

log = structlog.get_logger(__name__)

HEAD_SECONDS = 15
BODY_SECONDS = 120
ANSWER_SECONDS = 60  # to think and to send: who takes longer to read an answer is cut off
LINGER_SECONDS = 2  # after an answer, for a client that is still sending (RFC 9112, 9.6)
HEAD_BYTES = 64 * 1024
SMALL_BYTES = 64 * 1024  # such a request is taken however much else is being gathered
GATHERED_BYTES = 96 * 1024 * 1024  # at one time, in one process
SEND_BUFFER_BYTES = 1024 * 1024
PIECE_BYTES = 256 * 1024
GRACE_SECONDS = 1  # for who is new, also when there is no room for more connections

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
TRANSFER_ENCODING = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
BARE_NEWLINE = re.compile(rb"(?<!\r)\n")
EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)

# What is the matter with a request that gunicorn can't read. Nothing of it is repeated: it is hostile, or secret.
FAULTS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    errors.LimitRequestLine: (
        HTTPStatus.REQUEST_URI_TOO_LONG,
        "The address is too long; at most 4094 bytes are read.",
    ),
    errors.LimitRequestHeaders: (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The headers are too many or too large; at most 100 of 8190 bytes are read, 64 KiB in all.",
    ),
    errors.ExpectationFailed: (
        HTTPStatus.EXPECTATION_FAILED,
        "The only expectation that is met is 100-continue.",
    ),
    errors.ParseException: (HTTPStatus.BAD_REQUEST, "The request is not HTTP/1.1 as RFC 9112 has it."),
}
OURS = (errors.ConfigurationProblem, errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)


class Connection(TConn):
    """One whose request comes piece by piece, as fast or slowly as it will."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.data_ready = True
        self.arrived = bytearray()
        self.await_head()

    def await_head(self) -> None:
        self.head_bytes = 0  # until the head has come
        self.body_bytes: int | None = 0  # None: what follows the head is not waited for
        self.waited_for_since = time.monotonic()
        self.deadline = self.waited_for_since + HEAD_SECONDS

    def take(self) -> bool:
        """Take what has come. Whether there is nothing more to wait for."""
        try:
            piece = self.sock.recv(PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            piece = b""
        self.arrived += piece
        return not piece or self.is_whole()

    def breaks_off(self) -> bool:
        return self.head_bytes > 0 and self.body_bytes is not None and not self.is_whole()

    def is_whole(self) -> bool:
        if not self.head_bytes and not self.read_head():
            return False
        return self.body_bytes is None or len(self.arrived) >= self.head_bytes + self.body_bytes

    def read_head(self) -> bool:
        start = 2 if self.arrived.startswith(b"\r\n") else 0  # one empty line is passed over (RFC 9112, 2.2)
        end = self.arrived.find(b"\r\n\r\n", start)
        if end < 0:
            return False
        self.head_bytes = end + 4
        head = bytes(self.arrived[: end + 2])
        found = CONTENT_LENGTH.search(head)
        length = int(found[1][:16]) if found else 0  # Python reads no number of more than 4300 digits
        # What is too large, the application refuses without having read it.
        awaited = length <= settings.MAX_BATCH_BYTES and not TRANSFER_ENCODING.search(head)
        self.body_bytes = length if awaited else None
        self.deadline = time.monotonic() + BODY_SECONDS
        if self.body_bytes and len(self.arrived) == self.head_bytes and EXPECT.search(head):
            with suppress(OSError):
                self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def fault_of_head(self) -> type[Exception] | None:
        """Why there is no sense in waiting for the rest of the head."""
        if BARE_NEWLINE.search(self.arrived):
            return errors.InvalidHeader
        if len(self.arrived) > HEAD_BYTES:
            return errors.LimitRequestHeaders if b"\r\n" in self.arrived else errors.LimitRequestLine
        return None

    def hand_over(self) -> None:
        """To a thread, whose reading never waits: after what has arrived, there is nothing."""
        self.parser = http.get_parser(self.cfg, [bytes(self.arrived)], self.client)
        self.initialized = True
        self.arrived.clear()
        self.deadline = time.monotonic() + ANSWER_SECONDS

    def start_again(self) -> None:
        """With the next request, of which some may have come already."""
        self.arrived += self.parser.unreader.take_buffered() if self.parser else b""
        self.await_head()


class Log(Logger):
    """gunicorn's own lines, in the form of all others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        try:
            dictConfig(settings.LOGGING)
        except ImproperlyConfigured as error:
            sys.exit(f"Wrong setting: {error}")
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Worker(ThreadWorker):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gathering: set[Connection] = set()
        self.answering: set[Connection] = set()
        self.lingering: set[Connection] = set()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        gc.freeze()  # what stays for good: a body with many values would have it looked through again and again

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        self.gather(Connection(self.cfg, client, address, listener.getsockname()))

    def gather(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        self.gathering.add(conn)
        self.watch(conn, self.on_piece)
        self.on_piece(conn, conn.sock)

    def watch(self, conn: Connection, callback: Any) -> None:
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(callback, conn))

    def on_piece(self, conn: Connection, _: Any) -> None:
        done = conn.take()
        if done and conn.breaks_off():
            self.refuse(conn, HTTPStatus.BAD_REQUEST, "The body breaks off before its Content-Length.")
        elif done:
            self.stop_gathering(conn)
            self.hand_over(conn)
        elif not conn.head_bytes and (fault := conn.fault_of_head()):
            self.refuse(conn, *explained(fault))
        elif len(conn.arrived) > SMALL_BYTES and self.gathered_bytes() > GATHERED_BYTES:
            detail = "Too many large requests are being sent at this moment; try again in some seconds."
            self.refuse(conn, HTTPStatus.TOO_MANY_REQUESTS, detail)

    def gathered_bytes(self) -> int:
        return sum(len(conn.arrived) for conn in self.gathering)

    def stop_gathering(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self.gathering.discard(conn)

    def hand_over(self, conn: Connection) -> None:
        conn.hand_over()
        self.answering.add(conn)
        super().enqueue_req(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """gunicorn's word for a connection on which the next request has begun to come."""
        conn.start_again()
        if conn.arrived and conn.is_whole():
            self.hand_over(conn)
        else:
            self.gather(conn)

    def handle_request(self, req: Any, conn: Connection) -> bool:
        if req.version >= (1, 1) and not any(name == "HOST" for name, _ in req.headers):
            raise errors.InvalidHeader("HOST")  # RFC 9112, 3.2
        if conn.body_bytes is None:  # the rest of it is not read: where the next request begins is not known
            req.force_close()
        return bool(super().handle_request(req, conn))

    def finish_request(self, conn: Connection, future: Any) -> None:
        self.answering.discard(conn)
        if future.cancelled() or future.exception() or not future.result():
            self.linger(conn)
        else:
            conn.await_head()
            super().finish_request(conn, future)

    def refuse(self, conn: Connection, status: HTTPStatus, detail: str) -> None:
        self.stop_gathering(conn)
        with suppress(OSError):
            conn.sock.send(refusal(status, detail, conn.client))
        self.linger(conn)

    def linger(self, conn: Connection) -> None:
        """Close, once the client has seen the end. gunicorn waits for that where it should accept."""
        conn.arrived.clear()
        conn.deadline = time.monotonic() + LINGER_SECONDS
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.watch(conn, self.on_rest)
            self.lingering.add(conn)
        except (OSError, ValueError):
            self.forget(conn)

    def on_rest(self, conn: Connection, _: Any) -> None:
        try:
            over = not conn.sock.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            self.stop_lingering(conn)

    def stop_lingering(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self.lingering.discard(conn)
        self.forget(conn)

    def forget(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """gunicorn's word for a look, every second, at who has taken too long."""
        now = time.monotonic()
        for conn in late(self.gathering, now):
            self.give_up(conn)
        if not self.alive:
            for conn in [conn for conn in self.gathering if not conn.arrived]:
                self.give_up(conn)
        for conn in late(self.lingering, now):
            self.stop_lingering(conn)
        for conn in late(self.answering, now):
            with suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)  # its thread finds that nobody is there

        while self.nr_conns >= self.worker_connections and (one := self.longest_waited_for()):
            self.drop(one)  # who opens connections and doesn't go on would keep all others out

    def longest_waited_for(self) -> Connection | None:
        """Of those who are not new; one whose head has come only if there is no other."""
        since = time.monotonic() - GRACE_SECONDS
        waited_for = [
            conn for conn in (*self.keepalived_conns, *self.gathering) if conn.waited_for_since < since
        ]
        return min(waited_for, key=lambda conn: (conn.head_bytes > 0, conn.waited_for_since), default=None)

    def drop(self, conn: Connection) -> None:
        if conn in self.gathering:
            self.stop_gathering(conn)
        else:
            self.poller.unregister(conn.sock)
            self.keepalived_conns.remove(conn)
        self.forget(conn)

    def give_up(self, conn: Connection) -> None:
        if conn.arrived:
            self.refuse(conn, HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time.")
        else:
            self.drop(conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        status, detail = explained(type(exc))
        with suppress(OSError):
            client.sendall(refusal(status, detail, addr))


def late(connections: set[Connection], now: float) -> list[Connection]:
    return [conn for conn in connections if conn.deadline < now]


def explained(fault: type[Exception]) -> tuple[HTTPStatus, str]:
    """The answer to a request that can't be read, or that failed outside of the application."""
    if not issubclass(fault, OURS):
        for kind, words in FAULTS.items():
            if issubclass(fault, kind):
                return words
    return HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed; try again."


def refusal(status: HTTPStatus, detail: str, peer: Any) -> bytes:
    """The whole answer, in the form that the application's problem documents have. `peer` is who is connected."""
    kind = f"urn:openvolt:problem:{status.phrase.lower().replace(' ', '-')}"
    body = json.dumps({"type": kind, "title": status.phrase, "status": status, "detail": detail}).encode()
    id = str(uuid4())
    client = str((peer and parsed(peer[0])) or UNKNOWN)  # a header that could name another was not read
    said = {"status": status.value, "detail": detail, "client": client, "request_id": id}
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.exception("a request failed outside of the application", **said)
    else:
        log.info("refused before it was a request", **said)
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        f"Content-Security-Policy: {CONTENT_SECURITY_POLICY}",
        "X-Content-Type-Options: nosniff",
        f"X-Request-Id: {id}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
