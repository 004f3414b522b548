"""JSON in, strictly; JSON out, compactly."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from openvolt_events.api.problems import BodyTooLarge


class Malformed(ValueError):
    """JSON that Python's parser would let through, and others would not."""


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 has it: UTF-8, no NaN or Infinity, and no name twice in an object."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = read(stream, (parser_context or {})["request"])
        try:
            return json.loads(body.decode(), parse_constant=refuse_constant, object_pairs_hook=unique_names)
        except UnicodeDecodeError as error:
            raise ParseError(f"The body is not UTF-8: byte {error.start} can't be read.") from None
        except json.JSONDecodeError as error:
            raise ParseError(
                f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
            ) from None
        except RecursionError:
            raise ParseError("The body is nested too deeply; send something flatter.") from None
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from None


def read(stream: IO[Any], request: Request) -> bytes:
    if int(request.META.get("CONTENT_LENGTH") or 0) > settings.MAX_BODY_BYTES:
        raise BodyTooLarge(
            f"The body is larger than {settings.MAX_BODY_BYTES} bytes (MAX_BODY_BYTES). Send less at a time."
        )
    body: bytes = stream.read()
    return body


def refuse_constant(name: str) -> Any:
    raise Malformed(f"{name} is no JSON number.")


def unique_names(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Malformed(f"the name {twice[:100]!r} comes twice in one object; which one is meant?")
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
        text = json.dumps(data, cls=JSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()


class AlwaysJSON(BaseContentNegotiation):
    """There is one format: whatever `Accept` says, an answer beats a refusal to answer."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        return next(
            (parser for parser in parsers if request.content_type.startswith(parser.media_type)), None
        )

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
