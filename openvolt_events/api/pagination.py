"""Lists: newest first, a page at a time, stable while rows arrive."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from openvolt_events.api.problems import InvalidInput, error_at

DEFAULT_LIMIT = 50
MOST = 200
CURSOR_PATTERN = "^A[A-Za-f][A-Za-z0-9_-]{20}[AEIMQUYcgkosw048]$"  # 17 bytes, the first of them 0 or 1


@dataclass(frozen=True)
class Cursor:
    """A place between two rows: what is asked for is older, or newer, than this id."""

    id: UUID
    newer: bool = False

    def __str__(self) -> str:
        return urlsafe_b64encode(bytes([self.newer]) + self.id.bytes).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> "Cursor":
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            newer = {0: False, 1: True}[raw[0]]
            cursor = cls(UUID(bytes=raw[1:]), newer)
        except (ValueError, KeyError, IndexError):
            raise no_such_cursor() from None
        if str(cursor) != text:  # base64 can be written in several ways; a cursor in one
            raise no_such_cursor()
        return cursor


def no_such_cursor() -> InvalidInput:
    detail = "This cursor was not made here. Take `next` and `previous` as they come."
    return InvalidInput([error_at("/cursor", detail, "cursor")])


def read_limit(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len(str(MOST)) and 1 <= int(text) <= MOST:
        return int(text)
    detail = f"The limit is {text[:20]!r}; choose a number from 1 to {MOST}."
    raise InvalidInput([error_at("/limit", detail, "limit")])


class NewestFirst(BasePagination):
    """Pages by the UUIDv7 ids, which rise with time: a new row never moves one that was seen."""

    query_parameters: tuple[str, ...] = ("limit", "cursor")
    next_description = "The page of what is older; null: there is none."
    previous_description = (
        "The page of what is newer, to go back; null on the newest. It is no feed: what takes long to be stored may be "
        "older than what you have seen. To be told of all that is new, subscribe."
    )

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.url = request.build_absolute_uri()
        limit = read_limit(request.query_params.get("limit", str(DEFAULT_LIMIT)))
        text = request.query_params.get("cursor")
        cursor = Cursor.read(text) if text else None
        if cursor and cursor.newer:
            rows = list(queryset.filter(id__gt=cursor.id).order_by("id")[: limit + 1])
            page = self.fitting(rows[:limit])[::-1]
            self.is_more_newer, self.is_more_older = len(rows) > len(page), bool(page)
        else:
            older = queryset.filter(id__lt=cursor.id) if cursor else queryset
            rows = list(older.order_by("-id")[: limit + 1])
            page = self.fitting(rows[:limit])
            self.is_more_newer, self.is_more_older = cursor is not None and bool(page), len(rows) > len(page)
        self.page = page
        return page

    def fitting(self, rows: list[Any]) -> list[Any]:
        """The first of these rows, as many as one answer has room for: one at least, if there is any."""
        return rows

    def get_paginated_response(self, data: Sequence[Any]) -> Response:
        older = Cursor(self.page[-1].id) if self.is_more_older else None
        newer = Cursor(self.page[0].id, newer=True) if self.is_more_newer else None
        return Response({"data": data, "next": self.link(older), "previous": self.link(newer)})

    def link(self, cursor: Cursor | None) -> str | None:
        return replace_query_param(self.url, "cursor", str(cursor)) if cursor else None

    def get_paginated_response_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        url = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["data", "next", "previous"],
            "properties": {
                "data": schema,
                "next": {**url, "description": self.next_description},
                "previous": {**url, "description": self.previous_description},
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        number = {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT}
        return [
            {"name": "limit", "in": "query", "description": "How many at a time.", "schema": number},
            {
                "name": "cursor",
                "in": "query",
                "description": "From the `next` or `previous` of a page.",
                "schema": {"type": "string", "pattern": CURSOR_PATTERN},
            },
        ]
