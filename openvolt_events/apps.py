from importlib import import_module

from django.apps import AppConfig, apps
from django.contrib import admin
from django.contrib.admin import apps as admin_apps


class OpenvoltEventsConfig(AppConfig):
    name = "openvolt_events"
    default = True

    def ready(self) -> None:
        import_module("openvolt_events.checks")


class AdminConfig(admin_apps.AdminConfig):
    """Django's admin as the operators' dashboard."""

    default = False
    default_site = "openvolt_events.admin_site.OperatorsSite"

    def ready(self) -> None:
        """Take django-q2's pages away: with them, staff could run any function of any module."""
        super().ready()
        for model in apps.get_app_config("django_q").get_models():
            if admin.site.is_registered(model):
                admin.site.unregister(model)
