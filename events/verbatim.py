"""JSON documents with parts that are JSON text already, which goes in as it is."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, zip_longest
from secrets import token_hex
from typing import Any, NoReturn

MARK = token_hex(16)  # stands for a text until all is written; nobody who sends JSON knows it


@dataclass(frozen=True, slots=True)
class Verbatim:
    """JSON text that stands for a value."""

    text: str


def no_json(value: Any) -> NoReturn:
    raise TypeError(f"A {type(value).__name__} is no JSON value.")


def dumps(document: Any, default: Callable[[Any], Any] = no_json) -> str:
    """Compact JSON; `default` is as for `json.dumps`, which says what is raised."""
    texts: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, Verbatim):
            texts.append(value.text)
            return MARK
        return default(value)

    whole = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=marked)
    pieces = whole.split(f'"{MARK}"') if texts else [whole]
    return "".join(chain.from_iterable(zip_longest(pieces, texts, fillvalue="")))
