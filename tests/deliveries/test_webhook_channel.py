import gzip
import json
import multiprocessing
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from functools import cache
from ipaddress import ip_address
from threading import Barrier, Event
from uuid import uuid4

import pytest
import time_machine
from standardwebhooks import Webhook, WebhookVerificationError
from svix.webhooks import Webhook as SvixWebhook
from svix.webhooks import WebhookVerificationError as SvixVerificationError

from deliveries.channels import RESPONSE_LIMIT, Notification, WebhookTarget, connections, tls, webhook
from deliveries.dispatch import drain
from deliveries.publishing import publish
from subscriptions import addresses
from subscriptions.models import new_secret
from tests.support import factories
from tests.support.api import Api
from tests.support.receivers import (
    Answer,
    Authority,
    RawReceiver,
    Receiver,
    drip,
    flood,
    hang,
    hang_up,
    read_request,
    reset,
    say,
    self_signed,
    tear_down,
)

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
SHORT = timedelta(milliseconds=400)  # for what never comes
ENOUGH = timedelta(seconds=1.5)  # for what comes at first, on a busy machine, too
IN_TIME = 20  # seconds; far beyond any deadline here, far below for ever

OURS = {
    "content-type", "content-length", "accept-encoding", "user-agent", "webhook-id", "webhook-timestamp",
    "webhook-signature", "openvolt-event-id", "openvolt-sequence", "openvolt-attempt", "openvolt-trigger",
}  # fmt: skip


@pytest.fixture(autouse=True)
def new_connections():
    """No test goes on with another's connections."""
    connections.shared.adapters.clear()
    tls.start_over()


@pytest.fixture
def leads_to(monkeypatch):
    """Make every name lead to these addresses from now on."""

    def lead(*found):
        answers = [ip_address(address) for address in found]
        monkeypatch.setattr(addresses, "resolve", lambda host, port, patience: answers)

    return lead


@pytest.fixture
def authority(tmp_path, settings):
    """An authority whose certificates are trusted."""
    authority = Authority(tmp_path)
    settings.WEBHOOK_CA_BUNDLE = str(authority.bundle)
    return authority


def notification(**fields):
    told = Notification(
        delivery_id=uuid4(),
        subscription_id=uuid4(),
        event_id=uuid4(),
        event_type="meter.created",
        occurred_at=datetime(2024, 5, 2, 12, 31, 26, 257000, tzinfo=UTC),
        payload='{"b":1.0,"a":"Zoë"}',
        sequence=1,
    )
    return replace(told, **fields)


def send(url, *, headers=None, secrets=None, now=None, **fields):
    target = WebhookTarget(url, secrets or (new_secret(),), headers or {})
    return webhook.send(notification(**fields), target, now or datetime.now(UTC))


def test_a_webhook_is_a_post_of_exactly_the_signed_bytes():
    secret, told = new_secret(), notification(attempt=3, trigger="replay")
    now = datetime.now(UTC)

    with Receiver() as receiver:
        report = webhook.send(told, WebhookTarget(receiver.url, (secret,)), now)

    [request] = receiver.requests
    assert report.succeeded
    assert (request.method, request.path) == ("POST", "/webhooks")
    assert request.body == told.body()
    assert Webhook(secret).verify(request.body, request.headers) == {
        "subscription_id": str(told.subscription_id),
        "event_id": "meter.created",
        "event_timestamp": "2024-05-02T12:31:26.257Z",
        "delivery_id": str(told.delivery_id),
        "payload": {"b": 1.0, "a": "Zoë"},
    }
    assert b'"payload":{"b":1.0,"a":"Zo\xc3\xab"}}' in request.body


def test_svix_own_library_verifies_it_too():
    secret = new_secret()

    with Receiver() as receiver:
        send(receiver.url, secrets=(secret,))

    [request] = receiver.requests
    SvixWebhook(secret).verify(request.body, request.headers)
    with pytest.raises(SvixVerificationError):
        SvixWebhook(secret).verify(request.body.replace(b"Zo", b"Jo"), request.headers)


def test_the_headers_are_those_of_the_contract_and_no_others():
    told, now = notification(sequence=7, attempt=3, trigger="manual"), datetime.now(UTC)

    with Receiver() as receiver:
        webhook.send(told, WebhookTarget(receiver.url, (new_secret(),)), now)

    [request] = receiver.requests
    assert request.headers == request.headers | {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/json",
        "content-length": str(len(told.body())),
        "accept-encoding": "identity",
        "user-agent": "Openvolt-Events/0.1.0",
        "webhook-id": str(told.delivery_id),
        "webhook-timestamp": str(int(now.timestamp())),
        "openvolt-event-id": str(told.event_id),
        "openvolt-sequence": "7",
        "openvolt-attempt": "3",
        "openvolt-trigger": "manual",
    }
    assert sorted(name for name, _ in request.raw_headers) == sorted(OURS | {"Host"})


def test_every_valid_secret_signs_the_newest_first():
    newest, older = new_secret(), new_secret()

    with Receiver() as receiver:
        send(receiver.url, secrets=(newest, older))

    [request] = receiver.requests
    signatures = request.headers["webhook-signature"].split(" ")
    assert len(signatures) == 2
    for secret, signature in zip((newest, older), signatures, strict=True):
        Webhook(secret).verify(request.body, request.headers | {"webhook-signature": signature})
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(request.body, request.headers)


def test_the_signature_is_right_whatever_time_zone_the_clock_speaks():
    secret, now = new_secret(), datetime.now(timezone(timedelta(hours=5, minutes=30)))

    with Receiver() as receiver:
        send(receiver.url, secrets=(secret,), now=now)

    [request] = receiver.requests
    assert request.headers["webhook-timestamp"] == str(int(now.timestamp()))
    Webhook(secret).verify(request.body, request.headers)


def test_own_headers_are_sent_and_their_values_are_not_kept():
    with Receiver() as receiver:
        report = send(receiver.url, headers={"Authorization": "Bearer hunter2", "X-Team": "hunter3"})

    [request] = receiver.requests
    assert ("Authorization", "Bearer hunter2") in request.raw_headers
    assert ("X-Team", "hunter3") in request.raw_headers
    assert report.request_headers["Authorization"] == "(not shown)"
    assert "hunter" not in str(report)
    assert {name: report.request_headers[name] for name in OURS} == {
        name: request.headers[name] for name in OURS
    }


def test_an_own_header_can_not_take_the_place_of_one_of_ours():
    with Receiver() as receiver:
        report = send(receiver.url, headers={"Webhook-Id": "of-the-owner", "USER-AGENT": "of-the-owner"})

    [request] = receiver.requests
    assert "of-the-owner" not in str(request)
    assert set(report.request_headers) == OURS


@pytest.mark.parametrize(
    "value",
    [
        "hunter2\r\nx: y",
        "hunter2\r\n folded",
        "hunter2\n",
        "hunter2\r",
        "hunter2\0",
        "hunter2\u2028",
        "hunter2é",
    ],
)
def test_a_stored_header_that_would_break_the_request_fails_the_attempt_without_being_repeated(value):
    with Receiver() as receiver:
        report = send(receiver.url, headers={"x-key": value})

    assert not receiver.requests
    assert not report.succeeded
    assert "The value of 'x-key'" in report.error
    assert "hunter2" not in str(report)


@pytest.mark.parametrize(
    "name",
    ["x: y\r\nz", "x\r\n", "x y", "", "x\0", "Transfer-Encoding", "transfer-encoding ", "Host", "Connection", "TE",
     "Proxy-Authorization", "webhook-anything"],
)  # fmt: skip
def test_a_stored_header_that_would_say_something_of_the_connection_fails_the_attempt(name):
    with Receiver() as receiver:
        report = send(receiver.url, headers={name: "chunked"})

    assert not receiver.requests
    assert not report.succeeded
    assert "header" in report.error


def test_what_came_back_is_reported():
    answer = Answer(201, {"X-Request-Id": "r1", "Set-Cookie": "a=b"}, b'{"ok": true}')

    with Receiver(answer) as receiver:
        report = send(receiver.url)

    assert (report.succeeded, report.error, report.status_code) == (True, "", 201)
    assert report.response_headers["x-request-id"] == "r1"
    assert report.response_body == '{"ok": true}'
    assert not report.response_truncated
    assert report.remote_ip == "127.0.0.1"
    assert not report.permanent
    assert not report.gone


def test_each_phase_is_timed_and_a_kept_connection_has_no_first_ones(authority, leads_to):
    leads_to("127.0.0.1")

    with Receiver(tls=authority.context("hooks.example")) as receiver:
        new, kept = [send(f"https://hooks.example:{receiver.port}/").timings for _ in range(2)]

    assert None not in (new.dns_ms, new.connect_ms, new.tls_ms, new.first_byte_ms)
    assert new.dns_ms + new.connect_ms + new.tls_ms + new.first_byte_ms <= new.total_ms + 1
    assert (kept.dns_ms, kept.connect_ms, kept.tls_ms) == (None, None, None)
    assert None not in (kept.first_byte_ms, kept.total_ms)


PHASES = ("dns_ms", "connect_ms", "tls_ms", "first_byte_ms", "total_ms")


def phases(report):
    """Those that took place."""
    return {name for name in PHASES if getattr(report.timings, name) is not None}


def test_a_failed_attempt_has_the_phases_as_far_as_it_came_and_the_address_it_dialled(
    settings, monkeypatch, authority, leads_to
):
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]

    with RawReceiver(hang) as hanging, Receiver(tls=authority.expired("hooks.example")) as expired:
        unfound = send("https://no-such-name.example/")
        leads_to("127.0.0.1")
        refused = send(f"https://hooks.example:{closed}/")
        not_trusted = send(f"https://hooks.example:{expired.port}/")
        settings.WEBHOOK_TIMEOUT = SHORT
        no_handshake = send(f"https://hooks.example:{hanging.port}/")
        silent = send(f"http://hooks.example:{hanging.port}/")

    assert phases(unfound) == {"dns_ms", "total_ms"}
    assert phases(refused) == {"dns_ms", "connect_ms", "total_ms"}
    assert phases(no_handshake) == phases(not_trusted) == {"dns_ms", "connect_ms", "tls_ms", "total_ms"}
    assert phases(silent) == {"dns_ms", "connect_ms", "first_byte_ms", "total_ms"}
    assert unfound.remote_ip is None
    assert {one.remote_ip for one in (refused, no_handshake, not_trusted, silent)} == {"127.0.0.1"}


def test_of_two_connections_that_an_attempt_used_the_second_one_counts(leads_to):
    with RawReceiver(say(NO_CONTENT, b"")) as receiver:
        leads_to("127.0.0.1")
        send(f"http://hooks.example:{receiver.port}/")
        again = send(f"http://hooks.example:{receiver.port}/")
        leads_to("10.0.0.7")
        refused = send(f"http://hooks.example:{receiver.port}/")

    assert phases(again) == {"dns_ms", "connect_ms", "first_byte_ms", "total_ms"}
    assert phases(refused) == {"dns_ms", "total_ms"}
    assert refused.remote_ip is None


@pytest.mark.django_db
def test_timings_and_address_of_a_real_attempt_are_shown_to_its_owner(authority):
    owner = factories.application()
    api = Api(factories.application_key(owner))

    with Receiver(Answer(503), tls=authority.context()) as receiver:
        factories.webhook(owner, receiver.url)
        event = publish(owner, "user.created", factories.example("user.created"))
        drain("webhook")

    [shown] = api.get(f"/v1/deliveries/{event.deliveries.get().id}").json()["attempts"]
    assert set(shown["timings"]) == set(PHASES)
    assert None not in shown["timings"].values()
    assert shown["remote_ip"] == "127.0.0.1"


def test_an_own_query_and_path_arrive_as_they_were_written():
    with Receiver() as receiver:
        send(f"http://127.0.0.1:{receiver.port}/a%2Fb/grüße?sig=%2Bx%3D&c=d")
        send(f"http://127.0.0.1:{receiver.port}?a=b")

    assert [request.path for request in receiver.requests] == [
        "/a%2Fb/gr%C3%BC%C3%9Fe?sig=%2Bx%3D&c=d",
        "/?a=b",
    ]


# Keeping connections


def test_one_connection_serves_many_webhooks():
    with Receiver(Answer(200, body=b"fine"), Answer(500, body=b"no"), Answer(204)) as receiver:
        reports = [send(receiver.url) for _ in range(4)]

    assert receiver.connections == 1
    assert {report.remote_ip for report in reports} == {"127.0.0.1"}


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_attempt():
    with RawReceiver(say(NO_CONTENT, b"")) as receiver:  # hangs up on the second request
        reports = [send(receiver.url) for _ in range(3)]

    assert [report.succeeded for report in reports] == [True, True, True]
    assert receiver.connections == 3


def test_a_new_connection_that_is_closed_is_not_tried_again():
    with RawReceiver(hang_up) as receiver:
        report = send(receiver.url)

    assert not report.succeeded
    assert receiver.connections == 1


def test_when_several_kept_connections_were_closed_the_second_try_is_on_a_new_one():
    both_open = Barrier(2)

    def script(connection, closing):
        early = receiver.connections <= 2
        read_request(connection)
        if early:
            both_open.wait(IN_TIME)
        connection.sendall(NO_CONTENT)
        read_request(connection)

    with RawReceiver(script) as receiver, ThreadPoolExecutor(2) as threads:
        list(threads.map(send, [receiver.url] * 2))
        report = send(receiver.url)

    assert report.succeeded


def test_an_answer_that_breaks_off_on_a_kept_connection_is_not_asked_for_again():
    def script(connection, closing):
        say(NO_CONTENT, OK + b"a: b\r\n")(connection, closing)
        closing.wait(0.8)  # for the sender to have read it before the reset discards it
        tear_down(connection)

    with RawReceiver(script) as receiver:
        send(receiver.url)
        report = send(receiver.url)

    assert report.error == "The receiver reset the connection."
    assert receiver.connections == 1


def test_a_connection_is_not_kept_beyond_its_time(monkeypatch):
    monkeypatch.setattr(connections, "LONGEST_KEPT", timedelta(0))

    with Receiver() as receiver:
        reports = [send(receiver.url) for _ in range(3)]

    assert all(report.succeeded for report in reports)
    assert receiver.connections == 3


def test_an_answer_that_was_not_read_whole_leaves_no_connection_behind():
    with Receiver(Answer(200, body=b"x" * 100_000), Answer(204)) as receiver:
        reports = [send(receiver.url) for _ in range(2)]

    assert [report.status_code for report in reports] == [200, 204]
    assert receiver.connections == 2


def test_a_connection_with_the_rest_of_an_answer_still_to_come_is_not_used_again():
    head = OK + b"content-length: 99999\r\n\r\n"

    with RawReceiver(drip(head + b"x" * (RESPONSE_LIMIT + 1), b"", every=IN_TIME)) as receiver:
        reports = [send(receiver.url) for _ in range(2)]

    assert [report.error for report in reports] == ["", ""]
    assert receiver.connections == 2


def test_more_of_an_answer_than_was_announced_is_not_taken_for_the_next_one():
    answer = OK + b"content-length: 2\r\n\r\nok" + OK + b"content-length: 6\r\n\r\nforged"

    with RawReceiver(say(answer)) as receiver:
        reports = [send(receiver.url) for _ in range(2)]

    assert [report.response_body for report in reports] == ["ok", "ok"]


def test_many_threads_send_at_once():
    secret = new_secret()

    with Receiver(Answer(200, body=b"ok")) as receiver, ThreadPoolExecutor(16) as threads:
        reports = list(threads.map(lambda _: send(receiver.url, secrets=(secret,)), range(160)))

    assert all(report.succeeded for report in reports)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 160
    assert receiver.connections <= 16
    for request in receiver.requests:
        Webhook(secret).verify(request.body, request.headers)


def test_a_forked_process_has_connections_and_deadlines_of_its_own(settings):
    def child(urls, reports):
        answering, hanging = urls
        heard = send(answering)
        settings.WEBHOOK_TIMEOUT = SHORT
        reports.put([heard.error, send(hanging).error])

    with Receiver() as receiver, RawReceiver(hang) as hanging:
        send(receiver.url)
        fork = multiprocessing.get_context("fork")
        reports = fork.SimpleQueue()
        process = fork.Process(target=child, args=([receiver.url, hanging.url], reports))
        process.start()
        process.join(IN_TIME)
        again = send(receiver.url)

    assert process.exitcode == 0
    assert reports.get() == ["", "The receiver did not begin to answer within 0.4 s."]
    assert again.succeeded
    assert receiver.connections == 2


# Resuming TLS sessions

TLS_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def resumed(receiver):
    return [request.resumed for request in receiver.requests]


@pytest.mark.parametrize("version", TLS_VERSIONS)
@pytest.mark.parametrize(
    "answer", [Answer(close=True), Answer(200, {"Connection": "close"}, b"ok", close=True)]
)
def test_a_new_connection_to_the_same_receiver_resumes_the_tls_session(authority, version, answer):
    context = authority.context()
    context.maximum_version = version

    with Receiver(answer, tls=context) as receiver:
        reports = [send(receiver.url) for _ in range(4)]

    assert [report.error for report in reports] == [""] * 4
    assert receiver.connections == 4
    assert resumed(receiver) == [False, True, True, True]


def test_connections_beside_one_that_is_kept_resume_its_session(authority):
    with Receiver(Answer(), Answer(after=timedelta(seconds=1)), tls=authority.context()) as receiver:
        send(receiver.url)
        with ThreadPoolExecutor(3) as threads:
            reports = list(threads.map(send, [receiver.url] * 3))

    assert all(report.succeeded for report in reports)
    assert receiver.connections == 3
    new = {request.connection: request.resumed for request in receiver.requests[1:]}
    assert sorted(new.values()) == [False, True, True]


def test_a_session_is_not_resumed_under_another_name(authority, leads_to):
    leads_to("127.0.0.1")

    with Receiver(Answer(close=True), tls=authority.context("hooks.example")) as receiver:
        first = send(f"https://hooks.example:{receiver.port}/")
        other = send(f"https://other.example:{receiver.port}/")

    assert first.succeeded
    assert other.error == "The receiver's certificate is for another host name."


def test_a_session_is_not_resumed_once_other_authorities_are_trusted(authority, settings):
    with Receiver(Answer(close=True), tls=authority.context()) as receiver:
        first = send(receiver.url)
        settings.WEBHOOK_CA_BUNDLE = ""
        second = send(receiver.url)

    assert first.succeeded
    assert "authority that is not trusted" in second.error


def test_a_receiver_that_has_forgotten_the_session_makes_a_new_one(authority):
    seen = []

    def script(connection, closing):
        with authority.context().wrap_socket(
            connection, server_side=True
        ) as encrypted:  # none knows another's tickets
            seen.append(encrypted.session_reused)
            say(NO_CONTENT)(encrypted, closing)

    with RawReceiver(script) as receiver:
        reports = [send(f"https://127.0.0.1:{receiver.port}/") for _ in range(2)]

    assert [report.error for report in reports] == ["", ""]
    assert seen == [False, False]


def test_a_receiver_that_breaks_off_when_a_session_is_to_be_resumed_gets_the_webhook_all_the_same(authority):
    context = authority.context()
    seen: list[bool] = []

    def script(connection, closing):
        if receiver.connections == 2:
            connection.recv(1)
            return
        with context.wrap_socket(connection, server_side=True) as encrypted:
            seen.append(encrypted.session_reused)
            say(NO_CONTENT)(encrypted, closing)

    with RawReceiver(script) as receiver:
        reports = [send(f"https://127.0.0.1:{receiver.port}/") for _ in range(2)]

    assert [report.error for report in reports] == ["", ""]
    assert receiver.connections == 3
    assert seen == [False, False]


def test_a_session_is_not_resumed_for_longer_than_an_hour_however_often_it_was(authority):
    with (
        Receiver(Answer(close=True), tls=authority.context()) as receiver,
        time_machine.travel(datetime.now(UTC), tick=False) as clock,
    ):
        for minutes in (0, 40, 19, 2):
            clock.shift(timedelta(minutes=minutes))
            send(receiver.url)

    assert resumed(receiver) == [False, True, True, False]


def test_a_session_is_not_resumed_once_its_certificate_has_expired(authority):
    context = authority.context(not_after=datetime.now(UTC) + timedelta(minutes=10))

    with (
        Receiver(Answer(close=True), tls=context) as receiver,
        time_machine.travel(datetime.now(UTC), tick=False) as clock,
    ):
        for minutes in (0, 9, 2):
            clock.shift(timedelta(minutes=minutes))
            send(receiver.url)

    assert resumed(receiver) == [False, True, False]


def test_a_certificate_that_a_receiver_changes_is_looked_at_when_the_session_has_ended(authority, tmp_path):
    context = authority.context()

    with Receiver(Answer(close=True), tls=context) as receiver:
        send(receiver.url)
        Authority(tmp_path, "Stranger").certify(context)
        resuming = send(receiver.url)
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=61)):
            later = send(receiver.url)

    assert resuming.succeeded  # whoever can resume has the keys of the one whose certificate was verified
    assert resumed(receiver) == [False, True]
    assert "authority that is not trusted" in later.error


def test_only_so_many_sessions_are_kept_the_latest_ones(authority, leads_to, monkeypatch):
    leads_to("127.0.0.1")
    monkeypatch.setattr(tls, "MOST_SESSIONS", 2)

    with Receiver(Answer(close=True), tls=authority.context("*.hooks.example")) as receiver:
        for name in ("a", "b", "c", "a", "c"):
            send(f"https://{name}.hooks.example:{receiver.port}/")

    assert len(tls.sessions.kept) == 2
    assert resumed(receiver) == [False, False, False, False, True]


# Failures


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (hang_up, "The receiver closed the connection without an answer."),
        (reset, "The receiver reset the connection."),
        (say(b"SSH-2.0-OpenSSH_9.6\r\n"), "The receiver's answer is not HTTP/1.1."),
        (say(b"\x15\x03\x01\x00\x02\x02\x46"), "The receiver's answer is not HTTP/1.1."),
        (say(b"HTTP/1.1 abc\r\n\r\n"), "The receiver's answer is not HTTP/1.1."),
        (say(b"HTTP/1.1 99 Low\r\n\r\n"), "The receiver's answer is not HTTP/1.1."),
        (say(b"HTTP/3.0 200 OK\r\n\r\n"), "The receiver's answer is not HTTP/1.1."),
        (say(b"HTTP/1.1 200 " + b"x" * 70_000), "header line that is too long"),
        (say(OK + b"a: " + b"x" * 70_000 + b"\r\n\r\n"), "header line that is too long"),
        (say(OK + b"a: b\r\n" * 101 + b"\r\n"), "more than 100 headers"),
        (say(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 11 + NO_CONTENT), "interim answers"),
        (say(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), "protocol that was not asked for"),
        (say(OK), "in the middle of its answer"),
        (say(OK + b"content-len"), "in the middle of its answer"),
        (say(OK + b"content-length: 0"), "in the middle of its answer"),
        (say(OK + b"content-length: 0\r\n"), "in the middle of its answer"),
        (say(b"HTTP/1.1 204 No Content\r\na: b\r\n"), "in the middle of its answer"),
        (say(b"HTTP/1.1 100 Continue\r\n\r\n" + OK), "in the middle of its answer"),
        (say(b"HTTP/1.1 103 Early Hints\r\na: b\r\n"), "closed the connection without an answer"),
        (say(OK + b"content-length: 9\r\n\r\n"), "in the middle of its answer"),
        (say(OK + b"transfer-encoding: chunked\r\n\r\n"), "in the middle of its answer"),
        (say(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n"), "in the middle of its answer"),
        (say(OK + b"content-length: 9\r\n\r\nshort"), "in the middle of its answer"),
        (say(OK + b"transfer-encoding: chunked\r\n\r\n9\r\nshort"), "in the middle of its answer"),
        (say(OK + b"transfer-encoding: chunked\r\n\r\nno number\r\n"), "in the middle of its answer"),
        (say(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 101), "more than 100 headers"),
    ],
)  # fmt: skip
def test_a_receiver_that_misbehaves_fails_the_attempt_in_a_plain_sentence(script, says):
    with RawReceiver(script) as receiver:
        report = send(receiver.url)

    assert not report.succeeded
    assert says in report.error
    assert report.error.endswith(".")
    assert not report.permanent
    assert report.remote_ip == "127.0.0.1"


def test_one_deadline_covers_everything_to_the_last_byte(settings):
    settings.WEBHOOK_TIMEOUT = ENOUGH
    silent = [hang]
    slow = [
        drip(b"", b"H"),
        drip(OK + b"a: b", b"c"),
        drip(OK, b"a: b\r\n", every=0.02),
        drip(OK + b"content-length: 99999\r\n\r\n", b"c"),
        drip(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nc\r\n"),
        drip(OK + b"\r\n", b"c"),  # cut, this one looks like any that ends by closing
        drip(b"HTTP/1.1 500 Oh\r\n\r\n", b"c"),
    ]
    began = time.monotonic()

    with ExitStack() as stack, ThreadPoolExecutor(len(silent + slow)) as threads:
        urls = [stack.enter_context(RawReceiver(script)).url for script in silent + slow]
        reports = [*threads.map(send, urls)]

    assert time.monotonic() - began < IN_TIME
    assert not any(report.succeeded for report in reports)
    assert [report.error for report in reports] == [
        *["The receiver did not begin to answer within 1.5 s."] * len(silent),
        *["The receiver's answer was not complete within 1.5 s."] * len(slow),
    ]


def test_a_handshake_that_hangs_ends_at_the_deadline(settings):
    settings.WEBHOOK_TIMEOUT = SHORT

    with RawReceiver(hang) as receiver:
        report = send(f"https://127.0.0.1:{receiver.port}/")

    assert report.error == "The receiver did not finish the TLS handshake within 0.4 s."


def test_a_handshake_that_drips_ends_at_the_deadline(settings):
    settings.WEBHOOK_TIMEOUT = SHORT

    def drip_a_record(connection, closing):
        ends_at = time.monotonic() + IN_TIME
        connection.sendall(b"\x16\x03\x03\x40\x00")
        while not closing.wait(0.05) and time.monotonic() < ends_at:
            connection.sendall(b"\x00")

    with RawReceiver(drip_a_record) as receiver:
        report = send(f"https://127.0.0.1:{receiver.port}/")

    assert report.error == "The receiver did not finish the TLS handshake within 0.4 s."


def test_an_encrypted_answer_that_drips_ends_at_the_deadline(settings, authority):
    settings.WEBHOOK_TIMEOUT = ENOUGH
    context = authority.context()

    def script(connection, closing):
        with context.wrap_socket(connection, server_side=True) as encrypted:
            drip(OK + b"\r\n", b"c")(encrypted, closing)

    with RawReceiver(script) as receiver:
        report = send(f"https://127.0.0.1:{receiver.port}/")

    assert not report.succeeded
    assert report.error == "The receiver's answer was not complete within 1.5 s."
    assert set(report.response_body) == {"c"}


def test_a_receiver_that_takes_nothing_in_ends_at_the_deadline(settings):
    settings.WEBHOOK_TIMEOUT = SHORT

    with RawReceiver(hang) as receiver:
        report = send(receiver.url, payload=json.dumps("x" * 16_000_000))

    assert report.error == "The receiver did not begin to answer within 0.4 s."


def test_a_look_up_that_hangs_ends_at_the_deadline(settings, monkeypatch):
    settings.WEBHOOK_TIMEOUT = SHORT
    never = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(60) or [])

    report = send("https://slow.example/")

    never.set()
    assert report.error == "The receiver's name could not be looked up within 0.4 s."
    assert report.remote_ip is None


def test_a_connect_that_hangs_ends_at_the_deadline(settings):
    settings.WEBHOOK_TIMEOUT = SHORT
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = fill_backlog(full)
        report = send(f"http://127.0.0.1:{full.getsockname()[1]}/")
        for one in waiting:
            one.close()

    assert report.error == "The receiver could not be connected to within 0.4 s."


def fill_backlog(server):
    """Connect until no further connection is taken."""
    waiting: list[socket.socket] = []
    while len(waiting) < 100:
        one = socket.socket()
        one.settimeout(0.3)
        waiting.append(one)
        try:
            one.connect(server.getsockname())
        except TimeoutError:
            break
    return waiting


def test_after_a_deadline_the_next_attempts_go_well(settings):
    settings.WEBHOOK_TIMEOUT = SHORT

    with Receiver(Answer(after=timedelta(seconds=30)), Answer(204)) as receiver:
        late = send(receiver.url)
        settings.WEBHOOK_TIMEOUT = timedelta(seconds=IN_TIME)
        reports = [send(receiver.url) for _ in range(3)]

    assert not late.succeeded
    assert all(report.succeeded for report in reports)


def test_a_deadline_cuts_no_connection_that_another_attempt_has_taken_over(settings):
    settings.WEBHOOK_TIMEOUT = timedelta(seconds=1)
    ends_at = time.monotonic() + 2.5

    with Receiver(Answer(200, body=b"ok")) as receiver, ThreadPoolExecutor(4) as threads:

        def keep_sending(_):
            failed = []
            while time.monotonic() < ends_at:
                report = send(receiver.url)
                failed += [report.error] if report.error else []
            return failed

        assert [*threads.map(keep_sending, range(4))] == [[], [], [], []]


def test_a_port_where_nothing_listens_is_a_plain_refusal():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    report = send(f"http://127.0.0.1:{port}/")

    assert report.error.startswith("The receiver refused the connection")
    assert report.remote_ip == "127.0.0.1"


def unknown(*_, **__):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_that_does_not_exist_is_a_failed_attempt(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    report = send("https://no-such-name.example/")

    assert report.error.startswith("The receiver's name could not be found")
    assert not report.permanent


# What came back


@pytest.mark.parametrize("total", [RESPONSE_LIMIT + 1, 1_000_000_000])
def test_of_a_long_answer_the_first_16_kib_are_kept_and_a_success_stays_one(total):
    with RawReceiver(flood(OK + b"content-length: %d\r\n\r\n" % total, max(total, 65536))) as receiver:
        report = send(receiver.url)

    assert report.succeeded
    assert report.response_body == "x" * RESPONSE_LIMIT
    assert report.response_truncated


def test_an_answer_of_exactly_16_kib_is_kept_whole():
    with Receiver(Answer(200, body=b"x" * RESPONSE_LIMIT)) as receiver:
        reports = [send(receiver.url) for _ in range(2)]

    assert {len(report.response_body) for report in reports} == {RESPONSE_LIMIT}
    assert not any(report.response_truncated for report in reports)
    assert receiver.connections == 1


def test_headers_are_kept_up_to_a_limit():
    with RawReceiver(
        say(OK + b"".join(b"h%d: %s\r\n" % (i, b"x" * 1000) for i in range(50)) + b"\r\n")
    ) as receiver:
        report = send(receiver.url)

    assert report.succeeded
    assert 10 < len(report.response_headers) < 17
    assert report.response_truncated


def test_an_answer_is_made_fit_for_the_database():
    with RawReceiver(
        say(OK + b"x-nul: a\0b\r\nx-twice: 1\r\nx-twice: 2\r\n\r\nNUL \0 and \xff\xfe")
    ) as receiver:
        report = send(receiver.url)

    assert report.response_body == "NUL  and \ufffd\ufffd"
    assert report.response_headers == {"x-nul": "ab", "x-twice": "1, 2"}


def test_a_compressed_answer_is_not_unpacked():
    with RawReceiver(say(OK + b"content-encoding: gzip\r\n\r\nnot gzip at all")) as receiver:
        report = send(receiver.url)

    assert report.succeeded
    assert report.response_body == "not gzip at all"


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(64_000_000))


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, gzip"])
def test_an_answer_that_would_unpack_to_far_more_is_kept_as_it_came_up_to_the_limit(coding):
    with Receiver(Answer(200, {"Content-Encoding": coding}, bomb())) as receiver:
        report = send(receiver.url)

    assert len(bomb()) > RESPONSE_LIMIT
    assert report.succeeded
    assert report.response_truncated
    assert len(report.response_body) <= RESPONSE_LIMIT


def test_trailers_are_passed_over_and_the_connection_is_kept():
    answer = OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\na: b\r\nc: d\r\n\r\n"

    with RawReceiver(say(answer, answer)) as receiver:
        reports = [send(receiver.url) for _ in range(2)]

    assert [report.response_body for report in reports] == ["ok", "ok"]
    assert receiver.connections == 1


@pytest.mark.parametrize("end", [b"0\r\n", b"0\r\na: b\r\n", b"0\r\na: b"])
def test_a_body_whose_last_chunk_has_come_is_whole_whatever_becomes_of_the_trailers(end):
    """RFC 9112, section 8."""
    with RawReceiver(say(OK + b"transfer-encoding: chunked\r\n\r\n4\r\ndone\r\n" + end)) as receiver:
        report = send(receiver.url)

    assert report.succeeded
    assert report.response_body == "done"


def test_a_body_of_no_announced_length_ends_where_the_connection_does():
    with RawReceiver(say(OK + b"\r\ndone")) as receiver:
        report = send(receiver.url)

    assert report.succeeded
    assert report.response_body == "done"


def test_what_came_of_an_answer_that_was_cut_is_kept():
    with RawReceiver(say(OK + b"content-length: 9\r\n\r\nhalf")) as receiver:
        report = send(receiver.url)

    assert not report.succeeded
    assert (report.status_code, report.response_body) == (200, "half")


def test_interim_answers_are_passed_over():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"

    with RawReceiver(say(interim + NO_CONTENT)) as receiver:
        report = send(receiver.url)

    assert (report.succeeded, report.status_code) == (True, 204)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (400, "The receiver answered 400 Bad Request."),
        (401, "The receiver answered 401 Unauthorized."),
        (404, "The receiver answered 404 Not Found."),
        (429, "The receiver answered 429 Too Many Requests."),
        (500, "The receiver answered 500 Internal Server Error."),
        (503, "The receiver answered 503 Service Unavailable."),
        (599, "The receiver answered 599."),
        (999, "The receiver answered 999."),
    ],
)
def test_any_status_beyond_2xx_is_a_failed_attempt_that_may_be_retried(status, says):
    with Receiver(Answer(status, body=b"sorry")) as receiver:
        report = send(receiver.url)

    assert (report.succeeded, report.error, report.status_code) == (False, says, status)
    assert (report.permanent, report.gone) == (False, False)
    assert report.response_body == "sorry"


def test_410_is_for_good():
    with Receiver(Answer(410)) as receiver:
        report = send(receiver.url)

    assert (report.succeeded, report.permanent, report.gone) == (False, True, True)
    assert report.error == "The receiver answered 410 Gone."


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failed_attempt_that_says_where_it_points(status):
    with Receiver() as elsewhere, Receiver(Answer(status, {"Location": elsewhere.url})) as receiver:
        report = send(receiver.url)

    assert not report.succeeded
    assert not report.permanent
    assert f"points to http://127.0.0.1:{elsewhere.port}/…" in report.error
    assert "redirects are not followed" in report.error
    assert not elsewhere.requests
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("location", "pointing"),
    [
        (
            "https://shop.example/customers/cust_1?email=ann@example.org#x",
            " and points to https://shop.example/…",
        ),
        ("https://shop.example", " and points to https://shop.example/"),
        ("HTTPS://Shop.Example:8443/", " and points to https://shop.example:8443/"),
        ("https://ann:secret@shop.example/?x", " and points to https://shop.example/…"),
        ("https://[2001:db8::1]:8443/x", " and points to https://[2001:db8::1]:8443/…"),
        ("//shop.example/customers/cust_1", ""),
        ("/customers/cust_1", ""),
        ("mailto:ann@example.org", ""),
        ("https://[shop", ""),
        ("https://shop.example:port/", ""),
        ("https://cust 1; Ann/", ""),
        ("", ""),
    ],
)
def test_of_where_a_redirect_points_only_the_host_is_said_since_the_rest_may_be_about_people(
    location, pointing
):
    with RawReceiver(say(f"HTTP/1.1 302 Found\r\nlocation: {location}\r\n\r\n".encode())) as receiver:
        report = send(receiver.url)

    assert report.error == (
        f"The receiver answered 302 Found{pointing}; redirects are not followed, "
        "so the subscription's URL must be the final one."
    )
    assert report.response_headers["location"] == location


WRONG_LENGTHS = [b"-1", b"+2", b"2_0", b"two", b"2.0", b"", b"2,", b"2, 3", b"2\r\ncontent-length: 3"]


@pytest.mark.parametrize("length", WRONG_LENGTHS)
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_whose_length_is_no_one_number_is_a_failed_attempt_and_the_receivers_fault(status, length):
    with RawReceiver(say(b"HTTP/1.1 %d x\r\ncontent-length: %s\r\n\r\nok" % (status, length))) as receiver:
        report = send(receiver.url)

    assert not report.succeeded
    assert report.error == "The receiver's answer has a Content-Length that is not one whole number."


def test_a_length_that_is_said_twice_alike_is_one():
    with RawReceiver(say(OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok")) as receiver:
        assert send(receiver.url).succeeded


NOON = datetime(2026, 5, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("wish", "wait"),
    [
        ("0", timedelta(0)),
        ("120", timedelta(minutes=2)),
        (" 120 ", timedelta(minutes=2)),
        ("9" * 5000, timedelta(seconds=10**9)),
        (format_datetime(NOON + timedelta(hours=1), usegmt=True), timedelta(hours=1)),
        (format_datetime(NOON - timedelta(hours=1), usegmt=True), timedelta(0)),
        ("Saturday, 02-May-26 13:00:00 GMT", timedelta(hours=1)),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Sat, 99 May 2026 13:00:00 GMT", None),
        ("\u00b2", None),
        ("", None),
    ],
)
def test_a_busy_receiver_may_say_when_to_come_again(status, wish, wait):
    with Receiver(Answer(status, {"Retry-After": wish})) as receiver:
        report = send(receiver.url, now=NOON)

    assert report.retry_after == wait


@pytest.mark.parametrize("status", [200, 301, 404, 410, 500])
def test_retry_after_means_nothing_on_another_status(status):
    with Receiver(Answer(status, {"Retry-After": "120"})) as receiver:
        assert send(receiver.url).retry_after is None


# Where it goes


def test_an_address_that_is_not_public_is_never_connected_to(settings):
    with Receiver() as receiver:
        settings.WEBHOOK_ALLOWED_NETWORKS = []
        report = send(f"https://127.0.0.1:{receiver.port}/")

    assert not report.succeeded
    assert "not public" in report.error
    assert not report.permanent  # the name's owner may mend it
    assert report.remote_ip is None
    assert not receiver.requests


def test_a_name_with_one_private_address_among_its_own_is_never_connected_to(leads_to):
    leads_to("127.0.0.1", "10.0.0.7")

    with Receiver() as receiver:
        report = send(f"http://mixed.example:{receiver.port}/")

    assert "not public" in report.error
    assert not receiver.requests


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch):
    looked_up = []

    def first_ours_then_theirs(host, port, patience):
        looked_up.append(host)
        return [ip_address("127.0.0.1" if len(looked_up) == 1 else "10.0.0.7")]

    monkeypatch.setattr(addresses, "resolve", first_ours_then_theirs)

    with Receiver(Answer(close=True)) as receiver:
        first, second = [send(f"http://rebinding.example:{receiver.port}/") for _ in range(2)]

    assert first.succeeded
    assert first.remote_ip == "127.0.0.1"
    assert looked_up == ["rebinding.example", "rebinding.example"]
    assert "not public" in second.error


def test_plain_http_to_a_public_address_is_refused(leads_to):
    leads_to("8.8.8.8")

    report = send("http://example.com/")

    assert "use https" in report.error
    assert report.remote_ip is None


def test_every_address_is_tried_in_turn(leads_to):
    leads_to("::1", "127.0.0.1")  # nothing listens at the first

    with Receiver() as receiver:
        report = send(f"http://several.example:{receiver.port}/")

    assert report.succeeded
    assert report.remote_ip == "127.0.0.1"


def test_host_and_the_name_in_tls_stay_those_of_the_url(authority, leads_to):
    leads_to("127.0.0.1")

    with Receiver(tls=authority.context("hooks.example")) as receiver:
        report = send(f"https://hooks.example:{receiver.port}/in")

    [request] = receiver.requests
    assert report.succeeded
    assert request.headers["host"] == f"hooks.example:{receiver.port}"
    assert request.server_name == "hooks.example"


def test_an_international_name_and_a_final_dot_are_understood(authority, leads_to):
    leads_to("127.0.0.1")

    with Receiver(tls=authority.context("xn--bcher-kva.example")) as receiver:
        reports = [send(f"https://{host}:{receiver.port}/") for host in ("bücher.example", "bücher.example.")]

    assert [report.error for report in reports] == ["", ""]
    assert {request.server_name for request in receiver.requests} == {"xn--bcher-kva.example"}


def test_a_certificate_that_is_not_in_order_says_what_is_wrong_with_it(authority, tmp_path):
    stranger = Authority(tmp_path, "Stranger")
    cases = {
        "has expired": authority.expired(),
        "is for another address": authority.context("127.0.0.2"),
        "is self-signed": self_signed(tmp_path),
        "from an authority that is not trusted": stranger.context(),
        "is not valid yet": authority.context(
            not_before=datetime.now(UTC) + timedelta(days=1), not_after=datetime.now(UTC) + timedelta(days=2)
        ),
    }

    for says, context in cases.items():
        with Receiver(tls=context) as receiver:
            report = send(receiver.url)
        assert says in report.error
        assert not receiver.requests


def test_a_certificate_for_another_name_is_refused(authority, leads_to):
    leads_to("127.0.0.1")

    with Receiver(tls=authority.context("other.example")) as receiver:
        report = send(f"https://hooks.example:{receiver.port}/")

    assert report.error == "The receiver's certificate is for another host name."


def test_a_private_authority_is_trusted_only_when_it_is_named(authority, settings):
    with Receiver(tls=authority.context()) as receiver:
        named = send(receiver.url)
        settings.WEBHOOK_CA_BUNDLE = ""
        unnamed = send(receiver.url)

    assert named.succeeded
    assert "authority that is not trusted" in unnamed.error


def test_https_to_a_port_that_speaks_http_says_so():
    with Receiver() as receiver:
        report = send(f"https://127.0.0.1:{receiver.port}/")

    assert report.error.startswith("The receiver does not speak TLS at that port")


def test_the_environment_and_earlier_answers_add_nothing(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    with Receiver() as proxy, Receiver(Answer(204, {"Set-Cookie": "a=b; Path=/"})) as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        for _ in range(2):
            assert send(receiver.url).succeeded

    assert not proxy.requests
    for request in receiver.requests:
        assert {name.lower() for name, _ in request.raw_headers} == OURS | {"host"}
