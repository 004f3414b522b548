"""The operators' pages of applications, people and keys."""

from http import HTTPStatus
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html

from accounts.admin_actions import OperatorAction
from accounts.admin_columns import (
    column,
    identity,
    json_document,
    lines,
    link,
    list_of,
    moment,
    page_of,
    plain,
    state,
)
from accounts.admin_lists import ChosenFilter, CreatedFilter
from accounts.admin_pages import AuditedAdmin, OperatorAdmin, ReadOnlyAdmin
from accounts.audit import record
from accounts.models import ApiKey, Application, AuditEntry, Scope, User
from accounts.visible_text import visible


@admin.register(User)
class PersonAdmin(AuditedAdmin, UserAdmin):
    """Nobody makes themselves, or anybody else, more than a superuser has made them."""

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        beyond = () if request.user.is_superuser else ("is_superuser", "user_permissions")
        return (*super().get_readonly_fields(request, obj), *beyond)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        out_of_reach = obj is not None and obj.is_superuser and not request.user.is_superuser
        return not out_of_reach and super().has_change_permission(request, obj)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        with transaction.atomic():
            answer = super().user_change_password(request, id, form_url)
            if answer.status_code == HTTPStatus.FOUND:
                record("user.password_changed", User.objects.get(pk=id))
            return answer

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False  # what they did is history; without "active" they can't sign in


@admin.register(Application)
class ApplicationAdmin(OperatorAdmin):
    list_display = (
        column("name", plain),
        column("id", identity),
        column("contacts", lines),
        column("created_at", moment),
    )
    fields = (
        "name",
        "contacts",
        "reply_to",
        "weekly_summary",
        column("summary_ended_by", lines, "summary ended by"),
        column("id", identity),
        column("created_at", moment, "created"),
    )
    readonly_fields = fields[4:]
    search_texts = ("name__icontains", "contacts__icontains")
    search_help_text = "A part of the name or of a contact's address, or an id."
    roads = {
        "Events": ("events_event", "application__id__exact"),
        "Subscriptions": ("subscriptions_subscription", "application__id__exact"),
        "Deliveries": ("deliveries_delivery", "application__id__exact"),
        "API keys": ("accounts_apikey", "application__id__exact"),
    }

    def has_delete_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return False  # its events and attempts are history


def condition(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    return "valid" if key.is_valid(timezone.now()) else "expired"


REVOKE = OperatorAction(
    name="revoke",
    label="Revoke",
    done="Revoked",
    act=ApiKey.revoke,
    confirm_above=0,
    warning="Programs that use these keys are refused at once. A revoked key can't be made valid again.",
    fits=lambda key: key.revoked_at is None,
)


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="What an application key may do. A platform key has no scopes.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.instance._state.adding:
            self.check_owner(cleaned.get("kind"), cleaned.get("application"))
        return cleaned

    def check_owner(self, kind: str | None, application: Application | None) -> None:
        if kind == ApiKey.Kind.PLATFORM and application is not None:
            self.add_error("application", "A platform key acts for every application: leave this empty.")
        elif kind == ApiKey.Kind.APPLICATION and application is None:
            self.add_error("application", "An application key acts for one application: choose it.")
        elif application and application.api_keys.valid(timezone.now()).count() >= settings.MAX_API_KEYS:
            self.add_error("application", f"It has {settings.MAX_API_KEYS} valid keys. Revoke one first.")


@admin.register(ApiKey)
class ApiKeyAdmin(OperatorAdmin):
    form = ApiKeyForm
    list_display = (
        column("prefix", lambda prefix: identity(f"{prefix}…")),
        column("name", plain),
        "kind",
        column("application", link),
        column("scopes", lines),
        "is_valid_now",
        column("last_used_at", moment, "last used"),
        column("expires_at", moment, "expires"),
        column("created_at", moment, "created"),
    )
    list_select_related = ("application",)
    list_filter = ("kind", ("application", ChosenFilter))
    autocomplete_fields = ("application",)
    search_ids = ("id", "application")
    search_texts = ("prefix__startswith", "name__icontains", "application__name__icontains")
    search_help_text = "The beginning of a key, a part of its name or of its application's name, or an id."
    actions = (REVOKE,)
    about = "A key is shown once, when it is made. What is kept is a hash."
    recorded = (
        column("id", identity),
        column("prefix", lambda prefix: identity(f"{prefix}…")),
        "kind",
        column("application", link),
        column("scopes", lines),
        "is_valid_now",
        column("created_at", moment, "created"),
        column("last_used_at", moment, "last used"),
        column("revoked_at", moment, "revoked"),
    )

    @admin.display(description="state")
    def is_valid_now(self, key: ApiKey) -> str:
        return state(condition(key))

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return (
            ("name", "expires_at", *self.recorded)
            if obj
            else ("kind", "application", "name", "scopes", "expires_at")
        )

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return self.recorded if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        revoked = obj is not None and obj.revoked_at is not None
        return not revoked and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # a key is revoked; its row says what acted, and until when

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        one_way = {"show_save_and_continue": False, "show_save_and_add_another": False}  # past the key
        return super().add_view(request, form_url, {**one_way, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: ApiKey, form: forms.ModelForm, change: bool) -> None:
        """Issue a new key, and keep it for the one answer that shows it."""
        if change:
            obj.save(update_fields=["name", "expires_at"])
            return
        row, obj.issued = ApiKey.objects.issue(  # type: ignore[attr-defined]
            kind=obj.kind,
            name=obj.name,
            application=obj.application,
            scopes=obj.scopes if obj.kind == ApiKey.Kind.APPLICATION else (),
            expires_at=obj.expires_at,
        )
        obj.pk, obj.prefix, obj.digest = row.pk, row.prefix, row.digest

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the key in this answer alone: a message would keep it in a cookie or a session."""
        context = {
            **self.admin_site.each_context(request),
            "title": "Copy the new API key now",
            "opts": self.opts,
            "row": obj,
            "page": page_of(obj),
            "key": obj.issued,  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "admin/accounts/apikey/issued.html", context)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Each narrowing of this list is by an index."""

    list_display = (
        column("at", moment, "when"),
        "by",
        "did",
        "what",
        column("application", link),
        column("address", plain),
    )
    list_select_related = ("application",)
    list_filter = ("actor_kind", CreatedFilter, ("application", ChosenFilter))
    fields = (
        column("at", moment, "when"),
        "actor_kind",
        "by",
        column("address", plain),
        column("request_id", plain),
        "did",
        "what",
        column("application", link),
        column("before", json_document),
        column("after", json_document),
    )
    search_ids = ("id", "object_id", "application")
    search_texts = ("action__exact", "object_id__exact", "actor_id__exact")
    search_help_text = "An id of what was changed or of who did it, or an action, whole."
    linked_by = ("actor_id__exact", "action__exact", "object_id__exact")
    about = "Entries are kept for 400 days. The database refuses to change them, and to delete them earlier."

    @admin.display(description="who")
    def by(self, entry: AuditEntry) -> str:
        return narrowed(visible(entry.actor), actor_id__exact=entry.actor_id)

    @admin.display(description="action")
    def did(self, entry: AuditEntry) -> str:
        return narrowed(entry.action, action__exact=entry.action)

    @admin.display(description="on")
    def what(self, entry: AuditEntry) -> str:
        return narrowed(f"{entry.object_type} {entry.object_id}", object_id__exact=entry.object_id)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        return super().get_queryset(request).defer("before", "after")


def narrowed(text: str, **lookup: str) -> str:
    """The text, leading to the list of the entries with the same."""
    return format_html('<a href="{}">{}</a>', list_of("accounts_auditentry", **lookup), text)
