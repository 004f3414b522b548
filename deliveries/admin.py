"""The operators' pages of deliveries and attempts, and what operators do, also to the rows of the floors below."""

import dataclasses
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Func, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Lower
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil

from accounts.admin_columns import (
    NOTHING,
    column,
    header_document,
    identity,
    json_document,
    lines,
    link,
    milliseconds,
    moment,
    page_of,
    plain,
    state,
    text_document,
    yes_no,
)
from accounts.admin_lists import ChosenFilter, CreatedFilter, PeriodFilter
from accounts.admin_pages import ReadOnlyAdmin, ReadOnlyInline
from deliveries.admin_actions import (
    ASK_AGAIN,
    CANCEL,
    CANCEL_REPLAY,
    CLOSE,
    DELETE,
    GIVE_BACK,
    LIFT,
    PAUSE,
    REPLAY,
    RESUME,
    RETRY,
    SEND_TEST,
)
from deliveries.channels import Timings
from deliveries.channels.case_wording import case_letter
from deliveries.claiming import notification
from deliveries.customers import customers_in
from deliveries.domains import standing
from deliveries.letters import Letter
from deliveries.letters.reader import Reader
from deliveries.models import Attempt, Case, Delivery, MailEvent, Notice, Replay
from deliveries.waiting import why_notice_waits, why_waiting
from events.admin import EventAdmin
from events.models import Event
from subscriptions.admin import RecipientAdmin, SubscriptionAdmin
from subscriptions.models import Recipient, Subscription, Suppression

OUR_HEADERS = {
    *("accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"),
    *("webhook-id", "webhook-timestamp", "webhook-signature"),
    *("openvolt-event-id", "openvolt-sequence", "openvolt-attempt", "openvolt-trigger"),
    *("date", "from", "message-id", "reply-to", "subject", "to"),
    *("auto-submitted", "list-id", "list-unsubscribe-post"),
}


OUTAGE_WORDS = {
    Notice.Kind.DISABLED.value: "webhook disabled after five days of failures",
    Notice.Kind.GONE.value: "webhook disabled by the receiver (410)",
}


class NextAttemptFilter(admin.SimpleListFilter):
    """The pending deliveries by what they wait for."""

    title = "next attempt"
    parameter_name = "next"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("due", "Due now"), ("in_flight", "In flight"), ("later", "Later")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        now = timezone.now()
        pending = Delivery.objects.pending()
        chosen = {
            "due": Delivery.objects.due(now).order_by(),
            "in_flight": Delivery.objects.in_flight(now),
            "later": pending.idle(now).filter(next_attempt_at__gt=now),
        }
        return queryset & chosen.get(self.value() or "", queryset)


class NoticeFilter(admin.SimpleListFilter):
    """The notices by whether an email is still to be sent."""

    title = "next attempt"
    parameter_name = "next"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("due", "Due now"), ("later", "Later"), ("none", "None")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Notice]) -> QuerySet[Notice]:
        now = timezone.now()
        chosen = {"due": Q(due_at__lte=now), "later": Q(due_at__gt=now), "none": Q(due_at=None)}
        return queryset.filter(chosen.get(self.value() or "", Q()))


class FailedForGoodFilter(PeriodFilter):
    """Not of what succeeded, too: when that was, no index tells."""

    title = "failed for good"
    parameter_name = "failed"
    column = "finished_at"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        failed = queryset.filter(status=Delivery.Status.FAILED) if self.value() else queryset
        return super().queryset(request, failed)


class FailedFilter(CreatedFilter):
    """The attempts that failed, of a time that is read in one go: no index tells which they are."""

    title = "failed"
    parameter_name = "failed"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, label) for name, label in super().lookups(request, model_admin) if name != "week"]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Attempt]) -> QuerySet[Attempt]:
        failed = queryset.filter(outcome=Attempt.Outcome.FAILED) if self.value() else queryset
        return super().queryset(request, failed)


def next_attempt(at: datetime) -> SafeString:
    now = timezone.now()
    wait = f"in {timeuntil(at, now, depth=1)}" if at > now else f"{timesince(at, now, depth=1)} late"
    return SafeString(f"{moment(at)} ({wait})")


@admin.display(description="waiting")
def waiting(delivery: Delivery) -> str:
    return why_waiting(delivery, timezone.now()) or NOTHING


@admin.display(description="waiting")
def notice_waiting(notice: Notice) -> str:
    """The time that its domain asked for is in `NoticeAdmin.get_queryset`."""
    return why_notice_waits(notice, vars(notice)["paused_until"], timezone.now()) or NOTHING


def what_happened(kind: str) -> str:
    """Of a case: the event's type, or what came over the subscription."""
    return OUTAGE_WORDS.get(kind, kind)


def write_letters(cases: Iterable[Case]) -> None:
    """Of each case what people were told, once for all that a page says of it."""
    customers = customers_in(cases)
    for case in cases:
        vars(case)["letter"] = letter_of(case, customers.get(case.pk, ""))


def letter_of(case: Case, customer: str) -> Letter | None:
    """In the words of the email; None when the event was forgotten, or facts are missing."""
    if case.event_id and case.event is None:
        return None
    reader = Reader()
    with reader.language_on():
        try:
            return case_letter(case, reader, customer)
        except KeyError:  # facts that were kept before letters said more
            return None


def told_of(case: Case) -> Letter | None:
    if "letter" not in vars(case):
        write_letters([case])
    letter: Letter | None = vars(case)["letter"]
    return letter


@admin.display(description="about")
def subject(case: Case) -> str:
    letter = told_of(case)
    return plain(letter.subject) if letter else NOTHING


@admin.display(description="what happened")
def happened(case: Case) -> str:
    letter = told_of(case)
    return plain(letter.what) if letter else NOTHING


@admin.display(description="who")
def who(case: Case) -> str:
    """Has it, or has done it. By staff: the page's history says by whom of them."""
    is_staffs = case.is_done and not case.taken_by and not case.outcome
    return "Openvolt staff" if is_staffs else plain(case.taken_by)


@admin.display(description="told again")
def told_again(case: Case) -> str:
    return NOTHING if case.is_done or case.remind_at is None else moment(case.remind_at)


def event_link(event: Event) -> SafeString:
    return format_html('<a href="{}">{}</a>', page_of(event), event.type)


class AttemptInline(ReadOnlyInline):
    model = Attempt
    verbose_name_plural = "attempts"
    fields = (
        column("number", plain),
        column("started_at", moment, "started"),
        column("trigger", plain),
        column("outcome", state),
        column("status_code", plain),
        column("duration_ms", milliseconds, "took"),
        column("error", plain),
    )
    ordering = ("number",)
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        return super().get_queryset(request).defer("request_headers", "response_headers", "response_body")


class MailEventInline(ReadOnlyInline):
    model = MailEvent
    verbose_name_plural = "told by the email provider"
    fields = (
        column("at", moment, "when"),
        column("kind", state),
        column("description", plain),
        column("provider", plain),
    )
    ordering = ("at", "id")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = (
        column("created_at", moment, "created"),
        column("status", state),
        column("next_attempt_at", next_attempt, "next attempt"),
        column("attempt_count", plain, "attempts"),
        column("event", event_link),
        column("subscription", link),
        column("recipient", link),
        column("application", link),
        column("finished_at", moment, "finished"),
        column("id", identity),
    )
    list_select_related = ("event", "application", "subscription__application", "recipient")
    list_filter = (
        "status",
        NextAttemptFilter,
        CreatedFilter,
        FailedForGoodFilter,
        "channel",
        ("application", ChosenFilter),
        ("event", ChosenFilter),
        ("subscription", ChosenFilter),
        ("recipient", ChosenFilter),
    )
    fields = (  # type: ignore[assignment]  # a function of the row is among them, which Django takes
        column("id", identity),
        column("status", state),
        column("event", link),
        column("subscription", link),
        column("recipient", link),
        column("application", link),
        "channel",
        "trigger",
        column("replay", link),
        "sequence",
        "attempt_count",
        column("next_attempt_at", next_attempt),
        waiting,
        column("retry_requested", yes_no),
        column("leased_until", moment),
        column("created_at", moment, "created"),
        column("finished_at", moment, "finished"),
    )
    inlines = (AttemptInline, MailEventInline)
    actions = (RETRY, CANCEL)
    search_ids = ("id", "event", "subscription", "application", "recipient")
    search_texts = (
        "application__name__icontains",
        "subscription__url__icontains",
        "subscription__description__icontains",
        "recipient__email__icontains",
    )
    search_help_text = (
        "An id of a delivery, event, subscription, recipient or application; or a part of an application's name, "
        "a subscription's URL or description, or a recipient's address."
    )
    roads = {"Attempts": ("deliveries_attempt", "delivery__id__exact")}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).defer("event__payload", "subscription__encrypted_headers")


@admin.register(Replay)
class ReplayAdmin(ReadOnlyAdmin):
    list_display = (
        column("created_at", moment, "created"),
        column("status", state),
        column("subscription", link),
        column("application", link),
        column("only", plain),
        column("since", moment),
        column("until", moment),
        column("matched", plain),
        column("queued", plain),
        column("finished_at", moment, "finished"),
    )
    list_select_related = ("application", "subscription__application")
    list_filter = ("status", CreatedFilter, "only", ("subscription", ChosenFilter))
    fields = (
        column("id", identity),
        *list_display[1:7],
        column("types", lines),
        column("url_without_query", plain, "instead to"),
        *list_display[7:9],
        column("created_at", moment, "created"),
        column("finished_at", moment, "finished"),
    )
    actions = (CANCEL_REPLAY,)
    search_ids = ("id", "subscription", "application")
    search_texts = ("application__name__icontains", "subscription__description__icontains")
    search_help_text = "An id of a replay, subscription or application; or a part of a name or a description."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Replay]:
        return super().get_queryset(request).defer("subscription__encrypted_headers")


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    list_display = (
        column("started_at", moment, "started"),
        column("outcome", state),
        column("status_code", plain, "answer"),
        column("error", plain),
        column("number", plain),
        column("duration_ms", milliseconds, "took"),
        column("delivery.event.type", plain, "event type"),
        column("delivery", link),
        column("trigger", plain),
    )
    list_select_related = ("delivery__event",)
    list_filter = (FailedFilter, CreatedFilter, ("delivery", ChosenFilter))
    fieldsets = (
        (
            None,
            {
                "fields": (
                    column("delivery", link),
                    column("delivery.event", link),
                    column("delivery.subscription", link),
                    "number",
                    column("outcome", state),
                    "error",
                    "trigger",
                    column("started_at", moment, "started"),
                    column("duration_ms", milliseconds, "took"),
                    "phases",
                    "remote_ip",
                )
            },
        ),
        ("What was sent", {"fields": ("sent_headers", "body")}),
        (
            "What came back",
            {
                "fields": (
                    "status_code",
                    column("response_headers", header_document, "headers"),
                    column("response_body", text_document, "body"),
                    column("response_truncated", yes_no, "cut at 16 KiB"),
                )
            },
        ),
    )
    confidential = (
        "sent_headers",
        "body",
        "response_headers",
        "response_body",
    )  # an email's subject has names
    ordering = ("-id",)
    search_ids = ("id", "delivery")
    search_help_text = "An id of an attempt or a delivery."

    @admin.display(description="of that")
    def phases(self, attempt: Attempt) -> str:
        """In the order they happen, which jsonb does not keep."""
        order = [phase.name for phase in dataclasses.fields(Timings)]
        known = {name: attempt.timings[name] for name in order if attempt.timings.get(name) is not None}
        return lines(
            [f"{name.removesuffix('_ms').replace('_', ' ')} {milliseconds(known[name])}" for name in known]
        )

    @admin.display(description="headers")
    def sent_headers(self, attempt: Attempt) -> str:
        """With the values of our own headers; those of the owner's headers may be credentials."""
        return header_document(
            {
                name: value if name.lower() in OUR_HEADERS else "(not shown)"
                for name, value in attempt.request_headers.items()
            }
        )

    @admin.display(description="body")
    def body(self, attempt: Attempt) -> str:
        return text_document(notification(attempt.delivery, attempt.number, attempt.trigger).body().decode())

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        bulky = (
            "request_headers",
            "response_headers",
            "response_body",
            "timings",
            "delivery__event__payload",
        )
        return super().get_queryset(request).defer(*bulky)


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    list_display = (
        "kind",
        column("email", plain, "to"),
        column("application", link),
        column("attempt_count", plain, "attempts"),
        column("due_at", next_attempt, "next attempt"),
        notice_waiting,
        column("sent_at", moment, "sent"),
        column("error", plain),
    )
    list_select_related = ("application", "recipient")
    list_filter = (
        CreatedFilter,
        "kind",
        NoticeFilter,
        ("application", ChosenFilter),
        ("subscription", ChosenFilter),
        ("recipient", ChosenFilter),
    )
    fields = (  # type: ignore[assignment]  # a function of the row is among them, which Django takes
        column("id", identity),
        *list_display[:3],
        column("subscription", link),
        column("recipient", link),
        column("created_at", moment, "created"),
        *list_display[3:],
        column("facts", json_document, "what the letter is made from"),
    )
    search_ids = ("id", "application", "subscription", "recipient")
    search_texts = ("email__icontains", "application__name__icontains")
    search_help_text = "A part of the address or of the application's name, or an id."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notice]:
        domain = Lower(Func(OuterRef("email"), Value("@"), Value(-1), function="split_part"))
        paused = standing(timezone.now()).filter(domain=domain)
        return super().get_queryset(request).annotate(paused_until=Subquery(paused.values("until")))


admin.site.unregister((Event, Subscription, Recipient))


@admin.register(Event)
class ReplayableEventAdmin(EventAdmin):
    actions = (REPLAY,)


@admin.register(Subscription)
class OperableSubscriptionAdmin(SubscriptionAdmin):
    actions = (PAUSE, RESUME, SEND_TEST, DELETE)


@admin.register(Recipient)
class AskableRecipientAdmin(RecipientAdmin):
    actions = (ASK_AGAIN,)


@admin.register(MailEvent)
class MailEventAdmin(ReadOnlyAdmin):
    list_display = (
        column("at", moment, "when"),
        column("kind", state),
        "email",
        column("description", plain),
        column("delivery_id", identity, "delivery"),
        column("provider", plain),
    )
    list_filter = ("kind", CreatedFilter)
    fields = (column("id", identity), *list_display)
    search_ids = ("id", "delivery")
    search_texts = ("email__exact",)
    search_help_text = "An address in lower case, whole, or an id of a delivery."


class CaseList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        write_letters(self.result_list)


@admin.register(Case)
class CaseAdmin(ReadOnlyAdmin):
    list_display = (
        subject,
        column("state", state),
        column("created_at", moment, "since"),
        column("application", link),
        who,
        column("kind", what_happened, "what"),
        column("taken_at", moment, "taken"),
        column("done_at", moment, "done"),
        column("id", identity),
    )
    list_filter = ("state", CreatedFilter, ("application", ChosenFilter), ("subscription", ChosenFilter))
    fields = (  # type: ignore[assignment]  # functions of the row are among them, which Django takes
        *list_display[:1],
        happened,
        *list_display[1:4],
        column("event", link),
        column("subscription", link),
        *list_display[4:],
        column("outcome", plain),
        told_again,
    )
    confidential = ("subject", "happened", "outcome")  # customers, and what people write that they said
    actions = (GIVE_BACK, CLOSE)
    search_ids = ("id", "application", "subscription")
    search_texts = ("taken_by__icontains", "application__name__icontains")
    search_help_text = "A part of the address or of the application's name, or an id."
    about = "What people were told of and should handle. They say who is on it on the page behind the email's button."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CaseList]:
        return CaseList

    def get_fields(self, request: HttpRequest, obj: Case | None = None) -> Any:
        """Those that say something of this case."""
        return [field for field in self.fields if obj is None or field(obj) != NOTHING]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Case]:
        whole = (
            super().get_queryset(request).select_related("application", "event", "subscription__application")
        )
        return whole.defer("subscription__encrypted_headers")


@admin.register(Suppression)
class SuppressionAdmin(ReadOnlyAdmin):
    list_display = (
        "email",
        "standing",
        column("reason", plain),
        column("source", plain, "told by"),
        column("created_at", moment, "since"),
        column("lifted_at", moment, "lifted"),
    )
    list_filter = (CreatedFilter,)
    fields = (column("id", identity), *list_display)
    actions = (LIFT,)
    search_texts = ("email__icontains",)
    search_help_text = "A part of the address, or an id."
    about = "Nothing is sent to these addresses. Most email providers keep such a list, too: lift it there as well."

    @admin.display(description="state")
    def standing(self, suppression: Suppression) -> SafeString:
        return state("suppressed" if suppression.is_standing else "lifted")
