"""The examples in the OpenAPI document are what the API really answers. `make examples` records them anew."""

import json
import os
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from accounts.keys import mode_of
from events.event_types import EVENT_TYPES
from openvolt_events.api.examples import CALLS, FILE, RECORDED, TITLES
from openvolt_events.api.schema import document
from tests.examples.story import play

DOCUMENT = json.loads(document())
OPERATIONS = {
    operation["operationId"]: operation
    for operations in DOCUMENT["paths"].values()
    for operation in operations.values()
}
NO_EXAMPLE = (
    "{name} has no example{what}. Add a `call({name!r}, …)` to the story in tests/examples/story.py, where it fits "
    "in, and run `make examples`."
)
EXAMPLES = [(name, index) for name, some in CALLS.items() for index in range(len(some))]


def shape(value: Any) -> Any:
    """The names and the types of all that is in it."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def differences(recorded: Any, found: Any, place: str = "") -> list[str]:
    if isinstance(recorded, dict) and isinstance(found, dict):
        names = [*recorded, *(name for name in found if name not in recorded)]
        nested = [(recorded.get(name), found.get(name), f"{place}/{name}") for name in names]
    elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        nested = [(*pair, f"{place}/{index}") for index, pair in enumerate(zip(recorded, found, strict=True))]
    else:
        return [] if recorded == found else [f"{place}: recorded was {recorded!r}, now it is {found!r}"]
    return [one for pair in nested for one in differences(*pair)]


@pytest.mark.django_db
def test_what_is_recorded_is_what_the_api_answers():
    found = play()
    if os.environ.get("WRITE_EXAMPLES"):
        FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        return

    changes = differences(shape(RECORDED), shape(found))

    assert not changes, "The API answers otherwise than is recorded; run `make examples`:\n" + "\n".join(
        changes
    )
    statuses = {name: [one["status"] for one in some] for name, some in found["calls"].items()}
    assert statuses == {name: [one["status"] for one in some] for name, some in CALLS.items()}


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_every_operation_has_an_example_of_what_is_asked_and_answered(name):
    examples = [one for one in CALLS.get(name, []) if one["status"] < 300]

    assert examples, NO_EXAMPLE.format(name=name, what="")
    if OPERATIONS[name].get("requestBody", {}).get("required"):
        assert examples[0]["request"]["body"], NO_EXAMPLE.format(name=name, what=" with a body")


def test_no_example_is_of_an_operation_that_is_gone():
    assert set(CALLS) <= set(OPERATIONS), "run `make examples`"


def test_there_is_an_example_of_every_kind_of_error_that_a_developer_meets():
    described = {status for operation in OPERATIONS.values() for status in operation["responses"]}

    assert {status for status in described if status >= "400"} == set(TITLES)
    assert set(DOCUMENT["components"]["examples"]) == set(TITLES.values())


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_every_error_of_every_operation_shows_an_example(name):
    for status, response in OPERATIONS[name]["responses"].items():
        if status in TITLES:
            [content] = response["content"].values()
            assert content["examples"], (name, status)


@pytest.mark.parametrize(("name", "index"), EXAMPLES)
def test_an_example_fits_the_description_of_its_operation(name, index):
    operation, example = OPERATIONS[name], CALLS[name][index]

    response = operation["responses"][str(example["status"])]
    if example["answer"] is None:
        assert "content" not in response
    else:
        [content] = response["content"].values()
        validate(example["answer"], content["schema"])
    if example["status"] < 300 and example["request"]["body"] is not None:
        validate(
            example["request"]["body"], operation["requestBody"]["content"]["application/json"]["schema"]
        )


def validate(value: Any, schema: Any) -> None:
    text = json.dumps(schema).replace("#/components/schemas/", "#/$defs/")
    components = json.dumps(DOCUMENT["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/")
    whole = {"$defs": json.loads(components), **json.loads(text)}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def test_every_notification_was_really_sent():
    assert set(RECORDED["notifications"]) == set(EVENT_TYPES), "run `make examples`"


def test_no_key_or_secret_in_the_examples_is_a_real_one():
    text = FILE.read_text()

    keys = re.findall(r"ovk_\w+", text)
    assert keys
    assert not any(mode_of(key) for key in keys)
    assert "127.0.0.1" not in text
    assert "localhost" not in text
