"""The threads that send. They never touch the database: what is to do goes in, what became of it comes out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

Todo = TypeVar("Todo")
Done = TypeVar("Done")


class Senders(Generic[Todo, Done]):
    """Threads that do `work` to whatever is `put`. Two bare queues cost a tenth of an executor and its futures."""

    def __init__(self, work: Callable[[Todo], Done], name: str) -> None:
        self.work = work
        self.name = name
        self.todo: SimpleQueue[Todo | None] = SimpleQueue()
        self.done: SimpleQueue[Done] = SimpleQueue()
        self.count = 0

    @contextmanager
    def at_work(self) -> Iterator["Senders[Todo, Done]"]:
        """The threads end with this block, as soon as each is done with what it has begun."""
        try:
            yield self
        finally:
            for _ in range(self.count):
                self.todo.put(None)

    def be(self, count: int) -> None:
        """Have at least so many threads."""
        for nth in range(self.count, count):
            Thread(target=self.run, name=f"{self.name}-{nth}", daemon=True).start()
        self.count = max(self.count, count)

    def run(self) -> None:
        while (one := self.todo.get()) is not None:
            self.done.put(self.work(one))

    def put(self, one: Todo) -> None:
        self.todo.put(one)

    def results(self, patience: float) -> Iterator[Done]:
        """All that is done, waiting for the first for up to `patience` seconds."""
        try:
            yield self.done.get(timeout=patience)
            while True:
                yield self.done.get_nowait()
        except Empty:
            return
