"""The body of a publish: read, checked, and published, with each fault named by its place in it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Application
from deliveries.publishing import (
    Change,
    IdempotencyConflict,
    ItemsRefused,
    Published,
    UnknownEventType,
    checked,
    publish_many,
)
from events.idempotency import KEPT_FOR, KEY, LONGEST_KEY, WHAT_A_KEY_IS
from events.payloads import PayloadRefused
from openvolt_events.api.fields import (
    AnyJSON,
    BoundedList,
    EventTypeName,
    StrictSerializer,
    Text,
    Timestamp,
)
from openvolt_events.api.ids import Id
from openvolt_events.api.problems import InvalidInput, KeysConflict, error_at, errors_of

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": f"^{KEY.pattern}$"},
    OpenApiParameter.HEADER,
    description="Makes it safe to send the same again: what it answered first, with `idempotent-replayed: true`. "
    f"Known for {KEPT_FOR // timedelta(hours=1)} hours.",
)


class ItemKey(Text):
    default_error_messages = {"idempotency_key": f"This is not {WHAT_A_KEY_IS}; send a UUID."}

    @property
    def pattern(self) -> str:
        return f"^{KEY.pattern}$"

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, str) and not KEY.fullmatch(data):
            self.fail("idempotency_key")
        return super().to_internal_value(data)


class NewEvent(StrictSerializer):
    application_id = Id()
    type = EventTypeName(max_length=100)
    payload = AnyJSON(
        help_text="Any JSON value that fits the `schema` of its type (`GET /v1/event-types/{name}`), without U+0000."
    )
    occurred_at = Timestamp(required=False)


class NewEventOfBatch(NewEvent):
    idempotency_key = ItemKey(
        max_length=LONGEST_KEY,
        required=False,
        help_text="Like the header `Idempotency-Key`, of this item alone.",
    )


class Batch(StrictSerializer):
    events = BoundedList(
        child=NewEventOfBatch(),
        min_length=1,
        max_length=settings.MAX_BATCH_EVENTS,
        error_messages={
            "max_length": "A batch has at most {max_length} events (MAX_BATCH_EVENTS). Send several batches."
        },
    )


def read_event(
    serializer: type[NewEvent], request: Request, known: Mapping[UUID, Application] | None = None
) -> Mapping[str, Any]:
    """The event of the body. Raises InvalidInput with all that is wrong with it; `known` are the applications that
    this key may name, by default every one.
    """
    reader = serializer(data=request.data)
    if not reader.is_valid():
        raise InvalidInput(list(faults_of_items({"": request.data}, {"": reader.errors}, known)))
    event: Mapping[str, Any] = reader.validated_data
    return event


def read_batch(request: Request) -> Mapping[str, Mapping[str, Any]]:
    """The events of the body by their places in it. Raises InvalidInput with all that is wrong with any of them."""
    reader = Batch(data=request.data)
    if reader.is_valid():
        return by_place(reader.validated_data["events"])
    of_batch = dict(reader.errors)
    of_items = of_batch.pop("events", {})
    if not isinstance(request.data, Mapping) or not isinstance(of_items, Mapping):  # no list of events
        raise InvalidInput(list(errors_of(reader.errors)))
    wrong = {place_of(index): found for index, found in of_items.items()}
    raise InvalidInput([*errors_of(of_batch), *faults_of_items(by_place(request.data["events"]), wrong)])


def by_place(items: Sequence[Any]) -> dict[str, Any]:
    return {place_of(index): item for index, item in enumerate(items)}


def place_of(index: int) -> str:
    """The JSON pointer of an item of a batch."""
    return f"/events/{index}"


def faults_of_items(
    items: Mapping[str, Any],
    wrong: Mapping[str, Mapping[str, Any]],
    known: Mapping[UUID, Application] | None = None,
) -> Iterator[dict[str, str]]:
    """What the serializer has found, and what else a publish would: so that nobody has to send it twice to see all."""
    named = [
        id_of(item) for place, item in items.items() if is_there("application_id", item, wrong.get(place, {}))
    ]
    applications = applications_of(set(named)) if known is None else known
    for place, item in items.items():
        found = wrong.get(place, {})
        yield from errors_of(found, place)
        if is_there("application_id", item, found) and id_of(item) not in applications:
            yield no_application(place, id_of(item))
        if is_there("type", item, found) and is_there("payload", item, found):
            try:
                checked(item["type"], item["payload"])
            except (UnknownEventType, PayloadRefused) as reason:
                yield from faults(place, reason)


def is_there(name: str, item: Any, wrong: Mapping[str, Any]) -> bool:
    """Whether the item has the field, and the serializer has nothing against it."""
    return isinstance(item, Mapping) and name in item and name not in wrong


def id_of(item: Mapping[str, Any]) -> UUID:
    return UUID(str(item["application_id"]))


def no_application(place: str, id: UUID) -> dict[str, str]:
    return error_at(f"{place}/application_id", f"There is no application {id}.", "not_found")


def publish_items(items: Mapping[str, Mapping[str, Any]], key_of_all: str | None = None) -> list[Published]:
    """Publish all or none, each named by its place in the body: a JSON pointer."""
    applications = known_applications(items)
    changes = [change_of(item, applications) for item in items.values()]
    try:
        return publish_many(changes, timezone.now(), key_of_all)
    except ItemsRefused as refused:
        places = list(items)
        raise problem_of({places[index]: reason for index, reason in refused.reasons.items()}) from None


def known_applications(items: Mapping[str, Mapping[str, Any]]) -> dict[UUID, Application]:
    """The items' own. Raises InvalidInput when there is none of one of them."""
    applications = applications_of({item["application_id"] for item in items.values()})
    if any(item["application_id"] not in applications for item in items.values()):
        raise InvalidInput(list(faults_of_items(items, {}, applications)))
    return applications


def applications_of(ids: Collection[UUID]) -> dict[UUID, Application]:
    """Below the ORM, whose making of this query takes a tenth of a single publish."""
    table = Application._meta.db_table
    found = Application.objects.raw(f"SELECT * FROM {table} WHERE id = ANY(%s)", [list(ids)])  # noqa: S608
    return {one.id: one for one in found}


def change_of(item: Mapping[str, Any], applications: Mapping[UUID, Application]) -> Change:
    return Change(
        application=applications[item["application_id"]],
        type=item["type"],
        payload=item["payload"],
        occurred_at=item.get("occurred_at"),
        idempotency_key=item.get("idempotency_key"),
    )


def problem_of(reasons: Mapping[str, Exception]) -> Exception:
    """Why items were refused, by their places, as the API says it."""
    if any(isinstance(reason, IdempotencyConflict) for reason in reasons.values()):
        return reasons.get("") or KeysConflict(
            [
                error_at(f"{place}/idempotency_key", str(reason), "used_before")
                for place, reason in reasons.items()
            ]
        )
    return InvalidInput([error for place, reason in reasons.items() for error in faults(place, reason)])


def faults(place: str, reason: Exception) -> Iterator[dict[str, str]]:
    match reason:
        case PayloadRefused(errors=errors):
            for error in errors:
                yield error_at(f"{place}/payload{error.pointer}", error.detail, error.code)
        case UnknownEventType():
            yield error_at(f"{place}/type", str(reason), "unknown_type")
        case _:
            raise reason


def idempotency_key(request: Request) -> str | None:
    """From its header; None without one."""
    key = request.headers.get("idempotency-key")
    if key is None or KEY.fullmatch(key):
        return key
    detail = f"The header Idempotency-Key is not {WHAT_A_KEY_IS}; send a UUID."
    raise InvalidInput([error_at("", detail, "idempotency_key")])


def publish_response(document: Mapping[str, Any], replayed: bool) -> Response:
    if replayed:
        return Response(document, HTTPStatus.OK, headers={"idempotent-replayed": "true"})
    return Response(document, HTTPStatus.CREATED)
