"""Lists of the operators' pages that stay quick over millions of rows: counted, searched and filtered in bounds."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property

LONGEST_LIST = 10_000
FOUND_OF_A_RELATION = 100


class Count(int):
    """How many there are; "1,000+" when there are more than were counted."""

    more: bool = False

    def __str__(self) -> str:
        return f"{int(self):,}+" if self.more else f"{int(self):,}"


def count_up_to(limit: int, queryset: QuerySet[Any]) -> Count:
    """Count the rows, but look at no more than `limit` and one."""
    found = queryset.order_by()[: limit + 1].count()
    count = Count(min(found, limit))
    count.more = found > limit
    return count


class BoundedPaginator(Paginator):
    """Pages of the first rows. Who looks for a later one narrows the list down."""

    @cached_property
    def count(self) -> int:
        return count_up_to(LONGEST_LIST, self.object_list)  # type: ignore[arg-type]


def as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def search(queryset: QuerySet[Any], term: str, ids: Sequence[str], texts: Sequence[str]) -> QuerySet[Any]:
    """The rows with this id in one of the fields `ids`, or this text by one of the lookups `texts`.

    A text of a related row is looked for in that row's table, which is small, and then by id in this one, which
    may be large; so each of them can use an index.
    """
    if identity := as_uuid(term):
        return queryset.filter(any_of((name, identity) for name in ids))
    return queryset.filter(any_of(text_lookup(queryset.model, text, term) for text in texts))


def text_lookup(model: type[Model], text: str, term: str) -> tuple[str, object]:
    first, _, rest = text.partition("__")
    related = model._meta.get_field(first).related_model
    if related is None:
        return text, term
    found = related._default_manager.filter(**{rest: term}).order_by()
    return f"{first}__in", list(found.values_list("pk", flat=True)[:FOUND_OF_A_RELATION])


def any_of(lookups: Iterable[tuple[str, object]]) -> Q:
    return Q.create(list(lookups), connector=Q.OR) or Q(pk__in=[])


class ChosenFilter(admin.FieldListFilter):
    """Says which row of another page this list is narrowed down to, and leads back to the whole list.

    Django's own filter for a relation would offer every row of the other table.
    """

    def __init__(
        self,
        field: Any,
        request: HttpRequest,
        params: dict[str, Any],
        model: type[Model],
        model_admin: Any,
        field_path: str,
    ) -> None:
        self.parameter = f"{field_path}__id__exact"
        self.related = field.related_model
        super().__init__(field, request, params, model, model_admin, field_path)
        chosen = self.used_parameters.get(self.parameter)
        self.chosen = chosen[-1] if isinstance(chosen, list) else chosen

    def expected_parameters(self) -> list[str | None]:
        return [self.parameter]

    def has_output(self) -> bool:
        return self.chosen is not None

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        identity = as_uuid(str(self.chosen))
        row = self.related._default_manager.filter(pk=identity).first() if identity else None
        yield {
            "selected": False,
            "query_string": changelist.get_query_string(remove=[self.parameter]),
            "display": "All",
        }
        yield {"selected": True, "query_string": changelist.get_query_string(), "display": row or self.chosen}


def earliest_id(moment: datetime) -> UUID:
    """The smallest UUIDv7 of this aware moment: what was made since then has an id from here on."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62)


PERIODS = {
    "hour": ("The last hour", timedelta(hours=1)),
    "day": ("The last 24 hours", timedelta(days=1)),
    "week": ("The last 7 days", timedelta(days=7)),
}


class PeriodFilter(admin.SimpleListFilter):
    """The rows of the last hour, day or week, by a column with an index."""

    column: str

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, label) for name, (label, _) in PERIODS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        _, period = PERIODS.get(self.value() or "", ("", None))
        if period is None:
            return queryset
        return queryset.filter(**{f"{self.column}__gte": self.start(timezone.now() - period)})

    def start(self, moment: datetime) -> object:
        return moment


class CreatedFilter(PeriodFilter):
    """By the id, which begins with the time: the primary key is the index."""

    title = "created"
    parameter_name = "created"
    column = "id"

    def start(self, moment: datetime) -> object:
        return earliest_id(moment)
