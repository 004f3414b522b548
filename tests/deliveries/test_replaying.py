"""Replays as jobs: what they tell, and that no death, no second worker and no slow receiver changes that."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import Application
from deliveries import broker, replaying
from deliveries.channels import WebhookTarget
from deliveries.claiming import Limits, claim
from deliveries.dispatch import drain
from deliveries.ledger import faults
from deliveries.lifecycle import NotPossible, delete_subscription, pause, replay, resume, set_recipients
from deliveries.models import Delivery, Replay
from deliveries.publishing import Change, publish_many
from deliveries.replaying import (
    COMMITTED_AFTER,
    LEAST_PACE,
    MOST_PACE,
    cancel_replay,
    estimated_seconds,
    next_pace,
    plan,
    start,
    step,
    work_off,
)
from events.models import ERASED, Event
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> Clock:
    """So far ahead that whoever publishes has committed."""
    clock = Clock()
    clock.forward(2 * COMMITTED_AFTER)
    return clock


def events(owner: Application, count: int, type: str = "user.created") -> list[Event]:
    change = Change(owner, type, factories.example(type))
    return [one.event for one in publish_many([change] * count, timezone.now())]


def started(subscription: Subscription, only: str = "all", **wish) -> Replay:
    now = timezone.now()
    return start(plan(subscription, **{"since": now - HOUR, "until": now, "only": only, "now": now, **wish}))


def go_on(job: Replay, clock: Clock, steps: int = 1) -> Replay:
    """As the task does, when there is time between the steps."""
    for _ in range(steps):
        clock.forward(SECOND / 5)
        step(job.id, job.subscription_id, clock())
    job.refresh_from_db()
    return job


def told(job: Replay) -> list[UUID]:
    return list(job.deliveries.order_by("id").values_list("event_id", flat=True))


def finish(deliveries, status: str) -> None:
    deliveries.update(status=status, next_attempt_at=None, finished_at=timezone.now())


def test_a_new_subscription_is_told_what_happened_before_it_existed_the_oldest_first(owner, clock):
    published = events(owner, 5)
    with Receiver() as receiver:
        job = started(factories.webhook(owner, receiver.url), "missed")
        go_on(job, clock)
        drain("webhook", clock)
        go_on(job, clock)

    assert (job.status, job.matched, job.queued) == ("completed", 5, 5)
    assert told(job) == [event.id for event in published]
    assert {request.headers["openvolt-trigger"] for request in receiver.requests} == {"replay"}
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 5
    assert not list(faults())


def test_what_was_published_before_the_range_or_after_it_is_not_told(owner, clock):
    webhook = factories.webhook(owner)
    before, inside, after = events(owner, 1)[0], events(owner, 1)[0], events(owner, 1)[0]

    job = go_on(started(webhook, since=inside.created_at, until=after.created_at), clock)

    assert before.created_at < inside.created_at < after.created_at
    assert (told(job), job.matched) == ([inside.id], 1)


def test_only_wanted_types_are_told_and_of_them_those_that_were_asked_for(owner, clock):
    meter, user = events(owner, 1, "meter.created")[0], events(owner, 1)[0]
    events(owner, 1, "api_keys.rotated")
    webhook = factories.webhook(owner, types=["meter.created", "user.created"])

    assert told(go_on(started(webhook), clock)) == [meter.id, user.id]
    assert told(go_on(started(webhook, types=["meter.created"]), clock)) == [meter.id]


def test_a_filter_decides_by_the_payload_also_when_it_is_counted(owner, clock):
    payload = factories.example("user.created")
    wanted, _ = [
        one.event
        for one in publish_many(
            [Change(owner, "user.created", payload | {"name": name}) for name in ("Ann", "Bob")],
            timezone.now(),
        )
    ]
    webhook = factories.webhook(owner, filter={"/name": ["Ann"]})

    job = go_on(started(webhook), clock)

    assert (told(job), job.matched) == ([wanted.id], 1)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9/elsewhere"])
def test_a_filtered_event_keeps_its_place_among_those_with_the_same_key(owner, clock, url):
    payload = factories.example("user.created")
    webhook = factories.webhook(owner, filter={"/name": ["Ann"]}, ordered=True, ordering_key="/_id")
    changes = [Change(owner, "user.created", payload | {"name": "Ann", "_id": id}) for id in "aba"]
    publish_many(changes, timezone.now())
    keys = [*Delivery.objects.order_by("id").values_list("ordering_key", flat=True)]

    job = go_on(started(webhook, url=url), clock)

    again = [*job.deliveries.order_by("id").values_list("ordering_key", flat=True)]
    assert keys[0] == keys[2] != keys[1]
    assert again == ([None] * 3 if url else keys)


def test_tests_and_erased_events_are_never_told_again(owner, clock):
    webhook = factories.webhook(owner)
    erased, kept = events(owner, 2)
    Event.objects.create(
        application=owner, type="user.created", occurred_at=timezone.now(), payload="{}", test=True
    )
    job = started(webhook)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL openvolt.erasure = 'on'")
        Event.objects.filter(pk=erased.pk).update(payload=ERASED)

    go_on(job, clock, 2)

    assert (job.matched, job.queued, job.status) == (2, 1, "completed")
    assert told(job) == [kept.id]


def test_what_succeeds_while_the_job_waits_is_not_told_again(owner, clock):
    webhook = factories.webhook(owner)
    first, second = events(owner, 2)
    finish(Delivery.objects.all(), "failed")
    job = started(webhook, "failed")
    finish(first.deliveries, "succeeded")

    go_on(job, clock)

    assert job.matched == 2
    assert told(job) == [second.id]


def test_each_recipient_is_told_what_that_one_has_not_got_and_who_has_not_confirmed_later(owner, clock):
    emails = factories.confirmed_emails(owner, ["ann@example.org", "bob@example.org"])
    [event] = events(owner, 1)
    finish(event.deliveries.filter(recipient__email="ann@example.org"), "succeeded")
    finish(event.deliveries.filter(recipient__email="bob@example.org"), "failed")
    set_recipients(emails, ["ann@example.org", "bob@example.org", "eve@example.org"], timezone.now())

    job = go_on(started(emails, "missed"), clock)

    made = job.deliveries.values_list("recipient__email", "status")
    assert set(made) == {("bob@example.org", "pending"), ("eve@example.org", "held")}
    assert (job.matched, job.queued) == (1, 1)


STATES = ["pending", "held", "succeeded", "failed", "cancelled"]


def model(only: str, states: list[str]) -> bool:
    """What the words mean, said once more and otherwise."""
    match only:
        case "all":
            return True
        case "missed":
            return set(states) <= {"failed", "cancelled"}
    return "failed" in states and set(states) <= {"failed", "cancelled"}


@given(st.lists(st.lists(st.sampled_from(STATES), max_size=3), min_size=1, max_size=6))
@hypothesis_settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_who_is_told_is_what_the_words_say_whatever_became_of_earlier_deliveries(owner, histories):
    clock = Clock()
    clock.forward(2 * COMMITTED_AFTER)
    webhook = factories.webhook(owner, types=["meter.created"])
    published = events(owner, len(histories), "meter.created")
    Delivery.objects.filter(event__in=published).delete()
    for event, states in zip(published, histories, strict=True):
        for state in states:
            now = timezone.now()
            Delivery.objects.create(
                application=owner,
                event=event,
                subscription=webhook,
                channel="webhook",
                event_type=event.type,
                status=state,
                next_attempt_at=now if state == "pending" else None,
                finished_at=None if state in ("pending", "held") else now,
            )

    since = published[0].created_at
    for only in ("failed", "missed", "all"):
        job = started(webhook, only, since=since)
        expected = [
            event.id for event, states in zip(published, histories, strict=True) if model(only, states)
        ]
        assert job.matched == len(expected)
        go_on(job, clock)
        assert told(job) == expected
        job.deliveries.all().delete()
    delete_subscription(webhook, timezone.now())


def test_counting_goes_on_in_the_job_when_it_takes_too_long_for_who_asks(owner, clock, monkeypatch):
    monkeypatch.setattr(replaying, "COUNTING", -1)
    monkeypatch.setattr(replaying, "LOOKED_AT", 3)
    published = events(owner, 7)
    job = started(factories.webhook(owner), "missed")
    assert (job.matched, job.counted) == (None, 0)

    go_on(job, clock, 2)
    assert (job.matched, job.counted, job.queued) == (None, 6, 0)
    go_on(job, clock, 8)

    assert (job.matched, job.queued, job.status) == (7, 7, "completed")
    assert told(job) == [event.id for event in published]


def test_no_more_wait_at_a_time_than_the_pace_allows_and_all_are_told(owner, clock):
    published = events(owner, 100)
    job = started(factories.webhook(owner))

    go_on(job, clock)
    assert job.deliveries.count() == 16
    go_on(job, clock, 3)
    assert job.deliveries.count() == 16
    for _ in range(10):
        finish(job.deliveries.filter(status="pending"), "succeeded")
        go_on(job, clock)

    assert job.status == "completed"
    assert told(job) == [event.id for event in published]


@pytest.mark.parametrize(
    ("pace", "waiting", "age", "expected"),
    [
        (16, 0, SECOND / 10, 32),
        (16, 8, SECOND, 16),
        (16, 9, SECOND, 16),
        (16, 9, 3 * SECOND, 8),
        (LEAST_PACE, LEAST_PACE, HOUR, LEAST_PACE),
        (MOST_PACE, 0, SECOND / 10, MOST_PACE),
    ],
)
def test_the_pace_follows_the_receiver(pace, waiting, age, expected):
    assert next_pace(pace, waiting, age) == expected


def test_what_fails_and_waits_for_its_retry_does_not_hold_up_the_job(owner, clock):
    events(owner, 40)
    with Receiver(Answer(500)) as receiver:
        webhook = factories.webhook(owner, receiver.url, retry_schedule=[3600])
        job = go_on(started(webhook), clock)
        for _ in range(3):
            Subscription.objects.update(failing_since=None, failure_count=0, cooling_until=None)
            drain("webhook", clock)

        go_on(job, clock)

    assert job.queued > 16


def test_a_paused_subscriptions_replay_waits_and_goes_on_at_resume(owner, clock):
    webhook = factories.webhook(owner)
    events(owner, 20)
    job = started(webhook)
    pause(webhook, timezone.now())

    go_on(job, clock)
    assert (job.status, job.queued, job.due_at) == ("running", 0, None)

    resume(webhook, clock())
    go_on(job, clock)
    assert (job.status, job.queued) == ("running", 16)


def test_deleting_a_subscription_ends_its_replays(owner, clock):
    webhook = factories.webhook(owner)
    events(owner, 20)
    job = go_on(started(webhook), clock)

    delete_subscription(webhook, clock())
    go_on(job, clock)

    assert (job.status, job.queued) == ("cancelled", 16)
    assert set(job.deliveries.values_list("status", flat=True)) == {"cancelled"}
    with pytest.raises(NotPossible, match="deleted"):
        started(webhook)


def test_cancelling_ends_what_is_not_sent_yet_and_nothing_of_anybody_else(owner, clock):
    webhook = factories.webhook(owner)
    published = events(owner, 20)
    job = go_on(started(webhook), clock)
    [single] = replay(published[0], None, clock())

    cancelled = cancel_replay(job, clock())
    go_on(job, clock)

    assert (cancelled.status, job.status, job.deliveries.count()) == ("cancelled", "cancelled", 16)
    assert set(job.deliveries.values_list("status", flat=True)) == {"cancelled"}
    assert Delivery.objects.pending().count() == 21
    single.refresh_from_db()
    assert single.status == "pending"
    assert cancel_replay(job, clock()).status == "cancelled"
    assert not list(faults())


def test_a_completed_replay_can_not_be_cancelled(owner, clock):
    events(owner, 1)
    job = go_on(started(factories.webhook(owner)), clock, 2)

    with pytest.raises(NotPossible, match="completed"):
        cancel_replay(job, clock())


def test_cancelling_a_replay_of_an_ordered_subscription_lets_what_comes_after_it_go(owner, clock):
    events(owner, 20)
    with Receiver() as receiver:
        webhook = factories.webhook(owner, receiver.url, ordered=True)
        job = go_on(started(webhook), clock)
        [after] = events(owner, 1)
        Delivery.objects.filter(event=after).update(behind=True)

        cancel_replay(job, clock())
        drain("webhook", clock)

    assert [request.headers["openvolt-event-id"] for request in receiver.requests] == [str(after.id)]


def test_an_ordered_subscription_is_told_in_order(owner, clock):
    published = events(owner, 30)
    with Receiver() as receiver:
        job = started(factories.webhook(owner, receiver.url, ordered=True))
        for _ in range(4):
            go_on(job, clock)
            drain("webhook", clock)

    came = [request.headers["openvolt-event-id"] for request in receiver.requests]
    assert came == [str(event.id) for event in published]


def test_no_event_is_passed_by_whose_publisher_has_not_committed_yet(owner, clock):
    webhook = factories.webhook(owner)
    job = started(webhook)
    step(job.id, job.subscription_id, timezone.now())
    job.refresh_from_db()
    assert job.status == "running"

    late = Event.objects.create(
        application=owner,
        type="user.created",
        occurred_at=timezone.now(),
        payload="{}",
        created_at=job.until - SECOND / 100,
    )
    go_on(job, clock)

    assert told(job) == [late.id]


def test_more_than_enough_replays_at_a_time_are_refused(owner, monkeypatch):
    monkeypatch.setattr(replaying, "MOST_RUNNING", 1)
    webhook = factories.webhook(owner)
    started(webhook)

    with pytest.raises(NotPossible, match="1 replays of this subscription are running"):
        started(webhook)


def test_a_fault_of_one_replay_puts_off_only_that_one(owner, monkeypatch):
    events(owner, 1)
    broken, sound = started(factories.webhook(owner)), started(factories.webhook(owner))
    look = replaying.look

    def faulty(job: Replay, *more):
        if job.pk == broken.pk:
            raise RuntimeError("broken")
        return look(job, *more)

    monkeypatch.setattr(replaying, "look", faulty)
    clock = Clock()
    clock.forward(2 * COMMITTED_AFTER)
    replaying.make_steps(clock)

    broken.refresh_from_db()
    sound.refresh_from_db()
    assert (sound.status, broken.status) == ("completed", "running")
    assert broken.due_at
    assert broken.due_at > clock()


def test_the_clock_hands_out_the_task_when_a_replay_is_due(owner):
    quick = broker.ClockBroker("openvolt")
    quick.handed_out_at |= dict.fromkeys(broker.PAUSES, float("inf"))
    assert f"{work_off.__module__}.{work_off.__name__}" == broker.REPLAYS
    assert quick.own_tasks() == []

    job = started(factories.webhook(owner))

    assert len(quick.own_tasks()) == 1
    assert broker.next_due() == job.due_at


def test_the_estimate_follows_the_limit_the_order_and_what_attempts_took(owner, settings):
    settings.DRAINS = {"webhook": 1, "email": 1}
    assert estimated_seconds(factories.webhook(owner), 1600) == 10
    assert estimated_seconds(factories.webhook(owner, ordered=True), 100) == 10
    assert estimated_seconds(factories.webhook(owner, rate_limit=11), 100) == 10


class TestElsewhere:
    """A replay that goes to another URL."""

    @pytest.fixture
    def receivers(self) -> Iterator[tuple[Receiver, Receiver]]:
        with Receiver() as own, Receiver() as other:
            yield own, other

    def test_the_other_server_gets_it_signed_without_numbers_and_without_the_subscriptions_headers(
        self, owner, clock, receivers
    ):
        own, other = receivers
        webhook = factories.webhook(owner, own.url, headers={"x-token": "secret"})
        events(owner, 2)
        drain("webhook", clock)

        job = go_on(started(webhook, url=other.url), clock)
        drain("webhook", clock)
        events(owner, 1)
        clock.forward(SECOND)
        drain("webhook", clock)

        assert len(other.requests) == 2
        for request in other.requests:
            assert "webhook-signature" in request.headers
            assert not {"x-token", "openvolt-sequence"} & set(request.headers)
        numbers = [request.headers["openvolt-sequence"] for request in own.requests]
        assert sorted(numbers) == ["1", "2", "3"]
        assert set(job.deliveries.values_list("status", "sequence")) == {("succeeded", None)}
        assert not list(faults())

    def test_its_address_is_checked_again_when_it_is_connected_to(self, owner, clock, receivers, settings):
        _, other = receivers
        webhook = factories.webhook(owner)
        events(owner, 1)
        finish(Delivery.objects.all(), "succeeded")
        job = go_on(started(webhook, url=other.url), clock)
        settings.WEBHOOK_ALLOWED_NETWORKS = []

        drain("webhook", clock)

        assert other.requests == []
        assert "127.0.0.1" in job.deliveries.get().attempts.get().error

    @pytest.mark.parametrize("status", [500, 410])
    def test_its_refusals_leave_the_subscription_as_it_was(self, owner, clock, status):
        with Receiver(Answer(status)) as other:
            webhook = factories.webhook(owner, retry_schedule=[])
            events(owner, 8)
            finish(Delivery.objects.all(), "succeeded")
            before = Subscription.objects.values().get(pk=webhook.pk)

            job = go_on(started(webhook, url=other.url), clock)
            drain("webhook", clock)

        assert Subscription.objects.values().get(pk=webhook.pk) == before
        assert Counter(job.deliveries.values_list("status", flat=True)) == {"failed": 8}

    def test_its_successes_do_not_make_a_failing_subscription_well(self, owner, clock):
        with Receiver() as other:
            webhook = factories.webhook(owner)
            events(owner, 8)
            finish(Delivery.objects.all(), "failed")
            now = clock()
            Subscription.objects.update(failing_since=now, failure_count=9, cooling_until=now + SECOND * 60)
            before = Subscription.objects.values().get(pk=webhook.pk)

            job = go_on(started(webhook, url=other.url), clock)
            assert broker.is_due("webhook", clock())
            drain("webhook", clock)

        assert len(other.requests) == 8
        assert Counter(job.deliveries.values_list("status", flat=True)) == {"succeeded": 8}
        assert Subscription.objects.values().get(pk=webhook.pk) == before

    def test_what_went_elsewhere_is_still_missed(self, owner, clock, receivers):
        own, other = receivers
        events(owner, 2)
        webhook = factories.webhook(owner, own.url)
        go_on(started(webhook, url=other.url), clock)
        drain("webhook", clock)

        assert started(webhook, "missed").matched == 2

    def test_an_order_is_not_kept_there_and_not_disturbed_here(self, owner, clock, receivers):
        own, other = receivers
        webhook = factories.webhook(owner, own.url, ordered=True)
        events(owner, 3)

        job = go_on(started(webhook, url=other.url), clock)

        assert set(job.deliveries.values_list("position", "ordering_key")) == {(None, None)}
        drain("webhook", clock)
        assert (len(own.requests), len(other.requests)) == (3, 3)

    def test_a_claim_asks_the_database_no_more_often(
        self, owner, clock, receivers, django_assert_num_queries
    ):
        own, other = receivers
        webhook = factories.webhook(owner, own.url)
        events(owner, 3)
        go_on(started(webhook, url=other.url), clock)

        with django_assert_num_queries(4):
            claims = claim("webhook", clock(), Limits(limit=10, share=10))

        targets = [one.target for one in claims if isinstance(one.target, WebhookTarget)]
        assert Counter(target.url for target in targets) == {own.url: 3, other.url: 3}


def together(*calls: Callable[[], object]) -> None:
    def call(one: Callable[[], object]) -> None:
        try:
            one()
        finally:
            connection.close()

    threads = [threading.Thread(target=call, args=(one,)) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_at_the_same_step_one_makes_it(owner, clock, monkeypatch):
    events(owner, 40)
    job = started(factories.webhook(owner))
    now, tell, passed_by = clock(), replaying.tell, []

    def tell_while_another_tries(*args):
        together(lambda: step(job.id, job.subscription_id, now))
        passed_by.append(job.deliveries.count() == 0)
        return tell(*args)

    monkeypatch.setattr(replaying, "tell", tell_while_another_tries)
    step(job.id, job.subscription_id, now)

    job.refresh_from_db()
    assert passed_by == [True]  # once: the other did not get here, and nobody waited for anybody
    assert (job.queued, job.deliveries.count()) == (16, 16)
    assert set(Counter(told(job)).values()) == {1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("first", "second"), list(product(["pause", "cancel", "delete"], ["step"])))
def test_nothing_waits_for_ever_whatever_people_do_during_a_step(owner, clock, first, second):
    webhook = factories.webhook(owner)
    events(owner, 40)
    job = started(webhook)

    def steps() -> None:
        for _ in range(5):
            step(job.id, job.subscription_id, clock())

    acts: dict[str, Callable[[], object]] = {
        "pause": lambda: resume(pause(webhook, clock()), clock()),
        "cancel": lambda: cancel_replay(job, clock()),
        "delete": lambda: delete_subscription(webhook, clock()),
        "step": steps,
    }

    together(acts[second], acts[first], acts[second])

    job.refresh_from_db()
    assert job.status == {"pause": "running"}.get(first, "cancelled")
    assert not list(faults())
