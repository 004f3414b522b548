from django.apps import AppConfig
from django.contrib.admin import apps


class OpenvoltEventsConfig(AppConfig):
    name = "openvolt_events"
    default = True


class AdminConfig(apps.AdminConfig):
    """Django's admin as the operators' dashboard."""

    default = False
