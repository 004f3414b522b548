"""What a mail server may say or not say at each stage, to the first email of a connection and to one that follows."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from django.test import override_settings

from deliveries.channels import EmailTarget, Notification
from deliveries.channels.email import message, send, send_email
from deliveries.channels.mail_connections import connections
from deliveries.channels.refusals import says_no_such_address
from deliveries.channels.wording import Wording
from deliveries.domains import asks_for_time
from tests.support.smtp import mail_server, parsed, scripted_server

NOW = datetime(2026, 11, 2, 16, 5, 44, tzinfo=UTC)
RECIPIENT = UUID("019a4c1e-0000-7d3a-9a51-0c2f6be3a7d4")
HELLO = [b"220 hi\r\n", b"250 hi\r\n"]
TAKING = [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 taken\r\n"]
STAGES = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "after the dot"]
LATER_STAGES = STAGES[2:]
ABOUT_THE_EMAIL = STAGES[3:]
SHORT = {"EMAIL_TIMEOUT": 0.4, "EMAIL_ANSWER_TIMEOUT": 0.4}
AT_ONCE = b"250-hi\r\n250 PIPELINING\r\n"


@pytest.fixture(params=[HELLO[1], AT_ONCE], ids=["one by one", "at once"])
def taking_commands(request, monkeypatch):
    """A server that takes one command after the other, and one that takes several at once (RFC 2920)."""
    monkeypatch.setattr(f"{__name__}.HELLO", [HELLO[0], request.param])


def email(payload: str = "{}", **target: str):
    told = Notification(uuid4(), uuid4(), uuid4(), "customer.created", NOW, payload)
    return send(told, EmailTarget("ann@example.org", RECIPIENT, "Green Homes", **target), NOW)


def copies(heard: list[bytes]) -> int:
    return sum(b"notification.json" in each for each in heard)


def upto(stage: str) -> list[bytes]:
    """What the server says before it."""
    return [*HELLO, *TAKING][: STAGES.index(stage)]


def after_one(stage: str) -> list[bytes]:
    return [*HELLO, *TAKING, *TAKING[: LATER_STAGES.index(stage)]]


@pytest.mark.usefixtures("taking_commands")
@pytest.mark.parametrize("stage", STAGES)
def test_a_temporary_refusal_at_any_stage_is_worth_another_try(stage):
    with scripted_server(*upto(stage), b"450 4.2.0 try later\r\n", b"450 4.2.0 try later\r\n"):
        report = email()

    assert (report.succeeded, report.permanent) == (False, False)
    assert report.status_code == 450


@pytest.mark.usefixtures("taking_commands")
@pytest.mark.parametrize("stage", STAGES)
def test_a_permanent_refusal_ends_it_once_the_message_was_spoken_of(stage):
    with scripted_server(*upto(stage), b"550 5.7.1 no\r\n", b"550 5.7.1 no\r\n"):
        report = email()

    assert (report.succeeded, report.status_code) == (False, 550)
    assert report.permanent == (stage in ABOUT_THE_EMAIL)


@pytest.mark.parametrize("answer", ["550 5.7.1 sender rejected", "553 5.1.1 unknown", "550 no such user"])
def test_a_refused_sender_is_our_fault_and_fails_no_delivery_for_good(answer):
    with mail_server() as mailbox:
        mailbox.answers["MAIL"] = answer
        report = email()

    assert (report.permanent, report.no_such_address, report.status_code) == (False, False, int(answer[:3]))


def test_an_email_that_is_too_large_for_the_server_is_refused_for_good_though_it_is_at_mail():
    with mail_server() as mailbox:
        mailbox.answers["MAIL"] = "552 5.3.4 Message size exceeds fixed limit"
        report = email()

    assert (report.permanent, report.no_such_address) == (True, False)
    assert "refused the message" in report.error


@pytest.mark.parametrize(
    "answer",
    [
        "554 5.7.1 <ann@example.org>: Relay access denied",
        "550 5.7.1 Unable to relay",
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
        "550 relay not permitted",
        "550 5.7.1 <ann@example.org>... Relaying denied. Proper authentication required.",
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    ],
)
def test_a_server_that_does_not_relay_for_us_says_nothing_about_the_recipient(answer):
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = answer
        report = email()

    assert (report.permanent, report.no_such_address) == (False, False)
    assert "is not set up to relay for this service" in report.error


def test_a_relay_that_knows_that_there_is_no_such_address_is_believed():
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = "550 5.1.1 relaying denied: user unknown"
        report = email()

    assert (report.permanent, report.no_such_address) == (True, True)


@pytest.mark.parametrize(
    ("answer", "is_gone"),
    [
        ("550 No such user here", True),
        ("550 <ann@example.org>: User unknown", True),
        ("551 Unknown user", True),
        ("550 Unknown recipient <ann@example.org>", True),
        ("553 sorry, no mailbox here by that name", True),
        ("550 The mailbox ann@example.org does not exist", True),
        ("550 Recipient not found", True),
        ("550 Requested action not taken: mailbox unavailable", False),
        ("550 mailbox not available", False),
        ("550 Sender domain does not exist", False),
        ("550 Host name of the user's computer not found in DNS", False),
        ("550 5.7.1 user unknown to our policy", False),
        ("554 user unknown", False),
        ("550 account disabled for spam, does not exist in whitelist", False),
        ("550 blocked", False),
    ],
)
def test_an_old_server_says_in_words_alone_that_there_is_no_such_address(answer, is_gone):
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = answer
        report = email()

    assert (report.permanent, report.no_such_address) == (True, is_gone)


def test_an_answer_that_is_no_smtp_is_called_so_and_not_shown_without_its_beginning():
    with scripted_server(*HELLO, b"ok thanks\r\n"):
        report = email()

    assert (report.permanent, report.status_code) == (False, None)
    assert report.error.endswith("with something that is no answer of SMTP.")
    assert report.response_body == ""


def test_words_alone_that_come_after_the_message_say_nothing_of_the_address():
    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "550 No such user here"
        assert not email().no_such_address


@pytest.mark.usefixtures("taking_commands")
@pytest.mark.parametrize("stage", STAGES)
def test_a_server_that_hangs_up_at_any_stage_is_worth_another_try_and_none_is_made_at_once(stage):
    with scripted_server(*upto(stage)) as heard:
        report = email()

    assert (report.succeeded, report.permanent, report.status_code) == (False, False, None)
    assert copies(heard) <= 1


@pytest.mark.usefixtures("taking_commands")
@pytest.mark.parametrize("how", ["hang", "drip"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_server_that_hangs_or_drips_at_any_stage_is_cut_off_at_the_deadline(stage, how):
    with scripted_server(*upto(stage), **{how: True}), override_settings(**SHORT):
        report = email()

    assert (report.succeeded, report.permanent) == (False, False)
    assert report.error


def test_a_server_that_thinks_for_long_after_the_dot_is_waited_for_and_gets_no_second_copy():
    with mail_server() as mailbox, override_settings(EMAIL_TIMEOUT=1), connections.kept():
        mailbox.thinks_for = 1.2
        first, second = email(), email()

    assert (first.succeeded, second.succeeded) == (True, True)
    assert (len(mailbox.envelopes), mailbox.connections) == (2, 1)
    assert first.timings.total_ms
    assert first.timings.total_ms >= 1200


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_an_answer_after_the_dot_is_not_waited_for_longer_than_that(how):
    with (
        scripted_server(*upto("after the dot"), **{how: True}),
        override_settings(EMAIL_TIMEOUT=0.7, EMAIL_ANSWER_TIMEOUT=0.9),
    ):
        report = email()

    assert (report.succeeded, report.permanent) == (False, False)
    assert "no answer for 0.9 seconds after the email was sent" in report.error
    assert report.timings.total_ms
    assert 900 <= report.timings.total_ms < 4500


def test_commands_go_at_once_to_a_server_that_takes_them_so():
    silence, both = b"", b"250 ok\r\n250 ok\r\n"
    with scripted_server(b"220 hi\r\n", AT_ONCE, silence, both, b"354 go\r\n", b"250 taken\r\n") as heard:
        report = email()

    assert report.succeeded
    assert copies(heard) == 1


NAMED = '{"_id": "1", "name": "Zoë 🏠", "email": "zoe@example.org"}'


@pytest.mark.parametrize(
    ("words", "body"), [("Zoë", b" BODY=8BITMIME"), ("Zoe", b"")], ids=["8 bit", "ASCII"]
)
def test_a_server_that_takes_8_bits_is_told_when_they_come(words, body):
    letter = message(Wording("Hello", words, f"<p>{words}</p>"), "ann@example.org", RECIPIENT, NOW, "")
    with scripted_server(b"220 hi\r\n", b"250-hi\r\n250 8BITMIME\r\n", *TAKING) as heard:
        report = send_email(lambda: letter, RECIPIENT)

    assert report.succeeded
    assert heard[1] == b"mail FROM:<events@openvolt.example>" + body + b"\r\n"
    assert words.encode() in heard[4]


def test_a_server_that_takes_7_bits_alone_gets_no_others():
    with scripted_server(*HELLO, *TAKING) as heard:
        report = email(payload=NAMED)

    [arrived] = [parsed(each) for each in heard if b"notification.json" in each]
    text = arrived.get_body(("plain",))
    assert report.succeeded
    assert heard[1] == b"mail FROM:<events@openvolt.example>\r\n"
    assert all(each.isascii() for each in heard)
    assert max(len(line) for line in heard[4].split(b"\r\n")) <= 998
    assert text
    assert "Zoë 🏠" in text.get_content()
    assert "Zoë 🏠" in arrived["subject"]
    assert [part["content-transfer-encoding"] for part in arrived.walk()][2:] == ["base64"] * 3


def test_a_server_that_wants_the_message_after_it_has_refused_the_address_does_not_get_it():
    refusing = [b"250 ok\r\n", b"550 5.1.1 unknown\r\n", b"354 go\r\n", b"250 taken\r\n"]
    with scripted_server(b"220 hi\r\n", AT_ONCE, *refusing) as heard:
        report = email()

    assert (report.succeeded, report.permanent, report.status_code) == (False, True, 550)
    assert copies(heard) == 0


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


@pytest.mark.usefixtures("taking_commands")
@pytest.mark.parametrize("stage", LATER_STAGES)
@pytest.mark.parametrize("code", [450, 550])
def test_a_refusal_on_a_kept_connection_stays_what_it_is(stage, code):
    refusal = f"{code} no\r\n".encode()
    permanent = code == 550 and stage in ABOUT_THE_EMAIL
    with scripted_server(*after_one(stage), refusal) as heard, connections.kept():
        first, second = email(), email()

    assert first.succeeded
    assert (second.succeeded, second.permanent, second.status_code) == (False, permanent, code)
    assert copies(heard) == (2 if stage == "after the dot" else 1)


@pytest.mark.usefixtures("taking_commands")
@pytest.mark.parametrize("last_words", [[], [b"421 4.4.2 too many emails on this connection\r\n"]])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_a_kept_connection_that_ends_before_the_email_was_sent_costs_nothing(stage, last_words):
    with scripted_server(*after_one(stage), *last_words) as heard, connections.kept():
        first, second = email(), email()

    assert (first.succeeded, second.succeeded) == (True, True)
    assert copies(heard) == 2


@pytest.mark.usefixtures("taking_commands")
def test_a_kept_connection_that_is_cut_after_the_dot_is_a_failed_attempt_and_no_second_copy_is_sent_at_once():
    silence = b""
    with scripted_server(*after_one("after the dot"), silence) as heard, connections.kept():
        first, second = email(), email()

    assert first.succeeded
    assert (second.succeeded, second.permanent, second.status_code) == (False, False, None)
    assert copies(heard) == 2


@pytest.mark.usefixtures("taking_commands")
def test_a_server_that_closes_after_the_dot_with_421_has_taken_nothing_and_is_asked_later():
    closing = b"421 4.3.2 going down\r\n"
    with scripted_server(*after_one("after the dot"), closing) as heard, connections.kept():
        _, second = email(), email()

    assert (second.succeeded, second.permanent, second.status_code) == (False, False, 421)
    assert copies(heard) == 2


@pytest.mark.usefixtures("taking_commands")
@pytest.mark.parametrize("how", ["hang", "drip"])
@pytest.mark.parametrize("stage", LATER_STAGES)
def test_a_kept_connection_that_hangs_is_cut_off_at_the_deadline(stage, how):
    with scripted_server(*after_one(stage), **{how: True}) as heard, connections.kept():
        first = email()
        with override_settings(**SHORT):
            second = email()

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
