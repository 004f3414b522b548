import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import chain

import pytest
from cryptography.fernet import Fernet
from django.db import connection, transaction

from deliveries import lifecycle
from deliveries.channels import Report
from deliveries.claiming import Claim, Limits, claim, claim_past_the_front
from deliveries.ledger import faults
from deliveries.models import Delivery
from deliveries.publishing import Change, publish, publish_many
from deliveries.settling import Tried, settle
from subscriptions.models import SigningSecret, Subscription
from tests.support import factories
from tests.support.plans import Explain
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

SHARE = 8


def users_created(owner, count: int = 1, ago: timedelta = timedelta(minutes=1)) -> None:
    change = Change(owner, "user.created", factories.example("user.created"))
    publish_many([change] * count, Clock().now - ago)


def take(clock: Clock, limit: int = 16, share: int = SHARE, **limits) -> list[Claim]:
    return claim("webhook", clock(), Limits(limit=limit, share=share, **limits))


def lease_end(one: Claim):
    return Delivery.objects.get(pk=one.delivery.id).leased_until


def counts(claims: list[Claim]) -> dict[Subscription, int]:
    return dict(Counter(one.subscription for one in claims))


def test_a_claim_takes_what_is_due_the_longest_waiting_first(owner, clock):
    factories.webhook(owner)
    users_created(owner, 3)
    first, second, later = Delivery.objects.order_by("-id")
    for delivery, seconds in ((first, -20), (second, -10), (later, 1)):
        due_at = clock() + timedelta(seconds=seconds)
        Delivery.objects.filter(pk=delivery.pk).update(next_attempt_at=due_at)

    assert [one.delivery.id for one in take(clock)] == [first.id, second.id]


def test_what_one_worker_has_claimed_no_other_gets_until_the_lease_ends(owner, clock, settings):
    factories.webhook(owner)
    users_created(owner)
    [mine] = take(clock)
    assert lease_end(mine) - mine.begin_by > settings.WEBHOOK_TIMEOUT

    assert take(clock) == []
    clock.forward_to(lease_end(mine))
    [theirs] = take(clock)

    assert theirs.delivery.id == mine.delivery.id
    assert theirs.lease_id != mine.lease_id


def test_a_retry_by_hand_is_claimed_as_such_until_the_attempt_is_made(owner, clock):
    factories.webhook(owner)
    users_created(owner)
    lifecycle.retry(Delivery.objects.get(), clock())

    [by_hand] = take(clock)
    clock.forward_to(lease_end(by_hand))
    [again] = take(clock)

    failed = Report(succeeded=False, error="The receiver answered 500.", status_code=500)
    settle([Tried(again, failed, clock(), timedelta(seconds=1))], clock())
    clock.forward_to(Delivery.objects.get().next_attempt_at)
    [scheduled] = take(clock)

    assert (by_hand.trigger, again.trigger, scheduled.trigger) == ("manual", "manual", "scheduled")


def test_a_claim_of_the_other_channel_is_left_alone(owner, clock):
    factories.confirmed_emails(owner)
    users_created(owner)

    assert take(clock) == []
    assert len(claim("email", clock(), Limits(limit=4, share=2))) == 1


def test_no_subscription_gets_more_than_its_share_of_a_claim(owner, clock):
    greedy = factories.webhook(owner)
    users_created(owner, 30)

    assert counts(take(clock)) == {greedy: SHARE}
    assert take(clock, full=[greedy.id]) == []


@pytest.mark.parametrize("backlog", [600, 3])
def test_no_backlog_hides_what_waits_behind_it(owner, clock, backlog):
    greedy = factories.webhook(owner)
    users_created(owner, backlog)
    patient = factories.webhook(owner)
    users_created(owner, 3)

    past = claim_past_the_front("webhook", clock(), Limits(limit=16, share=SHARE, full=[greedy.id]))

    assert counts(past) == {patient: 3}


def test_past_the_front_are_the_same_rules_as_at_it(owner, clock):
    factories.webhook(owner, failing_since=clock())
    users_created(owner, 20)
    due_later = factories.webhook(owner)
    factories.confirmed_emails(owner)
    users_created(owner, 20)
    Delivery.objects.filter(subscription=due_later).update(next_attempt_at=clock() + timedelta(hours=1))

    [probe] = claim_past_the_front("webhook", clock(), Limits(limit=16, share=SHARE))

    assert probe.is_probe
    assert claim_past_the_front("webhook", clock(), Limits(limit=16, share=SHARE, probes=0)) == []


def test_a_subscription_that_fails_is_probed_with_one_attempt_at_a_time(owner, clock):
    failing = factories.webhook(owner, failing_since=clock())
    users_created(owner, 20)

    [probe] = take(clock)
    assert probe.subscription == failing
    assert take(clock, full=[failing.id]) == []

    Subscription.objects.update(failing_since=None)
    assert len(take(clock)) == SHARE


def test_what_has_just_happened_is_told_beside_a_long_backlog_of_the_same_subscription(owner, clock):
    factories.webhook(owner)
    users_created(owner, 700)
    fresh = publish(owner, "user.created", factories.example("user.created"))

    claimed = take(clock)

    assert fresh.id in [one.delivery.event.id for one in claimed]
    assert len({one.delivery.event.occurred_at for one in claimed}) > 1


def test_first_attempts_and_due_retries_leave_each_other_room(owner, clock):
    retried, fresh = (factories.webhook(owner, types=[name]) for name in ("user.created", "meter.created"))
    users_created(owner, 600)
    Delivery.objects.update(attempt_count=1)
    publish_many([Change(owner, "meter.created", factories.example("meter.created"))] * 50, clock())

    shares = counts(take(clock, limit=16, share=16))

    assert shares[fresh] > shares[retried] > 2


def test_first_attempts_go_before_retries_that_are_due_at_the_same_time(owner, clock):
    retried, fresh = (factories.webhook(owner, types=[name]) for name in ("user.created", "meter.created"))
    users_created(owner, 50)
    Delivery.objects.update(attempt_count=1)
    publish_many([Change(owner, "meter.created", factories.example("meter.created"))] * 50, clock())

    shares = counts(take(clock, limit=16, share=16))

    assert shares[fresh] >= 2 * shares[retried] > 2


def test_many_failing_subscriptions_leave_room_for_the_others(owner, clock):
    for _ in range(12):
        factories.webhook(owner, failing_since=clock())
    users_created(owner, 50)
    healthy = factories.webhook(owner, types=["meter.created"])
    meter_created = Change(owner, "meter.created", factories.example("meter.created"))
    publish_many([meter_created], clock() - timedelta(seconds=40))
    users_created(owner, 20, timedelta(seconds=20))

    probes = take(clock, probes=8)
    assert len(probes) == 8
    assert set(counts(probes).values()) == {1}

    rest = claim_past_the_front("webhook", clock(), Limits(limit=16, share=SHARE, probes=0))
    assert counts(rest) == {healthy: 1}


def test_a_subscription_whose_secret_cannot_be_read_holds_up_nobody_and_waits_for_the_key(owner, clock):
    unreadable, readable = factories.webhook(owner), factories.webhook(owner)
    users_created(owner)
    secret = SigningSecret.objects.get(subscription=unreadable)
    encrypted_by_another_key = Fernet(Fernet.generate_key()).encrypt(b"whsec_lost").decode()
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {SigningSecret._meta.db_table} SET secret = %s WHERE id = %s",
            [encrypted_by_another_key, secret.pk],
        )

    assert counts(take(clock)) == {readable: 1}

    secret.save()
    clock.forward(timedelta(minutes=1))
    assert unreadable in counts(take(clock))
    assert set(Delivery.objects.values_list("attempt_count", flat=True)) == {0}


def test_an_event_is_recorded_for_a_subscription_whose_headers_cannot_be_read(owner):
    factories.webhook(owner)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {Subscription._meta.db_table} SET encrypted_headers = 'gibberish'")

    users_created(owner)

    assert Delivery.objects.get().status == "pending"


@pytest.mark.usefixtures("no_dead_rows")
def test_a_claim_among_many_deliveries_reads_only_what_is_due_first(owner, clock):
    factories.webhook(owner)
    users_created(owner, 3000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with connection.execute_wrapper(explain := Explain()):
        take(clock)

    assert re.search(r"Index Scan using deliveries_delivery_\w+_channel_next_attempt_at_idx", explain.plan)
    assert not explain.reads_all_of("deliveries_delivery")


def numbers(claims: list[Claim]) -> list[int]:
    return [one.delivery.sequence for one in claims if one.delivery.sequence is not None]


def test_each_subscription_counts_its_own_deliveries_from_one_in_the_order_they_are_due(owner, clock):
    first, second = factories.webhook(owner), factories.webhook(owner)
    users_created(owner, 3)

    claims = take(clock)

    for subscription in (first, second):
        own = [one for one in claims if one.subscription == subscription]
        by_due_time = sorted(own, key=lambda one: one.delivery.id)
        assert numbers(by_due_time) == [1, 2, 3]
    assert [one.notification().sequence for one in claims] == numbers(claims)


def test_the_next_claim_goes_on_counting_where_the_last_one_ended(owner, clock):
    factories.webhook(owner)
    users_created(owner, 5)

    assert sorted(numbers(take(clock, limit=2))) == [1, 2]
    assert sorted(numbers(take(clock))) == [3, 4, 5]


def test_a_delivery_keeps_its_number_when_it_is_claimed_again(owner, clock):
    factories.webhook(owner)
    users_created(owner)
    [before] = take(clock)
    clock.forward_to(lease_end(before))
    users_created(owner)

    after = {one.delivery.id: one.delivery.sequence for one in take(clock)}

    assert after.pop(before.delivery.id) == 1
    assert list(after.values()) == [2]


def test_what_is_never_claimed_gets_no_number(owner, clock):
    factories.webhook(owner)
    users_created(owner, 2)
    cancelled = lifecycle.cancel(Delivery.objects.all()[0], clock())

    assert numbers(take(clock)) == [1]
    assert Delivery.objects.get(pk=cancelled.pk).sequence is None


def test_a_replay_is_a_new_delivery_with_a_new_number(owner, clock):
    factories.webhook(owner)
    users_created(owner)
    [first] = take(clock)

    lifecycle.replay(Delivery.objects.get().event, None, clock() - timedelta(seconds=1))
    [again] = take(clock)

    assert again.delivery.id != first.delivery.id
    assert numbers([first, again]) == [1, 2]


def test_a_claim_that_is_rolled_back_uses_up_no_number(owner, clock):
    factories.webhook(owner)
    users_created(owner)
    with transaction.atomic():
        assert numbers(take(clock)) == [1]
        transaction.set_rollback(True)

    assert numbers(take(clock)) == [1]


@pytest.mark.django_db(transaction=True)
def test_claims_at_the_same_time_leave_no_gap_and_give_no_number_twice(owner, clock):
    subscriptions = [factories.webhook(owner) for _ in range(5)]
    users_created(owner, 40)

    def claim_all() -> list[Claim]:
        try:
            return list(chain.from_iterable(iter(lambda: take(clock, limit=7, share=2), [])))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        claims = list(chain.from_iterable(pool.map(lambda _: claim_all(), range(4))))
    claims += chain.from_iterable(iter(lambda: take(clock), []))

    assert len(claims) == 200
    for subscription in subscriptions:
        own = [one for one in claims if one.subscription == subscription]
        assert sorted(numbers(own)) == list(range(1, 41))
    assert list(faults()) == []
