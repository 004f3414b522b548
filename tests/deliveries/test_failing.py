"""Subscriptions that fail for long: who is told, when, how often; and when they are disabled, and when not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deliveries import failing, lifecycle
from deliveries.dispatch import drain
from deliveries.failing import DISABLE_AFTER, TELL_AFTER, WARN_AFTER, sweep
from deliveries.mailing import send_notices
from deliveries.models import Delivery, Notice
from deliveries.notices import forget_notices
from deliveries.publishing import publish
from subscriptions.models import Subscription, Suppression
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.smtp import mail_server
from tests.support.workers import Clock

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("told_at_once")]

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LONG = timedelta(days=30)


def failing_subscription(owner, since: datetime, **fields) -> Subscription:
    """That has failed from then on, and goes on failing."""
    values: dict[str, Any] = {"failing_since": since, "failure_count": 9, "last_failed_at": since + LONG}
    return factories.webhook(owner, **values | {"last_error": "The receiver answered 500."} | fields)


def told() -> list[str]:
    """The kinds of notices that there are, the oldest first."""
    return [*Notice.objects.order_by("id").values_list("kind", flat=True)]


def statuses() -> set[str]:
    return {*Delivery.objects.values_list("status", flat=True)}


def user_created(owner) -> None:
    publish(owner, "user.created", factories.example("user.created"))


class Days:
    """The life of a subscription step by step: an event every six hours, drains, sweeps, emails."""

    def __init__(self, owner, clock: Clock, step: timedelta) -> None:
        self.owner, self.clock, self.step, self.began = owner, clock, step, clock()
        self.mailed: list[tuple[timedelta, str]] = []

    def live(self, until: timedelta) -> None:
        while self.clock() - self.began < until:
            if (self.clock() - self.began) % (6 * HOUR) < self.step:
                user_created(self.owner)
            drain("webhook", self.clock)
            sweep()
            sweep()
            self.read_mail()
            self.clock.forward(self.step)

    def read_mail(self) -> None:
        before = len(mail.outbox)
        send_notices(self.clock)
        since = self.clock() - self.began
        self.mailed += [(since, str(message.subject)) for message in mail.outbox[before:]]

    @property
    def subjects(self) -> list[tuple[timedelta, str]]:
        """Without the moments that the subjects name."""
        return [
            (round_to_hours(at), subject.split(" since ")[0].split(" on ")[0]) for at, subject in self.mailed
        ]


def round_to_hours(at: timedelta) -> timedelta:
    return HOUR * round(at / HOUR)


def test_a_receiver_that_is_down_for_five_days_is_told_of_once_each_time_and_disabled_and_welcomed_back(
    owner, clock
):
    with Receiver(Answer(503)) as receiver:
        subscription = factories.webhook(owner, receiver.url)
        days = Days(owner, clock, HOUR)

        days.live(5 * DAY + 6 * HOUR)

        subscription.refresh_from_db()
        assert subscription.status == "disabled"
        assert "for five days" in subscription.status_reason
        assert not Delivery.objects.pending().exists()
        assert Delivery.objects.held().exists()
        requests = len(receiver.requests)

        days.live(6 * DAY)
        assert len(receiver.requests) == requests

        receiver.answers = [Answer(204)]
        lifecycle.resume(subscription, clock())
        days.live(6 * DAY + HOUR)
        days.live(7 * DAY)

    host = f"127.0.0.1:{receiver.port}"
    assert days.subjects == [
        (HOUR, f"Webhooks to {host} have failed"),
        (4 * DAY, f"Webhooks to {host} will be disabled"),
        (5 * DAY, f"Webhooks to {host} are disabled"),
        (6 * DAY, f"Webhooks to {host} get through again"),
    ]
    assert statuses() <= {"succeeded", "failed"}
    assert Subscription.objects.get().told_failing_since is None


def test_an_outage_that_ends_within_the_hour_is_told_to_nobody(owner, clock):
    with Receiver(*[Answer(500)] * 2, Answer(204)) as receiver:
        factories.webhook(owner, receiver.url)
        days = Days(owner, clock, HOUR / 2)
        days.live(6 * HOUR)

    assert days.mailed == []
    assert told() == []


def test_each_contact_gets_a_notice_of_its_own_once(owner, clock):
    owner.contacts = ["ann@example.org", "Ann@Example.org", "ben@example.org"]
    owner.save()
    failing_subscription(owner, clock() - 2 * HOUR)

    for _ in range(3):
        sweep()
        send_notices(clock)

    assert sorted(message.to[0] for message in mail.outbox) == ["ann@example.org", "ben@example.org"]


def test_the_letter_says_since_when_how_often_what_came_back_what_waits_and_when_it_ends(
    owner, clock, settings
):
    since = clock().replace(hour=1, minute=30) - DAY
    subscription = failing_subscription(
        owner,
        since,
        url="https://hooks.example.org/in?token=hush-1",
        last_error="The receiver answered 302 Found and points to https://evil.example/?t=hush-2; redirects …",
    )
    user_created(owner)
    [secret] = subscription.secrets.all()

    sweep()
    send_notices(clock)

    [message] = mail.outbox
    text = message.body
    assert message.subject.startswith("Webhooks to hooks.example.org have failed since ")
    assert "01:30 UTC" in message.subject
    assert "Failed attempts in a row: 9." in text
    assert "The receiver answered 302 Found and points to evil.\u200bexample/; redirects" in text
    assert "Notifications that wait: 1\n" in text
    assert f"{(since + DISABLE_AFTER).day} " in text
    assert "Time zone: UTC" in text
    for part in (text, str(message.alternatives[0][0])):  # type: ignore[attr-defined]
        assert "hush-" not in part
        assert secret.secret not in part
        assert "https://evil.example" not in part


def test_many_that_wait_are_not_counted_to_the_end(owner, clock, monkeypatch):
    monkeypatch.setattr(failing, "MOST_COUNTED", 2)
    monkeypatch.setattr("deliveries.letters.outages.MOST_COUNTED", 2)
    failing_subscription(owner, clock() - 2 * HOUR)
    for _ in range(5):
        user_created(owner)

    sweep()
    send_notices(clock)

    assert "Notifications that wait: more than 2\n" in mail.outbox[0].body


def test_one_that_nobody_has_looked_at_for_a_week_is_warned_of_a_day_before_it_is_disabled(owner, clock):
    subscription = failing_subscription(owner, clock() - 7 * DAY)

    sweep()
    subscription.refresh_from_db()
    assert told() == ["disabling"]
    assert subscription.disable_at == clock() + DAY

    clock.forward(DAY - MINUTE)
    sweep()
    assert told() == ["disabling"]

    clock.forward(MINUTE)
    sweep()
    subscription.refresh_from_db()
    assert told() == ["disabling", "disabled"]
    assert subscription.status == "disabled"


def test_a_clock_that_is_five_days_ahead_disables_nobody(owner, monkeypatch):
    since = timezone.now() - MINUTE
    failing_subscription(owner, since)
    monkeypatch.setattr("django.utils.timezone.now", lambda: since + 6 * DAY)

    sweep()

    assert told() == []


def test_when_all_clocks_jump_there_is_still_a_day_of_failing_between(owner, clock):
    subscription = failing_subscription(owner, clock() - MINUTE)
    clock.forward(6 * DAY)
    sweep()
    sweep()
    subscription.refresh_from_db()

    assert subscription.status == "active"
    assert told() == ["disabling"]


@pytest.mark.parametrize(
    "fields", [{"failure_count": 1}, {"last_failed_at": None}, {"last_failed_at": "at first"}]
)
def test_without_an_attempt_that_failed_since_nothing_is_said_however_long_ago_the_first_one_was(
    owner, clock, fields
):
    since = clock() - 8 * DAY
    if fields.get("last_failed_at"):
        fields = {"last_failed_at": since + MINUTE}
    failing_subscription(owner, since, **fields)

    sweep()

    assert told() == []


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.timedeltas(min_value=MINUTE, max_value=DAY * 2), min_size=1, max_size=12))
def test_whenever_the_sweeps_come_each_thing_is_said_once_in_order_and_never_too_early(owner, clock, waits):
    Notice.objects.all().delete()
    Subscription.objects.update(deleted_at=clock())
    since = clock()
    subscription = failing_subscription(owner, since)

    for wait in waits:
        clock.forward(wait)
        sweep()

    subscription.refresh_from_db()
    first = {kind: at - since for kind, at in Notice.objects.values_list("kind", "created_at")}
    order = [kind for kind in ("failing", "disabling", "disabled") if kind in first]
    assert told() == order
    assert all(first[kind] >= least for kind, least in LEAST.items() if kind in first)
    assert (subscription.status == "disabled") == ("disabled" in first)
    if "disabled" in first:
        assert first["disabled"] - first["disabling"] >= DAY
    age = clock() - since
    assert bool(order) == (age >= TELL_AFTER)
    assert ("disabling" in order) == (age >= WARN_AFTER)


LEAST = {"failing": TELL_AFTER, "disabling": WARN_AFTER, "disabled": DISABLE_AFTER}


@pytest.mark.parametrize("state", ["paused", "disabled"])
def test_what_staff_pause_or_disable_is_no_news(owner, clock, state):
    subscription = failing_subscription(owner, clock() - 6 * DAY)
    lifecycle.suspend(subscription, state, "By hand.")

    sweep()

    assert told() == []


def test_one_that_comes_and_goes_is_told_of_once_a_day(owner, clock):
    failing_subscription(owner, clock() - 2 * HOUR)
    sweep()

    clock.forward(3 * HOUR)
    Subscription.objects.update(failing_since=clock() - 2 * HOUR)
    sweep()
    assert told() == ["failing"]

    clock.forward(DAY)
    sweep()
    assert told() == ["failing", "failing"]


def test_resuming_one_that_was_disabled_restarts_the_five_days(owner, clock):
    with Receiver(Answer(500)) as receiver:
        subscription = factories.webhook(owner, receiver.url)
        Subscription.objects.update(failing_since=clock() - 6 * DAY, failure_count=9, last_failed_at=clock())
        Subscription.objects.update(told_failing_since=clock() - 6 * DAY, disable_at=clock())
        sweep()
        lifecycle.resume(subscription, clock())

        began = clock()
        for waited in (timedelta(0), 2 * HOUR, 3 * DAY, 4 * DAY - MINUTE):
            clock.forward_to(began + waited)
            user_created(owner)
            drain("webhook", clock)
            sweep()
        assert told() == ["disabled", "failing"]

        clock.forward(2 * MINUTE)
        sweep()
    assert told() == ["disabled", "failing", "disabling"]
    assert Subscription.objects.get().disable_at == clock() + DAY


def test_a_410_disables_at_once_and_the_contacts_are_told_once(owner, clock):
    with Receiver(Answer(410)) as receiver:
        subscription = factories.webhook(owner, receiver.url)
        for _ in range(5):
            user_created(owner)
        drain("webhook", clock)
        send_notices(clock)

        subscription.refresh_from_db()
        assert subscription.status == "disabled"
        assert [message.subject for message in mail.outbox] == [
            f"Webhooks to 127.0.0.1:{receiver.port} are disabled"
        ]
        assert "410 Gone" in mail.outbox[0].body

        receiver.answers = [Answer(204)]
        lifecycle.resume(subscription, clock())
        user_created(owner)
        drain("webhook", clock)
        send_notices(clock)

    assert told() == ["gone", "recovered"]
    assert "get through again" in mail.outbox[1].subject
    assert len(mail.outbox) == 2


def test_who_was_told_by_an_email_that_did_not_go_out_is_not_told_that_it_is_over(owner, clock):
    with Receiver(Answer(500)) as receiver, mail_server() as mailbox:
        factories.webhook(owner, receiver.url)
        user_created(owner)
        mailbox.answers["RCPT"] = "451 4.3.0 later"
        for _ in range(10):
            drain("webhook", clock)
            sweep()
            send_notices(clock)
            clock.forward(20 * MINUTE)
        assert told() == ["failing"]

        mailbox.answers.clear()
        receiver.answers = [Answer(204)]
        clock.forward(6 * HOUR)
        drain("webhook", clock)
        for _ in range(4):
            send_notices(clock)
            clock.forward(DAY)

        assert mailbox.messages() == []
    assert [one.error for one in Notice.objects.order_by("id")] == [
        "It does not fail any more, or is not active.",
        "Nobody at this address was told that it fails.",
    ]


def test_a_notice_keeps_its_message_id_over_retries_and_its_refusal_as_text(owner, clock):
    failing_subscription(owner, clock() - 2 * HOUR)
    sweep()

    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "451 4.7.1 greylisted"
        send_notices(clock)
        notice = Notice.objects.get()
        assert "greylisted" in notice.error
        assert notice.due_at - clock() == MINUTE

        mailbox.answers.clear()
        clock.forward_to(notice.due_at)
        send_notices(clock)

    assert mailbox.message()["message-id"].startswith(f"<{notice.id}@")
    notice.refresh_from_db()
    assert (notice.sent_at, notice.due_at, notice.error, notice.attempt_count) == (clock(), None, "", 2)


def test_a_suppressed_address_and_one_that_is_no_contact_any_more_are_not_written_to(owner, clock):
    owner.contacts = ["Ann@example.org", "ben@example.org"]
    owner.save()
    failing_subscription(owner, clock() - 2 * HOUR)
    sweep()
    Suppression.objects.create(email="ann@example.org", reason="It bounced.", source="test")
    owner.contacts = ["ann@example.org"]
    owner.save()

    send_notices(clock)

    assert mail.outbox == []
    assert {one.error for one in Notice.objects.all()} == {
        "The address is suppressed.",
        "The address is no longer a contact of the application.",
    }


def test_nobody_is_buried_in_notices_of_one_application(owner, clock, settings):
    settings.MAX_SUBSCRIPTIONS = 30
    subscriptions = [failing_subscription(owner, clock() - 2 * HOUR) for _ in range(30)]
    sweep()
    assert len(told()) == 30

    Subscription.objects.update(deleted_at=clock())
    [failing_subscription(owner, clock() - 2 * HOUR) for _ in subscriptions]
    sweep()

    assert len(told()) == 30


def test_an_email_subscription_does_not_fail_as_one_for_one_address_that_is_refused(owner, clock):
    subscription = factories.confirmed_emails(owner, ["ann@example.org", "ben@example.org"])
    user_created(owner)

    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = "550 5.7.1 not here"
        drain("email", clock)

    subscription.refresh_from_db()
    assert (subscription.failing_since, subscription.status) == (None, "active")


def test_a_sweep_that_is_killed_before_its_commit_leaves_everything_to_the_next(owner, clock, monkeypatch):
    subscription = failing_subscription(owner, clock() - 6 * DAY, disable_at=clock() - MINUTE)
    user_created(owner)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(failing, "tell", die)
        with pytest.raises(KeyboardInterrupt):
            sweep()
    subscription.refresh_from_db()
    assert (subscription.status, statuses(), told()) == ("active", {"pending"}, [])

    sweep()
    subscription.refresh_from_db()
    assert (subscription.status, statuses(), told()) == ("disabled", {"held"}, ["disabled"])


def test_one_that_has_just_succeeded_is_not_disabled(owner, clock):
    """The sweep takes the row as it is under its lock."""
    subscription = failing_subscription(owner, clock() - 6 * DAY, disable_at=clock() - MINUTE)
    subscription.forget_failures()
    subscription.save()

    sweep()

    subscription.refresh_from_db()
    assert subscription.status == "active"


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_say_everything_once(owner, clock):
    for _ in range(5):
        failing_subscription(owner, clock() - 2 * HOUR)

    def run() -> None:
        failing.tell_failing(clock())
        connection.close()

    with together(run, run):
        pass

    assert told() == ["failing"] * 5


@contextmanager
def together(*runs) -> Iterator[None]:
    threads = [threading.Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(60)


def test_a_plain_success_asks_nothing_about_outages(owner, clock):
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url)
        user_created(owner)
        drain("webhook", clock)

    assert told() == []
    assert statuses() == {"succeeded"}


def test_notices_are_forgotten_when_they_are_done_and_old(owner, clock):
    failing_subscription(owner, clock() - 2 * HOUR)
    sweep()
    assert forget_notices(clock() + DAY) == 0

    send_notices(clock)
    assert forget_notices(clock() - DAY) == 0
    assert forget_notices(clock() + DAY) == 1
