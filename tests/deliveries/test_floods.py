"""Who asked for few emails is never sent many at once: not by a replay job, nor after another choice."""

import json
from datetime import timedelta
from typing import Any

import pytest

from deliveries.dispatch import drain
from deliveries.lifecycle import choose, pause, replay, resume, send_test
from deliveries.models import Delivery
from deliveries.publishing import Change, publish_many
from deliveries.replaying import COMMITTED_AFTER, plan, start, step
from deliveries.waiting import why_waiting
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.replays import replayed
from tests.support.smtp import Mailbox, mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
MANY = 40


@pytest.fixture
def ann() -> Recipient:
    return factories.confirmed_emails(factories.application()).recipients.get()


def happen(ann: Recipient, clock: Clock, count: int = MANY) -> None:
    change = Change(ann.subscription.application, "user.created", factories.example("user.created"))
    publish_many([change] * count, clock())


def have_daily(ann: Recipient, clock: Clock) -> None:
    """Far from now, so that nothing of it is due by itself."""
    choose(ann, {"frequency": "daily", "digest_hour": (clock().hour + 12) % 24}, clock())


def told_at_once(clock: Clock) -> Mailbox:
    with mail_server() as mailbox:
        drain("email", clock)
    return mailbox


def sizes(mailbox: Mailbox) -> list[int]:
    """Of each email, how many notifications are in it."""
    return [len(documents(message)) for message in mailbox.messages()]


def documents(message: Any) -> list[dict[str, Any]]:
    [part] = message.iter_attachments()
    found = json.loads(part.get_payload(decode=True))
    return found if isinstance(found, list) else [found]


def test_what_has_gathered_is_one_email_when_somebody_wants_all_at_once_from_now_on(ann, clock):
    have_daily(ann, clock)
    happen(ann, clock)
    choose(ann, {"frequency": "at_once"}, clock())

    assert sizes(told_at_once(clock)) == [MANY]

    happen(ann, clock, 2)
    assert sizes(told_at_once(clock)) == [1, 1]


def test_one_that_has_gathered_alone_comes_as_its_own_letter(ann, clock):
    have_daily(ann, clock)
    happen(ann, clock, 1)
    choose(ann, {"frequency": "at_once"}, clock())

    assert told_at_once(clock).message()["subject"] == "Person given access: Priya Shah"


def test_what_a_pause_has_held_is_one_email_when_the_subscription_is_resumed(ann, clock, monkeypatch):
    monkeypatch.setattr("deliveries.lifecycle.MOVED_AT_ONCE", 7)
    pause(ann.subscription, clock())
    happen(ann, clock)
    resume(ann.subscription, clock())

    assert sizes(told_at_once(clock)) == [MANY]

    happen(ann, clock, 2)
    assert sizes(told_at_once(clock)) == [1, 1]


def test_what_a_pause_has_held_alone_comes_as_its_own_letter(ann, clock):
    pause(ann.subscription, clock())
    happen(ann, clock, 1)
    resume(ann.subscription, clock())

    assert told_at_once(clock).message()["subject"] == "Person given access: Priya Shah"


def test_what_a_pause_has_held_waits_for_the_end_of_the_quiet_hours(ann, clock):
    since, until = clock() - HOUR, clock() + HOUR
    choose(ann, {"quiet_from": since.time(), "quiet_until": until.time()}, clock())
    pause(ann.subscription, clock())
    happen(ann, clock)
    resume(ann.subscription, clock())

    assert sizes(told_at_once(clock)) == []
    clock.forward(HOUR + SECOND)
    assert sizes(told_at_once(clock)) == [MANY]


@pytest.mark.parametrize("frequency", ["at_once", "daily"])
def test_a_test_that_a_pause_has_held_is_still_marked_as_one(ann, clock, frequency):
    choose(ann, {"frequency": frequency, "digest_hour": (clock().hour + 12) % 24}, clock())
    send_test(ann.subscription, "user.created", clock())
    pause(ann.subscription, clock())
    happen(ann, clock)
    resume(ann.subscription, clock())

    subjects = [str(message["subject"]) for message in told_at_once(clock).messages()]
    assert "[Test] Person given access: Priya Shah" in subjects


def test_choosing_back_and_forth_tells_everything_once(ann, clock):
    have_daily(ann, clock)
    happen(ann, clock)
    for frequency in ("at_once", "hourly", "at_once", "at_once"):
        choose(ann, {"frequency": frequency}, clock())
        happen(ann, clock, 1)

    told = sorted(sizes(told_at_once(clock)))

    assert told == [1, MANY + 3]
    assert not Delivery.objects.exclude(status="succeeded").exists()


def test_a_replay_job_comes_with_the_digest_of_who_has_digests(ann, clock):
    have_daily(ann, clock)
    happen(ann, clock)
    clock.forward(DAY)
    assert sizes(told_at_once(clock)) == [MANY]

    Recipient.objects.update(digest_hour=(clock().hour + 12) % 24)
    job = replayed(ann, clock)
    assert job.queued == MANY
    assert sizes(told_at_once(clock)) == []
    waiting = job.deliveries.first()
    assert waiting
    assert "gathers for the recipient's daily digest" in str(why_waiting(waiting, clock()))

    clock.forward(DAY)
    assert sizes(told_at_once(clock)) == [MANY]


def test_a_replay_job_is_one_email_to_who_wants_all_at_once(ann, clock):
    happen(ann, clock)
    assert sizes(told_at_once(clock)) == [1] * MANY

    job = replayed(ann, clock)
    assert job.queued == MANY
    waiting = job.deliveries.first()
    assert waiting
    assert "gathers with what else the replay tells" in str(why_waiting(waiting, clock()))
    clock.forward(10 * SECOND)

    assert sizes(told_at_once(clock)) == [MANY]
    assert not Delivery.objects.exclude(status="succeeded").exists()


def test_a_replay_job_that_takes_longer_than_it_gathers_tells_each_event_in_exactly_one_email(ann, clock):
    happen(ann, clock)
    told_at_once(clock)
    clock.forward(2 * COMMITTED_AFTER)
    now = clock()
    job = start(plan(ann.subscription, since=now - DAY, until=now, only="all", now=now))
    told = []
    for _ in range(8):
        clock.forward(6 * SECOND)
        step(job.id, job.subscription_id, clock())
        told += [
            each["delivery_id"] for message in told_at_once(clock).messages() for each in documents(message)
        ]

    assert sorted(told) == sorted(map(str, job.deliveries.values_list("id", flat=True)))
    assert len(told) == MANY


def test_what_a_replay_job_has_gathered_follows_another_choice(ann, clock):
    have_daily(ann, clock)
    happen(ann, clock)
    clock.forward(DAY)
    told_at_once(clock)
    Recipient.objects.update(digest_hour=(clock().hour + 12) % 24)
    assert replayed(ann, clock).queued == MANY

    choose(ann, {"frequency": "at_once"}, clock())

    assert sizes(told_at_once(clock)) == [MANY]


def test_one_event_that_somebody_replays_comes_at_once_also_to_who_has_digests(ann, clock):
    have_daily(ann, clock)
    happen(ann, clock, 2)
    delivery = Delivery.objects.order_by("id").first()
    assert delivery

    replay(delivery.event, None, clock())

    assert sizes(told_at_once(clock)) == [1]
