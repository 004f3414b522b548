import os
import signal
import time
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand
from django_q import cluster
from django_q.signals import post_spawn

from deliveries.queues import SturdyQueue
from deliveries.stopping import stopping

SECONDS_UNTIL_TOLD = 1


class PromptCluster(cluster.Cluster):
    """A cluster whose drains learn of a stop at once; q2 alone lets a running task finish its half minute."""

    def sig_handler(self, signum: int, frame: FrameType | None) -> None:
        stopping.set()
        super().sig_handler(signum, frame)


class SteadySentinel(cluster.Sentinel):
    """Ends when the cluster tells it to, and by no SIGTERM, as systemd sends one to each process of a service.

    q2's would die of that while it listens for the cluster, which then waits for ever to be heard.
    """

    def start(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        super().start()


def finish_first(**_: Any) -> None:
    """In a worker, which the cluster stops by other means: SIGTERM is for one that hangs, or has lost its sentinel."""
    signal.signal(signal.SIGTERM, end_unless_stopping)


def end_unless_stopping(signum: int, frame: FrameType | None) -> None:
    """The cluster may have got the same signal, and says so in a moment."""
    told_by = time.monotonic() + SECONDS_UNTIL_TOLD
    while not stopping.is_set():
        if time.monotonic() > told_by:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        time.sleep(0.01)


class Command(BaseCommand):
    help = "Runs the workers that send webhooks and emails, until SIGTERM or Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        cluster.Queue, cluster.Sentinel = SturdyQueue, SteadySentinel
        post_spawn.connect(finish_first)
        PromptCluster().start()
