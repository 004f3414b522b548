"""Growth: partitions that are made ahead, and what is forgotten, or not, when its retention ends."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from accounts import ids
from deliveries import housekeeping, partitions, replaying, retention
from deliveries.channels import Report
from deliveries.chores import number_of
from deliveries.claiming import Limits, claim
from deliveries.housekeeping import keep_house
from deliveries.ledger import faults
from deliveries.lifecycle import cancel, pause, replay, resume, retry
from deliveries.models import Attempt, Delivery, Replay, SequenceCounter, SequenceNumber
from deliveries.partitions import (
    DAY,
    KEYS,
    Partition,
    first_id,
    make_partitions,
    missing,
    moment_of,
)
from deliveries.publishing import publish
from deliveries.replaying import forget_replays, start, step
from deliveries.retention import forget
from deliveries.settling import Tried, settle
from events.models import Event, IdempotencyKey
from tests.support import factories
from tests.support.api import Api
from tests.support.running import wait_for
from tests.support.workers import Clock, Cluster, database_url

pytestmark = pytest.mark.django_db

SUCCESS, FAILURE = Report(succeeded=True), Report(succeeded=False, error="It failed.")
NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
OLD = timezone.now() - timedelta(days=40)


@pytest.fixture(autouse=True)
def ten_days(settings):
    settings.RETENTION_DAYS = 10


@pytest.fixture(autouse=True)
def no_partitions(db):
    """Whole services that ran before may have made some."""
    remove_partitions()


@pytest.fixture
def subscription(owner):
    return factories.webhook(owner)


@pytest.fixture
def at(monkeypatch):
    """Makes what is made in its block at another time: what counts for the retention is the time in the ids."""

    @contextmanager
    def at(moment: datetime) -> Iterator[None]:
        with monkeypatch.context() as then:
            then.setattr(ids, "_last", 0)
            then.setattr("time.time_ns", lambda: int(moment.timestamp() * 1_000_000_000))
            yield
        ids._last = 0

    return at


def user_created(owner, **options) -> Event:
    return publish(owner, "user.created", factories.example("user.created"), **options)


def take(number: int = 100):
    return claim("webhook", timezone.now(), Limits(limit=number, share=number))


def attempt(*reports: Report) -> None:
    """Of as many deliveries, the longest due first."""
    now = timezone.now()
    claims = take(len(reports))
    settle([Tried(one, report, now, DAY) for one, report in zip(claims, reports, strict=True)], now)


def rows(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return cursor.fetchone()[0]


def left() -> dict[str, int]:
    return {table: rows(table) for table in KEYS}


def nothing() -> dict[str, int]:
    return dict.fromkeys(KEYS, 0)


def home(event: Event) -> str:
    """The partition that an event is in."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM events_event WHERE id = %s", [event.id])
        return cursor.fetchone()[0].removeprefix("events_event_")


def assert_adds_up() -> None:
    assert [str(fault) for fault in faults()] == []


def foreign_keys() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint"
            " WHERE contype = 'f' AND conparentid = 0 AND (conrelid, confrelid) IN ("
            "('deliveries_delivery'::regclass, 'events_event'::regclass),"
            "('events_idempotencykey'::regclass, 'events_event'::regclass)) ORDER BY 1"
        )
        return cursor.fetchall()


def named(found) -> list[tuple[str, int]]:
    return [(one.name, (one.end - one.start).days) for one in found]


@pytest.mark.parametrize(("days", "span"), [(1, 1), (6, 1), (7, 2), (90, 15), (365, 61)])
def test_a_partition_is_a_sixth_of_the_retention_in_whole_days(settings, days, span):
    settings.RETENTION_DAYS = days

    assert partitions.span() == timedelta(days=span)


def test_partitions_are_made_for_today_and_some_days_ahead(settings):
    settings.RETENTION_DAYS = 24
    assert named(missing([], NOW)) == [("20261124", 4), ("20261128", 4)]

    settings.RETENTION_DAYS = 90
    assert named(missing([], NOW)) == [("20261124", 15)]
    assert named(missing(list(missing([], NOW)), NOW + 9 * DAY)) == [("20261209", 15)]


def test_partitions_join_those_that_are_there_and_fill_what_is_between_them():
    midnight = NOW.replace(hour=0, minute=0)
    there = [
        Partition("a", midnight - 3 * DAY, midnight + DAY),
        Partition("far", midnight + 50 * DAY, midnight + 51 * DAY),
        Partition("b", midnight + 2 * DAY, midnight + 4 * DAY),
    ]

    assert named(missing(there, NOW)) == [("20261125", 1)]


def test_an_id_begins_with_its_moment():
    id = ids.uuid7()

    assert timedelta(0) <= timezone.now() - moment_of(id) < timedelta(minutes=1)
    assert first_id(moment_of(id)) <= id < first_id(moment_of(id) + timedelta(milliseconds=1))


def test_what_is_published_goes_to_the_partition_of_its_day(owner, subscription):
    today = make_partitions(timezone.now())[0]

    event = user_created(owner)
    attempt(SUCCESS)

    assert home(event) == today
    assert [rows(f"{table}_{today}") for table in KEYS] == [1, 1, 1, 1]
    assert_adds_up()


def test_nothing_is_refused_for_want_of_a_partition(owner, subscription, at):
    make_partitions(timezone.now())
    with at(timezone.now() + timedelta(days=1000)):
        event = user_created(owner)
    with at(OLD):
        user_created(owner)
    attempt(SUCCESS, FAILURE)

    assert home(event) == "default"
    assert_adds_up()


def test_partitions_that_are_there_are_not_made_again():
    assert len(make_partitions(timezone.now())) == 2
    assert make_partitions(timezone.now()) == []


def test_a_new_partition_takes_over_what_was_published_before_it(owner, subscription, at):
    """Rows of these days, some of them refer to older events, or are referred to by younger deliveries."""
    with at(OLD):
        older = user_created(owner)
    event = user_created(owner, idempotency_key="first")
    replay(older, None, timezone.now())
    with at(timezone.now() + 100 * DAY):
        replay(event, None, timezone.now())
    attempt(SUCCESS, FAILURE)
    before = left()

    make_partitions(timezone.now())

    assert (home(older), home(event) == "default") == ("default", False)
    assert left() == before
    assert IdempotencyKey.objects.get().event == event
    assert_adds_up()


@pytest.mark.parametrize("days", [7, 90])
def test_a_day_of_which_default_has_too_much_stays_there_and_the_next_has_its_partition(
    owner, subscription, monkeypatch, settings, days
):
    settings.RETENTION_DAYS = days
    monkeypatch.setattr(partitions, "MOST_MOVED", 2)
    events = [user_created(owner) for _ in range(3)]
    tomorrow = timezone.now() + timedelta(days=1)

    make_partitions(timezone.now())

    assert {home(event) for event in events} == {"default"}
    assert any(one.start <= tomorrow < one.end for one in partitions.partitions())


def test_partitions_leave_room_in_each_page_of_deliveries():
    [today, *_] = make_partitions(timezone.now())

    with connection.cursor() as cursor:
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = %s", [f"deliveries_delivery_{today}"])
        assert cursor.fetchone()[0] == ["fillfactor=80"]


@pytest.mark.parametrize("table", ["events_event", "deliveries_attempt"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET id = id"])
def test_events_and_attempts_are_immutable_in_every_partition(owner, subscription, table, change):
    make_partitions(timezone.now())
    user_created(owner)
    attempt(SUCCESS)

    with pytest.raises(IntegrityError, match="never changed or deleted"), connection.cursor() as cursor:
        cursor.execute(change.format(table))


def test_an_attempt_of_no_delivery_and_a_delivery_of_no_event_are_refused(owner, subscription):
    make_partitions(timezone.now())
    user_created(owner)
    attempt(SUCCESS)
    orphan = Attempt.objects.get()
    orphan.id, orphan.delivery_id = ids.uuid7(), ids.uuid7()

    check_at_once()

    with pytest.raises(IntegrityError, match="attempt_of_delivery"), transaction.atomic():
        orphan.save(force_insert=True)
    with pytest.raises(IntegrityError, match="event_id"), transaction.atomic():
        Delivery.objects.update(event_id=ids.uuid7())


def check_at_once() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.fixture
def old_partition(at) -> str:
    """One that is past its retention; `at(OLD)` fills it."""
    [name, *_] = make_partitions(OLD)
    make_partitions(timezone.now())
    return name


def past() -> datetime:
    return timezone.now() - timedelta(days=10)


def test_what_is_past_its_retention_goes_with_all_that_belongs_to_it(owner, subscription, at, old_partition):
    with at(OLD):
        for number in range(3):
            user_created(owner, idempotency_key=f"key {number}")
    attempt(SUCCESS, SUCCESS, SUCCESS)

    done = forget(past())

    assert old_partition in done.partitions
    assert old_partition not in [one.name for one in partitions.partitions()]
    assert left() == nothing()
    assert not IdempotencyKey.objects.exists()
    assert_adds_up()


def test_what_is_younger_stays(owner, subscription, old_partition):
    event = user_created(owner)
    attempt(SUCCESS)

    forget(past())

    assert left() == dict.fromkeys(KEYS, 1)
    assert home(event) != "default"
    assert_adds_up()


def test_the_partition_in_which_the_retention_ends_stays_as_a_whole(owner, subscription, at):
    make_partitions(OLD)
    with at(OLD):
        user_created(owner)
    attempt(SUCCESS)

    assert not forget(OLD + timedelta(milliseconds=1))
    assert left() == dict.fromkeys(KEYS, 1)
    assert forget(OLD + 2 * DAY)


def test_what_default_has_goes_too(owner, subscription, at):
    with at(OLD):
        for number in range(3):
            user_created(owner, idempotency_key=f"key {number}")
    attempt(SUCCESS, SUCCESS, SUCCESS)
    user_created(owner)

    assert forget(past()).events == 3
    assert list(left().values()) == [1, 1, 0, 0]
    assert_adds_up()


def test_an_event_that_told_nobody_goes(owner, at, old_partition):
    with at(OLD):
        user_created(owner)
    with at(OLD - 100 * DAY):
        user_created(owner)

    forget(past())

    assert left() == nothing()


@pytest.mark.parametrize("has_partition", [True, False])
def test_an_event_with_an_unfinished_delivery_stays_with_everything(owner, subscription, at, has_partition):
    if has_partition:
        make_partitions(OLD)
    other = factories.webhook(owner)
    with at(OLD):
        event, _ = user_created(owner), user_created(owner)
    waiting = event.deliveries.get(subscription=other)
    Delivery.objects.filter(pk=waiting.pk).update(next_attempt_at=timezone.now() - DAY)
    attempt(FAILURE, SUCCESS, SUCCESS, SUCCESS)

    forget(past())

    assert home(event) == "default"
    assert left() == {
        "events_event": 1,
        "deliveries_delivery": 2,
        "deliveries_attempt": 2,
        "deliveries_sequencenumber": 2,
    }
    assert_adds_up()


def test_what_is_held_stays_and_goes_out_on_resume(owner, subscription, at, old_partition):
    pause(subscription, timezone.now())
    with at(OLD):
        user_created(owner)

    forget(past())
    resume(subscription, timezone.now())
    attempt(SUCCESS)

    assert Delivery.objects.get().status == "succeeded"
    assert_adds_up()


def test_what_a_worker_holds_stays_with_its_lease_and_can_be_settled(owner, subscription, at, old_partition):
    with at(OLD):
        user_created(owner)
    [held] = take()
    lease = Delivery.objects.values_list("lease_id", "leased_until").get()

    forget(past())
    assert Delivery.objects.values_list("lease_id", "leased_until").get() == lease

    settle([Tried(held, SUCCESS, timezone.now(), DAY)], timezone.now())
    assert Delivery.objects.get().status == "succeeded"
    assert_adds_up()


def test_an_event_that_was_replayed_since_stays(owner, subscription, at, old_partition):
    with at(OLD):
        event, _ = user_created(owner), user_created(owner)
    attempt(SUCCESS, SUCCESS)
    replay(event, None, timezone.now())
    attempt(SUCCESS)

    forget(past())

    assert Event.objects.get() == event
    assert event.deliveries.count() == 2
    assert retention.over_before(past()) == []
    assert_adds_up()


def test_a_delivery_whose_event_has_a_younger_partition_stays(owner, subscription, at, old_partition):
    """The clock of another machine was behind."""
    event = user_created(owner)
    attempt(SUCCESS)
    with at(OLD):
        replay(event, None, timezone.now())
    attempt(SUCCESS)

    forget(past())

    assert list(left().values()) == [1, 2, 2, 2]
    assert_adds_up()


def replay_job(subscription, ended_at: datetime | None = None, **wish) -> Replay:
    """One that has made all its deliveries, which are due."""
    clock = Clock()
    job = start(replaying.plan(subscription, since=OLD - DAY, until=clock(), only="all", now=clock(), **wish))
    while job.status == "running":
        clock.forward(timedelta(seconds=10))
        step(job.id, subscription.id, clock())
        job.refresh_from_db()
    job.deliveries.pending().update(next_attempt_at=timezone.now())
    Replay.objects.filter(pk=job.pk).update(finished_at=ended_at or job.finished_at)
    return job


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9/elsewhere"])
def test_old_events_that_a_young_replay_has_told_again_stay_with_it(
    owner, subscription, at, old_partition, url
):
    with at(OLD):
        first = user_created(owner)
        publish(owner, "meter.created", factories.example("meter.created"))
    attempt(SUCCESS, SUCCESS)
    job = replay_job(subscription, types=["user.created"], url=url)
    attempt(SUCCESS)

    assert old_partition in forget(past()).partitions

    assert forget_replays(past()) == 0
    assert [one.event for one in job.deliveries.select_related("event")] == [first]
    assert set(Event.objects.all()) == {first}
    assert home(first) == "default"
    assert first.deliveries.count() == 2
    assert_adds_up()


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9/elsewhere"])
def test_what_an_old_replay_has_told_goes_and_then_the_replay(owner, subscription, at, old_partition, url):
    with at(OLD):
        user_created(owner), user_created(owner)
        attempt(SUCCESS, SUCCESS)
        job = replay_job(subscription, ended_at=OLD, url=url)
    attempt(SUCCESS, SUCCESS)
    assert job.deliveries.count() == 2
    assert forget_replays(past()) == 0

    assert old_partition in forget(past()).partitions

    assert left() == nothing()
    assert forget_replays(past()) == 1
    assert not Replay.objects.exists()
    assert_adds_up()


def test_a_young_event_that_an_old_replay_has_told_keeps_the_replay(owner, subscription, at, old_partition):
    """The clock of the machine that made the replay and its deliveries was behind."""
    event = user_created(owner)
    attempt(SUCCESS)
    with at(OLD):
        job = replay_job(subscription, ended_at=OLD)
    attempt(SUCCESS)

    forget(past())

    assert forget_replays(past()) == 0
    assert job.deliveries.get().event == event
    assert home(event) != "default"
    assert_adds_up()


def test_an_old_replay_whose_delivery_still_waits_stays(owner, subscription, at, old_partition):
    with at(OLD):
        event = user_created(owner)
        attempt(SUCCESS)
        job = replay_job(subscription, ended_at=OLD)

    forget(past())

    assert forget_replays(past()) == 0
    assert [one.status for one in job.deliveries.all()] == ["pending"]
    assert home(event) == "default"
    assert_adds_up()


def test_a_replay_that_runs_while_what_it_is_to_tell_is_forgotten_comes_to_its_end(
    owner, subscription, at, old_partition
):
    with at(OLD):
        user_created(owner), user_created(owner)
    attempt(SUCCESS, SUCCESS)
    clock = Clock()
    job = start(replaying.plan(subscription, since=OLD - DAY, until=clock(), only="all", now=clock()))
    assert job.matched == 2

    forget(past())
    clock.forward(timedelta(seconds=10))
    step(job.id, subscription.id, clock())

    job.refresh_from_db()
    assert (job.status, job.queued) == ("completed", 0)
    assert forget_replays(past()) == 0
    assert Replay.objects.filter(pk=job.pk).exists()


def test_only_so_many_replays_are_forgotten_at_a_time_the_first_to_end_first(
    owner, subscription, monkeypatch
):
    monkeypatch.setattr(replaying, "MOST_FORGOTTEN", 2)
    jobs = [replay_job(subscription, ended_at=OLD - days * DAY) for days in range(3)]

    assert forget_replays(past()) == 2

    assert Replay.objects.get() == jobs[0]
    assert forget_replays(past()) == 1


def test_replays_to_forget_are_found_by_indexes(owner, subscription, many):
    job = replay_job(subscription, ended_at=OLD)

    with connection.cursor() as cursor, plans() as seen:
        cursor.execute("SET LOCAL enable_seqscan = off")  # the tables of a test are small
        forget_replays(past())

    assert Replay.objects.filter(pk=job.pk).exists()
    [plan_of_it] = seen
    assert "replay_finished" in plan_of_it
    assert "replay_id_" in plan_of_it
    assert "Seq Scan" not in plan_of_it


def test_stragglers_that_finish_go_at_the_next_pass(owner, subscription, at, old_partition):
    with at(OLD):
        first, second = user_created(owner), user_created(owner)
    Delivery.objects.filter(event=first).update(next_attempt_at=timezone.now() - DAY)
    attempt(FAILURE, FAILURE)
    forget(past())
    assert list(left().values()) == [2, 2, 2, 2]

    cancel(first.deliveries.get(), timezone.now())

    assert forget(past()).events == 1
    assert Event.objects.get() == second
    assert_adds_up()


def test_a_partition_of_which_much_stays_is_cleared_by_the_row(
    owner, subscription, at, old_partition, monkeypatch
):
    monkeypatch.setattr(retention, "MOST_MOVED", 2)
    with at(OLD):
        events = [user_created(owner) for _ in range(4)]
    Delivery.objects.filter(event__in=events[:2]).update(next_attempt_at=timezone.now() - DAY)
    attempt(SUCCESS, SUCCESS)

    done = forget(past())

    assert old_partition not in done.partitions
    assert {home(event) for event in Event.objects.all()} == {old_partition}
    assert set(Event.objects.all()) == set(events[2:])
    assert_adds_up()


def test_a_partition_of_a_day_of_replays_is_cleared_by_the_row_before_it_goes(
    owner, subscription, at, old_partition, monkeypatch
):
    monkeypatch.setattr(retention, "MOST_MOVED", 3)
    with at(OLD - 5 * DAY):
        event = user_created(owner)
    with at(OLD):
        for _ in range(3):
            replay(event, None, timezone.now())
    attempt(SUCCESS, SUCCESS, SUCCESS, SUCCESS)

    assert old_partition not in forget(past()).partitions

    assert left() == nothing()
    assert old_partition in forget(past()).partitions
    assert_adds_up()


def test_a_retry_of_what_was_about_to_go_keeps_it(owner, subscription, at, monkeypatch):
    with at(OLD):
        user_created(owner), user_created(owner)
    attempt(Report(succeeded=False, permanent=True), SUCCESS)
    found = retention.over_before(past())
    failed = Delivery.objects.get(status="failed")
    retry(failed, timezone.now())

    assert retention.sweep_batch(found, past()) == 1
    assert Event.objects.get() == failed.event
    assert_adds_up()


def test_what_is_forgotten_leaves_its_highest_number_and_the_next_ones_follow(
    owner, subscription, at, old_partition
):
    with at(OLD):
        user_created(owner), user_created(owner)
    attempt(SUCCESS, SUCCESS)
    forget(past())
    assert SequenceCounter.objects.values_list("last", "forgotten").get() == (2, 2)
    assert_adds_up()

    user_created(owner)
    attempt(SUCCESS)

    assert list(SequenceNumber.objects.values_list("number", flat=True)) == [3]
    assert_adds_up()


def test_a_number_that_is_missing_beyond_the_forgotten_ones_is_named(owner, subscription, at, old_partition):
    with at(OLD):
        user_created(owner)
    attempt(SUCCESS)
    forget(past())
    for _ in range(2):
        user_created(owner)
        attempt(SUCCESS)
    SequenceNumber.objects.filter(number=2).delete()

    assert f"sequence number {subscription.id}/3 follows 0" in [str(fault) for fault in faults()]


def test_the_sequence_begins_after_what_is_forgotten(owner, subscription, at, old_partition):
    with at(OLD):
        user_created(owner), user_created(owner)
    attempt(SUCCESS, SUCCESS)
    forget(past())
    user_created(owner)
    attempt(SUCCESS)

    answer = Api(factories.application_key(owner)).get(f"/v1/subscriptions/{subscription.id}/sequence").json()

    assert [one["number"] for one in answer["data"]] == [3]


def test_the_foreign_keys_are_there_afterwards(owner, subscription, at, old_partition):
    before = foreign_keys()
    with at(OLD):
        user_created(owner)

    forget(past())
    forget(past())

    assert foreign_keys() == before
    assert len(before) == 2


def test_housekeeping_makes_partitions_and_forgets(owner, subscription, at):
    with at(OLD):
        user_created(owner)
    attempt(SUCCESS)

    keep_house()

    assert left() == nothing()
    assert len(partitions.partitions()) == 2


def test_a_worker_whose_clock_is_ahead_forgets_nothing_for_that(owner, subscription, monkeypatch):
    event = user_created(owner)
    attempt(SUCCESS)
    ahead = timezone.now() + timedelta(days=400)
    monkeypatch.setattr(timezone, "now", lambda: ahead)

    keep_house()

    assert Event.objects.get() == event


def test_one_worker_of_all_machines_does_it(monkeypatch):
    with psycopg.connect(database_url(), autocommit=True) as elsewhere:
        elsewhere.execute("SELECT pg_advisory_lock(%s)", [number_of("housekeeping")])
        keep_house()
        assert partitions.partitions() == []
        elsewhere.execute("SELECT pg_advisory_unlock(%s)", [number_of("housekeeping")])

    keep_house()
    assert len(partitions.partitions()) == 2


def test_a_step_that_fails_stops_neither_the_next_one_nor_the_worker(owner, subscription, at, monkeypatch):
    def failing(now):
        raise OperationalError("the disk is full")

    with at(OLD):
        user_created(owner)
    attempt(SUCCESS)
    monkeypatch.setattr(housekeeping, "STEPS", [failing])

    keep_house()

    assert left() == nothing()


@pytest.mark.django_db(transaction=True)
def test_workers_keep_house_as_soon_as_they_start(committed, owner, subscription, at, tmp_path):
    with at(timezone.now() - timedelta(days=400)):
        user_created(owner)
    Delivery.objects.update(status="cancelled", next_attempt_at=None, finished_at=timezone.now())

    with Cluster(tmp_path) as cluster:
        wait_for(lambda: left() == nothing(), 60, lambda: cluster.said)

    assert partitions.partitions()


@pytest.fixture
def committed(transactional_db) -> Iterator[None]:
    """For tests that commit: takes away the partitions that they make, and what others have left."""
    remove_partitions()
    yield
    remove_partitions()


def remove_partitions() -> None:
    with connection.cursor() as cursor:
        for one in partitions.partitions():
            for table in reversed(KEYS):
                cursor.execute(f"ALTER TABLE {table} DETACH PARTITION {one.of(table)}")
                cursor.execute(f"DROP TABLE {one.of(table)}")


@pytest.mark.django_db(transaction=True)
def test_a_long_reader_is_given_way_to_and_nobody_waits_behind(
    committed, owner, subscription, at, monkeypatch
):
    monkeypatch.setattr(partitions, "BETWEEN_TRIES", timedelta(milliseconds=10))
    with at(OLD):
        user_created(owner)
    attempt(SUCCESS)
    make_partitions(OLD)
    with psycopg.connect(database_url()) as reader:
        reader.execute("SELECT count(*) FROM deliveries_delivery")

        with pytest.raises(OperationalError, match="statement timeout"):
            forget(past())

        user_created(owner)
        attempt(SUCCESS)
        assert rows("events_event") == 2

    forget(past())
    assert rows("events_event") == 1
    assert_adds_up()


@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_while_others_publish_claim_and_settle(committed, owner, subscription, at):
    """Old and new events are published and told all the while; only what is old and told may be gone."""
    stop, broken = threading.Event(), []
    published: list[Event] = []

    def at_work(work) -> None:
        try:
            while not stop.is_set():
                work()
        except Exception as error:
            broken.append(error)
        finally:
            connection.close()

    def publishing() -> None:
        published.append(user_created(owner))

    def telling() -> None:
        now = timezone.now()
        settle([Tried(one, SUCCESS, now, DAY) for one in take(20)], now)

    threads = [
        threading.Thread(target=at_work, args=(work,)) for work in (publishing, publishing, telling, telling)
    ]
    for thread in threads:
        thread.start()
    try:
        for days in (40, 30, 20):
            moment = timezone.now() - timedelta(days=days)
            make_partitions(moment)
            Event.objects.bulk_create([old_event(owner, moment) for _ in range(50)])
            forget(past())
        make_partitions(timezone.now())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    telling()

    assert broken == []
    assert set(Event.objects.values_list("id", flat=True)) >= {event.id for event in published}
    assert Delivery.objects.count() == len(published)
    assert_adds_up()


def old_event(owner, moment: datetime) -> Event:
    id = first_id(moment).int | 7 << 76 | ids.uuid7().int & (1 << 62) - 1
    return Event(
        id=UUID(int=id),
        application=owner,
        type="user.created",
        occurred_at=moment,
        payload="{}",
        test=True,
    )


@contextmanager
def plans() -> Iterator[list[str]]:
    """How PostgreSQL runs each statement of the block that looks for deliveries."""
    seen: list[str] = []

    def explain(execute, statement, parameters, many, context):
        result = execute(statement, parameters, many, context)
        if (
            statement.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE"))
            and "deliveries_delivery" in statement
        ):
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {statement}", parameters)
                seen.append("\n".join(row[0] for row in cursor.fetchall()))
        return result

    with connection.execute_wrapper(explain):
        yield seen


@pytest.fixture
def many(owner, subscription):
    """Deliveries in several partitions, nearly all of them finished."""
    make_partitions(timezone.now())
    user_created(owner)
    attempt(SUCCESS)
    with connection.cursor() as cursor:
        columns = [str(field.column) for field in Delivery._meta.concrete_fields if field.column != "id"]
        cursor.execute(
            f"INSERT INTO deliveries_delivery (id, {', '.join(columns)}) SELECT"
            f" uuidv7(make_interval(days => number % 3, secs => number)), {', '.join(columns)}"
            " FROM deliveries_delivery CROSS JOIN generate_series(1, 6000) AS number"
        )
        for name in (*partitions.partitions(),):
            cursor.execute(f"ANALYZE {name.of('deliveries_delivery')}")
    for _ in range(3):
        user_created(owner)


def test_claims_read_only_indexes_of_what_is_due(owner, subscription, many):
    with plans() as seen:
        assert len(take()) == 3

    assert seen
    assert not any("Seq Scan on deliveries_delivery_2" in plan for plan in seen)


def test_what_is_settled_is_looked_up_by_its_id(owner, subscription, many):
    claims, now = take(), timezone.now()

    with plans() as seen:
        settle([Tried(one, SUCCESS, now, DAY) for one in claims], now)

    assert seen
    for plan in seen:
        assert "Seq Scan on deliveries_delivery_2" not in plan


def test_the_whole_of_a_retention_has_few_partitions(settings):
    settings.RETENTION_DAYS = 90
    made: list[Partition] = []
    for days in range(-90, 1):
        made += missing(made, NOW + days * DAY)

    assert 7 <= len(made) <= 8
