"""The clock on django-q2's queue in Redis. What is due stays in PostgreSQL, so Redis may go away, be flushed, or lie.

Whatever it does costs at most a second now and then, and no delivery. What an error of Redis says is never logged: a
server that does not know AUTH repeats the password in its answer.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django_q.brokers import Broker
from django_q.brokers.redis_broker import Redis
from django_q.signing import SignedPackage
from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from deliveries.broker import Clock

LONGEST_ANSWER = timedelta(seconds=1)
FIRST_PAUSE = timedelta(seconds=1)  # after a failure; each further one doubles it
LONGEST_PAUSE = timedelta(seconds=15)
ANY_VERSION = 2  # of the protocol: the only one that every Redis knows

T = TypeVar("T")

log = structlog.get_logger(__name__)


class RedisFailed(Exception):
    """Redis was not to be had, or answered wrongly."""


class Queue(Redis):
    """q2's Redis broker, which never waits long and lets no failure through to the loop that feeds the workers."""

    # A guard writes them twice a second, and would wait for Redis: they go to the cache, as with the ORM broker.
    set_stat, get_stat, get_stats = Broker.set_stat, Broker.get_stat, Broker.get_stats

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pause = timedelta(0)
        self.ask_again_at = 0.0

    @staticmethod
    def get_connection(list_key: str | None = None) -> Client:
        seconds = LONGEST_ANSWER.total_seconds()
        return Client(
            **settings.Q_CLUSTER["redis"],
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=ANY_VERSION,
        )

    def ping(self) -> bool:
        """q2 asks before a cluster starts; a Redis that is away then is waited for, too."""
        return True

    def enqueue(self, task: str) -> object:
        """Raises `RedisFailed`: whoever queues a task of q2's has to know."""
        return attempt(lambda: self.connection.rpush(self.list_key, task))

    def dequeue(self) -> list[tuple[object, str]] | None:
        if time.monotonic() < self.ask_again_at:
            return None
        try:
            packed = attempt(lambda: self.connection.lpop(self.list_key))
        except RedisFailed as error:
            self.rest(error)
            return None
        if self.pause:
            log.info("Redis is back")
            self.pause = timedelta(0)
        return [(None, packed.decode())] if packed and is_readable(packed) else None

    def rest(self, error: RedisFailed) -> None:
        self.pause = min(2 * self.pause or FIRST_PAUSE, LONGEST_PAUSE)
        self.ask_again_at = time.monotonic() + self.pause.total_seconds()
        log.warning(
            "the queue of django-q2 waits for Redis; deliveries do not",
            reason=str(error),
            next_try_in=self.pause.total_seconds(),
        )


class RedisClockBroker(Clock, Queue):
    """The clock on q2's queue in Redis."""


def attempt(command: Callable[[], T]) -> T:
    """What Redis answers. A server that is none makes its client fail in any way there is."""
    try:
        return command()
    except Exception as error:
        raise RedisFailed(type(error).__name__) from None


def is_readable(packed: bytes) -> bool:
    """Whether it is a task that was signed here: anything else would end q2's loop."""
    try:
        SignedPackage.loads(packed)
    except Exception as error:
        log.error("a task in Redis can't be read, and is dropped", reason=type(error).__name__)
        return False
    return True
