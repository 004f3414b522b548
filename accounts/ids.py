"""UUIDv7: ids that sort by the time they were made (RFC 9562, section 5.7)."""

import secrets
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """A new id: 48 bits of Unix milliseconds, 12 bits of the fraction, 62 random bits.

    Ids of one process rise strictly, also within a millisecond and when its clock is set back
    (RFC 9562, section 6.2, method 3), so that a batch lists in the order it was published.
    """
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() * 4096 // 1_000_000)
        ticks = _last
    return UUID(
        int=(ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62 | secrets.randbits(62)
    )
