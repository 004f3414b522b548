"""Making and rotating an application's API keys. A rotation is a change that the application is told of."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from accounts.audit import picture, record
from accounts.limits import check_room
from accounts.models import ApiKey, Application
from deliveries.channels import event_timestamp
from deliveries.lifecycle import NotPossible
from deliveries.publishing import publish


def issue_api_key(
    application: Application, now: datetime, *, name: str, scopes: Sequence[str], expires_at: datetime | None
) -> tuple[ApiKey, str]:
    """A new key of the application, and the key itself, which can't be had again. Raises LimitReached."""
    with transaction.atomic():
        check_room(application, application.api_keys.valid(now), "MAX_API_KEYS")
        row, key = ApiKey.objects.issue(
            kind=ApiKey.Kind.APPLICATION,
            application=application,
            name=name,
            scopes=scopes,
            expires_at=expires_at,
        )
        record("api_key.created", row, after=picture(row))
        return row, key


def rotate_api_key(key: ApiKey, overlap: timedelta, by: str, now: datetime) -> tuple[ApiKey, str]:
    """Replace an application's key by a new one with the same name, scopes and expiry, and publish `api_keys.rotated`.

    The old key lives on for `overlap`, or until it expires by itself. `by` says who did it, for people.
    Raises LimitReached, and NotPossible when the key is no longer valid, or was replaced before.
    """
    with transaction.atomic():
        old = ApiKey.objects.select_for_update(of=("self",)).select_related("application").get(pk=key.pk)
        if old.replaced_at is not None:
            raise NotPossible(
                f"This API key was replaced at {event_timestamp(old.replaced_at)} already: rotate the new one. If that "
                "was lost, make another (POST /v1/api-keys)."
            )
        if not old.is_valid(now) or old.application is None:
            raise NotPossible("This API key is no longer valid; make a new one.")
        before, expires_at = picture(old), old.expires_at
        old.expires_at = min(now + overlap, expires_at or now + overlap)
        old.replaced_at = now
        old.save(update_fields=["expires_at", "replaced_at"])
        check_room(old.application, old.application.api_keys.valid(now), "MAX_ROTATING_API_KEYS")
        new, text = ApiKey.objects.issue(
            kind=old.kind,
            application=old.application,
            name=old.name,
            scopes=old.scopes,
            expires_at=expires_at,
        )
        publish(old.application, "api_keys.rotated", rotation(old, new, by, now), now)
        record("api_key.rotated", old, before, picture(old) | {"new_key": str(new.id)})
        return new, text


def rotation(old: ApiKey, new: ApiKey, by: str, now: datetime) -> dict[str, str | None]:
    """The event's payload: which key was replaced by which, never a key itself."""
    return {
        "api_key_id": str(old.id),
        "prefix": old.prefix,
        "new_api_key_id": str(new.id),
        "new_prefix": new.prefix,
        "name": old.name,
        "rotated_by": by,
        "rotated_at": event_timestamp(now),
        "old_key_expires_at": event_timestamp(old.expires_at) if old.expires_at else None,
    }
