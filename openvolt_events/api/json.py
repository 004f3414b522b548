"""JSON in, strictly and within limits; JSON out, compactly."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from events.payloads import number
from events.verbatim import dumps
from openvolt_events.api.problems import BodyTooLarge, NotJSON

DEEPEST = 200  # payloads have a limit of their own, with a better message


class Malformed(ValueError):
    """JSON that Python's parser would let through, and others would not."""


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 has it: UTF-8, no NaN or Infinity, no name twice in an object, and no abyss."""

    media_type = "application/json"
    limit = "MAX_BODY_BYTES"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = read(stream, (parser_context or {})["request"], self.limit)
        if has_too_many_values(body):
            raise BodyTooLarge(
                f"The body has more than {settings.MAX_BODY_VALUES} values (MAX_BODY_VALUES). Send less at a time."
            )
        try:
            return parsed(body.decode())
        except UnicodeDecodeError as error:
            raise ParseError(f"The body is not UTF-8: byte {error.start} can't be read.") from None
        except json.JSONDecodeError as error:
            raise ParseError(
                f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
            ) from None
        except RecursionError:
            raise ParseError(TOO_DEEP) from None
        except Malformed as error:
            raise ParseError(str(error)) from None
        except ValueError:
            raise ParseError(TOO_MANY_DIGITS) from None


class BatchJSONParser(StrictJSONParser):
    """The same for many events at once."""

    limit = "MAX_BATCH_BYTES"


TOO_DEEP = f"The body is nested deeper than {DEEPEST}; send something flatter."
TOO_MANY_DIGITS = (
    f"The body has a number of more than {sys.get_int_max_str_digits()} digits; send it as a string."
)


def parsed(text: str) -> Any:
    """Raises ValueError: Malformed, JSONDecodeError, or Python's own for an endless integer; or RecursionError."""
    document = json.loads(
        text, parse_constant=refuse_constant, object_pairs_hook=unique_names, parse_float=number
    )
    if text.count("[") + text.count("{") > DEEPEST and is_deep(document):
        raise Malformed(TOO_DEEP)
    return document


def is_deep(document: Any) -> bool:
    """Whether it is nested so deeply that code which walks it by recursion could fall over its limit."""
    level = [document]
    for _ in range(DEEPEST):
        lists = [each for each in level if type(each) is list]
        objects = [each.values() for each in level if type(each) is dict]
        level = list(chain.from_iterable([*lists, *objects]))
        if not level:
            return False
    return True


def has_too_many_values(body: bytes) -> bool:
    """Whether to read it would keep this process from everything else. What stands in a text does not count."""
    most: int = settings.MAX_BODY_VALUES
    if values_up_to(body) <= most:
        return False
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"")  # JSON has backslashes in texts alone
    return bare.count(b'"') > 4 * most or values_up_to(b"".join(bare.split(b'"')[::2])) > most


def values_up_to(text: bytes) -> int:
    """No fewer than it has: a comma or a bracket is before each. Those that are empty are counted twice."""
    return text.count(b",") + text.count(b"[") + text.count(b"{") + 1


def read(stream: IO[Any], request: Request, limit: str) -> bytes:
    if (coding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise NotJSON(f"The body's Content-Encoding is {coding[:100]!r}; send it as it is.")
    most: int = getattr(settings, limit)
    if int(request.META["CONTENT_LENGTH"]) > most:
        raise BodyTooLarge(f"The body is larger than {most} bytes ({limit}). Send less at a time.")
    body: bytes = stream.read()
    return body


def refuse_constant(name: str) -> Any:
    raise Malformed(f"The body is not JSON: {name} is no number there.")


def unique_names(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Malformed(
            f"The body is ambiguous: the name {twice[:100]!r} comes twice in one object; which one is meant?"
        )
    return items


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if data is None:
            return b""
        text = dumps(data, JSONEncoder().default)
        return text.encode(errors="replace")  # half a surrogate pair that was sent may be quoted in a problem


class AlwaysJSON(BaseContentNegotiation):
    """There is one format: whatever `Accept` says, an answer beats a refusal to answer."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        sent = request.content_type.partition(";")[0].strip().lower()
        for parser in parsers:
            if parser.media_type == sent:
                return parser
        raise NotJSON(f"The body's Content-Type is {sent[:100]!r}; send application/json.")

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
