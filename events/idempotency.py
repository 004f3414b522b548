"""Publishers' idempotency keys: what they may be, and for how long they are known."""

import re
from datetime import datetime, timedelta

from events.models import IdempotencyKey

KEPT_FOR = timedelta(hours=24)
LONGEST_KEY = 255
KEY = re.compile(
    rf"[!-~]([ -~]{{0,{LONGEST_KEY - 2}}}[!-~])?"
)  # what a header can carry, and brings as it was sent
WHAT_A_KEY_IS = f"1 to {LONGEST_KEY} visible ASCII characters, with spaces between them at most"


def forget_idempotency_keys(now: datetime) -> int:
    """Delete the keys that are known for long enough; returns how many that were."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lte=now - KEPT_FOR).delete()
    return deleted
