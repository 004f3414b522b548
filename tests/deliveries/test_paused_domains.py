"""A mail server that asks for time gets it from every worker, and whoever looks is told why an email waits."""

from datetime import time, timedelta
from functools import partial

import pytest

from deliveries import domains
from deliveries.dispatch import drain
from deliveries.domains import PAUSE, forget_pauses
from deliveries.lifecycle import choose
from deliveries.models import Delivery, Notice, PausedDomain
from deliveries.publishing import publish
from deliveries.waiting import why_waiting
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.running import wait_for
from tests.support.smtp import Mailbox, mail_server
from tests.support.workers import Clock, Cluster

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def nobody_is_paused():
    yield
    another_worker()


@pytest.fixture
def team() -> Subscription:
    return factories.confirmed_emails(factories.application(), ["ann@Slow.example"])


def another_worker() -> None:
    """What this process remembers, another one doesn't."""
    domains.paused.clear()


def happen(team: Subscription) -> Delivery:
    event = publish(team.application, "user.created", factories.example("user.created"))
    return event.deliveries.get()


def sent(clock: Clock, **answers: str) -> Mailbox:
    with mail_server() as mailbox:
        mailbox.answers = answers
        drain("email", clock)
    return mailbox


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_time_that_one_worker_was_asked_for_is_given_by_all(team, clock, stage):
    happen(team)
    sent(clock, **{stage: "421 4.7.0 Too many emails, come back later"})
    another_worker()
    second = happen(team)
    clock.forward(2 * SECOND)

    assert sent(clock).connections == 0

    second.refresh_from_db()
    assert (second.attempt_count, second.next_attempt_at) == (0, clock() + PAUSE)
    another_worker()
    clock.forward(PAUSE)
    assert sent(clock).messages()


def test_a_question_waits_for_a_domain_that_wants_time_at_no_attempt_and_others_do_not_wait_with_it(clock):
    PausedDomain.objects.create(domain="slow.example", until=clock() + PAUSE)
    factories.emails(factories.application(), ["bea@Slow.example", "joe@quick.example"])

    assert [message["to"] for message in sent(clock).messages()] == ["joe@quick.example"]

    waiting = Notice.objects.get(sent_at=None)
    assert (waiting.attempt_count, waiting.due_at, waiting.error) == (0, clock() + PAUSE, "")
    clock.forward(PAUSE + SECOND)
    assert [message["to"] for message in sent(clock).messages()] == ["bea@Slow.example"]


def test_time_that_was_asked_for_at_a_question_is_given_by_all_emails(team, clock):
    factories.emails(factories.application(), ["bea@slow.example"])
    delivery = happen(team)

    assert sent(clock, RCPT="421 4.7.0 Too many emails, come back later").connections == 1

    delivery.refresh_from_db()
    assert (delivery.attempt_count, delivery.next_attempt_at) == (0, clock() + PAUSE)


@pytest.mark.xdist_group("cluster")
@pytest.mark.django_db(transaction=True)
def test_a_real_cluster_asks_a_domain_that_wants_time_once_whichever_of_its_workers_has_the_next_email(
    team, tmp_path, settings
):
    with mail_server() as mailbox:
        mailbox.answers = {"RCPT": "421 4.7.0 Too many emails, come back later"}
        with Cluster(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{settings.EMAIL_PORT}") as cluster:
            for _ in range(6):
                delivery = happen(team)
                wait_for(partial(has_been_seen_to, delivery), 60, lambda: cluster.said)

    assert mailbox.connections == 1
    assert sum(Delivery.objects.values_list("attempt_count", flat=True)) == 1


def has_been_seen_to(delivery: Delivery) -> bool:
    """Tried, or put off."""
    due_at = delivery.next_attempt_at
    delivery.refresh_from_db()
    return delivery.lease_id is None and delivery.next_attempt_at != due_at


def test_a_pause_that_is_over_is_forgotten(team, clock):
    happen(team)
    sent(clock, RCPT="451 4.7.1 Greylisted")
    assert PausedDomain.objects.get().domain == "slow.example"

    assert forget_pauses(clock() + PAUSE - SECOND) == 0
    assert forget_pauses(clock() + PAUSE + SECOND) == 1


def test_a_pause_by_a_clock_that_was_ahead_does_not_last(team, clock):
    PausedDomain.objects.create(domain="slow.example", until=clock() + timedelta(days=1))
    happen(team)

    assert len(sent(clock).messages()) == 1


def test_what_waits_for_a_domain_says_so_and_nothing_of_quiet_hours(team, clock):
    PausedDomain.objects.create(domain="slow.example", until=clock() + 20 * SECOND)
    delivery = happen(team)
    sent(clock)
    delivery.refresh_from_db()

    why = why_waiting(delivery, clock())

    assert delivery.next_attempt_at
    due = delivery.next_attempt_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    assert (
        why == f"The mail server of slow.example, or ours on its behalf, asked for time; it is due at {due}."
    )


def test_what_waits_for_the_end_of_quiet_hours_still_says_so(team, clock):
    ann = team.recipients.get()
    begin, end = (clock() - timedelta(hours=1)).time(), (clock() + timedelta(hours=1)).time()
    choose(ann, {"quiet_from": time(begin.hour, begin.minute), "quiet_until": time(end.hour, 0)}, clock())
    delivery = happen(team)

    assert "in the quiet hours" in (why_waiting(delivery, clock()) or "")
