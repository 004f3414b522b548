"""`make demo`: the day it plays, its receivers and its recipient, and the account that it closes with."""

import json
import re
import socket
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest
import requests
from standardwebhooks import Webhook

from events.event_types import EVENT_TYPES
from openvolt_events.demo.__main__ import main
from openvolt_events.demo.account import ARRIVED, TRIED, Account, PublishedEvent, Told, account, wanted
from openvolt_events.demo.client import Client, NotRunning, Refused
from openvolt_events.demo.day import Change, Publish, RotateKey, plan
from openvolt_events.demo.half_hours import HALF_HOUR, half_hours
from openvolt_events.demo.mailbox import Form, Mailbox
from openvolt_events.demo.receivers import Behaviour, Receipt, Receiver, down, flaky, healthy, slow
from openvolt_events.demo.screen import Plain, Standing, Tally, Terminal, complaints, table
from tests.support.running import Running, free_port, new_directory

SATURDAY, SUNDAY = date(2026, 10, 24), date(2026, 10, 25)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SUBSCRIPTION = "0318df2f-7b9c-4b2e-bf8d-113919ab1e78"


@pytest.mark.parametrize(
    ("day", "count", "starts_at"),
    [
        (SATURDAY, 48, datetime(2026, 10, 23, 23, tzinfo=UTC)),
        (SUNDAY, 50, datetime(2026, 10, 24, 23, tzinfo=UTC)),
        (date(2026, 3, 29), 46, datetime(2026, 3, 29, 0, tzinfo=UTC)),
        (date(2026, 1, 15), 48, datetime(2026, 1, 15, 0, tzinfo=UTC)),
    ],
)
def test_a_london_day_has_48_half_hours_but_46_and_50_when_the_clocks_change(day, count, starts_at):
    starts = half_hours(day)

    assert len(starts) == count
    assert starts[0] == starts_at
    assert {later - earlier for earlier, later in pairwise(starts)} == {HALF_HOUR}


def test_the_next_day_begins_where_the_clock_change_sunday_ends():
    assert half_hours(SUNDAY)[-1] + HALF_HOUR == half_hours(SUNDAY + timedelta(days=1))[0]


def changes_of(steps: list[Publish | RotateKey]) -> list[Change]:
    return [change for step in steps if isinstance(step, Publish) for change in step.changes]


def stretches_of(changes: list[Change], meter_id: str) -> list[tuple[datetime, datetime]]:
    return [
        (datetime.fromisoformat(item["start_interval"]), datetime.fromisoformat(item["end_interval"]))
        for change in changes
        if change.type == "meter_data.received"
        for item in change.payload
        if item["meter_id"] == meter_id
    ]


def meters_of(changes: list[Change]) -> list[str]:
    return [change.payload["_id"] for change in changes if change.type == "meter.created"]


def test_the_days_have_all_seven_event_types_and_about_a_hundred_events_in_order():
    steps = plan("run", [SATURDAY, SUNDAY])

    changes = changes_of(steps)
    assert {change.type for change in changes} | {"api_keys.rotated"} == set(EVENT_TYPES)
    assert sum(isinstance(step, RotateKey) for step in steps) == 1
    assert 60 <= len(changes) + 1 <= 120
    assert [step.at for step in steps] == sorted(step.at for step in steps)


def test_every_payload_meets_the_schema_of_its_type():
    for change in changes_of(plan("run", [SATURDAY, SUNDAY])):
        assert not EVENT_TYPES[change.type].errors(change.payload), change


@pytest.mark.parametrize(
    ("days", "count"), [([SATURDAY, SUNDAY], 48 + 50), ([SUNDAY], 50), ([date(2026, 3, 29)], 46)]
)
def test_the_data_of_a_meter_covers_each_half_hour_once(days, count):
    changes = changes_of(plan("run", days))

    stretches = sorted(stretches_of(changes, meters_of(changes)[0]))
    assert all(one[1] == next_one[0] for one, next_one in pairwise(stretches))
    assert (stretches[-1][1] - stretches[0][0]) / HALF_HOUR == count
    assert stretches[0][0] == half_hours(days[0])[0]


def test_data_comes_in_several_batches_a_day_with_one_event_a_meter():
    steps = plan("run", [SATURDAY, SUNDAY])

    batches = [step for step in steps if isinstance(step, Publish) and len(step.changes) > 1]
    assert len(batches) > 8
    for batch in batches:
        assert set(Counter(change.payload[0]["meter_id"] for change in batch.changes).values()) == {1}


def test_nothing_is_told_of_a_meter_before_it_exists_or_after_its_consent_was_revoked():
    changes = changes_of(plan("run", [SATURDAY, SUNDAY]))

    revoked = next(change for change in changes if change.type == "hosted_consent.revoked")
    created = {change.payload["_id"]: change for change in changes if change.type == "meter.created"}
    data = [change for change in changes if change.type == "meter_data.received"]
    assert data
    for change in data:
        meter = created[change.payload[0]["meter_id"]]
        assert change.occurred_at > meter.occurred_at
        if meter.payload["consent_id"] == revoked.payload["_id"]:
            assert change.occurred_at < revoked.occurred_at


def test_two_runs_share_no_ids():
    first, second = changes_of(plan("one", [SUNDAY])), changes_of(plan("two", [SUNDAY]))

    assert not set(meters_of(first)) & set(meters_of(second))


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    behaviour: Behaviour = request.param
    receiver = Receiver(behaviour)
    receiver.secret = SECRET
    receiver.start()
    yield receiver
    receiver.stop()


def send(receiver: Receiver, webhook_id: str, secret: str = SECRET, attempt: int = 1) -> requests.Response:
    body = json.dumps({"delivery_id": webhook_id})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, now, body),
        "openvolt-event-id": f"event of {webhook_id}",
        "openvolt-attempt": str(attempt),
    }
    return requests.post(receiver.url, data=body, headers=headers, timeout=10)


@pytest.mark.parametrize("receiver", [healthy], indirect=True)
def test_a_receiver_remembers_what_it_got_and_that_the_signature_was_right(receiver):
    answer = send(receiver, "one")

    assert answer.status_code == 204
    assert receiver.receipts() == [
        Receipt("one", "event of one", "1", accepted=True, verified=True, document={"delivery_id": "one"})
    ]


@pytest.mark.parametrize("receiver", [healthy], indirect=True)
def test_a_receiver_notices_a_signature_made_with_another_secret(receiver):
    send(receiver, "one", secret="whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")

    assert [receipt.verified for receipt in receiver.receipts()] == [False]


@pytest.mark.parametrize("receiver", [healthy], indirect=True)
def test_a_request_without_any_headers_of_a_webhook_is_not_verified(receiver):
    requests.post(receiver.url, data=b"\xff", timeout=10)

    assert [receipt.verified for receipt in receiver.receipts()] == [False]


@pytest.mark.parametrize("receiver", [flaky], indirect=True)
def test_the_flaky_receiver_wants_some_again_in_a_second_or_two_and_then_takes_them(receiver):
    first = {webhook_id: send(receiver, webhook_id) for webhook_id in "abcd"}
    again = {webhook_id: send(receiver, webhook_id, attempt=2) for webhook_id in "abcd"}

    refused = [answer for answer in first.values() if answer.status_code == 503]
    assert sorted(answer.headers["retry-after"] for answer in refused) == ["1", "2"]
    assert {answer.status_code for answer in again.values()} == {204}


@pytest.mark.parametrize("receiver", [down], indirect=True)
def test_the_receiver_that_is_down_accepts_nothing(receiver):
    assert [send(receiver, "a").status_code, send(receiver, "a").status_code] == [500, 500]
    assert not any(receipt.accepted for receipt in receiver.receipts())


@pytest.mark.parametrize("receiver", [slow], indirect=True)
def test_the_slow_receiver_takes_its_time(receiver):
    answer = send(receiver, "a")

    assert answer.ok
    assert timedelta(seconds=1) <= answer.elapsed <= timedelta(seconds=9)  # on a busy machine, too


def write_email(directory: Path, name: str, to: str, text: str, document: object = None) -> None:
    message = EmailMessage()
    message["To"] = to
    message["Subject"] = "From the service"
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    if document is not None:
        message.add_attachment(json.dumps(document).encode(), maintype="application", subtype="json")
    (directory / name).write_bytes(bytes(message))


def test_the_recipient_finds_the_link_in_its_own_newest_confirmation_email(tmp_path):
    write_email(tmp_path, "0.eml", "me+run@example.org", "Of an earlier run: http://localhost/confirm/0")
    mailbox = Mailbox(tmp_path, "me+run@example.org")
    assert mailbox.confirmation_link() is None

    write_email(tmp_path, "1.eml", "Me <me+run@example.org>", "Please confirm: http://localhost/confirm/1")
    write_email(tmp_path, "2.eml", "other@example.org", "Please confirm: http://localhost/confirm/2")

    assert mailbox.confirmation_link() == "http://localhost/confirm/1"
    assert mailbox.receipts() == []


def test_the_emails_of_a_recipient_count_by_the_notification_that_comes_with_them(tmp_path):
    mailbox = Mailbox(tmp_path, "me@example.org")
    write_email(tmp_path, "1.eml", "me@example.org", "Consent revoked", {"delivery_id": "one", "payload": []})

    [receipt] = mailbox.receipts()

    assert (receipt.webhook_id, receipt.accepted, receipt.verified) == ("one", True, None)
    assert mailbox.confirmation_link() is None


def test_a_form_is_read_as_a_browser_would_send_it():
    form = Form(
        '<form action="/search"><input name="q" value="no"></form>'
        '<form method="post" action="/confirm/"><input type="hidden" name="token" value="a&amp;b">'
        '<button name="do" value="confirm">Confirm</button></form><input name="outside" value="no">'
    )

    assert (form.action, form.fields) == ("/confirm/", {"token": "a&b", "do": "confirm"})


EVENTS = [
    PublishedEvent("e1", "customer.created", {"_id": "1"}),
    PublishedEvent("e2", "meter_data.received", []),
]


def arrived(delivery_id: str, event: PublishedEvent, accepted: bool = True, verified: bool = True) -> Receipt:
    document = {
        "subscription_id": SUBSCRIPTION,
        "event_id": event.type,
        "event_timestamp": "2026-10-25T00:00:00.000Z",
        "delivery_id": delivery_id,
        "payload": event.payload,
    }
    return Receipt(delivery_id, event.id, "1", accepted, verified, document)


def closed(deliveries: list[Told], receipts: list[Receipt], ends: Collection[str] = ARRIVED) -> Account:
    return account("healthy", SUBSCRIPTION, EVENTS, deliveries, receipts, ends)


def test_a_subscription_wants_its_types_or_all():
    assert [event.id for event in wanted(EVENTS, ["*"])] == ["e1", "e2"]
    assert [event.id for event in wanted(EVENTS, ["meter_data.received"])] == ["e2"]


def test_what_was_delivered_and_arrived_balances():
    result = closed(
        [Told("d1", "e1", "succeeded", 1), Told("d2", "e2", "succeeded", 2)],
        [arrived("d1", EVENTS[0]), arrived("d2", EVENTS[1], accepted=False), arrived("d2", EVENTS[1])],
    )

    assert not result.problems
    assert (result.published, result.delivered, result.scheduled, result.held) == (2, 2, 0, 0)
    assert (result.received, result.accepted, result.requests) == (2, 2, 3)
    assert (result.verified, result.bad_signatures) == (3, 0)


def test_what_is_scheduled_for_a_receiver_that_is_down_balances_once_it_was_tried():
    told = [Told("d1", "e1", "pending", 1), Told("d2", "e2", "pending", 0)]

    result = closed(told, [arrived("d1", EVENTS[0], accepted=False)], ends=TRIED)

    assert result.scheduled == 1
    assert result.problems == ["meter_data.received e2 is pending after 0 attempts (delivery d2)"]


def test_what_is_held_is_accounted_for():
    result = closed([Told("d1", "e1", "held", 0), Told("d2", "e2", "held", 0)], [])

    assert (result.held, result.problems, result.verified) == (2, [], None)


@pytest.mark.parametrize(
    ("deliveries", "receipts", "problem"),
    [
        ([], [], "customer.created e1 has no delivery"),
        (
            [Told("d1", "e1", "pending", 1)],
            [],
            "customer.created e1 is pending after 1 attempts (delivery d1)",
        ),
        (
            [Told("d1", "e1", "succeeded", 1)],
            [],
            "customer.created e1 is said to be delivered, and never arrived (delivery d1)",
        ),
        (
            [Told("d1", "e1", "held", 1)],
            [arrived("d1", EVENTS[0])],
            "customer.created e1 has arrived, and is held (delivery d1)",
        ),
        ([Told("d1", "e1", "held", 0), Told("d9", "e1", "held", 0)], [], "event e1 has 2 deliveries"),
        ([Told("d9", "e9", "held", 0)], [], "delivery d9 tells event e9, which was not asked for"),
        ([], [arrived("d9", EVENTS[0])], "notification d9 arrived, and is no delivery of this subscription"),
        (
            [Told("d1", "e1", "succeeded", 1)],
            [arrived("d1", EVENTS[0], verified=False)],
            "notification d1 (attempt 1) has a bad signature",
        ),
        (
            [Told("d1", "e1", "succeeded", 1)],
            [arrived("d1", PublishedEvent("e1", "customer.created", {"_id": "2"}))],
            "notification d1 differs from what was published as customer.created e1",
        ),
        (
            [Told("d1", "e1", "succeeded", 1)],
            [arrived("d1", EVENTS[1])],
            "notification d1 names event e2, not e1",
        ),
    ],
)
def test_what_does_not_balance_is_named(deliveries, receipts, problem):
    result = closed(deliveries, receipts)

    assert problem in result.problems
    assert problem in complaints([result])


def test_the_table_names_each_subscription_and_its_verdict():
    good = closed([Told("d1", "e1", "held", 0), Told("d2", "e2", "held", 0)], [])
    bad = closed([], [])

    head, first, second = table([good, bad]).splitlines()

    assert "published" in head
    assert first.split() == ["healthy", "2", "0", "0", "2", "0", "0", "0", "-", "-", "ok"]
    assert second.endswith("wrong")


class Moody(BaseHTTPRequestHandler):
    """Answers each request with the next of the server's `answers`."""

    def do_POST(self) -> None:
        status, body = self.server.answers.pop(0)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def moody() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Moody) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def client_of(server: HTTPServer) -> Client:
    return Client(f"http://127.0.0.1:{server.server_port}", "ovk_x")


def test_what_is_safe_to_repeat_is_asked_again_while_the_service_is_away(moody):
    moody.answers = [(503, b""), (200, b'{"data": []}'), (502, b""), (201, b'{"id": "1"}')]

    assert client_of(moody).get("/v1/events") == {"data": []}
    assert client_of(moody).post_once("/v1/events", {}, "key") == {"id": "1"}


def test_what_is_not_safe_to_repeat_is_asked_once(moody):
    moody.answers = [(503, b""), (201, b"{}")]

    with pytest.raises(NotRunning, match="answered 503"):
        client_of(moody).post("/v1/subscriptions", {})
    assert len(moody.answers) == 1


def test_patience_with_a_service_that_is_away_ends(moody, monkeypatch):
    monkeypatch.setattr("openvolt_events.demo.client.PATIENCE", timedelta(0))
    moody.answers = [(503, b"")] * 9

    with pytest.raises(NotRunning, match="answered 503"):
        client_of(moody).get("/v1/events")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [(422, b'{"title": "no"}', 'answered 422: {"title"'), (200, b"<html>", "JSON")],
)
def test_an_answer_that_is_no_success_or_no_json_is_told(moody, status, body, reason):
    moody.answers = [(status, body)]

    with pytest.raises(Refused, match=re.escape(reason)):
        client_of(moody).get("/v1/events")


def test_an_empty_answer_is_none(moody):
    moody.answers = [(204, b"")]

    assert client_of(moody).post("/v1/subscriptions/1/pause") is None


def standing(published: int) -> Standing:
    moment = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    return Standing(moment, published, 75, [Tally("healthy", published, 1)])


def test_a_log_gets_plain_lines_with_the_time_in_london():
    stream = StringIO()

    Plain(stream).show(standing(2))

    assert stream.getvalue() == ("Sun 25 Oct 2026 01:30 GMT  published 2 of 75; delivered: healthy 1/2\n")


def test_a_terminal_redraws_its_block_in_place():
    stream = StringIO()
    screen = Terminal(stream)

    screen.show(standing(2))
    screen.show(standing(3))

    first, second = stream.getvalue().split("\x1b[2A")
    assert "published 2 of 75" in first
    assert "published 3 of 75" in second


def test_without_a_service_the_command_says_so_in_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENVOLT_URL", raising=False)

    with pytest.raises(SystemExit) as exit_:
        main(["--var", str(tmp_path)])

    assert "OPENVOLT_URL" in str(exit_.value)
    assert "make run" in str(exit_.value)
    assert "\n" not in str(exit_.value)


def test_when_nothing_listens_the_command_says_so_in_one_line(tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "demo.env").write_text(f"OPENVOLT_URL={url}\nOPENVOLT_PLATFORM_KEY=ovk_x\n")
        monkeypatch.delenv("OPENVOLT_URL", raising=False)

        with pytest.raises(SystemExit) as exit_:
            main(["--var", str(tmp_path)])

    assert str(exit_.value).startswith(f"Nothing answers at {url}")
    assert "\n" not in str(exit_.value)


@pytest.fixture
def service() -> Iterator[Running]:
    with new_directory() as directory:
        # Not the schedule that the demo's receivers are made for.
        running = Running(directory / "var", free_port(), {"RETRY_SCHEDULE": "1,1"})
        running.wait_until_up()
        yield running
        running.end()
        print(running.said)  # shown when the test has failed


def test_the_demo_accounts_for_every_event_of_a_running_service(service, capsys, monkeypatch):
    for name in service.keys:
        monkeypatch.delenv(name, raising=False)

    main(["--var", str(service.var), "--seconds", "2"])

    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.endswith("  ok")}
    assert list(rows) == ["healthy", "flaky", "slow", "down", "email"]
    assert "wrong" not in shown
    assert "Everything is accounted for: 72 events, 166 notifications." in shown
    assert rows["healthy"][1:5] == ["72", "72", "0", "0"]
    assert rows["down"][1:5] == ["9", "0", "9", "0"]
    assert "Paused the subscription of 'down' (deliveries held: 9)" in shown
    assert "Traceback" not in service.said
