"""Gives generated requests ids of what there is, and keeps them from revoking the key that they are sent with."""

import json
import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import schemathesis

from events.event_types import EVENT_TYPES

THERE: dict[str, Sequence[str]] = json.loads(os.environ["FUZZ_IDS"])
STRANGERS = 4  # one in so many ids stays what it is: nobody's


def real(id: Any, kind: str) -> Any:
    """One of this kind in place of most ids; what is no id, and a kind that there is none of, stays."""
    try:
        number = UUID(id).int
    except (ValueError, TypeError, AttributeError):
        return id
    return id if number % STRANGERS == 0 else THERE[kind][number // STRANGERS % len(THERE[kind])]


def kind_of(name: str) -> str:
    """`events` for `event_id`."""
    return name.removesuffix("_id") + "s"


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """What is deleted is what was made by a request before: stateful tests see to that."""
    operation = context.operation
    if operation.method.upper() == "DELETE" or "id" not in (path_parameters or {}):
        return path_parameters
    return {**path_parameters, "id": real(path_parameters["id"], operation.path.split("/")[2])}


@schemathesis.hook
def map_query(context: Any, query: Any) -> Any:
    if not isinstance(query, dict):
        return query
    return {
        name: real(value, kind_of(name)) if name.endswith("_id") else value for name, value in query.items()
    }


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return furnished(body)


def furnished(body: Any) -> Any:
    """The same with the applications and subscriptions in it that there are, and payloads that fit their types."""
    if not isinstance(body, dict):
        return body
    body = dict(body)
    if "application_id" in body:
        body["application_id"] = real(body["application_id"], "applications")
    if "payload" in body and body.get("type") in list(EVENT_TYPES):
        body["payload"] = fitting(EVENT_TYPES[body["type"]].example, body["payload"])
    if isinstance(body.get("subscription_ids"), list):
        body["subscription_ids"] = [real(id, "subscriptions") for id in body["subscription_ids"]]
    if isinstance(body.get("events"), list):
        body["events"] = [furnished(event) for event in body["events"]]
    return body


def fitting(example: Any, payload: Any) -> Any:
    """A payload that its type allows, with the generated one inside."""
    if isinstance(example, list):
        return [fitting(item, payload) for item in example]
    return {**example, "generated": payload}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Everything after the key was revoked would be a 401."""
    if (
        case.path.startswith("/v1/api-keys/{id}")
        and case.path_parameters.get("id") == os.environ["FUZZ_KEY_ID"]
    ):
        case.path_parameters["id"] = str(uuid4())
