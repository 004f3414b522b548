from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliveries import windows
from deliveries.channels import WebhookTarget
from deliveries.claiming import Claim, ClaimedDelivery, ClaimedEvent
from deliveries.models import Trigger
from deliveries.windows import FIRST_SIZE, SLOW_AFTER, Windows
from subscriptions.models import Subscription

THREADS, MOST_SLOW, WIDEST = 16, 64, 32
NOW = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def new_process():
    windows.sizes.clear()
    windows.host_sizes.clear()


@pytest.fixture
def drain():
    return Windows(THREADS, MOST_SLOW, WIDEST)


def claims(subscription_id: UUID, count: int, is_probe: bool = False, url: str = "") -> list[Claim]:
    subscription = Subscription(id=subscription_id, url=url, failing_since=NOW if is_probe else None)
    return [claim_of(subscription) for _ in range(count)]


def claim_of(subscription: Subscription) -> Claim:
    event = ClaimedEvent(uuid4(), "user.created", NOW, "{}")
    delivery = ClaimedDelivery(
        uuid4(), event, subscription, subscription.id, None, "webhook", Trigger.SCHEDULED, 0, 0
    )
    target = WebhookTarget(subscription.url or "http://127.0.0.1:9/", ())
    return Claim(delivery, uuid4(), Trigger.SCHEDULED, target, NOW)


def sent(drain: Windows, now: float = 0.0) -> list[Claim]:
    out: list[Claim] = []
    drain.hand_out(out.append, now)
    return out


def prove(drain: Windows, subscription: UUID) -> None:
    """Let it succeed until it may have every thread."""
    while windows.size_of(subscription) < drain.widest:
        drain.add(claims(subscription, 1))
        for one in sent(drain):
            drain.back(one, succeeded=True)


def test_a_new_subscription_begins_with_a_small_window_that_grows_with_success(drain):
    subscription = uuid4()
    drain.add(claims(subscription, 100))

    first = sent(drain)
    for one in first:
        drain.back(one, succeeded=True)

    assert len(first) == FIRST_SIZE
    assert len(sent(drain)) == FIRST_SIZE + len(first)


def test_a_failure_halves_the_window(drain):
    subscription = uuid4()
    prove(drain, subscription)
    drain.add(claims(subscription, 100))
    [first, *_] = sent(drain)

    drain.back(first, succeeded=False)

    assert windows.size_of(subscription) == drain.widest // 2


def test_a_subscription_that_fails_has_one_attempt_at_a_time(drain):
    subscription = uuid4()
    drain.add(claims(subscription, 5, is_probe=True))

    assert len(sent(drain)) == 1
    assert sent(drain) == []


def test_those_that_are_not_proven_leave_half_of_the_threads_to_the_others(drain):
    proven = uuid4()
    prove(drain, proven)
    for _ in range(20):
        drain.add(claims(uuid4(), 5))
    drain.add(claims(proven, 100))

    out = sent(drain)

    assert sum(one.delivery.subscription_id != proven for one in out) == THREADS // 2
    assert len(out) == drain.widest


def test_the_subscriptions_take_turns(drain):
    greedy, modest = uuid4(), uuid4()
    prove(drain, greedy)
    prove(drain, modest)
    drain.add(claims(greedy, 200))
    drain.add(claims(modest, 4))

    assert sum(one.delivery.subscription_id == modest for one in sent(drain)) == 4


def test_a_host_where_attempts_hang_gets_fewer_of_all_its_subscriptions_together(drain):
    for _ in range(8):
        drain.add(claims(uuid4(), 1))
    hung = sent(drain)
    for second in (0, 2, 4):
        drain.note_host(hung[0], answered=False, now=second)
    for one in hung:
        drain.came_back(one)

    for _ in range(8):
        drain.add(claims(uuid4(), 1))
    assert len(sent(drain)) == drain.widest // 2**3

    drain.note_host(hung[0], answered=True, now=5)
    assert len(sent(drain)) == 1


def test_attempts_that_hung_together_halve_the_hosts_window_once(drain):
    [one] = claims(uuid4(), 1)
    for _ in range(5):
        drain.note_host(one, answered=False, now=1.0)

    assert windows.host_sizes == {"127.0.0.1:9": drain.widest // 2}


def test_who_is_proven_does_not_wait_for_others_that_hang_at_the_same_host(drain):
    proven = uuid4()
    prove(drain, proven)
    windows.host_sizes["127.0.0.1:9"] = 2
    for _ in range(2):
        drain.add(claims(uuid4(), 1))
    sent(drain)
    drain.add(claims(uuid4(), 1))
    drain.add(claims(proven, 1))

    [out] = sent(drain, now=SLOW_AFTER)

    assert out.delivery.subscription_id == proven


def test_what_takes_long_is_set_aside_and_makes_room(drain):
    for _ in range(50):
        drain.add(claims(uuid4(), 1))
    hanging = sent(drain)

    assert sent(drain, now=SLOW_AFTER / 2) == []
    others = sent(drain, now=SLOW_AFTER)

    assert len(hanging) == len(others) == THREADS // 2
    assert len(drain.slow) == len(hanging)


def test_there_is_an_end_to_setting_aside(drain):
    for host in range(200):
        drain.add(claims(uuid4(), 1, url=f"http://host-{host}/"))
    for second in range(20):
        sent(drain, now=second * SLOW_AFTER)

    assert len(drain.slow) == MOST_SLOW
    assert drain.in_flight.total() <= MOST_SLOW + THREADS // 2


def test_a_subscription_never_tried_goes_out_while_as_many_as_may_hang_do(drain):
    for host in range(100):
        drain.add(claims(uuid4(), 1, is_probe=True, url=f"http://host-{host}/"))
    for second in range(20):
        sent(drain, now=second * SLOW_AFTER)
    new = uuid4()
    drain.add(claims(new, FIRST_SIZE))

    out = sent(drain, now=20 * SLOW_AFTER)

    assert [one.delivery.subscription_id for one in out] == [new] * FIRST_SIZE
    assert drain.unproven_room == 0


def test_a_subscription_never_tried_goes_out_when_all_that_hang_are_proven_ones(drain):
    hanging = [uuid4(), uuid4()]
    for proven in hanging:
        prove(drain, proven)
    for proven in hanging:
        drain.add(claims(proven, drain.widest, url=f"http://{proven}/"))
    for second in range(5):
        sent(drain, now=second * SLOW_AFTER)
    new = uuid4()
    drain.add(claims(new, FIRST_SIZE))

    out = sent(drain, now=5 * SLOW_AFTER)

    assert len(drain.slow) == MOST_SLOW
    assert [one.delivery.subscription_id for one in out] == [new] * FIRST_SIZE


def test_one_that_hung_at_its_first_attempt_does_not_use_again_what_is_kept_for_new_ones(drain):
    for host in range(100):
        drain.add(claims(uuid4(), 1, is_probe=True, url=f"http://host-{host}/"))
    for second in range(20):
        sent(drain, now=second * SLOW_AFTER)
    hanging, new = uuid4(), uuid4()
    drain.add(claims(hanging, 1))
    sent(drain, now=20 * SLOW_AFTER)
    drain.add(claims(hanging, 1))
    drain.add(claims(new, 1))

    out = sent(drain, now=21 * SLOW_AFTER)

    assert [one.delivery.subscription_id for one in out] == [new]


def test_no_more_is_claimed_of_a_subscription_than_can_go_out_soon(drain):
    new, proven, failing = uuid4(), uuid4(), uuid4()
    prove(drain, proven)
    drain.add(claims(new, FIRST_SIZE))
    drain.add(claims(proven, 63))
    drain.add(claims(failing, 1, is_probe=True))

    assert set(drain.full(64)) == {new, failing}
    drain.add(claims(proven, 1))
    assert set(drain.full(64)) == {new, failing, proven}


def test_what_waits_too_long_goes_back_and_the_rest_stays(drain):
    kept, late = claims(uuid4(), 3), claims(uuid4(), 2)
    drain.add([*kept, *late])

    assert drain.give_back(lambda one: one in kept) == late
    assert sent(drain) == kept
    assert not drain.waiting


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "send", "succeed", "fail", "wait"]), st.integers(0, 4)), max_size=80
    )
)
def test_whatever_happens_nothing_is_sent_twice_or_forgotten(steps):
    windows.sizes.clear()
    drain, subscriptions, now = Windows(4, 4, 8), [uuid4() for _ in range(5)], 0.0
    added: list[Claim] = []
    out: list[Claim] = []
    done: list[Claim] = []

    for step, which in steps:
        if step == "add":
            new = claims(subscriptions[which], 3)
            added += new
            drain.add(new)
        elif step == "wait":
            now += SLOW_AFTER
        elif step == "send":
            out += sent(drain, now)
        elif which < len(out):
            done.append(out.pop(which))
            drain.back(done[-1], step == "succeed")

        assert drain.in_flight.total() == len(out) == len(drain.quick) + len(drain.slow)
        assert drain.waiting + len(out) + len(done) == len(added)
        assert len(drain.quick) <= drain.widest
        assert len(drain.slow) <= drain.most_slow
