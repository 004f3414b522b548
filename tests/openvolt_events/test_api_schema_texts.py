"""The schema says which texts are refused, by patterns that mean the same to every validator."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.exceptions import ValidationError

from openvolt_events.api.fields import OneLine, SeveralLines, Text
from openvolt_events.api.schema import document
from openvolt_events.api.subscription_serializers import NewSubscription

DOCUMENT = json.loads(document())
ANY_TEXT = {"If-None-Match", "X-Request-Id"}  # what does not fit is passed over
CHARACTERS = "a \t\n\v\f\r\0\x1b\x1c\x1f\x7f\x85\xa0\u1680\u180e\u200b\u2028\u202f\u3000\ufeff~/#@\\é😀"
BY_WEBHOOK = {"channel": "webhook", "url": "https://93.184.216.34/", "event_types": ["*"]}


def strings(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a string in it, and where."""
    if isinstance(schema, dict):
        kinds = schema.get("type")
        if "string" in (kinds if isinstance(kinds, list) else [kinds]):
            yield place, schema
        for name, nested in schema.items():
            yield from strings(nested, f"{place}/{name}")
    elif isinstance(schema, list):
        for index, nested in enumerate(schema):
            yield from strings(nested, f"{place}/{index}")


def sent() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if name.endswith("Request"):
            yield from strings(schema, name)
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for parameter in operation["parameters"]:
                if "schema" in parameter and parameter["name"] not in ANY_TEXT:
                    yield from strings(parameter["schema"], f"{method} {path} {parameter['name']}")


def patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            yield pattern
        for nested in schema.values():
            yield from patterns(nested)
    elif isinstance(schema, list):
        for nested in schema:
            yield from patterns(nested)


PATTERNS = sorted(set(patterns(DOCUMENT)))


def test_every_text_that_is_sent_has_a_rule_of_what_is_in_it():
    found = dict(sent())

    assert found
    assert [
        place for place, schema in found.items() if not {"enum", "const", "format", "pattern"} & set(schema)
    ] == []


@pytest.mark.parametrize(
    ("place", "refused", "accepted"),
    [
        (
            "NewApplicationRequest/properties/name",
            ["", "\0", "a\0", " \t\n", "\u3000\ufeff", "\x1c", "a\nb", "\x1b[2J", "a\x85b"],
            ["a", " a"],
        ),
        ("NewApiKeyRequest/properties/name", ["\0", "a\0b", "a\tb", "\x7f"], ["", " ", "a"]),
        (
            "NewWebhookSubscriptionRequest/properties/description",
            ["\0", "a\x1b[2J", "a\x0bb", "\x9b"],
            ["", " ", "a\r\n\tb\n", "\u2028"],
        ),
        (
            "NewEventOfBatchRequest/properties/idempotency_key",
            ["", "\0", " ", " a", "a ", "ä"],
            ["a", "import 4711"],
        ),
        (
            "ReplayWishRequest/properties/url",
            ["https://", "https://a:b@c/", "https://a/ b", "https://a#b", "https://a\\b"],
            ["https://a.example/x?y=@"],
        ),
    ],
)
def test_a_text_that_is_refused_does_not_fit_the_schema(place, refused, accepted):
    pattern = dict(sent())[place]["pattern"]

    assert [text for text in refused if re.search(pattern, text)] == []
    assert [text for text in accepted if not re.search(pattern, text)] == []


@given(
    st.text(alphabet=CHARACTERS, max_size=5), st.booleans(), st.sampled_from([Text, OneLine, SeveralLines])
)
def test_a_text_is_accepted_exactly_when_it_fits_its_pattern(text, allow_blank, kind):
    field = kind(allow_blank=allow_blank)

    try:
        accepted = field.run_validation(text) == text
    except ValidationError:
        accepted = False

    assert accepted == bool(re.search(field.pattern.removesuffix("$") + r"\Z", text))


@settings(deadline=None)
@given(st.text(alphabet=CHARACTERS, max_size=8))
def test_what_does_not_fit_the_pattern_of_a_part_of_a_subscription_is_refused(text):
    properties = DOCUMENT["components"]["schemas"]["NewWebhookSubscriptionRequest"]["properties"]
    filter, headers = properties["filter"], properties["headers"]
    said = {
        "ordering_key": (properties["ordering_key"]["pattern"], text),
        "filter": (filter["propertyNames"]["pattern"], {text: ["a"]}),
        "headers": (headers["propertyNames"]["pattern"], {text: "a"}),
        "metadata": (properties["metadata"]["propertyNames"]["pattern"], {text: 1}),
    }

    for name, (pattern, value) in said.items():
        reader = NewSubscription(data=BY_WEBHOOK | {"ordered": True, name: value})

        assert reader.is_valid() == bool(re.search(pattern.removesuffix("$") + r"\Z", text)), (
            name,
            reader.errors,
        )


@pytest.mark.skipif(not shutil.which("node"), reason="node is not there")
def test_javascript_reads_the_patterns_as_python_does():
    texts = [
        "".join(pair) for first in CHARACTERS for pair in [(first,), ("a", first), (first, "a"), (first, " ")]
    ]
    texts += [f"https://{end}" for one in CHARACTERS for end in (f"a{one}", f"a/{one}", one)]
    texts += ["", "https://example.com/a?b", "https://a@b/", "/0/meter_id", "/a~2"]
    program = """
        const [patterns, texts] = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const fits = patterns.map(one => new RegExp(one, "u")).map(one => texts.map(text => one.test(text)));
        console.log(JSON.stringify(fits));
    """

    done = subprocess.run(
        ["node", "--eval", program],
        input=json.dumps([PATTERNS, texts]),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    own = [[bool(re.search(one.removesuffix("$") + r"\Z", text)) for text in texts] for one in PATTERNS]
    for pattern, by_javascript, by_python in zip(PATTERNS, json.loads(done.stdout), own, strict=True):
        other = [text for text, one, two in zip(texts, by_javascript, by_python, strict=True) if one != two]
        assert other == [], pattern
