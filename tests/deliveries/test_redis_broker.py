"""The queue of django-q2 in Redis: it may go away, lie and forget, and the deliveries go out."""

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task
from structlog.testing import capture_logs

from deliveries import broker as broker_module
from deliveries import lifecycle
from deliveries import redis_broker as redis_module
from deliveries.broker import BEAT
from deliveries.models import Delivery, Heartbeat
from deliveries.publishing import publish
from deliveries.redis_broker import RedisClockBroker, RedisFailed
from openvolt_events.load.publishers import OverHTTP
from tests.support import factories
from tests.support.receivers import Answer, RawReceiver, Receiver, Script
from tests.support.redis import RedisServer
from tests.support.running import Running, free_port, new_directory, wait_for
from tests.support.workers import Cluster, database_url

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("cluster")]

SOON = timedelta(milliseconds=100)
SERVED = 60  # seconds, with time for a busy machine


@pytest.fixture
def connect(settings, monkeypatch):
    """A broker on a Redis at this port, which has handed out its first heartbeat; it rests only shortly."""

    def to(port: int, password: str | None = None) -> RedisClockBroker:
        address = {"host": "127.0.0.1", "port": port, "db": 0, "password": password}
        settings.Q_CLUSTER = {**settings.Q_CLUSTER, "redis": address}
        monkeypatch.setattr(broker_module, "LONGEST_WAIT", SOON)
        monkeypatch.setattr(redis_module, "FIRST_PAUSE", SOON)
        monkeypatch.setattr(redis_module, "LONGEST_PAUSE", SOON)
        broker = RedisClockBroker("openvolt")
        assert "beat" in names(broker.own_tasks())
        return broker

    return to


@pytest.fixture
def broker(connect, redis_server):
    return connect(redis_server.port)


def names(tasks) -> list[str]:
    return [SignedPackage.loads(packed)["name"] for _, packed in tasks or []]


def next_names(broker: RedisClockBroker) -> list[str]:
    """What is handed out next, within some seconds."""
    ends_at = time.monotonic() + 60
    while not (found := names(broker.dequeue())):
        assert time.monotonic() < ends_at
    return found


def queue(broker: RedisClockBroker, name: str) -> None:
    async_task(BEAT, task_name=name, broker=broker)


def always(answer: bytes) -> Script:
    """Whatever is said, it says this."""

    def script(connection: socket.socket, closing: threading.Event) -> None:
        while connection.recv(65536):
            connection.sendall(answer)

    return script


def user_created(owner) -> Delivery:
    return publish(owner, "user.created", factories.example("user.created")).deliveries.get()


def test_a_task_of_q2_goes_through_redis_and_leaves_no_row(broker):
    queue(broker, "first")
    queue(broker, "second")

    assert broker.queue_size() == 2
    assert not OrmQ.objects.exists()
    assert [names(broker.dequeue()), names(broker.dequeue())] == [["first"], ["second"]]


def test_what_is_due_is_handed_out_beside_a_queue_in_redis(owner, broker):
    factories.webhook(owner)
    user_created(owner)

    assert names(broker.dequeue()) == ["drain webhook"]
    assert broker.queue_size() == 0


def test_a_redis_that_was_killed_holds_up_no_delivery_and_is_found_again_when_it_is_back(
    owner, broker, redis_server
):
    queue(broker, "lost with redis")
    redis_server.kill()
    factories.webhook(owner)
    delivery = user_created(owner)

    assert next_names(broker) == ["drain webhook"]
    lifecycle.cancel(delivery, timezone.now())
    redis_server.start()
    queue(broker, "after it")
    assert next_names(broker) == ["after it"]


def test_a_redis_that_was_flushed_has_lost_no_delivery(owner, broker, redis_server):
    factories.webhook(owner)
    user_created(owner)
    redis_server.client().flushall()

    assert names(broker.dequeue()) == ["drain webhook"]


def test_a_redis_that_does_not_answer_holds_up_a_delivery_for_a_second(owner, broker, redis_server):
    factories.webhook(owner)
    user_created(owner)
    redis_server.freeze()

    with capture_logs() as logs:
        assert names(broker.dequeue()) == ["drain webhook"]
    assert [line["reason"] for line in logs] == ["TimeoutError"]


def test_a_redis_that_answers_with_an_error_holds_up_no_delivery(owner, broker, redis_server):
    redis_server.client().set(broker.list_key, "no list")
    factories.webhook(owner)
    user_created(owner)

    with capture_logs() as logs:
        assert names(broker.dequeue()) == ["drain webhook"]
    assert [line["reason"] for line in logs] == ["ResponseError"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$nonsense\r\n",
        b"+OK\r\n" * 9,
        b"*1\r\n:1\r\n" * 9,
        b":5\r\n" * 9,
        b"\xff\x00",
    ],
)
def test_a_server_that_is_no_redis_holds_up_no_delivery(owner, connect, answer):
    factories.webhook(owner)
    user_created(owner)

    with RawReceiver(always(answer)) as server:
        assert next_names(connect(server.port)) == ["drain webhook"]


@pytest.mark.parametrize("packed", [b"\xff\xfe", b"nonsense", b"a:b:c", b"x" * 100_000, b""])
def test_what_is_no_task_of_ours_is_dropped_and_the_next_one_is_handed_out(broker, redis_server, packed):
    redis_server.client().rpush(broker.list_key, packed)
    queue(broker, "genuine")

    assert next_names(broker) == ["genuine"]


def test_pauses_between_questions_grow_to_a_longest_and_end_with_an_answer(
    connect, redis_server, monkeypatch
):
    broker = connect(free_port())
    monkeypatch.setattr(redis_module, "LONGEST_PAUSE", 3 * SOON)

    with capture_logs() as logs:
        wait_for(lambda: broker.dequeue() is not None or len(logs) >= 4, 60)
        broker.connection = connect(redis_server.port).connection
        wait_for(lambda: broker.dequeue() is not None or logs[-1]["event"] == "Redis is back", 60)

    assert [line.get("next_try_in") for line in logs] == [0.1, 0.2, 0.3, 0.3, None]
    assert broker.pause == timedelta(0)


def test_a_wrong_password_is_in_no_log_and_no_exception(connect, redis_program):
    with RedisServer(redis_program, password="right") as server:
        broker = connect(server.port, password="hidden-from-logs")
        with capture_logs() as logs:
            broker.dequeue()
        with pytest.raises(RedisFailed) as refused:
            queue(broker, "never")

    assert [line["reason"] for line in logs] == ["AuthenticationError"]
    assert str(refused.value) == "AuthenticationError"
    assert refused.value.__suppress_context__


def test_a_server_that_repeats_the_password_in_its_answer_brings_it_into_no_log(connect):
    repeats = b"-ERR unknown command 'AUTH', with args beginning with: 'hidden-from-logs'\r\n"
    with RawReceiver(always(repeats)) as server, capture_logs() as logs:
        connect(server.port, password="hidden-from-logs").dequeue()

    assert [line["reason"] for line in logs] == ["ResponseError"]
    assert "hidden" not in str(logs)


def test_a_cluster_starts_and_guards_without_asking_redis(connect):
    broker = connect(free_port())

    assert broker.ping()
    broker.set_stat("key", "value", 3)
    assert broker.get_stat("key") == "value"


def test_every_process_takes_the_broker_that_the_settings_name(monkeypatch, connect, redis_server):
    connect(redis_server.port)
    monkeypatch.setattr(Conf, "BROKER_CLASS", "deliveries.redis_broker.RedisClockBroker")

    async_task(BEAT, task_name="from anywhere")

    assert names(get_broker().dequeue()) == ["from anywhere"]


@pytest.mark.django_db(transaction=True)
def test_a_task_that_is_queued_in_redis_wakes_who_waits_on_postgresql(connect, redis_server, monkeypatch):
    waiting, queueing = connect(redis_server.port), connect(redis_server.port)
    monkeypatch.setattr(broker_module, "LONGEST_WAIT", timedelta(seconds=20))
    thread = threading.Thread(target=queue_once_somebody_listens, args=(queueing,))

    began = time.monotonic()
    thread.start()
    found = next_names(waiting)
    thread.join()

    assert found == ["prompt"]
    assert time.monotonic() - began < 15


def queue_once_somebody_listens(broker: RedisClockBroker) -> None:
    try:
        with psycopg.connect(database_url(), autocommit=True) as watching:
            query = (
                "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
            wait_for(lambda: watching.execute(query).fetchone() is not None, 60)
        queue(broker, "prompt")
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_cluster_starts_without_its_redis_delivers_takes_to_it_when_it_comes_and_stops(
    tmp_path, redis_program, settings
):
    owner, redis = factories.application(), RedisServer(redis_program)
    with Receiver() as receiver, Cluster(tmp_path, Q_BROKER_URL=redis.url) as cluster, redis:
        factories.webhook(owner, receiver.url)
        user_created(owner)
        receiver.wait_for(1, seconds=60)

        Heartbeat.objects.all().delete()
        settings.Q_CLUSTER = {**settings.Q_CLUSTER, "redis": {"port": redis.port}}
        queue(RedisClockBroker("openvolt"), "beat of Redis")
        wait_for(Heartbeat.objects.exists, 90, lambda: cluster.said)

        redis.freeze()
        user_created(owner)
        receiver.wait_for(2, seconds=60)
        processes = cluster.processes()
        cluster.terminate()
        assert cluster.wait_until_gone(processes) == 0, cluster.said

    assert "waits for Redis" in cluster.said
    assert "Traceback" not in cluster.said


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_the_whole_service_on_a_redis_that_is_killed_and_flushed_under_load_delivers_everything(
    redis_program,
):
    owner, slow = factories.application(), Answer(after=timedelta(milliseconds=20))
    with (
        RedisServer(redis_program, password="never-said") as redis,
        Receiver(slow) as first,
        Receiver() as second,
        new_directory() as directory,
    ):
        for receiver in (first, second):
            factories.webhook(owner, receiver.url)
        service = whole_service(directory / "var", redis.url)
        try:
            service.wait_until_up()
            published = publish_under(service, owner, blows_at(redis))
            for receiver in (first, second):
                receiver.wait_for(len(published), seconds=SERVED)
            wait_for(lambda: not Delivery.objects.unfinished().exists(), SERVED, lambda: service.said)
        finally:
            service.end()
            said = service.said

    told = {request.headers["openvolt-event-id"] for request in second.requests}
    assert told == set(published)
    assert_nothing_was_sent_twice(first, second)
    assert_the_tables_add_up()
    assert "waits for Redis" in said
    assert "never-said" not in said


def whole_service(var: Path, redis_url: str) -> Running:
    """`make run` on the database of this test."""
    kept = {name: os.environ[name] for name in ("SECRET_KEY", "ENCRYPTION_KEYS")}
    return Running(
        var, free_port(), {**kept, "DATABASE_URL": database_url(), "Q_BROKER_URL": redis_url, "WORKERS": "1"}
    )


def blows_at(redis: RedisServer) -> list[Callable[[], object]]:
    return [lambda: None, redis.kill, redis.start, lambda: redis.client().flushall(), redis.kill, redis.start]


def publish_under(service: Running, owner, blows: list[Callable[[], object]]) -> list[str]:
    """The ids of what was published through the API: some before each blow, some after the last."""
    publisher = OverHTTP(service.keys["OPENVOLT_URL"], service.keys["OPENVOLT_PLATFORM_KEY"])
    ids: list[str] = []
    for nth, blow in enumerate([*blows, lambda: None]):
        for turn in range(5):
            ids += publisher.publish(owner, [f"{nth}-{turn}-{one}" for one in range(10)])
        blow()
    return ids


def assert_nothing_was_sent_twice(*receivers: Receiver) -> None:
    sent = [request.headers["webhook-id"] for receiver in receivers for request in receiver.requests]
    assert len(sent) == len(set(sent))


def assert_the_tables_add_up() -> None:
    said = StringIO()
    call_command("reconcile", stdout=said)
    assert "Everything adds up" in said.getvalue()
