from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand
from django_q import cluster

from deliveries.queues import SturdyQueue
from deliveries.stopping import stopping


class PromptCluster(cluster.Cluster):
    """A cluster whose drains learn of a stop at once; q2 alone lets a running task finish its half minute."""

    def sig_handler(self, signum: int, frame: FrameType | None) -> None:
        stopping.set()
        super().sig_handler(signum, frame)


class Command(BaseCommand):
    help = "Runs the workers that send webhooks and emails, until SIGTERM or Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        cluster.Queue = SturdyQueue
        PromptCluster().start()
