"""What a receiver that fails gets: attempt after attempt on the schedule, and a history that says why."""

from datetime import timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from django.conf import settings as configured

from deliveries import lifecycle
from deliveries.dispatch import drain
from deliveries.models import Attempt, Delivery
from deliveries.publishing import publish
from tests.support import factories
from tests.support.receivers import Answer, Authority, RawReceiver, Receiver, drip, flood, hang, hang_up, say
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
OK = b"HTTP/1.1 200 OK\r\n"


def user_created(owner) -> Delivery:
    return publish(owner, "user.created", factories.example("user.created")).deliveries.get()


def attempt_when_due(delivery: Delivery, clock: Clock) -> Delivery:
    """Nothing happens a moment before it is due; then there is one more attempt."""
    if next_wait(delivery, clock) > timedelta(0):
        clock.forward(next_wait(delivery, clock) - SECOND / 1000)
        assert drain("webhook", clock) == 0
        clock.forward(next_wait(delivery, clock))
    assert drain("webhook", clock) == 1
    delivery.refresh_from_db()
    return delivery


def next_wait(delivery: Delivery, clock: Clock) -> timedelta:
    assert delivery.next_attempt_at is not None
    return delivery.next_attempt_at - clock()


def waits(delivery: Delivery) -> list[timedelta]:
    starts = delivery.attempts.order_by("number").values_list("started_at", flat=True)
    return [after - before for before, after in pairwise(starts)]


def within_jitter(actual: list[timedelta], nominal: list[timedelta]) -> bool:
    return len(actual) == len(nominal) and all(
        wait * 0.8 <= waited <= wait * 1.2 + SECOND / 100
        for waited, wait in zip(actual, nominal, strict=True)
    )


def history(delivery: Delivery) -> list[tuple[int, str, int | None, str]]:
    return list(
        delivery.attempts.order_by("number").values_list("number", "outcome", "status_code", "trigger")
    )


def test_a_receiver_that_answers_500_three_times_is_told_again_on_the_schedule_until_it_takes_it(
    owner, clock
):
    with Receiver(Answer(500), Answer(500), Answer(500), Answer(200)) as receiver:
        factories.webhook(owner, receiver.url)
        delivery = user_created(owner)

        for _ in range(4):
            attempt_when_due(delivery, clock)

    assert (delivery.status, delivery.next_attempt_at) == ("succeeded", None)
    assert history(delivery) == [
        (1, "failed", 500, "scheduled"),
        (2, "failed", 500, "scheduled"),
        (3, "failed", 500, "scheduled"),
        (4, "succeeded", 200, "scheduled"),
    ]
    assert within_jitter(waits(delivery), configured.RETRY_SCHEDULE[:3])
    assert [request.headers["openvolt-attempt"] for request in receiver.requests] == ["1", "2", "3", "4"]
    assert {request.headers["webhook-id"] for request in receiver.requests} == {str(delivery.id)}
    assert len({request.body for request in receiver.requests}) == 1
    stamps = [int(request.headers["webhook-timestamp"]) for request in receiver.requests]
    assert stamps == [int(attempt.started_at.timestamp()) for attempt in delivery.attempts.all()]


def test_after_ten_attempts_in_75_hours_a_delivery_has_failed_and_a_retry_by_hand_still_succeeds(
    owner, clock
):
    with Receiver(*[Answer(503, body=b"down")] * 10, Answer(200, body=b"thanks")) as receiver:
        factories.webhook(owner, receiver.url)
        delivery = user_created(owner)

        while delivery.status == "pending":
            attempt_when_due(delivery, clock)
        assert (delivery.status, delivery.attempt_count) == ("failed", 10)
        assert within_jitter(waits(delivery), configured.RETRY_SCHEDULE)
        assert timedelta(hours=60) < sum(waits(delivery), timedelta()) < timedelta(hours=91)

        clock.forward(timedelta(days=3))
        assert drain("webhook", clock) == 0
        attempt_when_due(lifecycle.retry(delivery, clock()), clock)

    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempt_count) == ("succeeded", 11)
    scheduled = [(number, "failed", 503, "scheduled") for number in range(1, 11)]
    assert history(delivery) == [*scheduled, (11, "succeeded", 200, "manual")]
    assert [attempt.response_body for attempt in delivery.attempts.all()] == ["down"] * 10 + ["thanks"]


def test_a_retry_by_hand_that_fails_after_the_last_attempt_ends_failed_again(owner, clock):
    with Receiver(Answer(500)) as receiver:
        factories.webhook(owner, receiver.url, retry_schedule=[])
        delivery = attempt_when_due(user_created(owner), clock)
        assert delivery.status == "failed"

        attempt_when_due(lifecycle.retry(delivery, clock()), clock)

    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempt_count) == ("failed", 2)


def test_a_subscriptions_own_schedule_counts_and_a_wait_of_nothing_is_still_a_retry(owner, clock):
    with Receiver(Answer(500)) as receiver:
        factories.webhook(owner, receiver.url, retry_schedule=[0, 60])
        delivery = user_created(owner)

        assert drain("webhook", clock) == 2
        delivery.refresh_from_db()
        attempt_when_due(delivery, clock)

    assert (delivery.status, delivery.attempt_count) == ("failed", 3)
    assert within_jitter(waits(delivery), [timedelta(0), 60 * SECOND])


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        ("3600", timedelta(hours=1)),
        ("date in 2 hours", timedelta(hours=2)),
        ("864000", timedelta(hours=24)),
        ("date in 9 days", timedelta(hours=24)),
    ],
)
def test_a_receiver_that_says_retry_after_is_left_alone_so_long_but_a_day_at_most(
    owner, clock, status, asked, waited
):
    if asked == "date in 2 hours":
        asked = format_datetime(clock() + timedelta(hours=2), usegmt=True)
    elif asked == "date in 9 days":
        asked = format_datetime(clock() + timedelta(days=9), usegmt=True)
    with Receiver(Answer(status, {"retry-after": asked})) as receiver:
        factories.webhook(owner, receiver.url)

        delivery = attempt_when_due(user_created(owner), clock)

    assert abs(next_wait(delivery, clock) - waited) <= SECOND


@pytest.mark.parametrize("answer", [Answer(429, {"retry-after": "1"}), Answer(500, {"retry-after": "3600"})])
def test_retry_after_never_makes_a_retry_earlier_and_counts_with_429_and_503_only(owner, clock, answer):
    with Receiver(answer) as receiver:
        factories.webhook(owner, receiver.url)

        delivery = attempt_when_due(user_created(owner), clock)

    assert within_jitter([next_wait(delivery, clock)], configured.RETRY_SCHEDULE[:1])


def test_a_receiver_that_is_gone_is_told_no_more_and_the_rest_is_held_for_it(owner, clock):
    with Receiver(Answer(410)) as receiver:
        subscription = factories.webhook(owner, receiver.url)
        told = user_created(owner)
        later = user_created(owner)
        Delivery.objects.filter(pk=later.pk).update(next_attempt_at=clock() + 60 * SECOND)

        assert drain("webhook", clock) == 1
        clock.forward(timedelta(hours=1))
        assert drain("webhook", clock) == 0
        meanwhile = user_created(owner)

    subscription.refresh_from_db()
    assert subscription.status == "disabled"
    assert "410" in subscription.status_reason
    statuses = [Delivery.objects.get(pk=one.pk).status for one in (told, later, meanwhile)]
    assert statuses == ["failed", "held", "held"]
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 425, 429])
def test_every_other_refusal_is_tried_again_since_receivers_get_mended(owner, clock, status):
    with Receiver(Answer(status), Answer(204)) as receiver:
        factories.webhook(owner, receiver.url)
        delivery = attempt_when_due(user_created(owner), clock)
        assert delivery.status == "pending"

        attempt_when_due(delivery, clock)

    assert delivery.status == "succeeded"


MISBEHAVING = {
    "hangs": (hang, "did not begin to answer within 1 s"),
    "drips its headers": (drip(b"HTTP/1.1 200", b" "), "not complete within 1 s"),
    "drips its body": (drip(OK + b"content-length: 9999\r\n\r\n", b"x"), "not complete within 1 s"),
    "redirects": (
        say(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n"),
        "302 Found and points to http://127.0.0.1/; redirects are not followed",
    ),
    "fails with a gigabyte": (
        flood(b"HTTP/1.1 500 Oops\r\ncontent-length: 1073741824\r\n\r\n", 1 << 30),
        "answered 500",
    ),
    "speaks no HTTP": (say(b"SSH-2.0-OpenSSH_9.6\r\n"), "not HTTP/1.1"),
    "hangs up": (hang_up, "closed the connection without an answer"),
}


@pytest.mark.parametrize("kind", MISBEHAVING)
def test_a_receiver_that_misbehaves_is_a_failed_attempt_in_time_and_due_again(owner, clock, settings, kind):
    settings.WEBHOOK_TIMEOUT = SECOND
    script, reason = MISBEHAVING[kind]
    with RawReceiver(script) as receiver:
        factories.webhook(owner, receiver.url)

        delivery = attempt_when_due(user_created(owner), clock)

    assert_failed_in_time(delivery, reason, clock)


def test_a_receiver_with_a_broken_certificate_is_a_failed_attempt_and_due_again(owner, clock, tmp_path):
    with Receiver(tls=Authority(tmp_path).context()) as receiver:
        factories.webhook(owner, receiver.url)

        delivery = attempt_when_due(user_created(owner), clock)

    assert_failed_in_time(delivery, "certificate", clock)
    assert receiver.requests == []


def test_a_receiver_that_has_vanished_is_a_failed_attempt_and_due_again(owner, clock):
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url)

    delivery = attempt_when_due(user_created(owner), clock)

    assert_failed_in_time(delivery, "refused the connection", clock)


def assert_failed_in_time(delivery: Delivery, reason: str, clock: Clock) -> None:
    attempt = Attempt.objects.get(delivery=delivery)
    assert attempt.outcome == "failed"
    assert reason in attempt.error
    assert attempt.duration_ms < 10_000  # far below the 30 s that a receiver here holds on for
    assert len(attempt.response_body) <= 16 * 1024
    assert delivery.status == "pending"
    assert within_jitter([next_wait(delivery, clock)], configured.RETRY_SCHEDULE[:1])
