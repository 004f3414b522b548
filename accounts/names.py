"""What a name may be, in the API and in the admin: one line, which moves no cursor of who reads it in a terminal."""

import re

from django.core.exceptions import ValidationError

CONTROL = r"\u0000-\u001f\u007f-\u009f"  # as a pattern has it between brackets
REFUSED = "The text has the control character {character}; leave it out."


def check_name(text: str) -> None:
    """Raises ValidationError."""
    if found := re.search(f"[{CONTROL}]", text):
        raise ValidationError(REFUSED.format(character=written(found[0])), "control")


def written(character: str) -> str:
    return f"U+{ord(character):04X}"
