"""The operators' dashboard: Django's admin, with a front page that says whether anything is stuck."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from openvolt_events.admin_front import front_page

ROAD = ["accounts", "events", "subscriptions", "deliveries"]
FRONT_PAGE_PERMISSIONS = ("deliveries.view_delivery", "subscriptions.view_subscription")


class OperatorsSite(admin.AdminSite):
    site_header = "Openvolt Events"
    site_title = "Openvolt Events"
    index_title = "Is anything stuck?"
    site_url = None

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
