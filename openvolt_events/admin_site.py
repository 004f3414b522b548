"""The operators' dashboard: Django's admin, with a front page that says whether anything is stuck."""

from functools import update_wrapper
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.db import transaction
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.audit import act_as, record
from openvolt_events.actors import by_staff
from openvolt_events.admin_emails import email_urls
from openvolt_events.admin_front import front_page

ROAD = ["accounts", "events", "subscriptions", "deliveries"]
FRONT_PAGE_PERMISSIONS = ("deliveries.view_delivery", "subscriptions.view_subscription")


def refuse_nul(request: HttpRequest) -> None:
    """No text of the database can hold one, and none of ours could be looked for by it. Forms say so themselves."""
    if "\0" in request.path or "\0" in unquote(request.META["QUERY_STRING"]):
        raise BadRequest("The address has a NUL.")


class OperatorsSite(admin.AdminSite):
    site_header = "Openvolt Events"
    site_title = "Openvolt Events"
    index_title = "Is anything stuck?"
    site_url = None

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """What the page does is done by who has signed in; the site has checked that first."""

        def acting(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            refuse_nul(request)
            act_as(by_staff(request, request.user))  # type: ignore[arg-type]
            return view(request, *args, **kwargs)

        return super().admin_view(update_wrapper(acting, view), cacheable)

    def get_urls(self) -> list[Any]:
        return [*email_urls(self), *super().get_urls()]

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        with transaction.atomic():
            answer = super().password_change(request, extra_context)
            if answer.status_code == HTTPStatus.FOUND:
                record("user.password_changed", request.user)  # type: ignore[arg-type]
            return answer

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The front page; the figures are for those who may see deliveries and subscriptions."""
        shown = {}
        if request.user.has_perms(FRONT_PAGE_PERMISSIONS):
            shown = {"front": front_page(timezone.now())}
        return super().index(request, {**shown, **(extra_context or {})})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """The apps in the order of the road, then the others by name."""
        apps = super().get_app_list(request, app_label)
        return sorted(
            apps, key=lambda app: ROAD.index(app["app_label"]) if app["app_label"] in ROAD else len(ROAD)
        )
