"""What docs/retries.md says is what happens: its tables are read, the attempts are made, the clock is moved by hand."""

import re
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from email.utils import format_datetime
from itertools import chain

import pytest
from django.conf import settings as configured
from django.test import override_settings

from deliveries import domains, failing, lifecycle
from deliveries.channels import connections
from deliveries.dispatch import drain
from deliveries.models import Delivery, Notice
from deliveries.publishing import publish
from subscriptions import addresses
from tests.support import factories
from tests.support.api import Api
from tests.support.pages import existing_tests, named_tests, table, text_of
from tests.support.receivers import Answer, Authority, RawReceiver, Receiver, drip, hang, hang_up, reset, say
from tests.support.smtp import mail_server, scripted_server, smtp_settings
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

PAGE = text_of("retries.md")
SECOND = timedelta(seconds=1)
UNITS = {"s": SECOND, "min": 60 * SECOND, "h": 3600 * SECOND, "days": 86400 * SECOND}
EARLIEST, LATEST = 0.0, 1.0  # what chance makes of a wait
OK = b"HTTP/1.1 200 OK\r\n"


def duration(text: str) -> timedelta:
    """Of words like `11 h 12 min`."""
    parts = re.findall(r"(\d+) (s|min|h|days)", text)
    assert parts, text
    return sum((int(count) * UNITS[unit] for count, unit in parts), timedelta())


@pytest.fixture(autouse=True)
def no_past():
    connections.shared.adapters.clear()
    domains.paused.clear()


@pytest.fixture
def chance(monkeypatch):
    """What is left to chance comes out like this from now on."""

    def comes_out(value: float) -> None:
        monkeypatch.setattr("deliveries.settling.random.random", lambda: value)

    return comes_out


def told(owner) -> Delivery:
    return publish(owner, "user.created", factories.example("user.created")).deliveries.get()


def attempt(delivery: Delivery, clock: Clock) -> Delivery:
    """The next one, at the moment that it is due."""
    delivery.refresh_from_db()
    assert delivery.next_attempt_at is not None
    clock.forward_to(delivery.next_attempt_at)
    assert drain(delivery.channel, clock) == 1
    delivery.refresh_from_db()
    return delivery


def wait_of(delivery: Delivery, clock: Clock) -> timedelta:
    assert delivery.next_attempt_at is not None
    return delivery.next_attempt_at - clock()


def waits_until_it_has_failed(delivery: Delivery, clock: Clock) -> list[timedelta]:
    waits = []
    while attempt(delivery, clock).status == "pending":
        waits.append(wait_of(delivery, clock))
    assert delivery.status == "failed"
    return waits


def assert_the_schedule_is(rows, waits: dict[float, list[timedelta]]) -> None:
    assert waits[EARLIEST] == [duration(row["at the earliest"]) for row in rows]
    assert waits[LATEST] == [duration(row["at the latest"]) for row in rows]
    assert waits[0.5] == [duration(row["after"]) for row in rows]


def test_a_webhook_that_is_never_taken_is_tried_at_the_times_of_the_table(chance):
    rows = table(PAGE, "attempt")
    waits = {}
    with Receiver(Answer(500)) as receiver:
        for comes_out in (EARLIEST, 0.5, LATEST):
            chance(comes_out)
            clock, owner = Clock(), factories.application()
            factories.webhook(owner, receiver.url)
            waits[comes_out] = waits_until_it_has_failed(told(owner), clock)

    assert_the_schedule_is(rows, waits)
    assert [int(row["attempt"]) for row in rows] == list(range(2, len(rows) + 2))
    assert "When the tenth attempt has failed, after 75 hours and a half" in PAGE
    assert len(rows) + 1 == 10
    assert round(sum(waits[0.5], timedelta()) / timedelta(hours=1), 1) in (75.5, 75.6)


def test_an_email_that_is_never_taken_is_tried_at_the_times_of_the_table(chance):
    rows = table(PAGE, "attempt by email")
    waits = {}
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = "450 4.2.1 Mailbox busy"
        for comes_out in (EARLIEST, 0.5, LATEST):
            chance(comes_out)
            clock, owner = Clock(), factories.application()
            factories.confirmed_emails(owner)
            waits[comes_out] = waits_until_it_has_failed(told(owner), clock)

    assert_the_schedule_is(rows, waits)


def test_the_question_to_confirm_is_asked_again_at_the_times_of_emails(clock):
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = "450 4.2.1 Mailbox busy"
        factories.emails(factories.application())
        question, waits = Notice.objects.get(), []
        while (due_at := question.due_at) is not None:
            clock.forward_to(due_at)
            drain("email", clock)
            question.refresh_from_db()
            waits.append(question.due_at and question.due_at - clock())

    assert waits.pop() is None
    assert waits == [duration(row["after"]) for row in table(PAGE, "attempt by email")]


class Stage:
    """Receivers that behave like the rows of a table; they are there until the test ends."""

    def __init__(self, stack: ExitStack, tmp_path, monkeypatch) -> None:
        self.stack = stack
        self.tmp_path = tmp_path
        self.monkeypatch = monkeypatch

    def answering(self, *statuses: int, **headers: str) -> list[str]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return [self.stack.enter_context(Receiver(Answer(one, given))).url for one in statuses]

    def scripted(self, *scripts) -> list[str]:
        return [self.stack.enter_context(RawReceiver(script)).url for script in scripts]

    def soon(self) -> str:
        """A date in two hours, by the worker's clock."""
        return format_datetime(Clock().now + timedelta(hours=2), usegmt=True)

    def in_tls(self) -> list[str]:
        stranger = Authority(self.tmp_path).context()
        return [self.stack.enter_context(Receiver(tls=stranger)).url]

    def nowhere(self) -> list[str]:
        def unknown(*_):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.monkeypatch.setattr(addresses, "resolve", unknown)
        return ["https://gone.example/"]

    def closed(self) -> list[str]:
        with Receiver() as receiver:
            return [receiver.url]


BUSY = (429, 503)
WEBHOOKS = {
    "answers 200 to 299": lambda stage: stage.answering(200, 201, 202, 204, 226, 299),
    "answers 300 to 399: redirects are not followed": lambda stage: stage.answering(
        300, 301, 302, 303, 304, 307, 308, 399, location="http://127.0.0.1:9/"
    ),
    "answers 400 to 499, but for 410": lambda stage: stage.answering(
        400, 401, 403, 404, 405, 408, 409, 411, 413, 422, 425, 429, 451, 499
    ),
    "answers 410": lambda stage: stage.answering(410),
    "answers 500 to 599": lambda stage: stage.answering(500, 501, 502, 503, 504, 511, 599),
    "answers 600 to 999": lambda stage: stage.answering(600, 999),
    "answers 429 or 503 with `Retry-After: 3600`": lambda stage: stage.answering(*BUSY, retry_after="3600"),
    "answers 429 or 503 with `Retry-After` and a date in 2 h": lambda stage: stage.answering(
        *BUSY, retry_after=stage.soon()
    ),
    "answers 429 or 503 with `Retry-After: 1000000`": lambda stage: stage.answering(
        *BUSY, retry_after="1000000"
    ),
    "answers 429 or 503 with `Retry-After: 1`": lambda stage: stage.answering(*BUSY, retry_after="1"),
    "answers 429 or 503 with a `Retry-After` that is neither a number nor a date": lambda stage: [
        url
        for wish in ("soon", "-1", "1.5", "3600 s", "")
        for url in stage.answering(*BUSY, retry_after=wish)
    ],
    "answers another status with `Retry-After: 3600`": lambda stage: stage.answering(
        301, 400, 404, 500, 502, retry_after="3600"
    ),
    "has not answered at the deadline": lambda stage: stage.scripted(hang),
    "begins to answer 200 and is not at the end at the deadline": lambda stage: stage.scripted(
        drip(OK, b"x"), drip(OK + b"content-length: 9999\r\n\r\n", b"x")
    ),
    "closes the connection before the end of the headers, or of a body whose length it gave or which comes in chunks": (
        lambda stage: stage.scripted(
            hang_up,
            reset,
            say(b"HTTP/1.1 2"),
            say(OK),
            say(OK + b"content-length: 0\r\n"),
            say(OK + b"content-length: 9\r\n\r\nhalf"),
            say(OK + b"transfer-encoding: chunked\r\n\r\n9\r\nhalf"),
        )
    ),
    "answers what is not HTTP": lambda stage: stage.scripted(say(b"SSH-2.0-OpenSSH_9.6\r\n")),
    "refuses the connection": lambda stage: stage.closed(),
    "has a certificate that is not in order": lambda stage: stage.in_tls(),
    "has a name that can't be found": lambda stage: stage.nowhere(),
    "has an address that is not allowed": lambda stage: ["https://10.0.0.7/", "https://[fe80::1]/"],
}


def test_the_table_has_a_row_for_each_thing_that_a_receiver_does():
    assert [row["the receiver"] for row in table(PAGE, "the receiver")] == list(WEBHOOKS)


@pytest.mark.parametrize("row", table(PAGE, "the receiver"), ids=lambda row: row["the receiver"])
def test_what_a_receiver_does_leads_to_what_the_table_says(row, chance, settings, tmp_path, monkeypatch):
    if "deadline" in row["the receiver"]:
        settings.WEBHOOK_TIMEOUT = SECOND / 2
    chance(EARLIEST)
    with ExitStack() as stack:
        for url in WEBHOOKS[row["the receiver"]](Stage(stack, tmp_path, monkeypatch)):
            clock, owner = Clock(), factories.application()
            subscription = factories.webhook(owner, url)

            delivery = attempt(told(owner), clock)

            subscription.refresh_from_db()
            assert (delivery.status, subscription.status) == (row["the delivery"], row["the subscription"])
            assert_next(row["the next attempt"], delivery, clock, configured.RETRY_SCHEDULE)
            lifecycle.delete_subscription(subscription, clock())  # its retry is nothing of the next one's


def assert_next(says: str, delivery: Delivery, clock: Clock, schedule: list[timedelta]) -> None:
    """As the table says it, with every wait as short as chance makes it."""
    if says == "none":
        assert delivery.next_attempt_at is None
    elif says == "on schedule":
        assert wait_of(delivery, clock) == schedule[0] * 0.8
    else:
        assert abs(wait_of(delivery, clock) - duration(says)) <= 10 * SECOND  # a date is by the real clock


def at_each_stage(answer: str, stages: Sequence[str] = ("MAIL", "RCPT", "DATA")):
    for stage in stages:
        with mail_server() as mailbox:
            mailbox.answers[stage] = answer
            yield


def at_the_greeting(*lines: bytes):
    for line in lines:
        with scripted_server(line):
            yield


def once(server):
    with server:
        yield


def provider(*statuses: int):
    for status in statuses:
        with Receiver(Answer(status, body=b'{"ErrorCode": 1, "Message": "no"}')) as receiver:
            options = {"POSTMARK_SERVER_TOKEN": "token", "POSTMARK_API_URL": receiver.url + "/"}
            with override_settings(EMAIL_BACKEND="anymail.backends.postmark.EmailBackend", ANYMAIL=options):
                yield


EMAILS = {
    "takes the message (250)": lambda: once(mail_server()),
    "refuses the sender, the recipient or the message with 4xx": lambda: at_each_stage("451 4.7.1 Later"),
    "refuses the recipient or the message with 5xx": lambda: at_each_stage(
        "550 5.1.1 Nobody here", ["RCPT", "DATA"]
    ),
    "refuses the sender with 5xx, or relaying: a fault of the set-up": lambda: chain(
        at_each_stage("550 5.7.1 Who are you?", ["MAIL"]),
        at_each_stage("554 5.7.1 Relay access denied", ["RCPT"]),
    ),
    "wants a sign-in (530)": lambda: at_each_stage("530 5.7.0 Authentication required"),
    "refuses the connection at its greeting, with 4xx or 5xx": lambda: at_the_greeting(
        b"421 4.3.2 Busy\r\n", b"554 5.3.2 No service here\r\n"
    ),
    "closes the connection in the middle": lambda: once(
        scripted_server(b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n")
    ),
    "can't be reached": lambda: once(smtp_settings(9)),
    "is a provider that answers 400, 413 or 422 over HTTP": lambda: provider(400, 413, 422),
    "is a provider that answers any other refusal over HTTP": lambda: provider(401, 403, 404, 429, 500, 503),
}


def test_the_table_has_a_row_for_each_thing_that_a_mail_server_does():
    assert [row["the mail server"] for row in table(PAGE, "the mail server")] == list(EMAILS)


@pytest.mark.parametrize("row", table(PAGE, "the mail server"), ids=lambda row: row["the mail server"])
def test_what_a_mail_server_does_leads_to_what_the_table_says(row, chance):
    chance(EARLIEST)
    for number, _ in enumerate(EMAILS[row["the mail server"]]()):
        clock, owner = Clock(), factories.application()
        factories.confirmed_emails(owner, [f"ann@{number}.example.org"])

        delivery = attempt(told(owner), clock)

        assert delivery.status == row["the delivery"]
        assert_next(row["the next attempt"], delivery, clock, configured.EMAIL_RETRY_SCHEDULE)


def test_a_mail_server_that_asks_for_time_gets_no_emails_for_its_domain_for_a_moment_at_no_cost(clock):
    owner = factories.application()
    factories.confirmed_emails(owner)
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = "451 4.7.1 Too many"
        attempt(told(owner), clock)
        other = told(owner)

        assert drain("email", clock) == 0

    other.refresh_from_db()
    assert other.attempt_count == 0
    assert wait_of(other, clock) == duration(LIMITS["no emails to a domain that asked for time"][0])


LIMITS = {row["what"]: (row["at least"], row["at most"]) for row in table(PAGE, "what")}


def test_an_attempt_has_the_deadline_that_the_page_says(settings, clock):
    assert duration(LIMITS["one attempt, by webhook"][1]) == configured.WEBHOOK_TIMEOUT

    settings.WEBHOOK_TIMEOUT = SECOND / 4
    owner = factories.application()
    with RawReceiver(hang) as receiver:
        factories.webhook(owner, receiver.url)
        delivery = attempt(told(owner), clock)

    assert "within 0.25 s" in delivery.attempts.get().error


@pytest.mark.parametrize("beyond", [0, 1])
def test_retry_after_reaches_as_far_as_the_page_says(clock, beyond):
    most = duration(LIMITS["the wait that `Retry-After` can ask for"][1])
    wish = str(int(most.total_seconds()) + beyond)
    owner = factories.application()
    with Receiver(Answer(503, {"retry-after": wish})) as receiver:
        factories.webhook(owner, receiver.url)
        delivery = attempt(told(owner), clock)

    assert wait_of(delivery, clock) == most


def test_a_schedule_of_ones_own_and_a_rate_limit_have_the_bounds_that_the_page_says():
    api = Api(factories.application_key(factories.application()))
    fewest, most = map(int, LIMITS["waits in a `retry_schedule`"])
    longest = int(duration(LIMITS["all of its waits together"][1]).total_seconds())
    slowest, fastest = map(int, LIMITS["`rate_limit`, attempts that begin in any one second"])

    def is_taken(**fields) -> bool:
        body = {"channel": "webhook", "url": "http://127.0.0.1:9/", "event_types": ["*"], **fields}
        return api.post("/v1/subscriptions", body).status_code == 201

    assert is_taken(retry_schedule=[0] * fewest)
    assert is_taken(retry_schedule=[0] * most)
    assert not is_taken(retry_schedule=[0] * (most + 1))
    assert is_taken(retry_schedule=[longest - 1, 1])
    assert not is_taken(retry_schedule=[longest, 1])
    assert is_taken(rate_limit=slowest)
    assert not is_taken(rate_limit=slowest - 1)
    assert is_taken(rate_limit=fastest)
    assert not is_taken(rate_limit=fastest + 1)


def test_a_subscription_cools_down_after_as_many_failures_and_for_as_long_as_the_page_says(chance, clock):
    failures = int(LIMITS["failures in a row until a subscription cools down"][0])
    shortest, longest = map(duration, LIMITS["a cool-down"])
    owner = factories.application()
    with Receiver(Answer(500)) as receiver:
        subscription = factories.webhook(owner, receiver.url)
        attempt(told(owner), clock)
        for _ in range(failures + 3):
            told(owner)
        chance(EARLIEST)
        assert drain("webhook", clock) == failures - 1
        subscription.refresh_from_db()
        assert subscription.cooling_until - clock() == shortest

        chance(LATEST)
        clock.forward(timedelta(hours=3))
        assert drain("webhook", clock) == 1
        subscription.refresh_from_db()

    assert subscription.cooling_until - clock() == longest


KINDS = {
    "the contacts are told": (failing.tell_failing, "failing", "active"),
    "the contacts are warned": (failing.warn_failing, "disabling", "active"),
    "it is disabled, and the contacts are told": (failing.disable_failing, "disabled", "disabled"),
}


def test_a_subscription_that_goes_on_failing_is_told_of_warned_of_and_disabled_when_the_page_says(clock):
    owner = factories.application()
    with Receiver(Answer(500)) as receiver:
        subscription = factories.webhook(owner, receiver.url)
        delivery = attempt(told(owner), clock)
        began = clock()
        for row in table(PAGE, "failing for"):
            moment = began + duration(row["failing for"])
            step, kind, status = KINDS[row["what happens"]]
            while delivery.status == "pending" and delivery.next_attempt_at < moment:
                attempt(delivery, clock)

            assert step(moment - SECOND) == 0
            assert step(moment) == 1

            assert list(Notice.objects.filter(kind=kind).values_list("email", flat=True)) == owner.contacts
            subscription.refresh_from_db()
            assert subscription.status == status

    assert told(owner).status == "held"


def test_one_failed_attempt_long_ago_disables_nobody(clock):
    owner = factories.application()
    with Receiver(Answer(500)) as receiver:
        factories.webhook(owner, receiver.url, retry_schedule=[])
        attempt(told(owner), clock)

    for step, _, _ in KINDS.values():
        assert step(clock() + timedelta(days=30)) == 0


def test_a_schedule_that_is_changed_counts_from_the_next_attempt_on(chance, clock):
    chance(0.5)
    owner = factories.application()
    with Receiver(Answer(500)) as receiver:
        subscription = factories.webhook(owner, receiver.url, retry_schedule=[10, 20, 30])
        delivery = attempt(told(owner), clock)
        assert wait_of(delivery, clock) == 10 * SECOND

        lifecycle.change_subscription(subscription, {"retry_schedule": [10, 77]}, None, clock())
        attempt(delivery, clock)
        assert wait_of(delivery, clock) == 77 * SECOND
        attempt(delivery, clock)

    assert delivery.status == "failed"


def test_what_was_held_after_a_410_is_sent_on_resume(clock):
    owner = factories.application()
    with Receiver(Answer(410), Answer(204)) as receiver:
        subscription = factories.webhook(owner, receiver.url)
        attempt(told(owner), clock)
        held = told(owner)
        assert held.status == "held"

        lifecycle.resume(subscription, clock())
        attempt(held, clock)

    assert held.status == "succeeded"


def test_retry_after_is_for_its_delivery_alone(chance, clock):
    chance(0.5)
    owner = factories.application()
    with Receiver(Answer(503, {"retry-after": "3600"}), Answer(204)) as receiver:
        factories.webhook(owner, receiver.url)
        refused = attempt(told(owner), clock)

        other = attempt(told(owner), clock)

    assert other.status == "succeeded"
    assert wait_of(refused, clock) == timedelta(hours=1)


def test_retry_after_adds_no_attempt(clock):
    owner = factories.application()
    with Receiver(Answer(503, {"retry-after": "60"})) as receiver:
        factories.webhook(owner, receiver.url, retry_schedule=[])
        delivery = attempt(told(owner), clock)

    assert (delivery.status, delivery.next_attempt_at) == ("failed", None)


def test_attempts_made_before_a_pause_count_after_it(chance, clock):
    chance(0.5)
    owner = factories.application()
    with Receiver(Answer(500)) as receiver:
        subscription = factories.webhook(owner, receiver.url, retry_schedule=[10, 20])
        delivery = attempt(told(owner), clock)
        lifecycle.pause(subscription, clock())
        lifecycle.resume(subscription, clock())

        attempt(delivery, clock)
        assert wait_of(delivery, clock) == 20 * SECOND
        attempt(delivery, clock)

    assert (delivery.status, delivery.attempt_count) == ("failed", 3)


def test_a_retry_by_hand_that_fails_goes_on_with_the_schedule(chance, clock):
    chance(0.5)
    owner = factories.application()
    with Receiver(Answer(500)) as receiver:
        factories.webhook(owner, receiver.url, retry_schedule=[10, 20])
        delivery = attempt(told(owner), clock)

        lifecycle.retry(delivery, clock())
        attempt(delivery, clock)
        assert wait_of(delivery, clock) == 20 * SECOND
        attempt(delivery, clock)

    assert (delivery.status, delivery.attempt_count) == ("failed", 3)


def test_every_test_that_the_page_names_is_there():
    assert named_tests(PAGE) <= existing_tests()
    assert len(named_tests(PAGE)) > 20
