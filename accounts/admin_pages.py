"""What the operators' pages of every floor are made of."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import flatten_fieldsets, quote
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.db import OperationalError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.admin_actions import OperatorAction
from accounts.admin_columns import list_of
from accounts.admin_lists import BoundedPaginator, search
from accounts.audit import picture, record
from accounts.query_limits import query_limit, was_given_up
from accounts.roles import SEE_PAYLOADS

LONGEST_QUERY = timedelta(seconds=5)
NO_ID = "What was chosen is no row of this list. Nothing was changed; choose again."
MASKED = "(not shown to viewers)"
TOO_LONG = (
    "There are too many rows to look through. Narrow the list down: start at the page of an application, "
    "subscription or event, look for an id, or choose when the rows were created."
)


class AuditedAdmin(admin.ModelAdmin):
    """What a form adds or changes is in the audit log. Django calls `log_…` in the transaction of the change."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None and request.method == "POST":
            row.before = picture(row)  # the form changes the row itself
        return row

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        record(f"{self.word}.created", obj, after=picture(obj))
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        if (after := picture(obj)) != obj.before:
            record(f"{self.word}.changed", obj, obj.before, after)
        return super().log_change(request, obj, message)

    @property
    def word(self) -> str:
        return str(self.opts.verbose_name).lower().replace(" ", "_")


class OperatorAdmin(AuditedAdmin):
    """A model's pages: a list that stays quick, links along the road, and actions as buttons, too.

    `confidential` are the columns and fields that show payloads, which only who may see those gets to see. `search_ids`
    and `search_texts` are what `admin_lists.search` looks through. `roads` names the lists that a row leads to: a
    label, the list's `app_model`, and the lookup that takes the row's id. `linked_by` are the lookups that other pages
    lead to this list by, beside those of its filters.
    """

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    sortable_by = ()
    search_fields = ("pk",)  # only turns the search box on
    search_ids: Sequence[str] = ("id",)
    search_texts: Sequence[str] = ()
    roads: Mapping[str, tuple[str, str]] = {}
    linked_by: Sequence[str] = ()
    confidential: Sequence[str] = ()
    about = ""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (search(queryset, term, self.search_ids, self.search_texts) if term else queryset), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what pages offer. Django allows all on the row's own columns: what is masked could be guessed by it."""
        return lookup in self.linked_by or any(lookup in lookups_of(one) for one in self.list_filter)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether this person may carry out actions: who may change the model, even where nothing is edited."""
        return self.has_model_permission(request, "change")

    def has_remove_permission(self, request: HttpRequest) -> bool:
        """Whether this person may end rows for good, where they stay as history."""
        return self.has_model_permission(request, "delete")

    def has_model_permission(self, request: HttpRequest, verb: str) -> bool:
        codename = get_permission_codename(verb, self.opts)
        return request.user.has_perm(f"{self.opts.app_label}.{codename}")

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        return columns if request.user.has_perm(SEE_PAYLOADS) else self.open(columns)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if request.user.has_perm(SEE_PAYLOADS):
            return fieldsets
        return [(title, {**options, "fields": self.open(options["fields"])}) for title, options in fieldsets]

    def open(self, fields: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(masked(field) if name_of(field) in self.confidential else field for field in fields)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; one that would take the database too long is given up, and says what to do instead."""
        shown = {"about": self.about, **(extra_context or {})}
        if request.method != "GET":
            return super().changelist_view(request, shown)
        try:
            with query_limit(LONGEST_QUERY):
                response = super().changelist_view(request, shown)
                return response.render() if isinstance(response, TemplateResponse) else response
        except OperationalError as error:
            if not was_given_up(error):
                raise
        self.message_user(request, TOO_LONG, messages.ERROR)
        return TemplateResponse(request, "admin/too_long.html", self.context_of_a_list(request), status=503)

    def context_of_a_list(self, request: HttpRequest) -> dict[str, Any]:
        title = f"Select {self.opts.verbose_name} to view"
        return {**self.admin_site.each_context(request), "opts": self.opts, "title": title}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        offered = {"roads": self.roads_from(row), "buttons": self.buttons(request, row)} if row else {}
        return super().change_view(request, object_id, form_url, {**offered, **(extra_context or {})})

    def roads_from(self, row: Model) -> dict[str, str]:
        return {label: list_of(model, **{lookup: row.pk}) for label, (model, lookup) in self.roads.items()}

    def buttons(self, request: HttpRequest, row: Model) -> list[OperatorAction]:
        actions: Mapping[str, Any] = self.get_actions(request)
        return [
            action
            for action, *_ in actions.values()
            if isinstance(action, OperatorAction) and action.fits(row)
        ]

    def response_action(  # type: ignore[override]  # the stubs are of a later Django
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        """Back to the list, or to the page whose button it was."""
        if not all(map(self.is_an_id, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            self.message_user(request, NO_ID, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        response = super().response_action(request, queryset)
        if isinstance(response, HttpResponseRedirect) and "from_page" in request.POST:
            chosen = request.POST.get(ACTION_CHECKBOX_NAME, "")
            page = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(chosen)])
            return HttpResponseRedirect(page)
        return response

    def is_an_id(self, chosen: str) -> bool:
        try:
            self.opts.pk.clean(chosen, None)
        except ValidationError:
            return False
        return True


def lookups_of(list_filter: Any) -> set[str]:
    """What a filter is chosen by in the address of a list."""
    if isinstance(list_filter, type):
        return {str(list_filter.parameter_name)}  # type: ignore[attr-defined]
    path = list_filter if isinstance(list_filter, str) else list_filter[0]
    return {f"{path}__exact", f"{path}__isnull", f"{path}__id__exact"}


def name_of(field: Any) -> str:
    return str(getattr(field, "__name__", field))


def masked(field: Any) -> Any:
    """A field of this name that shows nothing."""

    @admin.display(description=getattr(field, "short_description", name_of(field).replace("_", " ")))
    def shown(row: object) -> str:
        return MASKED

    shown.__name__ = name_of(field)
    return shown


class ReadOnlyAdmin(OperatorAdmin):
    """Pages that show and never edit; a row changes by actions alone, if at all."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return flatten_fieldsets(self.get_fieldsets(request, obj))


class ReadOnlyInline(admin.TabularInline):
    """Rows of another model on a row's page, to look at."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return self.fields or ()
