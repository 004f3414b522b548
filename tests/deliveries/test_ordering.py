"""Order, for subscriptions that want it: what is claimed, what is held up, what goes on, and what arrives."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from deliveries import dispatch, lifecycle
from deliveries.broker import is_due, next_due
from deliveries.channels import Report
from deliveries.claiming import Claim, Limits, claim, claim_past_the_front
from deliveries.dispatch import drain
from deliveries.ledger import faults
from deliveries.models import Attempt, Delivery
from deliveries.ordering import Runs, key_of
from deliveries.publishing import Change, publish_many
from deliveries.settling import Tried, hold, put_back_unsent, settle
from deliveries.waiting import why_waiting
from events.pointers import NOWHERE, value_at
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.locks import somebody_waits_for_a_lock
from tests.support.plans import Explain
from tests.support.receivers import Answer, Received, Receiver
from tests.support.running import wait_for
from tests.support.workers import Clock, Cluster

pytestmark = pytest.mark.django_db

SHARE = 8
BY_METER = "/0/meter_id"
SUCCEEDED = Report(succeeded=True, status_code=204)
FAILED = Report(succeeded=False, status_code=500, error="The receiver answered 500 Internal Server Error.")
REFUSED = Report(succeeded=False, status_code=400, error="It is refused for good.", permanent=True)
LOST = """
SELECT id FROM deliveries_delivery AS delivery
WHERE behind AND status IN ('pending', 'held') AND position IS NOT NULL AND NOT EXISTS (
    SELECT FROM deliveries_delivery AS ahead
    WHERE ahead.subscription_id = delivery.subscription_id AND ahead.ordering_key = delivery.ordering_key
        AND ahead.status IN ('pending', 'held') AND ahead.position < delivery.position
)
"""


@pytest.fixture
def ordered(owner):
    return factories.webhook(owner, ordered=True)


@pytest.fixture
def by_meter(owner):
    return factories.webhook(owner, types=["meter_data.received"], ordered=True, ordering_key=BY_METER)


def readings(meter: str) -> list[dict[str, str]]:
    first, *_ = factories.example("meter_data.received")
    return [first | {"meter_id": meter}]


def received(owner, *meters: str) -> list[Delivery]:
    """One event for each of these meters, in one publish a minute ago; their deliveries in that order."""
    changes = [Change(owner, "meter_data.received", readings(meter)) for meter in meters]
    events = [one.event for one in publish_many(changes, Clock().now - timedelta(minutes=1))]
    return list(Delivery.objects.filter(event__in=events).order_by("position", "id"))


def backlog(owner, count: int) -> list[Delivery]:
    return received(owner, *["a"] * count)


def take(clock, limit: int = 16, share: int = SHARE, **limits) -> list[Claim]:
    return sorted(
        claim("webhook", clock(), Limits(limit=limit, share=share, **limits)),
        key=lambda one: one.delivery.position or 0,
    )


def come_back(clock, *claims: Claim, report: Report = SUCCEEDED) -> None:
    settle([Tried(one, report, clock(), timedelta(seconds=1)) for one in claims], clock())


def ids(rows: list[Delivery] | list[Claim]) -> list[object]:
    return [row.delivery.id if isinstance(row, Claim) else row.id for row in rows]


def states(deliveries: list[Delivery]) -> list[str]:
    for delivery in deliveries:
        delivery.refresh_from_db()
    return [delivery.status for delivery in deliveries]


def lost() -> list[object]:
    """Those that are marked as waiting for others, and there is none."""
    with connection.cursor() as cursor:
        cursor.execute(LOST)
        return cursor.fetchall()


def test_the_first_is_claimed_with_the_run_behind_it_and_nothing_more_until_it_is_finished(
    owner, clock, ordered
):
    deliveries = backlog(owner, 12)

    assert ids(take(clock)) == ids(deliveries[:SHARE])
    assert take(clock) == []


def test_without_room_for_runs_only_the_first_is_claimed(owner, clock, ordered):
    deliveries = backlog(owner, 3)

    assert ids(take(clock, runs=0)) == ids(deliveries[:1])


def test_numbers_follow_the_order(owner, clock, ordered):
    backlog(owner, 12)
    Delivery.objects.filter(position__gt=Delivery.objects.order_by("position")[3].position).update(
        next_attempt_at=clock() - timedelta(hours=1)
    )

    first = take(clock)
    come_back(clock, *first)
    claims = [*first, *take(clock)]

    assert [one.delivery.sequence for one in claims] == list(range(1, 13))


def test_each_key_has_its_own_order(owner, clock, by_meter):
    a, b, a2, b2, c = received(owner, "a", "b", "a", "b", "c")

    assert {one.delivery.id for one in take(clock, runs=0)} == {a.id, b.id, c.id}
    assert take(clock, runs=0) == []
    assert not Delivery.objects.filter(behind=True).exclude(id__in=[a2.id, b2.id]).exists()


def test_the_runs_of_several_keys_share_what_a_subscription_may_have(owner, clock, by_meter):
    received(owner, *"ab" * 10)

    claims = take(clock)

    assert [event.meter for event in map(Meter, claims)].count("a") == SHARE // 2
    assert len(claims) == SHARE


class Meter:
    def __init__(self, one: Claim) -> None:
        self.meter = json.loads(one.delivery.event.payload)[0]["meter_id"]


def test_one_that_waits_for_its_retry_holds_those_behind_it(owner, clock, ordered):
    deliveries = backlog(owner, 4)
    first, *rest = take(clock)
    put_back_unsent(rest)
    come_back(clock, first, report=FAILED)

    assert take(clock) == take(clock) == []
    clock.forward(timedelta(seconds=7))
    assert ids(take(clock)) == ids(deliveries[:1]), "a subscription that fails is probed with one"


def test_a_key_that_fails_does_not_hold_up_the_others(owner, clock, by_meter):
    a, b, a2, b2 = received(owner, "a", "b", "a", "b")
    claims = {one.delivery.id: one for one in take(clock, runs=0)}
    come_back(clock, claims[a.id], report=FAILED)
    come_back(clock, claims[b.id])
    Subscription.objects.update(failing_since=None)

    assert ids(take(clock)) == [b2.id]
    a2.refresh_from_db()
    assert a2.behind


@pytest.mark.parametrize("report", [SUCCEEDED, REFUSED])
def test_one_that_is_finished_lets_the_next_go(owner, clock, ordered, report):
    deliveries = backlog(owner, 2)
    first, second = take(clock)
    put_back_unsent([second])
    take(clock)
    come_back(clock, first, report=report)
    clock.forward(timedelta(minutes=1))

    assert ids(take(clock)) == ids(deliveries[1:])


def test_one_that_has_used_up_its_attempts_lets_the_next_go(owner, clock):
    factories.webhook(owner, ordered=True, retry_schedule=[])
    deliveries = backlog(owner, 2)
    [first, second] = take(clock)
    put_back_unsent([second])
    take(clock)
    come_back(clock, first, report=FAILED)

    assert states(deliveries) == ["failed", "pending"]
    assert ids(take(clock)) == ids(deliveries[1:])


def test_one_that_is_cancelled_lets_the_next_go(owner, clock, ordered):
    deliveries = backlog(owner, 3)
    first, *rest = take(clock)
    put_back_unsent(rest)
    come_back(clock, first, report=FAILED)
    Subscription.objects.update(failing_since=None)
    take(clock)

    lifecycle.cancel(deliveries[1], clock())
    assert take(clock) == []
    lifecycle.cancel(deliveries[0], clock())

    assert ids(take(clock)) == ids(deliveries[2:])


def test_an_older_one_that_is_retried_by_hand_goes_before_what_waits_and_after_what_is_under_way(
    owner, clock
):
    factories.webhook(owner, ordered=True, retry_schedule=[])
    deliveries = backlog(owner, 4)
    come_back(clock, take(clock, runs=0)[0], report=FAILED)
    Subscription.objects.update(failing_since=None)
    under_way = take(clock, runs=0)

    lifecycle.retry(deliveries[0], clock())
    assert take(clock) == []
    come_back(clock, *under_way)

    assert ids(take(clock)) == [deliveries[0].id, deliveries[2].id, deliveries[3].id]


def test_a_retry_by_hand_does_not_overtake(owner, clock, ordered):
    deliveries = backlog(owner, 3)
    [under_way] = take(clock, runs=0)

    lifecycle.retry(deliveries[2], clock())
    assert take(clock) == []
    come_back(clock, under_way)

    claims = take(clock)
    assert ids(claims) == ids(deliveries[1:])
    assert [one.trigger for one in claims] == ["scheduled", "manual"]


def test_a_run_ends_where_one_waits_for_its_retry(owner, clock, ordered):
    deliveries = backlog(owner, 4)
    Delivery.objects.filter(pk=deliveries[2].pk).update(
        attempt_count=1, next_attempt_at=clock() + timedelta(hours=1)
    )

    assert ids(take(clock)) == ids(deliveries[:2])


def test_a_run_that_another_worker_has_a_part_of_is_broken_off_there(owner, clock, ordered):
    deliveries = backlog(owner, 4)
    Delivery.objects.filter(pk=deliveries[2].pk).update(
        leased_until=clock() + timedelta(seconds=9), lease_id=deliveries[2].id
    )

    assert take(clock) == []
    clock.forward(timedelta(seconds=10))
    assert ids(take(clock)) == ids(deliveries)


def test_a_killed_workers_run_is_claimed_again_in_order_when_its_lease_ends(owner, clock, ordered):
    deliveries = backlog(owner, 6)
    run = take(clock)
    come_back(clock, *run[:2])
    backlog(owner, 2)
    assert take(clock) == []

    clock.forward(timedelta(minutes=1))

    again = take(clock)
    assert ids(again)[:4] == ids(deliveries[2:])
    assert [one.delivery.sequence for one in again] == [3, 4, 5, 6, 7, 8]


def test_what_is_put_back_unsent_is_claimed_again_in_order_at_no_cost(owner, clock, ordered):
    deliveries = backlog(owner, 6)
    first, *rest = take(clock)
    put_back_unsent(rest)
    take(clock)
    come_back(clock, first)

    assert ids(take(clock)) == ids(deliveries[1:])
    assert set(Delivery.objects.values_list("attempt_count", flat=True)) == {0, 1}


def test_a_pause_holds_everything_and_a_resume_sends_it_in_order(owner, clock, ordered):
    deliveries = backlog(owner, 6)
    first, *rest = take(clock)
    lifecycle.pause(ordered, clock())
    held = backlog(owner, 3)
    come_back(clock, first, report=FAILED)
    put_back_unsent(rest)
    assert take(clock) == []

    lifecycle.resume(ordered, clock())

    claims = take(clock)
    assert ids(claims) == ids([*deliveries, *held])[:SHARE]
    assert [one.delivery.sequence for one in claims] == list(range(1, SHARE + 1))


def test_what_was_claimed_as_a_pause_came_is_held_and_goes_out_in_order(owner, clock, ordered):
    deliveries = backlog(owner, 4)
    claims = take(clock)
    lifecycle.pause(ordered, clock())

    hold(claims, clock())
    assert states(deliveries) == ["held"] * 4
    lifecycle.resume(ordered, clock())

    assert ids(take(clock)) == ids(deliveries)


def test_a_deleted_subscriptions_deliveries_all_come_to_their_end(owner, clock, ordered):
    deliveries = backlog(owner, 6)
    come_back(clock, *take(clock, runs=0))
    second, *rest = take(clock)
    come_back(clock, second, report=FAILED)

    lifecycle.delete_subscription(ordered, clock())
    put_back_unsent(rest)
    while claims := take(clock, runs=0):
        hold(claims, clock())

    assert states(deliveries) == ["succeeded", *["cancelled"] * 5]


def test_a_replay_comes_behind_all_that_is_there(owner, clock, ordered):
    deliveries = backlog(owner, 3)
    [again] = lifecycle.replay(deliveries[0].event, None, clock() - timedelta(seconds=1))
    [test] = lifecycle.send_test(ordered, "meter_data.received", clock() - timedelta(seconds=1))

    assert ids(take(clock)) == [*ids(deliveries), again.id, test.id]


def test_a_change_of_the_order_is_for_what_is_published_from_then_on(owner, clock, ordered):
    before = backlog(owner, 2)
    lifecycle.change_subscription(ordered, {"ordered": False}, None, clock())
    after = backlog(owner, 2)

    claims = take(clock, runs=0)

    assert set(ids(claims)) == {before[0].id, *ids(after)}


def test_an_unordered_subscription_has_no_positions_and_asks_for_none(owner, clock, monkeypatch):
    factories.webhook(owner)
    monkeypatch.setattr("deliveries.ordering.positions", pytest.fail)

    [delivery] = backlog(owner, 1)

    assert (delivery.position, delivery.ordering_key, delivery.behind) == (None, None, False)


def test_many_new_deliveries_get_their_positions_with_one_query(owner, by_meter, django_assert_num_queries):
    def queries(meters: int) -> int:
        with CountedQueries() as counted:
            received(owner, *map(str, range(meters)))
        return counted.number

    assert queries(50) == queries(5) > 0


class CountedQueries:
    """How many queries are made in the block."""

    number = 0

    def __enter__(self):
        self.wrapper = connection.execute_wrapper(self)
        self.wrapper.__enter__()
        return self

    def __exit__(self, *exc):
        self.wrapper.__exit__(*exc)

    def __call__(self, execute, *args):
        self.number += 1
        return execute(*args)


def test_a_long_backlog_behind_one_that_fails_delays_nobody_and_wakes_no_worker(owner, clock, by_meter):
    [stuck, *_] = backlog(owner, 5000)
    come_back(clock, *take(clock, runs=0), report=FAILED)
    factories.webhook(owner, types=["user.created"])
    user_created = Change(owner, "user.created", factories.example("user.created"))
    publish_many([user_created], clock() - timedelta(seconds=1))

    [past] = claim_past_the_front("webhook", clock(), Limits(limit=16, share=SHARE, full=[by_meter.id]))
    assert past.delivery.event.type == "user.created"
    looks = 0
    while is_due("webhook", clock()) and looks < 20:
        take(clock, full=[by_meter.id])
        looks += 1

    assert looks < 20
    stuck.refresh_from_db()
    assert next_due() == stuck.next_attempt_at
    clock.forward_to(stuck.next_attempt_at)
    assert ids(take(clock)) == [stuck.id]


@pytest.mark.usefixtures("no_dead_rows")
def test_a_claim_of_one_with_many_behind_it_reads_no_more_than_a_few(owner, clock, ordered):
    backlog(owner, 3000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE deliveries_delivery")
    with connection.execute_wrapper(explain := Explain()):
        take(clock)

    assert not explain.reads_all_of("deliveries_delivery")
    assert "ordering_key" in explain.plan


@pytest.mark.parametrize(
    ("pointer", "document", "value"),
    [
        ("/0/meter_id", [{"meter_id": "a"}], "a"),
        ("/0/a~1b/~0/", [{"a/b": {"~": {"": None}}}], None),
        ("/01", ["a", "b"], NOWHERE),
        ("/-", ["a"], NOWHERE),
        ("/1", ["a"], NOWHERE),
        ("/-1", ["a"], NOWHERE),
        ("/\u0661", ["a", "b"], NOWHERE),
        ("/" + "9" * 499, ["a"], NOWHERE),
        ("/0", {"0": 5}, 5),
        ("/0/0", ["text"], NOWHERE),
        ("/a", [], NOWHERE),
        ("/a/b", {"a": None}, NOWHERE),
    ],
)
def test_a_pointer_leads_to_one_value_or_nowhere(pointer, document, value):
    assert value_at(pointer, document) is value or value_at(pointer, document) == value


def test_equal_values_are_one_key_and_others_are_not():
    values = [None, False, 0, "", "0", [], {}, "null", {"a": 1}, ["a", 1], "x" * 10**6, NOWHERE]

    assert len({key_of(value) for value in values}) == len(values)
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert {len(key_of(value)) for value in values} == {64}


def test_those_whose_payload_has_nothing_there_are_one_key_by_themselves(owner, clock):
    factories.webhook(owner, ordered=True, ordering_key=BY_METER)
    without = [Change(owner, "user.created", factories.example("user.created"))] * 2
    publish_many(without, clock() - timedelta(minutes=2))
    [a] = received(owner, "a")

    first, with_key = take(clock, runs=0)

    assert first.delivery.event.type == "user.created"
    assert with_key.delivery.id == a.id


def test_one_that_waits_says_for_whom_and_why(owner, clock, by_meter):
    ahead, behind = backlog(owner, 2)
    [claimed] = take(clock, runs=0)

    def says() -> str:
        return str(why_waiting(Delivery.objects.get(pk=behind.pk), clock()))

    waits = f"It waits behind delivery {ahead.pk}, which "
    assert says() == f"{waits}is under way, to keep the order of those with the same {BY_METER}."
    come_back(clock, claimed, report=FAILED)
    ahead.refresh_from_db()
    assert says().startswith(
        f"{waits}has failed once and is tried again at {ahead.next_attempt_at:%Y-%m-%dT%H:%M:%S}Z"
    )
    clock.forward(timedelta(minutes=1))
    assert says().startswith(f"{waits}is due")
    lifecycle.cancel(ahead, clock())
    assert says() == "Its subscription is failing: one attempt at a time is made until one succeeds."


def test_in_an_order_without_a_key_it_names_none(owner, clock, ordered):
    ahead, behind = backlog(owner, 2)

    assert (
        why_waiting(behind, clock())
        == f"It waits behind delivery {ahead.pk}, which is due, to keep the order."
    )


class Picky(Receiver):
    """Refuses what is about these meters."""

    refused: frozenset[str] = frozenset()

    def receive(self, request: Received) -> Answer:
        answer = super().receive(request)
        return Answer(500) if meter_of(request) in self.refused else answer


def meter_of(request: Received) -> str:
    meter: str = json.loads(request.body)["payload"][0]["meter_id"]
    return meter


def arrived(receiver: Receiver) -> dict[str, list[str]]:
    """For each meter the ids of the deliveries, each once, as they came first."""
    first: dict[str, dict[str, None]] = defaultdict(dict)
    for request in receiver.requests:
        first[meter_of(request)].setdefault(request.headers["webhook-id"])
    return {meter: list(seen) for meter, seen in first.items()}


def published_order() -> dict[str, list[str]]:
    by_meter: dict[str, list[str]] = defaultdict(list)
    for delivery in Delivery.objects.select_related("event").order_by("position"):
        by_meter[delivery.event.payload_json[0]["meter_id"]].append(str(delivery.id))
    return by_meter


def overlaps() -> list[tuple[Attempt, Attempt]]:
    """Attempts of one key that were under way at the same time."""
    by_key = defaultdict(list)
    for attempt in Attempt.objects.select_related("delivery").order_by("started_at"):
        by_key[attempt.delivery.ordering_key].append(attempt)
    precision = timedelta(milliseconds=1)
    return [
        (before, after)
        for attempts in by_key.values()
        for before, after in pairwise(attempts)
        if after.started_at < before.started_at + timedelta(milliseconds=before.duration_ms) - precision
    ]


def drain_until_done() -> None:
    try:
        while Delivery.objects.pending().exists():
            drain("webhook")
    finally:
        connection.close()


@contextmanager
def draining(count: int) -> Iterator[None]:
    """So many drains in parallel, until nothing is pending."""
    threads = [threading.Thread(target=drain_until_done) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(60)


@pytest.mark.django_db(transaction=True)
def test_with_several_drains_each_key_arrives_in_order_and_one_at_a_time(owner, settings):
    settings.DRAINS = {"webhook": 3, "email": 1}
    slow = Answer(204, after=timedelta(milliseconds=3))
    with Receiver(slow) as receiver:
        factories.webhook(owner, receiver.url, ordered=True, ordering_key=BY_METER)
        received(owner, *"abcd" * 40)
        with draining(3):
            for _ in range(20):
                received(owner, *"abcd")

    assert arrived(receiver) == published_order()
    assert len(receiver.requests) == 240
    assert overlaps() == []
    assert lost() == []
    assert list(faults()) == []


@pytest.mark.django_db(transaction=True)
def test_an_ordered_subscription_without_a_key_keeps_one_order_for_all(owner, settings):
    settings.DRAINS = {"webhook": 2, "email": 1}
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url, ordered=True)
        received(owner, *"abc" * 50)
        with draining(2):
            pass

    by_position = Delivery.objects.order_by("position").values_list("id", "sequence")
    assert [request.headers["webhook-id"] for request in receiver.requests] == [
        str(id) for id, _ in by_position
    ]
    assert [number for _, number in by_position] == list(range(1, 151))
    assert overlaps() == []


def test_a_long_run_takes_few_claims(owner, clock, monkeypatch):
    made: list[Limits] = []

    def counted(lane: str, now: datetime, limits: Limits) -> list[Claim]:
        made.append(limits)
        return claim(lane, now, limits)

    monkeypatch.setattr(dispatch, "claim", counted)
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url, ordered=True)
        backlog(owner, 200)
        drain("webhook", clock)

    assert len(receiver.requests) == 200
    assert len(made) < 50


def test_one_that_fails_holds_its_key_and_no_other(owner, clock):
    with Picky() as receiver:
        factories.webhook(owner, receiver.url, ordered=True, ordering_key=BY_METER)
        receiver.refused = frozenset("a")
        received(owner, *"ab" * 5)
        for _ in range(4):
            drain("webhook", clock)
            clock.forward(timedelta(seconds=1))
        assert {meter: len(seen) for meter, seen in arrived(receiver).items()} == {"a": 1, "b": 5}

        receiver.refused = frozenset()
        clock.forward(timedelta(hours=1))
        drain("webhook", clock)

    assert arrived(receiver) == published_order()
    assert not Delivery.objects.exclude(status="succeeded").exists()


def test_after_one_has_failed_for_good_the_order_goes_on(owner, clock):
    with Receiver(Answer(500), Answer(500), Answer(204)) as receiver:
        factories.webhook(owner, receiver.url, ordered=True, retry_schedule=[10])
        deliveries = backlog(owner, 5)
        drain("webhook", clock)
        assert len(receiver.requests) == 1
        clock.forward(timedelta(seconds=15))
        drain("webhook", clock)

    assert states(deliveries) == ["failed", *["succeeded"] * 4]
    assert arrived(receiver) == published_order()


def test_a_receiver_that_is_gone_gets_nothing_more_of_the_run(owner, clock, ordered):
    with Receiver(Answer(204), Answer(410)) as receiver:
        Subscription.objects.update(url=receiver.url)
        deliveries = backlog(owner, 5)
        drain("webhook", clock)
        assert len(receiver.requests) == 2
        receiver.answers = [Answer(204)]
        lifecycle.resume(ordered, clock())
        drain("webhook", clock)

    assert states(deliveries) == ["succeeded", "failed", *["succeeded"] * 3]
    assert arrived(receiver) == published_order()


@pytest.mark.django_db(transaction=True)
def test_a_pause_in_the_middle_of_a_run_and_a_resume_keep_the_order(owner, settings):
    settings.DRAINS = {"webhook": 2, "email": 1}
    with Receiver(Answer(204, after=timedelta(milliseconds=10))) as receiver:
        subscription = factories.webhook(owner, receiver.url, ordered=True, ordering_key=BY_METER)
        received(owner, *"ab" * 60)
        with draining(2):
            receiver.wait_for(10)
            lifecycle.pause(subscription, timezone.now())
        assert Delivery.objects.held().exists()
        lifecycle.resume(subscription, timezone.now())
        with draining(2):
            pass

    assert arrived(receiver) == published_order()
    assert not Delivery.objects.exclude(status="succeeded").exists()
    assert overlaps() == []


@pytest.mark.django_db(transaction=True)
def test_an_order_and_a_limit_are_kept_together(owner, settings):
    settings.DRAINS = {"webhook": 2, "email": 1}
    with Receiver() as receiver:
        factories.webhook(owner, receiver.url, ordered=True, ordering_key=BY_METER, rate_limit=30)
        received(owner, *"ab" * 35)
        with draining(2):
            pass

    starts = list(Attempt.objects.order_by("started_at").values_list("started_at", flat=True))
    assert len(starts) == 70
    assert all(
        later - first >= timedelta(seconds=1) for first, later in zip(starts, starts[30:], strict=False)
    )
    assert arrived(receiver) == published_order()
    assert overlaps() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("cluster")
def test_a_worker_that_is_killed_in_the_middle_of_a_run_breaks_no_order(owner, tmp_path):
    with Receiver(Answer(204, after=timedelta(milliseconds=100))) as receiver:
        factories.webhook(owner, receiver.url, ordered=True, ordering_key=BY_METER)
        received(owner, *"ab" * 20)
        with Cluster(tmp_path) as first:
            receiver.wait_for(8, seconds=60)
            first.kill()
        left = Delivery.objects.unfinished()
        assert left.exists()
        left.exclude(lease_id=None).update(leased_until=timezone.now())  # so as not to wait until it ends
        with Cluster(tmp_path):
            wait_for(lambda: not left.exists(), 90)

    assert arrived(receiver) == published_order()
    assert lost() == []
    assert list(faults()) == []


class World:
    """An ordered subscription, workers that claim and send for it, people who interfere, and a receiver's memory."""

    def __init__(self) -> None:
        self.owner = factories.application()
        self.clock = Clock()
        self.subscription = factories.webhook(
            self.owner, ordered=True, ordering_key=BY_METER, retry_schedule=[5, 5]
        )
        self.runs: list[Runs] = []
        self.out: list[tuple[Runs, Claim]] = []
        self.seen: list[Claim] = []
        self.meddled: set[object] = set()

    def publish(self, number: int) -> None:
        changes = [Change(self.owner, "meter_data.received", readings("ab"[number % 2]))] * (number % 3 + 1)
        publish_many(changes, self.clock())

    def claim(self, number: int) -> None:
        claims = take(self.clock, share=number % 4 + 1)
        if unwanted := [one for one in claims if not one.sendable]:
            hold(unwanted, self.clock())
        runs = Runs()
        self.send(runs, list(runs.firsts([one for one in claims if one.sendable])))

    def send(self, runs: Runs, claims: list[Claim]) -> None:
        for one in claims:
            if one.begin_by > self.clock():
                self.check_order(one)
                self.seen.append(one)
                self.out.append((runs, one))

    def check_order(self, one: Claim) -> None:
        """Whatever came before it has been told, or will not be."""
        same_key = Delivery.objects.filter(ordering_key=one.delivery.ordering_key)
        told = {one.delivery.id for one in self.seen}
        earlier = same_key.filter(position__lt=one.delivery.position).unfinished()
        overtaken = [early for early in earlier if early.id not in told | self.meddled]
        assert overtaken == [], f"{one.delivery.position} overtakes {[early.position for early in overtaken]}"
        under_way = {other.delivery.id for _, other in self.out if other.begin_by > self.clock()}
        beside = same_key.filter(leased_until__gt=self.clock(), id__in=under_way - self.meddled)
        assert not beside.exclude(id=one.delivery.id).exists(), "two of one key are under way"

    def succeed(self, number: int) -> None:
        if self.out:
            runs, one = self.out.pop(number % len(self.out))
            self.send(runs, runs.next(one))
            come_back(self.clock, one)

    def fail(self, number: int) -> None:
        if self.out:
            runs, one = self.out.pop(number % len(self.out))
            rest = runs.rest([one])
            come_back(self.clock, one, report=[FAILED, REFUSED][number % 2])
            put_back_unsent(rest)

    def put_back(self, number: int) -> None:
        for runs in {runs for runs, _ in self.out}:
            put_back_unsent(runs.give_back(lambda _: False))

    def die(self, number: int) -> None:
        self.out.clear()

    def wait(self, number: int) -> None:
        self.clock.forward(timedelta(seconds=[4, 7, 60][number % 3]))

    def cancel(self, number: int) -> None:
        if unfinished := list(Delivery.objects.unfinished().order_by("id")):
            chosen = unfinished[number % len(unfinished)]
            self.meddled.add(chosen.id)
            lifecycle.cancel(chosen, self.clock())

    def retry(self, number: int) -> None:
        rest = list(Delivery.objects.exclude(status="succeeded").order_by("id"))
        if rest and Subscription.objects.active().exists():
            chosen = rest[number % len(rest)]
            self.meddled.add(chosen.id)
            lifecycle.retry(chosen, self.clock())

    def pause(self, number: int) -> None:
        lifecycle.pause(self.subscription, self.clock())

    def resume(self, number: int) -> None:
        lifecycle.resume(self.subscription, self.clock())

    def finish(self) -> None:
        """Everything is well from now on."""
        self.die(0)
        self.resume(0)
        for _ in range(200):
            self.wait(2)
            self.claim(3)
            while self.out:
                self.succeed(0)
            if not Delivery.objects.unfinished().exists():
                return
        raise AssertionError(f"{Delivery.objects.unfinished().count()} never come to their end")


ACTIONS = (
    "publish",
    "claim",
    "succeed",
    "fail",
    "put_back",
    "die",
    "wait",
    "cancel",
    "retry",
    "pause",
    "resume",
)


@given(steps=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 11)), min_size=5, max_size=40))
@examples(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_happens_nothing_overtakes_and_everything_comes_to_its_end(steps):
    with transaction.atomic():
        world = World()
        for action, number in [("publish", 1), ("publish", 2), *steps]:
            getattr(world, action)(number)
            assert lost() == []
        world.finish()
        assert list(faults()) == []
        transaction.set_rollback(True)


@pytest.fixture
def elsewhere():
    """Run something on a connection of its own, and get its result later."""

    def run(act):
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        yield lambda act: pool.submit(run, act)


@pytest.mark.django_db(transaction=True)
def test_one_that_is_being_finished_marks_nobody(owner, clock, ordered, elsewhere):
    backlog(owner, 1)
    [claimed] = take(clock)
    [second] = backlog(owner, 1)

    with transaction.atomic():
        come_back(clock, claimed)
        assert elsewhere(lambda: take(clock)).result(60) == []

    assert not Delivery.objects.filter(behind=True).exists()
    assert ids(take(clock)) == [second.id]


@pytest.mark.django_db(transaction=True)
def test_one_that_is_marked_while_the_one_ahead_is_being_finished_is_let_go(owner, clock, ordered, elsewhere):
    backlog(owner, 1)
    [claimed] = take(clock)
    [second] = backlog(owner, 1)

    with transaction.atomic():
        assert take(clock) == []
        assert Delivery.objects.get(pk=second.pk).behind
        finishing = elsewhere(lambda: come_back(clock, claimed))
        wait_for(somebody_waits_for_a_lock, 60)

    finishing.result(60)
    assert not Delivery.objects.get(pk=second.pk).behind
    assert ids(take(clock)) == [second.id]


@pytest.mark.django_db(transaction=True)
def test_two_that_are_finished_at_the_same_time_let_the_third_go(owner, clock, ordered, elsewhere):
    _, second, third = backlog(owner, 3)
    [claimed] = take(clock, runs=0)
    take(clock)

    with transaction.atomic():
        lifecycle.cancel(second, clock())
        settling = elsewhere(lambda: come_back(clock, claimed))
        wait_for(lambda: somebody_waits_for_a_lock() or settling.done(), 60)
    settling.result(60)

    assert lost() == []
    assert ids(take(clock)) == [third.id]


@pytest.mark.django_db(transaction=True)
def test_a_run_ends_before_one_that_somebody_else_has_locked(owner, clock, ordered, elsewhere):
    deliveries = backlog(owner, 4)

    with transaction.atomic():
        Delivery.objects.select_for_update().get(pk=deliveries[2].pk)
        claims = elsewhere(lambda: take(clock)).result(60)

    assert ids(claims) == ids(deliveries[:2])


@pytest.mark.django_db(transaction=True)
def test_publishing_waits_for_no_settling_nor_the_reverse(owner, clock, ordered, elsewhere):
    backlog(owner, 2)
    [claimed] = take(clock, runs=0)

    with transaction.atomic():
        come_back(clock, claimed)
        elsewhere(lambda: backlog(owner, 1)).result(60)
    [claimed] = take(clock, runs=0)
    with transaction.atomic():
        backlog(owner, 1)
        elsewhere(lambda: come_back(clock, claimed)).result(60)


@pytest.mark.django_db(transaction=True)
def test_what_is_published_after_an_answer_comes_after_it_whatever_the_clocks_say(
    owner, clock, ordered, elsewhere
):
    [ahead] = backlog(owner, 1)
    now = clock() - timedelta(hours=2)
    change = Change(owner, "meter_data.received", readings("a"))
    elsewhere(lambda: publish_many([change], now)).result(60)

    assert ids(take(clock))[0] == ahead.id


@pytest.mark.django_db(transaction=True)
def test_many_claims_settlings_and_publishers_at_the_same_time_lose_nothing_and_keep_the_order(
    owner, clock, by_meter, elsewhere
):
    going = threading.Event()
    told: list[tuple[str, int]] = []

    def publish_on() -> None:
        for _ in range(40):
            received(owner, *"abc")
        going.set()

    def work() -> None:
        while not going.is_set() or Delivery.objects.unfinished().exists():
            clock.forward_to(timezone.now() + timedelta(minutes=1))
            for one in take(clock, share=6):
                told.append((Meter(one).meter, one.delivery.position or 0))
                come_back(clock, one)

    for worker in [elsewhere(publish_on), *(elsewhere(work) for _ in range(3))]:
        worker.result(90)

    assert not Delivery.objects.exclude(status="succeeded").exists()
    by_key = defaultdict(list)
    for meter, position in told:
        by_key[meter].append(position)
    assert {meter: len(set(positions)) for meter, positions in by_key.items()} == dict.fromkeys("abc", 40)
    assert lost() == []
