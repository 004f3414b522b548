"""JSON pointers (RFC 6901): where in a document something is."""

import re
from typing import Any

LONGEST_POINTER = 500  # characters, of one that comes from outside
POINTER = re.compile("(?:/(?:[^~/]|~[01])*)*", re.DOTALL)
ARRAY_INDEX = re.compile("0|[1-9][0-9]*", re.ASCII)
NOWHERE = object()


def escaped(step: object) -> str:
    """One step of a pointer (section 3)."""
    return str(step).replace("~", "~0").replace("/", "~1")


def steps(pointer: str) -> list[str]:
    """The steps of a pointer, unescaped (section 4)."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def value_at(pointer: str, document: Any) -> Any:
    """What a pointer points to, or NOWHERE."""
    for step in steps(pointer):
        if isinstance(document, dict):
            document = document.get(step, NOWHERE)
        elif isinstance(document, list) and ARRAY_INDEX.fullmatch(step) and int(step) < len(document):
            document = document[int(step)]
        else:
            return NOWHERE
    return document
