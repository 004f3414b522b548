"""What others chose, as people may see it: nothing in it hides, or turns around what it stands in."""

import re

# Controls, what Unicode says is ignored when text is shown, marks that turn the reading direction around (RTL letters
# need none) among it, and blanks that are no spaces. Variation selectors stay: they choose how a sign looks.
HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e007f]"
)
# Arabic and Indian scripts and emoji need joiners, one at a time. After Latin, Greek, Cyrillic and Armenian letters,
# which are the first in Unicode, and after another one they are only there to deceive.
STRAY_JOINERS = re.compile("(?<![^\x00-\u058f\u200c\u200d])[\u200c\u200d]+")


def visible(value: object) -> str:
    """In one line."""
    text = " ".join(str(value).split())
    if text.isascii() and text.isprintable():
        return text
    return " ".join(STRAY_JOINERS.sub("", HIDDEN.sub("", text)).split())
