"""The one flow, from publish to the receiver, in one process."""

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone

from deliveries import dispatch, lifecycle, patience, settling
from deliveries.channels import Report, connections, email
from deliveries.claiming import Limits, claim
from deliveries.dispatch import drain
from deliveries.mailing import send_notices
from deliveries.models import Attempt, Delivery, Notice
from deliveries.publishing import Change, publish, publish_many
from deliveries.slots import slot
from deliveries.stopping import stopping
from deliveries.windows import FIRST_SIZE
from events.models import Event
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.receivers import Answer, RawReceiver, Receiver, read_request
from tests.support.running import wait_for
from tests.support.smtp import mail_server
from tests.support.workers import database_url

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LIMITS = Limits(limit=10, share=10)


@pytest.fixture
def stop():
    """The workers are told to stop, until the test is over."""
    yield stopping.set
    stopping.flag.value = 0


def user_created(owner, **more) -> Event:
    return publish(owner, "user.created", factories.example("user.created"), **more)


def test_a_replay_has_a_new_delivery_id_and_the_same_timestamp_and_payload_to_the_byte(owner, clock):
    happened = datetime(2024, 5, 2, 12, 31, 26, 257000, tzinfo=UTC)
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url)
        payload = factories.example("user.created") | {"name": "Zoë \U0001f50c", "z": 1.5, "a": None}
        event = publish(owner, "user.created", payload, occurred_at=happened)
        drain("webhook", clock)

        [replayed] = lifecycle.replay(event, None, clock())
        drain("webhook", clock)

    first, second = receiver.requests
    original = event.deliveries.exclude(pk=replayed.pk).get()
    assert second.headers["webhook-id"] == str(replayed.id) != first.headers["webhook-id"]
    assert second.headers["openvolt-event-id"] == first.headers["openvolt-event-id"]
    assert second.headers["openvolt-trigger"] == "replay"
    assert b'"event_timestamp":"2024-05-02T12:31:26.257Z"' in first.body
    assert second.body == first.body.replace(str(original.id).encode(), str(replayed.id).encode())


def test_an_attempt_lasts_from_its_start_to_its_last_byte_and_not_what_a_process_makes_ready(owner, clock):
    connections.start_over()  # as in a worker that has just begun
    with Receiver() as receiver, mail_server():
        factories.webhook(owner, receiver.url)
        factories.confirmed_emails(owner)
        user_created(owner)
        drain("webhook", clock)
        drain("email", clock)

    for attempt in Attempt.objects.select_related("delivery"):
        assert attempt.outcome == "succeeded"
        assert attempt.duration_ms == attempt.timings["total_ms"], attempt.delivery.channel
    assert Attempt.objects.count() == 2


def test_publishing_in_a_transaction_that_fails_sends_nothing(owner, clock):
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url)

        def change_my_mind():
            with transaction.atomic():
                user_created(owner)
                raise RuntimeError("changed my mind")

        with pytest.raises(RuntimeError):
            change_my_mind()
        assert drain("webhook", clock) == 0

    assert receiver.requests == []
    assert not Event.objects.exists()
    assert not Delivery.objects.exists()


def test_one_subscription_that_hangs_has_a_few_threads_at_most_and_holds_up_nobody(owner, clock, settings):
    """What hangs is let go by the one who has been told everything: a drain that waited would wait in vain."""
    settings.WEBHOOK_TIMEOUT = MINUTE
    told = threading.Event()

    def hold_on(connection: socket.socket, closing: threading.Event) -> None:
        told.wait(60)

    with RawReceiver(hold_on) as hanging, Receiver() as healthy:
        factories.webhook(owner, hanging.url, retry_schedule=[])
        publish_many([Change(owner, "user.created", factories.example("user.created"))] * 20, clock())
        factories.webhook(owner, healthy.url, types=["meter.created"])
        publish_many([Change(owner, "meter.created", factories.example("meter.created"))] * 20, clock())
        seen: list[int] = []

        def let_go() -> None:
            healthy.wait_for(20)
            wait_for(lambda: hanging.connections >= FIRST_SIZE, 20)
            seen.append(hanging.connections)
            told.set()

        threading.Thread(target=let_go, daemon=True).start()
        drain("webhook", clock)

    assert seen == [FIRST_SIZE]
    assert Delivery.objects.filter(status="succeeded").count() == 20


def test_a_drain_does_nothing_when_as_many_are_running_as_may(owner, clock, settings):
    factories.webhook(owner)
    user_created(owner)
    settings.DRAINS = {"webhook": 0, "email": 1}

    assert drain("webhook", clock) == 0
    assert Delivery.objects.get().lease_id is None
    with slot("webhook") as free:
        assert not free


def test_a_drain_that_is_told_to_stop_claims_nothing(owner, clock, stop):
    factories.webhook(owner)
    factories.emails(owner)
    user_created(owner)

    stop()

    assert drain("webhook", clock) == drain("email", clock) == 0
    assert Delivery.objects.filter(channel="webhook").get().lease_id is None
    assert Notice.objects.get().attempt_count == 0


def test_a_drain_ends_in_time_with_a_wake_up_for_what_is_left(owner, clock, monkeypatch):
    woken: list[str] = []
    monkeypatch.setattr(dispatch, "LONGEST_DRAIN", SECOND / 2)
    monkeypatch.setattr(dispatch, "wake", woken.extend)
    with Receiver(Answer(204, after=SECOND / 5)) as receiver:
        factories.webhook(owner, receiver.url)
        publish_many([Change(owner, "user.created", factories.example("user.created"))] * 100, clock())

        attempts = drain("webhook", clock)

    assert 0 < attempts < 100
    assert woken == ["webhook"]
    left = Delivery.objects.due(clock())
    assert left.count() == 100 - attempts
    assert not left.exclude(lease_id=None).exists()


def test_what_was_sent_while_the_database_was_away_is_settled_when_it_is_back(owner, clock, monkeypatch):
    away = Away(monkeypatch, settling, "settle_together", times=2)
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url)
        user_created(owner)

        assert drain("webhook", clock) == 1

    assert away.times == 0
    assert Delivery.objects.get().status == "succeeded"
    assert len(receiver.requests) == 1


def test_what_was_sent_when_the_next_claim_finds_no_database_is_settled_all_the_same(
    owner, clock, monkeypatch
):
    with Receiver(Answer(204, after=SECOND / 2)) as receiver:
        factories.webhook(owner, receiver.url)
        user_created(owner)
        monkeypatch.setattr(dispatch, "claim", ClaimOnce())

        assert drain("webhook", clock) == 1

    assert Delivery.objects.get().status == "succeeded"
    assert len(receiver.requests) == 1


class ClaimOnce:
    """The database goes away after the first claim."""

    called = False

    def __call__(self, *args):
        if self.called:
            raise OperationalError("the server closed the connection")
        self.called = True
        return claim(*args)


class Away:
    """A database that is gone for so many calls of one function."""

    def __init__(self, monkeypatch, module, name: str, times: int) -> None:
        self.times, self.function = times, getattr(module, name)
        monkeypatch.setattr(module, name, self)
        monkeypatch.setattr(patience, "BETWEEN_TRIES", timedelta(0))
        monkeypatch.setattr(connection, "close", lambda: None)  # it is the test's, with its transaction

    def __call__(self, *args):
        if self.times:
            self.times -= 1
            raise OperationalError("the server closed the connection")
        return self.function(*args)


def test_an_attempt_that_breaks_inside_the_service_is_a_failed_attempt(owner, clock, monkeypatch):
    def break_down(*_):
        raise RuntimeError("a bug")

    monkeypatch.setitem(dispatch.SENDERS, "webhook", break_down)
    factories.webhook(owner)
    user_created(owner)

    assert drain("webhook", clock) == 1

    assert "a fault of the service itself" in Attempt.objects.get().error
    assert Delivery.objects.get().status == "pending"


def test_a_recipient_is_asked_confirms_and_then_gets_what_was_held(owner, clock):
    with mail_server() as mailbox:
        subscription = factories.emails(owner, ["ann@example.org"])
        event = user_created(owner)
        assert drain("email", clock) == 0
        question = mailbox.message()
        assert event.deliveries.get().status == "held"

        [link] = [word for word in text_of(question).split() if "/confirm/" in word]
        answer = Client().post(link.removeprefix("http://localhost:8000"))
        assert answer.status_code in (200, 302)
        clock.forward(MINUTE)  # past the moment of the page, however long the first email took
        assert drain("email", clock) == 1

    assert subscription.recipients.get().status == Recipient.Status.CONFIRMED
    delivery = event.deliveries.get()
    assert delivery.status == "succeeded"
    notification = mailbox.messages()[1]
    assert notification["to"] == "ann@example.org"
    [attached] = notification.iter_attachments()
    assert str(delivery.id) in attached.get_content().decode()


def text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def test_a_mail_server_that_refuses_for_now_gets_the_question_again_on_the_schedule(owner, clock, settings):
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = "451 4.3.0 try again later"
        factories.emails(owner)
        drain("email", clock)
        request = Notice.objects.get()
        assert request.due_at - clock() == settings.EMAIL_RETRY_SCHEDULE[0]
        assert request.error

        mailbox.answers.clear()
        clock.forward_to(request.due_at)
        drain("email", clock)

    request.refresh_from_db()
    assert (request.due_at, request.sent_at, request.error) == (None, clock(), "")
    assert mailbox.message()["to"] == "ann@example.org"


def test_a_question_that_a_killed_worker_had_taken_is_asked_when_its_lease_ends(owner, clock, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with mail_server() as mailbox, monkeypatch.context() as killed:
        factories.emails(owner)
        killed.setattr("deliveries.mailing.send_email", die)
        with pytest.raises(KeyboardInterrupt):
            send_notices(clock)
        killed.undo()

        send_notices(clock)
        assert mailbox.messages() == []
        clock.forward_to(Notice.objects.get().due_at)
        send_notices(clock)

    assert mailbox.message()["to"] == "ann@example.org"


def test_a_worker_that_asks_late_does_not_undo_what_another_has_settled(owner, clock, monkeypatch):
    def fail_late(*_):
        """Another worker takes the question over in the meantime, and succeeds."""
        monkeypatch.setattr("deliveries.mailing.send_email", email.send_email)
        clock.forward(timedelta(minutes=5))
        send_notices(clock)
        return Report(succeeded=False, error="It took too long.")

    with mail_server() as mailbox:
        factories.emails(owner)
        monkeypatch.setattr("deliveries.mailing.send_email", fail_late)
        send_notices(clock)

    request = Notice.objects.get()
    assert (request.due_at, request.sent_at, request.error) == (None, clock(), "")
    assert len(mailbox.messages()) == 1


def test_questions_leave_time_for_notifications(owner, clock, monkeypatch):
    monkeypatch.setattr(dispatch, "LONGEST_MAILING", SECOND / 4)
    ask = email.send_email

    def ask_slowly(*args):
        time.sleep(0.2)
        return ask(*args)

    monkeypatch.setattr("deliveries.mailing.send_email", ask_slowly)
    with mail_server() as mailbox:
        factories.confirmed_emails(owner, ["bob@example.org"])
        factories.emails(owner, [f"person{number}@example.org" for number in range(10)])
        user_created(owner)
        clock.forward_to(timezone.now() + SECOND)  # however long it took to make them all

        assert drain("email", clock) == 1

    assert [message["to"] for message in mailbox.messages()][-1] == "bob@example.org"
    assert Notice.objects.exclude(due_at=None).count() >= 5


@pytest.mark.django_db(transaction=True)
def test_a_database_that_drops_the_connection_in_the_middle_costs_no_attempt_and_no_second_sending(owner):
    came: list[bytes] = []

    def drop_it_and_answer(client: socket.socket, closing: threading.Event) -> None:
        while request := read_request(client):
            came.append(request)
            with psycopg.connect(database_url(), autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", [backend])  # waits until it has ended
            client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = cursor.fetchone()[0]
    with RawReceiver(drop_it_and_answer) as receiver:
        factories.webhook(owner, receiver.url)
        user_created(owner)

        assert drain("webhook") == 1

    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempt_count) == ("succeeded", 1)
    assert len(came) == 1


@pytest.mark.django_db(transaction=True)
def test_an_email_that_is_under_way_for_longer_than_its_lease_stays_with_its_worker(
    owner, clock, monkeypatch
):
    monkeypatch.setattr(dispatch, "BETWEEN_RENEWALS", 0.1)
    taken_by_others: list[int] = []

    def lease_ends() -> datetime:
        ends = Delivery.objects.get().leased_until
        assert ends
        return ends

    def take_long(*_) -> Report:
        """As long as a lease lasts, and longer."""
        for _nth in range(2):
            ends = lease_ends()
            clock.forward(SECOND * 25)
            wait_for(lambda: lease_ends() > ends, 60)  # noqa: B023 - it is waited for here
            taken_by_others.append(len(claim("email", clock(), LIMITS)))
        connection.close()
        return Report(succeeded=True)

    factories.confirmed_emails(owner)
    user_created(owner)
    clock.forward(SECOND)
    monkeypatch.setitem(dispatch.SENDERS, "email", take_long)

    assert drain("email", clock) == 1

    assert taken_by_others == [0, 0]
    assert Delivery.objects.get().status == "succeeded"


def test_a_lease_that_somebody_else_has_by_now_is_not_renewed(owner, clock):
    factories.confirmed_emails(owner)
    user_created(owner)
    clock.forward(SECOND)
    [ours] = claim("email", clock(), LIMITS)
    clock.forward(MINUTE)
    claim("email", clock(), LIMITS)
    theirs = Delivery.objects.get().leased_until

    settling.renew([ours], clock() + MINUTE)

    assert Delivery.objects.get().leased_until == theirs


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_is_gone_does_not_make_the_drain_wait_for_a_publisher_under_way(owner):
    with Receiver(Answer(410)) as receiver:
        subscription = factories.webhook(owner, receiver.url)
        user_created(owner)
        published, done = threading.Event(), threading.Event()
        publisher = threading.Thread(target=publish_at_leisure, args=(owner, published, done))
        publisher.start()
        assert published.wait(60)

        drain("webhook")
        subscription.refresh_from_db()
        assert publisher.is_alive()
        done.set()
        publisher.join()

        assert subscription.status == "disabled"
        assert drain("webhook") == 0
    assert sorted(Delivery.objects.values_list("status", flat=True)) == ["failed", "held"]


def publish_at_leisure(owner, published: threading.Event, done: threading.Event) -> None:
    try:
        with transaction.atomic():
            user_created(owner)
            published.set()
            done.wait(60)
    finally:
        connection.close()
