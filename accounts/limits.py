"""How many of a thing one application may have."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from accounts.models import Application


class LimitReached(Exception):
    """One more would be too many; the text names the limit."""


def check_room(application: Application, rows: QuerySet[Any], limit: str) -> None:
    """Raise LimitReached unless the application may have one more of these rows; `limit` is the setting's name.

    Only inside a transaction: until its end nobody else gets past this line for the same application, so that
    two at a time can't both take the last place.
    """
    Application.objects.select_for_update(no_key=True).get(pk=application.pk)
    most = getattr(settings, limit)
    if rows.count() >= most:
        things = rows.model._meta.verbose_name_plural
        raise LimitReached(
            f"The application has {most} {things}, which is the limit ({limit}). Delete one that is not needed."
        )
