"""What operators do: to many rows from a list, or to one row by the button on its own page."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import model_ngettext
from django.db.models import Model, QuerySet
from django.db.models.options import Options
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.admin_columns import page_of

MOST_ROWS = (
    500  # of one action: the confirmation names each row in a form field, and Django takes 1000 of those
)
MOST_REASONS = 5
CONFIRM_ABOVE = 10
CONFIRMED = "confirmed"


@dataclass(frozen=True)
class OperatorAction:
    """An action of Django's admin that does `act` to each row and tells what it came to.

    `act` takes the row and the time; an exception of the types `refusals` says in its text why a row was left
    as it is. More than `confirm_above` rows are asked for confirmation, with `warning` as an explanation. `fits`
    says whether a row's own page has the button. `permission` is who may: `operate`, or `remove` for what ends a row.
    """

    name: str
    label: str
    done: str
    act: Callable[[Any, datetime], object]
    refusals: tuple[type[Exception], ...] = ()
    confirm_above: int = CONFIRM_ABOVE
    warning: str = ""
    fits: Callable[[Any], bool] = lambda row: True
    permission: str = "operate"

    do_not_call_in_templates = True

    @property
    def allowed_permissions(self) -> tuple[str, ...]:
        return (self.permission,)

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def short_description(self) -> str:
        return self.label

    def __call__(
        self, model_admin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        rows = list(queryset[: MOST_ROWS + 1])
        if len(rows) > MOST_ROWS:
            text = f"Nothing was done: {MOST_ROWS} rows at most at a time. Narrow the list down."
            model_admin.message_user(request, text, messages.ERROR)
            return None
        if len(rows) > self.confirm_above and CONFIRMED not in request.POST:
            return self.ask(model_admin, request, rows)
        self.carry_out(model_admin, request, rows)
        return None

    def ask(self, model_admin: admin.ModelAdmin, request: HttpRequest, rows: Sequence[Model]) -> HttpResponse:
        options = model_admin.model._meta
        context = {
            **model_admin.admin_site.each_context(request),
            "title": f"{self.label}: {len(rows)} {model_ngettext(options, len(rows))}?",
            "opts": options,
            "action": self,
            "rows": rows,
            "checkbox": ACTION_CHECKBOX_NAME,
            "from_page": "from_page" in request.POST,
            "back": page_of(rows[0]) if "from_page" in request.POST else request.get_full_path(),
        }
        request.current_app = model_admin.admin_site.name
        return TemplateResponse(request, "admin/confirm_action.html", context)

    def carry_out(self, model_admin: admin.ModelAdmin, request: HttpRequest, rows: Sequence[Model]) -> None:
        refused: Counter[str] = Counter()
        done = []
        for row in rows:
            try:
                self.act(row, timezone.now())
                done.append(row)
            except self.refusals as refusal:
                refused[str(refusal)] += 1
        LogEntry.objects.log_actions(int(request.user.pk or 0), done, CHANGE, f"{self.done}.")
        for level, text in self.outcome(model_admin.opts, len(done), refused):
            model_admin.message_user(request, text, level)

    def outcome(self, options: Options, done: int, refused: Counter[str]) -> list[tuple[int, str]]:
        """What to tell the operator: how many were done, and how many were refused, and why."""
        told = []
        if done:
            told.append((messages.SUCCESS, f"{self.done}: {done} {model_ngettext(options, done)}."))
        for reason, count in refused.most_common(MOST_REASONS):
            told.append((messages.WARNING, f"Refused: {count} {model_ngettext(options, count)}. {reason}"))
        if others := refused.total() - sum(count for _, count in refused.most_common(MOST_REASONS)):
            told.append((messages.WARNING, f"Refused: {others} more, for reasons like these."))
        return told or [
            (messages.WARNING, "Nothing was done: no row that was chosen is in this list any more.")
        ]
