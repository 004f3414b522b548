"""What the operators' pages of every floor are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import flatten_fieldsets, quote
from django.contrib.auth import get_permission_codename
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.admin_actions import OperatorAction
from accounts.admin_columns import list_of
from accounts.admin_lists import BoundedPaginator, search


class OperatorAdmin(admin.ModelAdmin):
    """A model's pages: a list that stays quick, links along the road, and actions as buttons, too.

    `search_ids` and `search_texts` are what `admin_lists.search` looks through. `roads` names the lists that a
    row leads to: a label, the list's `app_model`, and the lookup that takes the row's id.
    """

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    sortable_by: Sequence[str] | None = ()
    search_fields = (
        "pk",
    )  # turns the search box on; `search_ids` and `search_texts` say what it looks through
    search_ids: Sequence[str] = ("id",)
    search_texts: Sequence[str] = ()
    roads: Mapping[str, tuple[str, str]] = {}
    about = ""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (search(queryset, term, self.search_ids, self.search_texts) if term else queryset), False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether this person may carry out actions: who may change the model, even where nothing is edited."""
        codename = get_permission_codename("change", self.opts)
        return request.user.has_perm(f"{self.opts.app_label}.{codename}")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"about": self.about, **(extra_context or {})})

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
        actions = [action for action, *_ in self.get_actions(request).values()]
        return [action for action in actions if isinstance(action, OperatorAction) and action.fits(row)]

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Back to the list, or to the page whose button it was."""
        response = super().response_action(request, queryset)
        if isinstance(response, HttpResponseRedirect) and "from_page" in request.POST:
            chosen = request.POST.get(ACTION_CHECKBOX_NAME, "")
            page = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(chosen)])
            return HttpResponseRedirect(page)
        return response


class ReadOnlyAdmin(OperatorAdmin):
    """Pages that show and never edit; a row changes by actions alone, if at all."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[Any]:
        return flatten_fieldsets(self.get_fieldsets(request, obj))


class ReadOnlyInline(admin.TabularInline):
    """Rows of another model on a row's page, to look at."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[Any]:
        return self.fields or ()
