"""Whether the workers have been told to stop: one flag, shared by every process of a cluster.

The import makes it, before the cluster forks; the qcluster command sets it. It is a bare byte: a lock in it
could be held for ever by a worker that was killed.
"""

from multiprocessing.sharedctypes import RawValue


class Stopping:
    def __init__(self) -> None:
        self.flag = RawValue("b", 0)

    def set(self) -> None:
        self.flag.value = 1

    def is_set(self) -> bool:
        return bool(self.flag.value)


stopping = Stopping()
