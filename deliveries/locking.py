"""How a subscription's row is locked: in three strengths, named by what becomes of publishers.

Publishers share it, so that what they look at stays as it is until their commit. Who changes that locks them out, for a
moment. Who settles, finishes or moves deliveries takes turns with their like beside publishers, whom a backlog must not
keep waiting.

Whoever locks several does so in the order of their ids, and before any rows of replays, events and deliveries: so no
two wait for each other. But for who changes a subscription, they do without its headers: decrypting them takes time,
and a key that went missing must not stop publishers.
"""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from subscriptions.models import EVERY_TYPE, Subscription, SubscriptionQuerySet


def lock_matching(application_id: UUID, types: Iterable[str]) -> list[Subscription]:
    """Those that want these types. Waits for a pause, a resume or a deletion under way.

    So no delivery is pending for a paused subscription, or held for a resumed one.
    """
    wanted = [EVERY_TYPE, *types]  # as `SubscriptionQuerySet.matching`, in one round trip
    return lock_shared_where("application_id = %s AND event_types && %s::varchar[]", [application_id, wanted])


def lock_shared(ids: Collection[UUID]) -> list[Subscription]:
    return lock_shared_where("id = ANY(%s)", [list(ids)])


def lock_shared_where(condition: str, parameters: list[Any]) -> list[Subscription]:
    """Django has no word for FOR KEY SHARE."""
    table = Subscription._meta.db_table
    columns = ", ".join(
        str(field.column) for field in Subscription._meta.concrete_fields if field.name != "encrypted_headers"
    )
    return list(
        Subscription.objects.raw(
            f"SELECT {columns} FROM {table} WHERE {condition} AND deleted_at IS NULL ORDER BY id FOR KEY SHARE",  # noqa: S608
            parameters,
        )
    )


def beside_publishers() -> SubscriptionQuerySet:
    return Subscription.objects.select_for_update(no_key=True).defer("encrypted_headers")


def lock_beside_publishers(id: UUID) -> Subscription:
    return beside_publishers().get(pk=id)


def lock_all_beside_publishers(ids: Collection[UUID]) -> dict[UUID, Subscription]:
    return {one.id: one for one in beside_publishers().filter(pk__in=ids).order_by("id")}


def lock_out_publishers(id: UUID) -> Subscription:
    """Waits for those who have begun; those who come wait for the commit."""
    return Subscription.objects.select_for_update().get(pk=id)


def lock_out_all_publishers(ids: Collection[UUID]) -> None:
    locked = Subscription.objects.select_for_update().filter(pk__in=ids).order_by("id")
    list(locked.values_list("pk", flat=True))
