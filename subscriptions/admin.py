"""The operators' pages of subscriptions and recipients. Their owners make and edit them through the API."""

from django.contrib import admin
from django.contrib.admin.options import InlineModelAdmin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from accounts.admin_columns import (
    LONGEST_NAME,
    column,
    identity,
    json_document,
    lines,
    link,
    moment,
    plain,
    state,
    yes_no,
)
from accounts.admin_lists import ChosenFilter, CreatedFilter
from accounts.admin_pages import ReadOnlyAdmin, ReadOnlyInline
from subscriptions.models import Channel, Recipient, SigningSecret, Subscription

LONGEST_ERROR = 120


def short(text: str) -> str:
    return Truncator(plain(text)).chars(LONGEST_ERROR)


class FailingFilter(admin.SimpleListFilter):
    title = "health"
    parameter_name = "failing"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("yes", "Failing")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> QuerySet[Subscription]:
        return queryset & Subscription.objects.failing() if self.value() else queryset


class DeletedFilter(admin.SimpleListFilter):
    title = "existence"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("no", "Existing"), ("yes", "Deleted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> QuerySet[Subscription]:
        chosen = {"no": Q(deleted_at=None), "yes": ~Q(deleted_at=None)}
        return queryset.filter(chosen.get(self.value() or "", Q()))


class SecretInline(ReadOnlyInline):
    """When the signing secrets were made and when they end. What they are, only the API tells their owner."""

    model = SigningSecret
    verbose_name_plural = "signing secrets (never shown here)"
    fields = (column("created_at", moment, "created"), column("expires_at", moment, "expires"), "state")
    ordering = ("-created_at",)

    @admin.display(description="state")
    def state(self, secret: SigningSecret) -> SafeString:
        return state("valid" if secret.is_valid(timezone.now()) else "expired")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SigningSecret]:
        return super().get_queryset(request).defer("secret")


class RecipientInline(ReadOnlyInline):
    model = Recipient
    fields = (
        "email",
        column("status", state),
        column("confirmed_at", moment, "confirmed"),
        column("removed_at", moment, "removed"),
    )
    show_change_link = True


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "condition",
        column("application", link),
        column("failing_since", moment),
        column("disable_at", moment, "to be disabled"),
        column("last_error", short),
        "channel",
        column("event_types", lines),
        column("created_at", moment, "created"),
    )
    list_select_related = ("application",)
    list_filter = (
        FailingFilter,
        "status",
        "channel",
        ("application", ChosenFilter),
        DeletedFilter,
    )
    fields = (
        column("id", identity),
        column("application", link),
        "condition",
        column("status_reason", plain),
        column("failing_since", moment),
        column("failure_count", plain, "failed attempts"),
        column("last_failed_at", moment, "last failed"),
        column("last_error", plain),
        column("disable_at", moment, "to be disabled"),
        column("cooling_until", moment),
        "channel",
        "url",
        column("event_types", lines),
        column("filter", json_document),
        column("description", plain),
        column("metadata", json_document),
        "header_names",
        column("retry_schedule", lines, "own retry schedule, in seconds"),
        column("rate_limit", plain, "limit, in deliveries a second"),
        column("ordered", yes_no, "in order"),
        column("ordering_key", plain, "of those with the same"),
        column("fallback_types", lines, "told by email when it fails"),
        column("fallback_after", plain, "or takes longer than"),
        column("created_at", moment, "created"),
        column("updated_at", moment, "updated"),
        column("deleted_at", moment, "deleted"),
    )
    search_ids = ("id", "application")
    search_texts = ("url__icontains", "description__icontains", "application__name__icontains")
    search_help_text = "A part of the URL, the description or the application's name, or an id."
    roads = {"Deliveries": ("deliveries_delivery", "subscription__id__exact")}
    about = "Subscriptions are made through the API, whose answer shows the signing secret that one time."

    @admin.display(description="subscription")
    def name(self, subscription: Subscription) -> str:
        return Truncator(subscription).chars(LONGEST_NAME)

    @admin.display(description="state")
    def condition(self, subscription: Subscription) -> SafeString:
        if subscription.deleted_at:
            return state("deleted")
        words = [subscription.status, "failing"] if subscription.failing_since else [subscription.status]
        return format_html_join(" ", "{}", ((state(word),) for word in words))

    @admin.display(description="custom headers (values are secret)")
    def header_names(self, subscription: Subscription) -> str:
        return lines(list(subscription.headers))

    def get_inlines(self, request: HttpRequest, obj: Subscription | None) -> list[type[InlineModelAdmin]]:
        if obj and obj.channel == Channel.EMAIL:
            return [RecipientInline]
        return [SecretInline, RecipientInline] if obj and obj.recipients.exists() else [SecretInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        return super().get_queryset(request).defer("encrypted_headers")


@admin.register(Recipient)
class RecipientAdmin(ReadOnlyAdmin):
    list_display = (
        "email",
        column("status", state),
        column("subscription", link),
        column("subscription.application", link),
        column("confirmed_at", moment, "confirmed"),
        column("unsubscribed_at", moment, "unsubscribed"),
        column("removed_at", moment, "removed"),
        column("created_at", moment, "created"),
    )
    list_select_related = ("subscription__application",)
    list_filter = ("status", CreatedFilter, ("subscription", ChosenFilter))
    fields = (
        column("id", identity),
        "email",
        column("status", state),
        column("subscription", link),
        column("subscription.application", link),
        column("created_at", moment, "created"),
        column("confirmed_at", moment, "confirmed"),
        column("unsubscribed_at", moment, "unsubscribed"),
        column("removed_at", moment, "removed"),
    )
    ordering = ("-id",)
    search_ids = ("id", "subscription")
    search_texts = (
        "email__icontains",
        "subscription__description__icontains",
        "subscription__url__icontains",
    )
    search_help_text = "A part of the address or of the subscription's description, or an id."
    roads = {
        "Deliveries": ("deliveries_delivery", "recipient__id__exact"),
        "Notices": ("deliveries_notice", "recipient__id__exact"),
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Recipient]:
        return super().get_queryset(request).defer("subscription__encrypted_headers")
