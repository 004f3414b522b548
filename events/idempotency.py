"""Publishers' idempotency keys: how long they may be, and for how long they are known."""

from datetime import datetime, timedelta

from events.models import IdempotencyKey

KEPT_FOR = timedelta(hours=24)
LONGEST_KEY = 255  # characters


def forget_idempotency_keys(now: datetime) -> int:
    """Delete the keys that are known for long enough; returns how many that were."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lte=now - KEPT_FOR).delete()
    return deleted
