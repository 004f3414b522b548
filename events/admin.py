"""The operators' pages of events: to look at, since an event never changes."""

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from accounts.admin_columns import NOTHING, column, identity, link, moment, text_document, yes_no
from accounts.admin_lists import ChosenFilter, CreatedFilter
from accounts.admin_pages import ReadOnlyAdmin
from accounts.models import ApiKey
from events.event_types import EVENT_TYPES
from events.models import Event, IdempotencyKey


class TypeFilter(admin.SimpleListFilter):
    """The catalogue's types. Django's own filter would read them from every event there is."""

    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, name) for name in EVENT_TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(type=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = (
        column("created_at", moment, "published"),
        "type",
        column("application", link),
        column("occurred_at", moment, "occurred"),
        column("test", yes_no),
        column("id", identity),
    )
    list_select_related = ("application",)
    list_filter = (CreatedFilter, TypeFilter, ("application", ChosenFilter))
    fields = (
        column("id", identity),
        "type",
        column("application", link),
        column("occurred_at", moment, "occurred"),
        column("created_at", moment, "published"),
        column("test", yes_no),
        "publisher",
        column("payload", text_document),
    )
    confidential = ("payload",)
    search_ids = ("id", "application")
    search_texts = ("type", "application__name__icontains")
    search_help_text = "An id of an event or an application, a type, or a part of an application's name."
    roads = {"Deliveries": ("deliveries_delivery", "event__id__exact")}

    def roads_from(self, row: Model) -> dict[str, str]:
        return {**super().roads_from(row), "Email": f"{reverse('admin:email')}?event={row.pk}"}

    @admin.display(description="published by")
    def publisher(self, event: Event) -> str:
        key = ApiKey.objects.filter(pk=event.published_by).first() if event.published_by else None
        return link(key) if key else NOTHING

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        return super().get_queryset(request).defer("payload")  # up to 1 MiB; the event's own page loads it


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    list_display = (
        "key",
        column("event", link),
        column("event.application", link),
        column("created_at", moment, "created"),
    )
    list_select_related = ("event__application",)
    list_filter = (("event", ChosenFilter),)
    fields = ("key", "fingerprint", column("event", link), column("created_at", moment, "created"))
    ordering = ("key",)
    search_ids = ("event", "key")
    search_texts = ("key__startswith",)
    search_help_text = "The beginning of a key, or the id of an event."

    def get_queryset(self, request: HttpRequest) -> QuerySet[IdempotencyKey]:
        return super().get_queryset(request).defer("event__payload")
