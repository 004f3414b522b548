"""The pulse: a task writes it, so it says that tasks are done, not only that processes live."""

from django.utils import timezone

from deliveries.models import Heartbeat


def beat() -> None:
    now = timezone.now()
    Heartbeat.objects.bulk_create(
        [Heartbeat(beat_at=now)], update_conflicts=True, unique_fields=["id"], update_fields=["beat_at"]
    )
