"""What a mail server may say or not say at each stage, to the first email of a connection and to one that follows."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from django.test import override_settings

from deliveries.channels import EmailTarget, Notification
from deliveries.channels.email import send
from deliveries.channels.mail_connections import connections
from deliveries.channels.refusals import says_no_such_address
from deliveries.domains import asks_for_time
from tests.support.smtp import mail_server, scripted_server

NOW = datetime(2026, 11, 2, 16, 5, 44, tzinfo=UTC)
RECIPIENT = UUID("019a4c1e-0000-7d3a-9a51-0c2f6be3a7d4")
HELLO = [b"220 hi\r\n", b"250 hi\r\n"]
TAKING = [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 taken\r\n"]
STAGES = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "after the dot"]
LATER_STAGES = STAGES[2:]


def email(**target: str):
    told = Notification(uuid4(), uuid4(), uuid4(), "meter.created", NOW, "{}")
    return send(told, EmailTarget("ann@example.org", RECIPIENT, "Green Homes", **target), NOW)


def copies(heard: list[bytes]) -> int:
    return sum(b"notification.json" in each for each in heard)


def upto(stage: str) -> list[bytes]:
    """What the server says before it."""
    return [*HELLO, *TAKING][: STAGES.index(stage)]


def after_one(stage: str) -> list[bytes]:
    return [*HELLO, *TAKING, *TAKING[: LATER_STAGES.index(stage)]]


@pytest.mark.parametrize("stage", STAGES)
def test_a_temporary_refusal_at_any_stage_is_worth_another_try(stage):
    with scripted_server(*upto(stage), b"450 4.2.0 try later\r\n", b"450 4.2.0 try later\r\n"):
        report = email()

    assert (report.succeeded, report.permanent) == (False, False)
    assert report.status_code == 450


@pytest.mark.parametrize("stage", STAGES)
def test_a_permanent_refusal_ends_it_once_the_message_was_spoken_of(stage):
    with scripted_server(*upto(stage), b"550 5.7.1 no\r\n", b"550 5.7.1 no\r\n"):
        report = email()

    assert (report.succeeded, report.status_code) == (False, 550)
    assert report.permanent == (stage in LATER_STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_server_that_hangs_up_at_any_stage_is_worth_another_try_and_none_is_made_at_once(stage):
    with scripted_server(*upto(stage)) as heard:
        report = email()

    assert (report.succeeded, report.permanent, report.status_code) == (False, False, None)
    assert copies(heard) <= 1


@pytest.mark.parametrize("how", ["hang", "drip"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_server_that_hangs_or_drips_at_any_stage_is_cut_off_at_the_deadline(stage, how):
    with scripted_server(*upto(stage), **{how: True}), override_settings(EMAIL_TIMEOUT=0.4):
        report = email()

    assert (report.succeeded, report.permanent) == (False, False)
    assert report.error


def test_one_connection_takes_many_emails_and_ends_with_the_drain():
    with mail_server() as mailbox, connections.kept():
        reports = [email() for _ in range(20)]
        assert len(connections.idle) == 1

    assert all(report.status_code == 250 for report in reports)
    assert len(mailbox.messages()) == 20
    assert mailbox.connections == 1
    assert connections.idle == []


def test_each_email_of_a_kept_connection_has_its_own_answer_and_address():
    with mail_server() as mailbox, connections.kept():
        first = email()
        mailbox.answers["RCPT"] = "550 5.1.1 No such user"
        refused = email()
        mailbox.answers.clear()
        third = email()

    assert (first.succeeded, refused.succeeded, third.succeeded) == (True, False, True)
    assert {first.remote_ip, refused.remote_ip, third.remote_ip} == {"127.0.0.1"}
    assert refused.response_body == "5.1.1 No such user"
    assert len(mailbox.envelopes) == 2


@pytest.mark.parametrize("stage", LATER_STAGES)
@pytest.mark.parametrize(("code", "permanent"), [(450, False), (550, True)])
def test_a_refusal_on_a_kept_connection_stays_what_it_is(stage, code, permanent):
    refusal = f"{code} no\r\n".encode()
    with scripted_server(*after_one(stage), refusal) as heard, connections.kept():
        first, second = email(), email()

    assert first.succeeded
    assert (second.succeeded, second.permanent, second.status_code) == (False, permanent, code)
    assert copies(heard) == (2 if stage == "after the dot" else 1)


@pytest.mark.parametrize("last_words", [[], [b"421 4.4.2 too many emails on this connection\r\n"]])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_a_kept_connection_that_ends_before_the_email_was_sent_costs_nothing(stage, last_words):
    with scripted_server(*after_one(stage), *last_words) as heard, connections.kept():
        first, second = email(), email()

    assert (first.succeeded, second.succeeded) == (True, True)
    assert copies(heard) == 2


def test_a_kept_connection_that_is_cut_after_the_dot_is_a_failed_attempt_and_no_second_copy_is_sent_at_once():
    silence = b""
    with scripted_server(*after_one("after the dot"), silence) as heard, connections.kept():
        first, second = email(), email()

    assert first.succeeded
    assert (second.succeeded, second.permanent, second.status_code) == (False, False, None)
    assert copies(heard) == 2


def test_a_server_that_closes_after_the_dot_with_421_has_taken_nothing_and_is_asked_later():
    closing = b"421 4.3.2 going down\r\n"
    with scripted_server(*after_one("after the dot"), closing) as heard, connections.kept():
        _, second = email(), email()

    assert (second.succeeded, second.permanent, second.status_code) == (False, False, 421)
    assert copies(heard) == 2


@pytest.mark.parametrize("how", ["hang", "drip"])
@pytest.mark.parametrize("stage", LATER_STAGES)
def test_a_kept_connection_that_hangs_is_cut_off_at_the_deadline(stage, how):
    with (
        scripted_server(*after_one(stage), **{how: True}) as heard,
        override_settings(EMAIL_TIMEOUT=0.4),
        connections.kept(),
    ):
        first, second = email(), email()

    assert first.succeeded
    assert (second.succeeded or not second.permanent, copies(heard) <= 2) == (True, True)


def test_a_connection_that_was_idle_for_long_is_not_used(monkeypatch):
    monkeypatch.setattr("deliveries.channels.mail_connections.LONGEST_IDLE", -1)
    with mail_server() as mailbox, connections.kept():
        assert all(email().succeeded for _ in range(3))

    assert mailbox.connections == 3


@pytest.mark.parametrize(
    ("text", "is_gone"),
    [
        ("5.1.1 No such user", True),
        ("550-5.1.1 The account does not exist", True),
        ("smtp; 550 5.2.1 disabled", True),
        ("5.1.10 null MX", True),
        ("5.1.11 odd", False),
        ("5.7.1 blocked from 10.5.1.1", False),
        ("5.2.2 Mailbox full", False),
        ("", False),
    ],
)
def test_what_says_that_an_address_does_not_exist(text, is_gone):
    assert says_no_such_address(text) is is_gone


def test_only_what_is_about_the_address_says_that_it_does_not_exist():
    with mail_server() as mailbox:
        found = {}
        for stage in ("MAIL", "RCPT", "DATA"):
            mailbox.answers = {stage: "550 5.1.1 unknown"}
            found[stage] = email().no_such_address

    assert found == {"MAIL": False, "RCPT": True, "DATA": True}


@pytest.mark.parametrize(
    ("answer", "asks"),
    [("421 4.7.0 too fast", True), ("451 4.7.1 Greylisted", True), ("452 4.2.2 Mailbox full", False)],
)
def test_who_asks_for_time(answer, asks):
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = answer
        report = email()

    assert asks_for_time(report) is asks


def test_answers_go_to_the_address_of_the_application():
    with mail_server() as mailbox:
        email(reply_to="help@greenhomes.example")
        email()

    first, second = mailbox.messages()
    assert first["reply-to"] == "help@greenhomes.example"
    assert second["reply-to"] is None


def test_an_address_for_answers_adds_no_header():
    with mail_server() as mailbox:
        report = email(reply_to="help@greenhomes.example\r\nBcc: eve@example.org")

    assert not report.succeeded
    assert mailbox.envelopes == []
