"""What a process keeps from one email to the next only while a drain is at work in it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Kept(ABC):
    """Counts its keepers; there may be drains in several threads."""

    def __init__(self) -> None:
        self.keepers = 0
        self.lock = Lock()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """It is kept within this block, and forgotten at the end of the last one."""
        with self.lock:
            self.keepers += 1
        try:
            yield
        finally:
            with self.lock:
                self.keepers -= 1
                is_wanted = self.keepers > 0
            if not is_wanted:
                self.forget()

    @abstractmethod
    def forget(self) -> None: ...
