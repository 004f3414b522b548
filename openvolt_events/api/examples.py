"""What was asked and answered in a real run (`make examples`), put where it belongs in the OpenAPI document."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

FILE = Path(__file__).with_name("examples.json")
RECORDED: dict[str, Any] = json.loads(FILE.read_text())
CALLS: Mapping[str, list[dict[str, Any]]] = RECORDED["calls"]
NOTIFICATIONS: Mapping[str, Any] = RECORDED["notifications"]
TITLES = {
    "400": "Malformed",
    "401": "NoKey",
    "403": "WrongKey",
    "404": "NotFound",
    "409": "Conflict",
    "411": "LengthRequired",
    "413": "TooLarge",
    "415": "NotJSON",
    "422": "InvalidInput",
    "429": "TooManyRequests",
    "503": "Unavailable",
}  # of the examples that stand for every call's


def show_examples(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Each call's own, and for errors that it has none of, another call's."""
    result["components"]["examples"] = dict(examples_of_errors())
    for operations in result["paths"].values():
        for operation in operations.values():
            show_requests(operation)
            for status, response in operation["responses"].items():
                show_answers(status, response, CALLS.get(operation["operationId"], []))
    return result


def examples_of_errors() -> Iterator[tuple[str, Any]]:
    for status, title in TITLES.items():
        every = (example for some in CALLS.values() for example in some)
        if found := next((example for example in every if str(example["status"]) == status), None):
            yield title, {"summary": found["summary"], "value": found["answer"]}


def show_requests(operation: dict[str, Any]) -> None:
    good = [one for one in CALLS.get(operation["operationId"], []) if one["status"] < 300]
    if "requestBody" in operation:
        with_body = [one for one in good if one["request"]["body"] is not None]
        content = operation["requestBody"]["content"]["application/json"]
        content["examples"] = named((one["summary"], one["request"]["body"]) for one in with_body)
    for parameter in operation.get("parameters", []):
        given = [value for one in good if (value := value_of(parameter, one["request"])) is not None]
        if given:
            parameter["example"] = given[0]


def value_of(parameter: Mapping[str, Any], request: Mapping[str, Any]) -> Any:
    """What the request had for it; None if it had nothing."""
    where, name = parameter.get("in"), parameter.get("name")
    if where == "query":
        text = dict(parse_qsl(request["query"].removeprefix("?"))).get(name)
        return int(text) if text and parameter["schema"].get("type") == "integer" else text
    return request["path" if where == "path" else "headers"].get(name)


def show_answers(status: str, response: dict[str, Any], examples: Iterable[Mapping[str, Any]]) -> None:
    own = named((one["summary"], one["answer"]) for one in examples if str(one["status"]) == status)
    for content in response.get("content", {}).values():
        if own:
            content["examples"] = own
        elif title := TITLES.get(status):
            content["examples"] = {title: {"$ref": f"#/components/examples/{title}"}}


def named(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {slug(summary): {"summary": summary, "value": value} for summary, value in values}


def slug(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
