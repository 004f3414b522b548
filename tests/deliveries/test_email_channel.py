"""Emails as a real mail server takes them, or doesn't."""

import json
import re
import smtplib
import stat
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import pytest
import requests
from anymail.exceptions import (  # type: ignore[import-untyped]
    AnymailInvalidAddress,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
)
from django.core import mail
from django.test import override_settings

from deliveries.channels import EmailTarget, Notification, Report
from deliveries.channels.email import message as letter
from deliveries.channels.email import send, send_email
from deliveries.channels.eml import EmailBackend as FileBackend
from deliveries.channels.mime import Email
from deliveries.channels.refusals import refusal
from deliveries.channels.wording import (
    Wording,
    confirmation_wording,
    digest_wording,
    notification_wording,
    sentences,
)
from deliveries.letters import Told
from deliveries.letters.events import LETTERS
from deliveries.letters.facts import every_fact
from deliveries.letters.reader import Reader
from deliveries.letters.reading import as_moment, at, clean
from deliveries.letters.stretches import by_meter
from events.event_types import EVENT_TYPES
from subscriptions.links import unsubscribe_link
from tests.support.receivers import Answer, Authority, Receiver
from tests.support.smtp import mail_server, parsed, refuse_sign_in, scripted_server

DELIVERY = UUID("c9d893a1-11dc-4063-834f-35bff4437ca2")
SUBSCRIPTION = UUID("0318df2f-7b9c-4b2e-bf8d-113919ab1e78")
EVENT = UUID("019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4")
RECIPIENT = UUID("019a4c1e-0000-7d3a-9a51-0c2f6be3a7d4")
HAPPENED = datetime(2026, 11, 2, 16, 5, 41, 7000, tzinfo=UTC)
NOW = datetime(2026, 11, 2, 16, 5, 44, tzinfo=UTC)
LINK = re.compile(r"https?://[^\s<>\"]+")

INJECTION = "Flat 2\r\nBcc: victim@example.org\r\n\r\n<script>alert(1)</script>"
HOSTILE_TEXTS = [
    'Zoë O\'Neill & Söhne <x> "quoted"',
    "🏠⚡ family: 👩‍👩‍👧",
    "משפחת כהן, شقة ٢",
    INJECTION,
    "line\u2028separator\u0085next\x0bvertical\x1bescape\x7f",
    "\u202egnp.exe",
    "{{ payload }}{% load emails %}",
    "long " * 2000,
    "x" * 5000,
    "",
]
ODD_PAYLOADS: list[Any] = [
    None,
    [],
    {},
    0,
    True,
    "text",
    [1, None, [[]], {"meter_id": {}}],
    [{"meter_id": "a", "start_interval": "yesterday", "end_interval": "9999-12-31T23:59:59.999-14:00"}],
    {"_id": None, "items": {"a": 1}, "description": {"deep": {"deeper": {"deepest": [1]}}}},
    {f"key {number}": "v" * 900 for number in range(500)},
    [{"meter_id": f"m{number}", "start_interval": "", "end_interval": ""} for number in range(5000)],
]


def told(event_type: str = "user.created", payload: Any = ..., **fields: Any) -> Notification:
    chosen = EVENT_TYPES[event_type].example if payload is ... else payload
    return Notification(
        DELIVERY, SUBSCRIPTION, EVENT, event_type, HAPPENED, json.dumps(chosen, ensure_ascii=False), **fields
    )


def to(application_name: str = "Green Homes", email: str = "ann@example.org") -> EmailTarget:
    return EmailTarget(email, RECIPIENT, application_name)


def wording(event_type: str = "user.created", payload: Any = ..., **fields: Any) -> Wording:
    return notification_wording(told(event_type, payload, **fields), to())


def text_of(message, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part
    return part.get_content()


def attachment_of(message) -> bytes:
    [part] = message.iter_attachments()
    assert (part.get_content_type(), part.get_filename()) == ("application/json", "notification.json")
    return part.get_payload(decode=True)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_kind_of_event_arrives_with_text_html_and_the_exact_notification(event_type):
    notification = told(event_type)

    with mail_server() as mailbox:
        report = send(notification, to(), NOW)

    message = mailbox.message()
    assert report.succeeded
    assert report.status_code == 250
    assert attachment_of(message) == notification.body()
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/json",
    ]
    for part in (text_of(message), text_of(message, "html")):
        assert "Green Homes" in part
        assert str(EVENT) in part
        assert str(DELIVERY) in part
        assert unsubscribe_link(RECIPIENT) in part
        assert "2 Nov 2026, 16:05 UTC" in part.replace("&nbsp;", " ")
        assert "what you can do" in part.lower()


def test_the_headers_are_those_of_an_automatic_email_that_one_click_ends():
    with mail_server() as mailbox:
        send(told(attempt=3, trigger="replay"), to(), NOW)

    message = mailbox.message()
    assert message["to"] == "ann@example.org"
    assert message["message-id"] == f"<{DELIVERY}@openvolt.example>"
    assert parsedate_to_datetime(message["date"]) == NOW
    assert message["list-unsubscribe"] == f"<{unsubscribe_link(RECIPIENT)}>"
    assert message["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert message["list-id"] == f'"Green Homes" <{SUBSCRIPTION}.openvolt.example>'
    assert message["auto-submitted"] == "auto-generated"
    assert message["openvolt-event-id"] == str(EVENT)
    assert message["openvolt-attempt"] == "3"
    assert message["openvolt-trigger"] == "replay"
    assert len(message.get_all("to", [])) == 1
    assert "cc" not in message
    assert mailbox.envelopes[0].rcpt_tos == ["ann@example.org"]


def test_a_retry_has_the_same_message_id():
    with mail_server() as mailbox:
        send(told(), to(), NOW)
        send(told(attempt=2), to(), NOW + timedelta(minutes=1))

    first, second = mailbox.messages()
    assert first["message-id"] == second["message-id"]
    assert first["date"] != second["date"]


def test_the_report_has_the_headers_and_the_answer_but_not_the_link_that_unsubscribes():
    with mail_server():
        report = send(told(), to(), NOW)

    assert report.response_body == "2.0.0 queued as 4711"
    assert report.remote_ip == "127.0.0.1"
    assert report.timings.total_ms is not None
    assert report.request_headers["Subject"] == "Person given access: Priya Shah"
    assert report.request_headers["To"] == "ann@example.org"
    assert report.request_headers["List-Unsubscribe"] == "(not kept)"
    assert unsubscribe_link(RECIPIENT) not in str(report)


@pytest.mark.parametrize(
    ("event_type", "subject"),
    [
        ("api_keys.rotated", "API key replaced: CI deploys"),
        ("customer.created", "Customer added: Hawthorn Bakery Ltd"),
        ("hosted_consent.approved", "Consent approved by customer 65a0…b94e01: Flat 2 electricity"),
        ("hosted_consent.revoked", "Consent revoked by customer 65a0…b94e01: Flat 2 electricity"),
        ("meter.created", "Meter added: Bakery, main supply"),
        ("meter_data.received", "New meter data: 2 meters, 24 Oct 2026"),
        ("user.created", "Person given access: Priya Shah"),
    ],
)
def test_the_subject_says_what_happened(event_type, subject):
    assert wording(event_type).subject == subject


def test_a_test_says_that_it_is_one():
    words = wording(test=True, trigger="test")

    assert words.subject == "[Test] Person given access: Priya Shah"
    assert words.text.startswith("THIS IS A TEST.")
    assert "This is a test." in words.html


def test_a_replay_says_that_it_is_one():
    words = wording(trigger="replay")

    assert words.subject == "[Replay] Person given access: Priya Shah"
    assert words.text.startswith("This is a replay: ")
    assert "This is a replay: " in words.html


def test_a_digest_of_replays_alone_says_so_and_one_with_news_does_not():
    again, new = told(trigger="replay"), replace(told(), event_id=DELIVERY)
    other = replace(new, trigger="replay")

    assert digest_wording([again, other], to()).subject.startswith("[Replay] ")
    assert "eplay" not in digest_wording([again, new], to()).text


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES.keys() - {"meter_data.received"}))
def test_no_text_of_a_payload_or_an_application_breaks_the_email(event_type, text):
    payload = dict.fromkeys(EVENT_TYPES[event_type].schema["properties"], text)
    payload |= {"customer": {"_id": "1", "name": text}, "notes": [text], "metadata": {text: text}}
    payload.pop("validity_state", None)
    assert EVENT_TYPES[event_type].errors(payload) == []
    notification = told(event_type, payload)

    with mail_server() as mailbox:
        report = send(notification, to(text), NOW)

    message = mailbox.message()
    assert report.succeeded, report.error
    assert attachment_of(message) == notification.body()
    assert message.defects == []
    assert message["bcc"] is None
    assert mailbox.envelopes[0].rcpt_tos == ["ann@example.org"]
    assert len(message["subject"]) <= 120
    assert "<script" not in text_of(message, "html")
    assert "&amp;lt;" not in text_of(message, "html")
    assert len(text_of(message)) < 12_000
    assert "\u202e" not in text_of(message) + message["subject"]
    assert max(map(len, mailbox.contents()[0].split(b"\r\n"))) <= 998


def test_names_of_all_the_world_arrive_as_they_are():
    name = "Zoë O'Neill & Söhne <x> 🏠 משפחת כהן"
    payload = {"_id": "1", "name": name, "email": "zoe@example.org"}

    with mail_server() as mailbox:
        send(told("customer.created", payload), to(name), NOW)

    message = mailbox.message()
    assert message["subject"] == f"Customer added: \u2068{name}\u2069"
    assert f"\u2068{name}\u2069 was added" in text_of(message)
    assert "Zoë O&#x27;Neill &amp; Söhne &lt;x&gt; 🏠 משפחת כהן\u2069 was added" in text_of(message, "html")
    assert "Zoë" in message["list-id"]


@pytest.mark.parametrize("payload", ODD_PAYLOADS)
@pytest.mark.parametrize("event_type", [*EVENT_TYPES, "tariff.changed"])
def test_a_payload_of_any_shape_makes_a_readable_email(event_type, payload):
    words = wording(event_type, payload)

    assert 10 < len(words.subject) <= 120
    assert unsubscribe_link(RECIPIENT) in words.text
    assert len(words.text) < 10_000
    assert len(words.html) < 40_000


def test_a_payload_that_is_no_json_is_told_in_general_words():
    notification = Notification(DELIVERY, SUBSCRIPTION, EVENT, "meter.created", HAPPENED, "[" * 100_000)

    words = notification_wording(notification, to())

    assert words.subject == "A meter was added"
    assert "This email can say it only in general words." in words.text


def test_an_event_type_without_templates_of_its_own_is_told_in_general_words():
    words = wording("tariff.changed", {"tariff": "E-1R", "ends": "2027-01-01T00:00:00.000Z"})

    assert words.subject == "New event: tariff.changed"
    assert "Tariff: E-1R" in words.text
    assert "Ends: 1 Jan 2027, 00:00 UTC" in words.text


def test_months_of_one_meter_are_one_summary():
    months = [
        {"meter_id": "m", "start_interval": f"2025-{month:02}-01T00:30:00.000Z", "end_interval": end}
        for month, end in enumerate([f"2025-{month:02}-01T00:00:00.000Z" for month in range(2, 13)], 1)
    ]

    words = wording("meter_data.received", months)

    assert words.subject == "New meter data: 1 meter, 1 Jan 2025 to 30 Nov 2025"
    assert "Meter m: 1 Jan 2025, 00:30 UTC to 1 Dec 2025, 00:00 UTC (in 11 parts)" in words.text


def test_data_of_many_meters_is_listed_in_part_and_counted_in_whole():
    payload = [
        {
            "meter_id": f"m{number}",
            "start_interval": "2026-10-24T00:00:00Z",
            "end_interval": "2026-10-25T00:00:00Z",
        }
        for number in range(40)
    ]

    words = wording("meter_data.received", payload)

    assert words.subject == "New meter data: 40 meters, 24 Oct 2026"
    assert words.text.count("  Meter m") == 12
    assert "And 28 more meters" in words.text


def test_data_without_a_meter_says_so():
    words = wording("meter_data.received", [])

    assert words.subject == "New meter data"
    assert "without naming a meter" in words.text


def test_a_stretch_that_ends_before_it_starts_is_shown_in_order_of_time():
    data = by_meter(
        [{"meter_id": "m", "start_interval": "2024-05-02T00:00:00Z", "end_interval": "2024-05-01T00:30:00Z"}],
        Reader(),
    )

    assert data.meters[0].period == "1 May 2024, 00:30 UTC to 2 May 2024, 00:00 UTC"


def test_fields_are_read_by_path_and_nothing_else_of_the_payload_is_reachable():
    payload = {"customer": {"_id": "1"}, "items": "own"}
    told = Told("meter.created", HAPPENED, payload, "Green Homes", Reader())

    assert told.text("customer._id") == "1"
    assert told.text("items") == "own"
    assert told.text("keys") == ""
    assert told.text("customer") == ""
    assert at([payload], "customer") is None


def test_details_are_bounded_and_put_ids_last():
    payload = {"_id": "1", "name": "A", "old_key_expires_at": "2026-11-04T10:30:00.000Z", "empty": ""}

    lines = every_fact(payload, Reader())

    assert [(fact.label, fact.value) for fact in lines] == [
        ("Name", "A"),
        ("Old key works until", "4 Nov 2026, 10:30 UTC"),
        ("ID", "1"),
    ]
    assert len(every_fact({str(number): number for number in range(1000)}, Reader())) == 24


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-45T99:99", "0001-01-01T00:00:00+14:00", "2026-11-04T10:30"]
)
def test_a_text_that_is_no_moment_stays_a_text(text):
    assert as_moment(text) is None


def test_visible_text_keeps_what_emoji_are_made_of():
    assert clean("👩‍👩‍👧 a\tb\n\x00c") == "👩‍👩‍👧 a b c"


def test_the_question_names_who_wants_to_send_what_and_has_one_link_and_no_notification():
    with mail_server() as mailbox:
        words = confirmation_wording(
            "ann@example.org", "Green Homes", ["meter.created", "user.created"], RECIPIENT, NOW
        )
        report = send_email(lambda: letter(words, "ann@example.org", DELIVERY, NOW, ""), DELIVERY)

    message = mailbox.message()
    assert report.succeeded
    assert message["subject"] == "Please confirm: emails about Green Homes"
    assert message["message-id"] == f"<{DELIVERY}@openvolt.example>"
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    text = text_of(message)
    assert len(LINK.findall(text)) == 2
    assert LINK.findall(text)[0].startswith("http://localhost:8000/recipients/confirm/")
    assert "A meter was added." in text
    assert "A customer was added." not in text
    assert "works until 2 Dec 2026" in text
    assert "Ignore this email" in text


def test_the_name_of_an_application_adds_no_link_to_the_question():
    words = confirmation_wording("ann@example.org", "https://evil.example/ <a href=x>", ["*"], RECIPIENT, NOW)

    assert len(LINK.findall(words.text)) == 2
    assert "<a href=x>" not in words.html
    assert "everything that happens" in words.text


def test_what_is_wanted_is_said_in_plain_words():
    assert sentences(["meter.created"]) == ["A meter was added."]
    assert len(sentences(["*"])) == len(EVENT_TYPES)


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_a_temporary_refusal_is_worth_another_try(stage):
    with mail_server() as mailbox:
        mailbox.answers[stage] = "451 4.7.1 Greylisted, try later"
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent, report.status_code) == (False, False, 451)
    assert "Greylisted" in report.error
    assert report.error.endswith(".")


@pytest.mark.parametrize("stage", ["RCPT", "DATA"])
def test_a_permanent_refusal_ends_it(stage):
    with mail_server() as mailbox:
        mailbox.answers[stage] = "550 5.1.1 No such user\x07 here"
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent, report.status_code) == (False, True, 550)
    assert report.response_body.startswith("5.1.1 No such user")
    assert mailbox.envelopes == []


@pytest.mark.parametrize("stage", ["MAIL", "RCPT"])
def test_a_server_that_wants_a_sign_in_says_nothing_about_the_recipient(stage):
    with mail_server() as mailbox:
        mailbox.answers[stage] = "530 5.7.0 Authentication required"
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent, report.status_code) == (False, False, 530)


def test_a_wrong_password_is_our_fault_and_not_the_recipients():
    with (
        mail_server(authenticator=refuse_sign_in, auth_require_tls=False),
        override_settings(EMAIL_HOST_USER="me", EMAIL_HOST_PASSWORD="wrong"),
    ):
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent, report.status_code) == (False, False, 535)
    assert "sign-in" in report.error
    assert "wrong" not in str(report.request_headers)


def test_a_server_without_tls_gets_no_message_when_tls_is_wanted():
    with mail_server() as mailbox, override_settings(EMAIL_USE_TLS=True):
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent) == (False, False)
    assert mailbox.envelopes == []


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"554 5.3.2 No service here\r\n"], 554),
        ([b"421 4.3.2 Shutting down\r\n"], 421),
        ([b"220 hi\r\n", b"550 no\r\n", b"550 no\r\n"], 550),
        ([], None),
        ([b"220 hi\r\n"], None),
        ([b"220 hi\r\n", b"250 hi\r\n"], None),
        ([b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"], None),
        ([b"nonsense\r\n"], None),
    ],
)
def test_a_connection_that_is_refused_or_breaks_is_worth_another_try(lines, code):
    with scripted_server(*lines):
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent) == (False, False)
    assert report.status_code == code
    assert report.error


def test_nobody_listening_is_worth_another_try():
    with scripted_server():
        pass
    with override_settings(
        EMAIL_BACKEND="deliveries.channels.smtp.EmailBackend", EMAIL_HOST="127.0.0.1", EMAIL_PORT=9
    ):
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent) == (False, False)
    assert "refused" in report.error


TAKEN = [b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 taken\r\n"]


@pytest.mark.parametrize("goodbye", [[], [b"500 what?\r\n"], [b"5" * 9000 + b"\r\n"]])
def test_once_taken_nothing_makes_it_a_failure(goodbye):
    with scripted_server(*TAKEN, *goodbye) as heard:
        report = send(told(), to(), NOW)

    assert report.succeeded
    assert report.status_code == 250
    assert report.response_body == "taken"
    assert any(b"notification.json" in each for each in heard)


@pytest.mark.parametrize("lines", [[], TAKEN[:1], TAKEN[:3], TAKEN[:4]])
def test_a_server_that_drips_is_cut_off_at_the_deadline(lines):
    with scripted_server(*lines, drip=True), override_settings(EMAIL_TIMEOUT=0.5):
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent) == (False, False)
    assert "longer than 0.5 seconds" in report.error


@pytest.mark.parametrize("after", [[], [b"421 bye\r\n"], [b"500 what?\r\n", b"500 what?\r\n"]])
@pytest.mark.parametrize("stage", [3, 4, 5])
def test_a_refusal_stays_what_it_is_whatever_breaks_after_it(stage, after):
    with scripted_server(*TAKEN[:stage], b"554 5.7.1 unwanted\r\n", *after):
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent, report.status_code) == (False, True, 554)
    assert "unwanted" in report.error


@pytest.mark.parametrize(("implicit", "mode"), [(True, "EMAIL_USE_SSL"), (False, "EMAIL_USE_TLS")])
def test_a_connection_under_tls_is_checked_and_used(tmp_path, monkeypatch, implicit, mode):
    authority = Authority(tmp_path)
    context = authority.context("localhost")
    options = {"ssl_context": context} if implicit else {"tls_context": context, "require_starttls": True}

    with mail_server(**options) as mailbox, override_settings(**{mode: True}, EMAIL_HOST="localhost"):
        refused = send(told(), to(), NOW)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
        accepted = send(told(), to(), NOW)

    assert (refused.succeeded, refused.permanent) == (False, False)
    assert "certificate" in refused.error
    assert (accepted.succeeded, accepted.status_code) == (True, 250)
    assert len(mailbox.envelopes) == 1


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        (400, True),
        (422, True),
        (413, True),
        (401, False),
        (403, False),
        (404, False),
        (429, False),
        (500, False),
    ],
)
def test_what_a_provider_answers_is_told_apart(status, permanent):
    response = requests.Response()
    response.status_code, response._content = status, b'{"Message": "no\x00"}'

    report = refusal(AnymailRequestsAPIError("", response=response))

    assert (report.succeeded, report.permanent, report.status_code) == (False, permanent, status)
    assert "\0" not in report.response_body


def postmark(receiver: Receiver) -> override_settings:
    return override_settings(
        EMAIL_BACKEND="anymail.backends.postmark.EmailBackend",
        ANYMAIL={"POSTMARK_SERVER_TOKEN": "secret-token", "POSTMARK_API_URL": receiver.url + "/"},
    )


ACCEPTED = b'{"ErrorCode": 0, "Message": "OK", "MessageID": "4711", "To": "ann@example.org"}'
INACTIVE = (
    b'{"ErrorCode": 406, "Message": "You tried to send to a recipient that has been marked as inactive. '
    b'Found inactive addresses: ann@example.org. Inactive recipients are ones that have bounced."}'
)


@pytest.mark.parametrize(
    ("answer", "succeeded", "permanent"),
    [
        (Answer(200, body=ACCEPTED), True, False),
        (Answer(200, body=b"<html>taken"), True, False),
        (Answer(422, body=INACTIVE), False, True),
        (Answer(422, body=b'{"ErrorCode": 406, "Message": "In other words"}'), False, True),
        (Answer(401, body=b'{"ErrorCode": 10, "Message": "Bad token"}'), False, False),
        (Answer(503, body=b"busy"), False, False),
    ],
)
def test_a_provider_is_handed_the_same_email_over_http(answer, succeeded, permanent):
    with Receiver(answer) as receiver, postmark(receiver):
        report = send(told(), to(), NOW)

    [request] = receiver.requests
    handed = json.loads(request.body)
    assert (report.succeeded, report.permanent, report.status_code) == (succeeded, permanent, answer.status)
    assert answer.body.decode() in report.response_body
    assert "secret-token" not in str(report)
    assert handed["Subject"] == "Person given access: Priya Shah"
    assert b64decode(handed["Attachments"][0]["Content"]) == told().body()
    assert {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"} in handed["Headers"]


def test_an_address_that_a_provider_refuses_ends_it():
    assert refusal(AnymailRecipientsRefused()).permanent
    assert refusal(AnymailInvalidAddress("ann@")).permanent


def test_a_provider_that_cant_be_reached_is_worth_another_try():
    assert not refusal(AnymailRequestsAPIError("Error posting to https://api.example")).permanent


def test_a_fault_of_our_own_is_a_failed_attempt_and_no_exception(monkeypatch):
    monkeypatch.setattr("deliveries.channels.email.notification_wording", lambda *_: 1 / 0)

    def broken() -> Email:
        raise ZeroDivisionError

    for report in (
        send(told(), to(), NOW),
        send_email(broken, DELIVERY),
    ):
        assert (report.succeeded, report.permanent) == (False, False)
        assert "fault of the service" in report.error


def test_a_letter_that_breaks_gives_way_to_the_general_one(monkeypatch):
    monkeypatch.setitem(LETTERS, "meter.created", lambda _: 1 / 0)

    assert wording("meter.created").subject == "A meter was added"


def test_other_backends_take_it_too():
    report = send(told(), to(), NOW)

    assert report == Report(succeeded=True, request_headers=report.request_headers, timings=report.timings)
    assert mail.outbox[0].to == ["ann@example.org"]


def test_an_email_file_appears_whole_in_order_and_for_us_alone(tmp_path):
    directory = tmp_path / "new" / "mail"
    with override_settings(
        EMAIL_BACKEND="deliveries.channels.eml.EmailBackend", EMAIL_FILE_PATH=str(directory)
    ):
        for number in range(20):
            send(told(attempt=number), to(), NOW)

    files = sorted(directory.iterdir())
    assert [path.suffix for path in files] == [".eml"] * 20
    assert [parsed(path.read_bytes())["openvolt-attempt"] for path in files] == [str(n) for n in range(20)]
    assert attachment_of(parsed(files[0].read_bytes())) == told().body()
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_that_cant_be_written_is_worth_another_try(tmp_path):
    (tmp_path / "file").touch()
    with override_settings(
        EMAIL_BACKEND="deliveries.channels.eml.EmailBackend", EMAIL_FILE_PATH=str(tmp_path / "file" / "mail")
    ):
        report = send(told(), to(), NOW)

    assert (report.succeeded, report.permanent) == (False, False)
    assert FileBackend(file_path=str(tmp_path)).send_messages([]) == 0


def test_smtp_errors_without_a_code_are_worth_another_try():
    assert refusal(smtplib.SMTPDataError(-1, b"")).status_code is None
    assert not refusal(smtplib.SMTPServerDisconnected("gone")).permanent
