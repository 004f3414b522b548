"""The pulse: a task writes it, so it says that tasks are done, not only that processes live."""

from django.db.models.functions import Now

from deliveries.models import Heartbeat


def beat() -> None:
    """By the database's clock: whoever looks for the pulse may be on another machine."""
    Heartbeat.objects.bulk_create(
        [Heartbeat(beat_at=Now())], update_conflicts=True, unique_fields=["id"], update_fields=["beat_at"]
    )
