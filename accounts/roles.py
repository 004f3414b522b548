"""What staff may do, as groups that every migration fills anew.

A viewer reads, without payloads; an operator reads everything and acts (retry, replay, pause, resume, cancel …); an
admin configures, too: applications, keys, people, and the end of subscriptions. Superusers are beyond this.
"""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as all_apps
from django.apps.registry import Apps

VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
FLOORS = ("accounts", "events", "subscriptions", "deliveries")
ACTED_ON = ("events", "subscriptions", "deliveries")
SEE_PAYLOADS = "accounts.see_payloads"
OF_ADMINS = ("accounts.view_user",)


def holds(role: str, permission: str) -> bool:
    """Whether the role has the permission, written `app.verb_model`."""
    floor, codename = permission.split(".")
    views = codename.startswith("view_") and permission not in OF_ADMINS
    acts = permission == SEE_PAYLOADS or (floor in ACTED_ON and codename.startswith("change_"))
    return {VIEWER: views, OPERATOR: views or acts, ADMIN: True}[role]


def fill_groups(app_config: AppConfig, using: str, apps: Apps = all_apps, **_: Any) -> None:
    """After the migrations of a floor, which have made its permissions: give each role those that it holds."""
    if app_config.label not in FLOORS:
        return
    groups = apps.get_model("auth", "Group").objects.using(using)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    found = list(permissions.filter(content_type__app_label=app_config.label))
    for role in (VIEWER, OPERATOR, ADMIN):
        group, _created = groups.get_or_create(name=role)
        held = [one for one in found if holds(role, f"{app_config.label}.{one.codename}")]
        group.permissions.remove(*[one for one in found if one not in held])
        group.permissions.add(*held)
