"""What an API key looks like: `ovk_live_` or `ovk_test_`, 43 random characters, and a checksum of 6.

Secret scanners find one by this form alone (`ovk_(live|test)_[0-9A-Za-z]{49}`), and the checksum tells a key from a
mistyped or made-up one without a look into the database. It is no secret, and proves nothing else.
"""

import secrets
import zlib
from string import ascii_letters, digits

ALPHABET = digits + ascii_letters  # 62 characters that a double click selects whole
RANDOM_LENGTH = 43  # 62 ** 43 is just more than 2 ** 256
CHECKSUM_LENGTH = 6
MODES = ("live", "test")
PREFIX_LENGTH = len("ovk_live_") + 8  # of a key, for people to know it by; 209 of its 256 bits stay unknown


def new_key(mode: str) -> str:
    unchecked = f"ovk_{mode}_{base62(secrets.randbits(256), RANDOM_LENGTH)}"
    return unchecked + checksum(unchecked)


def mode_of(text: str) -> str | None:
    """`live` or `test`; None for a text that can't be a key."""
    start, mode, rest = [*text.split("_", 2), "", ""][:3]
    if start != "ovk" or mode not in MODES or len(rest) != RANDOM_LENGTH + CHECKSUM_LENGTH:
        return None
    unchecked, check = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    return mode if text.isascii() and checksum(unchecked) == check else None


def checksum(text: str) -> str:
    return base62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def base62(number: int, length: int) -> str:
    written = ""
    for _ in range(length):
        number, place = divmod(number, len(ALPHABET))
        written = ALPHABET[place] + written
    return written
