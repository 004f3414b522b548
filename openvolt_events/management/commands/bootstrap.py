"""What makes an empty database usable, and a used one up to date."""

import secrets
from argparse import ArgumentParser
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.migrations.exceptions import MigrationSchemaMissing
from django.utils import timezone

from accounts.models import ApiKey, Application, Scope, User
from deliveries.partitions import make_partitions
from openvolt_events import env_files

KEY_NAME = "make run"


class Command(BaseCommand):
    help = (
        "Migrates, and makes sure that the superuser, the application Demo and the keys in FILE exist. "
        "What FILE has and the database knows stays as it is; what either has lost is made again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="NAME=value lines, written with mode 0600")
        parser.add_argument("--url", required=True, help="where the service answers, for OPENVOLT_URL")

    def handle(self, *args: Any, **options: Any) -> None:
        migrate()
        make_partitions(timezone.now())
        known = env_files.read(options["file"])
        with transaction.atomic():
            values = {"OPENVOLT_URL": options["url"], **superuser(known), **demo_keys(known)}
        if values != known:
            env_files.write(options["file"], values)


def migrate() -> None:
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except MigrationSchemaMissing:
        raise CommandError(
            "DATABASE_URL names a user who may not make tables there; make it the database's owner."
        ) from None


def superuser(known: dict[str, str]) -> dict[str, str]:
    name, password = known.get("OPENVOLT_ADMIN_USER"), known.get("OPENVOLT_ADMIN_PASSWORD")
    if not (name and password and User.objects.filter(username=name).exists()):
        name, password = free_username(), secrets.token_urlsafe(12)
        User.objects.create_superuser(name, password=password)
    return {"OPENVOLT_ADMIN_USER": name, "OPENVOLT_ADMIN_PASSWORD": password}


def free_username() -> str:
    """Not a name that exists: its password may be somebody's."""
    names = ("admin" if number == 1 else f"admin-{number}" for number in count(1))
    return next(name for name in names if not User.objects.filter(username=name).exists())


def demo_keys(known: dict[str, str]) -> dict[str, str]:
    application = demo_application(known.get("OPENVOLT_APPLICATION_ID", ""))
    return {
        "OPENVOLT_PLATFORM_KEY": working_key(known.get("OPENVOLT_PLATFORM_KEY", ""), None),
        "OPENVOLT_APPLICATION_ID": str(application.id),
        "OPENVOLT_API_KEY": working_key(known.get("OPENVOLT_API_KEY", ""), application),
    }


def demo_application(known_id: str) -> Application:
    try:
        return Application.objects.get(id=UUID(known_id))
    except (ValueError, Application.DoesNotExist):
        return Application.objects.filter(name="Demo").last() or Application.objects.create(name="Demo")


def working_key(known: str, application: Application | None) -> str:
    """The known key while it opens what it should; else a new one, a platform key without an application."""
    row = ApiKey.objects.authenticate(known, timezone.now())
    if row and row.application == application:
        return known
    kind = ApiKey.Kind.APPLICATION if application else ApiKey.Kind.PLATFORM
    _, key = ApiKey.objects.issue(
        kind=kind, application=application, name=KEY_NAME, scopes=[Scope.READ, Scope.WRITE]
    )
    return key
