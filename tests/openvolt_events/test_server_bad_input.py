"""The web server as `make run` starts it, asked over a bare socket what no client library would ask."""

import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from io import BytesIO

import psycopg
import pytest

from openvolt_events.web import HEAD_SECONDS
from tests.support.running import Running, all_gone, free_port, new_directory, wait_for

SECONDS = 30
HEAD = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
STORED = "SELECT (SELECT count(*) FROM events_event) + (SELECT count(*) FROM subscriptions_subscription)"
THREADS = 16


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with new_directory() as directory:
        running = Running(directory / "var", free_port(), {"RATE_LIMIT_ADDRESS": "100000"})
        running.wait_until_up()
        yield running
        running.end()


@pytest.fixture(scope="module", autouse=True)
def slow_client(service: Running) -> Iterator[socket.socket]:
    """One that has begun a request before all the others, and never ends it."""
    with connect(service) as client:
        client.sendall(HEAD)
        yield client


@pytest.fixture(autouse=True)
def nothing_is_stored_and_no_trace_is_left(service):
    yield
    with psycopg.connect(service.database_url()) as connection:
        assert connection.execute(STORED).fetchone() == (0,)
    assert "Traceback" not in service.said


def connect(service: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), SECONDS)


def ask(service: Running, request: bytes) -> bytes:
    """All that comes back until the server closes, or has answered and waits."""
    with connect(service) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1."), answer[:200]
    return int(answer.split(b" ", 2)[1])


class Said:
    """Bytes that have come, as `http.client` wants to read them."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def makefile(self, *_: object) -> BytesIO:
        return BytesIO(self.answer)


def problem_of(answer: bytes) -> dict[str, object]:
    response = HTTPResponse(Said(answer))  # type: ignore[arg-type]
    response.begin()
    assert response.headers["content-type"] == "application/problem+json", answer
    document: dict[str, object] = json.loads(response.read())
    assert document["status"] == response.status
    assert str(document["type"]).startswith("urn:openvolt:problem:")
    assert document["title"]
    assert document["detail"]
    return document


def reveals_nothing(answer: bytes) -> bool:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    servers = [line for line in head.split(b"\r\n") if line.startswith(b"server:")]
    return b"Traceback" not in answer and not any(digit in b"".join(servers) for digit in b"0123456789")


def is_marked(answer: bytes) -> bool:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return all(name in head for name in (b"\r\nx-request-id: ", b"\r\nx-content-type-options: nosniff"))


BY_THE_SERVER = {
    "an address of 5000 bytes": (b"GET /v1/" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    "a query of 5000 bytes": (
        b"GET /v1/events?a=" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        414,
    ),
    "an address without an end": (b"GET /v1/" + b"a" * 200_000, 414),
    "a header of 9000 bytes": (HEAD + b"X-A: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "101 headers": (HEAD + b"X-A: a\r\n" * 101 + b"\r\n", 431),
    "headers without an end": (HEAD + b"X-A: a\r\n" * 20_000, 431),
    "no method": (b"/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a method in small letters": (b"get /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "two spaces": (b"GET  /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "no version": (b"GET /v1/events\r\nHost: localhost\r\n\r\n", 400),
    "a version to come": (b"GET /v1/events HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "bytes of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "NUL in the address": (b"GET /v1/\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "bare bytes in the address": (b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "bare newlines": (b"GET /v1/events HTTP/1.1\nHost: localhost\n\n", 400),
    "a header without a name": (HEAD + b": a\r\n\r\n", 400),
    "a header without a colon": (HEAD + b"nonsense\r\n\r\n", 400),
    "a header with NUL": (HEAD + b"X-A: a\x00b\r\n\r\n", 400),
    "a space before the colon": (HEAD + b"X-A : a\r\n\r\n", 400),
    "a folded header": (HEAD + b"X-A: a\r\n b\r\n\r\n", 400),
    "no host": (b"GET /v1/events HTTP/1.1\r\n\r\n", 400),
    "two hosts": (HEAD + b"Host: evil.example\r\n\r\n", 400),
    "a length and chunks": (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "a length below 0": (POST + b"Content-Length: -2\r\n\r\n{}", 400),
    "a length in words": (POST + b"Content-Length: two\r\n\r\n{}", 400),
    "a length with a sign": (POST + b"Content-Length: +2\r\n\r\n{}", 400),
    "a coding that is not known": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "chunks that are chunked": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "an expectation that is not known": (POST + b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", 417),
}


@pytest.mark.parametrize("name", BY_THE_SERVER)
def test_what_is_not_http_is_4xx_with_a_problem_document(service, name):
    request, status = BY_THE_SERVER[name]

    answer = ask(service, request)

    assert problem_of(answer)["status"] == status
    assert reveals_nothing(answer)
    assert is_marked(answer)
    assert b"content-security-policy: default-src 'none'" in answer.lower()
    assert b"connection: close" in answer.lower()


BY_THE_APPLICATION = {
    "a path that is not": (b"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "the root of the API": (b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "dots": (b"GET /v1/../admin/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "dots in percent": (b"GET /v1/%2e%2e/admin/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "two slashes": (b"GET /v1//events HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "a percent alone": (b"GET /v1/events% HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "percent and no number": (b"GET /v1/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "percent NUL": (b"GET /v1/event-types/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
    "percent bytes that are no UTF-8": (b"GET /v1/%FF%FE HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "a query that is no UTF-8": (HEAD.replace(b"events", b"events?type=%FF%00%zz") + b"\r\n", 401),
    "a fragment": (HEAD.replace(b"events", b"events#a") + b"\r\n", 401),
    "another host": (b"GET /v1/events HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
    "a host that is none": (b"GET /v1/events HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400),
    "HTTP/1.0 without a host": (b"GET /v1/nothing HTTP/1.0\r\n\r\n", 404),
    "a whole address": (b"GET http://localhost/v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "an unknown method": (b"BREW /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
    "TRACE": (b"TRACE /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 401),
    "a body that is too large": (POST + b"Content-Length: 99999999\r\n\r\n{}", 401),
}


@pytest.mark.parametrize("name", BY_THE_APPLICATION)
def test_what_is_http_and_makes_no_sense_is_4xx_with_a_problem_document(service, name):
    request, status = BY_THE_APPLICATION[name]

    answer = ask(service, request)

    assert problem_of(answer)["status"] == status
    assert reveals_nothing(answer)
    assert is_marked(answer)


@pytest.mark.parametrize(
    "path", ["/metrics", "/healthz", "/docs/", "/static/docs.js", "/admin/", "/nothing", "/", "*"]
)
@pytest.mark.parametrize("method", ["TRACE", "BREW", "DELETE", "CONNECT", "OPTIONS", "POST"])
def test_no_page_breaks_when_it_is_asked_in_a_way_it_does_not_know(service, method, path):
    answer = ask(
        service, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na".encode()
    )

    assert status_of(answer) < 500
    assert reveals_nothing(answer)
    assert is_marked(answer)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_is_only_looked_at_says_so(service, method, path):
    answer = ask(service, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert status_of(answer) == 405
    assert b"allow: get, head" in answer.lower()


@pytest.mark.parametrize(
    "path", ["/healthz", "/v1/openapi.json", "/v1/events", "/docs/", "/static/docs.js", "/nothing", "/"]
)
def test_a_head_has_the_length_of_a_get_and_nothing_is_logged_of_it(service, path):
    rest = f" {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    answer, whole = ask(service, b"HEAD" + rest), ask(service, b"GET" + rest)

    assert status_of(answer) == status_of(whole)
    assert answer.endswith(b"\r\n\r\n")
    assert length_of(answer) == length_of(whole)
    assert "body bytes" not in service.said


@pytest.mark.parametrize(
    "header", ["SCRIPT_NAME: /x", "PATH_INFO: /healthz", "X-Forwarded-Ssl: on\r\nX-Forwarded-Proto: http"]
)
def test_no_header_makes_another_request_of_it_though_it_comes_from_this_machine(service, header):
    plain = b"GET /x/admin/login/ HTTP/1.1\r\nHost: localhost\r\n"

    answer, usual = ask(service, plain + header.encode() + b"\r\n\r\n"), ask(service, plain + b"\r\n")

    assert status_of(usual) == 404
    assert status_of(answer) == 404


def length_of(answer: bytes) -> bytes:
    found = re.search(rb"content-length: ([0-9]+)", answer, re.IGNORECASE)
    assert found, answer
    return found[1]


def with_key(service: Running, head: bytes) -> bytes:
    return head + f"X-Api-Key: {service.keys['OPENVOLT_PLATFORM_KEY']}\r\n".encode()


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"Content-Length: 100\r\n\r\n{}", 400),
        (b"Content-Length: 99999999\r\n\r\n{}", 413),
        (b"Content-Length: 99999999999999999999999\r\n\r\n{}", 413),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 411),
        (b"Content-Length: 1\r\n\r\n{}", 400),
        (b"\r\n{}", 422),
    ],
)
def test_a_length_that_is_not_the_bodys_is_4xx_and_ends_what_is_not_understood(service, rest, status):
    answer = ask(service, with_key(service, POST) + rest)

    assert status_of(answer) == status
    assert b'"detail"' in answer


def test_what_follows_a_length_beyond_all_bounds_is_not_read_as_a_request(service):
    with connect(service) as client:
        client.sendall(with_key(service, POST) + b"Content-Length: 99999999999999999999999\r\n\r\n")
        begun = client.recv(65536)
        send(client, b"GET /v1/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = begun + read_all(client)

    assert status_of(answer) == 413
    assert answer.count(b"HTTP/1.1 ") == 1


def test_requests_that_come_at_once_are_answered_in_their_order(service):
    one, other = HEAD.replace(b"events", b"first") + b"\r\n", HEAD.replace(b"events", b"second") + b"\r\n"

    answer = ask(service, one + other + one[:20])

    assert answer.count(b"HTTP/1.1 404") == 2
    assert answer.index(b"/v1/first.") < answer.index(b"/v1/second.")


def test_a_body_that_hides_a_request_is_only_a_body(service):
    hidden = b"GET /v1/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"

    answer = ask(service, with_key(service, POST) + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden)

    assert answer.count(b"HTTP/1.1 ") == 1
    assert status_of(answer) == 400


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(service):
    with connect(service) as client:
        client.sendall(with_key(service, POST) + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        asked = client.recv(100)
        client.sendall(b"{}")
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)

    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"HTTP/1.1 422" in answer


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"G",
        HEAD,
        POST + b"Content-Length: 1000\r\n\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        POST + b"Content-Length: 99999999\r\n\r\n{",
        HEAD + b"\r\nG",
    ],
    ids=[
        "nothing",
        "a byte",
        "half a head",
        "half a body",
        "half a chunk",
        "far too much",
        "half of a second",
    ],
)
def test_clients_that_never_end_their_request_keep_nobody_waiting(service, begun):
    with ExitStack() as held:
        clients = [held.enter_context(connect(service)) for _ in range(5 * THREADS)]
        for client in clients:
            client.sendall(begun)

        began = time.monotonic()
        for client in clients[:10]:
            send(client, b"a")
            assert status_of(ask(service, HEAD.replace(b"events", b"nothing") + b"\r\n")) == 404
        assert time.monotonic() < began + HEAD_SECONDS  # nobody had to wait until they were given up


def send(client: socket.socket, data: bytes) -> None:
    """As much as is still taken: the other side may have answered and closed."""
    with suppress(OSError):
        client.sendall(data)


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", HEAD + b"X-A: 1\n\r\n\r\n"])
def test_what_is_refused_before_the_application_sees_it_is_found_in_the_log_by_its_id(service, sent):
    head = ask(service, sent).partition(b"\r\n\r\n")[0].decode()

    id = re.search(r"^x-request-id: (\S+)", head, re.IGNORECASE | re.MULTILINE)
    assert id
    [line] = [line for line in service.said.splitlines() if id[1] in line]
    assert "status=400" in line
    assert "client=127.0.0.1 " in line


SLOW_TO_READ = {
    "millions of lists": ("batch", b'{"events":[' + b"[]," * 10_000_000 + b"[]]}", 413),
    "far too many bytes": ("preview", b'{"event_types":[' + b"[]," * 10_000_000 + b"[]]}", 413),
    "as many lists as may be": ("preview", b'{"event_types":[' + b"[]," * 499_000 + b"[]]}", 422),
    "as many numbers as may be": ("preview", b'{"event_types":[' + b"1e5," * 999_000 + b"1]}", 422),
}


@pytest.mark.parametrize("name", SLOW_TO_READ)
def test_bodies_that_take_long_to_read_keep_nobody_waiting(service, name):
    call, body, status = SLOW_TO_READ[name]
    key = service.keys["OPENVOLT_PLATFORM_KEY" if call == "batch" else "OPENVOLT_API_KEY"]
    path = "events/batch" if call == "batch" else "subscriptions/preview"
    head = POST.replace(b"events", path.encode()) + f"X-Api-Key: {key}\r\n".encode()
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    with ThreadPoolExecutor(3) as clients:  # as many as are gathered at a time, whatever process they come to
        answers = [clients.submit(ask, service, request) for _ in range(3)]
        while not all(answer.done() for answer in answers):
            assert status_of(ask(service, HEAD.replace(b"v1/events", b"healthz") + b"\r\n")) == 200

    assert [status_of(answer.result()) for answer in answers] == [status] * 3
    assert "WORKER TIMEOUT" not in service.said


def test_a_client_that_never_ends_is_told_so_and_cut_off(slow_client):
    assert problem_of(read_all(slow_client))["status"] == 408


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize(
    "begun", [b"GET / HTTP/1.1\r\nHost: l", POST + b"Content-Length: 9\r\n\r\n{"], ids=["heads", "bodies"]
)
def test_more_half_requests_than_there_is_room_for_keep_nobody_waiting(service, begun):
    with ExitStack() as held:
        upload = held.enter_context(connect(service))
        upload.sendall(with_key(service, POST) + b"Content-Length: 2\r\n\r\n{")
        for _ in range(900):
            client = held.enter_context(connect(service))
            send(client, begun)

        began = time.monotonic()
        for _ in range(5):
            assert status_of(ask(service, HEAD.replace(b"events", b"nothing") + b"\r\n")) == 404
        assert time.monotonic() < began + HEAD_SECONDS / 2

        if begun.startswith(b"GET"):  # who is sending a body is not dropped for those without a head
            upload.sendall(b"}")
            assert status_of(upload.recv(65536)) == 422


def test_a_stop_does_not_wait_for_clients_that_send_nothing(service):
    web = service.child("gunicorn")
    workers = web.children()

    with ExitStack() as held:
        for _ in range(THREADS):
            held.enter_context(connect(service))
        for worker in workers:
            worker.terminate()
        wait_for(lambda: all_gone(workers), 60)

    wait_for(service.answers, 60)
