"""The queues of q2's cluster, with locks that end with whoever holds them.

A worker that waits for a task holds the lock of the queue. multiprocessing's own lock stays taken when that worker is
killed, and nobody is given a task any more (django-q2#23). The kernel gives up a file's lock with its process.
"""

import fcntl
from tempfile import TemporaryFile
from typing import Any

from django_q.queues import Queue


class FileLock:
    """Between processes that were forked after it was made; not between the threads of one."""

    def __init__(self) -> None:
        self.file = TemporaryFile()  # noqa: SIM115 - open as long as the lock is there

    def acquire(self) -> None:
        fcntl.lockf(self.file, fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.lockf(self.file, fcntl.LOCK_UN)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class SturdyQueue(Queue):
    """One that q2 reads without a time-out, as it does: a file's lock can't be waited for with one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rlock, self._wlock = FileLock(), FileLock()
