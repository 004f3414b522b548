"""What a filter lets through, and what is no filter."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.payloads import Payload
from subscriptions.filters import conditions_of, faults_of, key_of, unmet
from subscriptions.models import Subscription
from tests.support import factories

METER = "/0/meter_id"


def lets_through(filter, document):
    return unmet(conditions_of(filter), document) is None


@pytest.mark.parametrize(
    ("filter", "document"),
    [
        ({}, {"anything": 1}),
        ({METER: ["m-1", "m-2"]}, [{"meter_id": "m-2"}, {"meter_id": "m-3"}]),
        ({"/a": [1]}, {"a": 1.0}),
        ({"/a": [1.0]}, {"a": 1}),
        ({"/a": [0]}, {"a": -0.0}),
        ({"/a": [1e23]}, {"a": 10**23}),
        ({"/a": [10**23]}, {"a": 1e23}),
        ({"/a": [2**63 + 1]}, {"a": 2**63 + 1}),
        ({"/a": [None]}, {"a": None}),
        ({"/a": [False, None]}, {"a": False}),
        ({"/a": [""]}, {"a": ""}),
        ({"/a~1b/~0": ["x"]}, {"a/b": {"~": "x"}}),
        ({"": ["x"]}, "x"),
        ({"/a": [1], "/b": [2, 3]}, {"a": 1, "b": 3}),
    ],
)
def test_a_filter_lets_through_what_has_an_allowed_value_at_every_pointer(filter, document):
    assert lets_through(filter, document)


@pytest.mark.parametrize(
    ("filter", "document"),
    [
        ({METER: ["m-1"]}, [{"meter_id": "m-2"}, {"meter_id": "m-1"}]),
        ({METER: ["m-1"]}, []),
        ({"/a": [1]}, {"a": True}),
        ({"/a": [True]}, {"a": 1}),
        ({"/a": [0]}, {"a": False}),
        ({"/a": ["1"]}, {"a": 1}),
        ({"/a": [1]}, {"a": "1"}),
        ({"/a": [None]}, {}),
        ({"/a": [None]}, {"a": 0}),
        ({"/a": [""]}, {"a": None}),
        ({"/a": ["x"]}, {"a": ["x"]}),
        ({"/a": ["x"]}, {"a": {"x": 1}}),
        ({"/a": [2**63 + 1]}, {"a": 2**63 + 2}),
        ({"/a": ["É"]}, {"a": "E\u0301"}),
        ({"/a": [1], "/b": [2]}, {"a": 1, "b": 3}),
        ({"/a": [1], "/b": [2]}, {"a": 1}),
    ],
)
def test_a_filter_does_not_let_through_what_has_another_value_or_none(filter, document):
    assert not lets_through(filter, document)


def test_the_first_pointer_that_does_not_match_is_named():
    conditions = conditions_of({"/a": [1], "/b": [2], "/c": [3]})

    assert unmet(conditions, {"a": 1, "b": 0, "c": 0}) == "/b"


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@given(SCALARS, SCALARS)
def test_values_are_equal_as_json_has_it(one, other):
    kinds = [
        bool if isinstance(value, bool) else float if isinstance(value, int) else type(value)
        for value in (one, other)
    ]
    equal = kinds[0] is kinds[1] and one == other

    assert lets_through({"/a": [one]}, {"a": other}) == equal


@given(SCALARS)
def test_a_value_that_was_written_and_read_again_is_still_itself(value):
    assert key_of(json.loads(json.dumps(value))) == key_of(value)


@pytest.mark.django_db
@pytest.mark.parametrize("number", [1e23, 1e300, 1.5e-300, 5e-324, 0.1, 123456789.123456789, 2**64 + 1, 1.0])
def test_a_number_stays_the_same_in_the_database(number):
    saved = factories.webhook(factories.application(), filter={"/a": [number]})

    subscription = Subscription.objects.get(pk=saved.pk)

    assert subscription.wants("user.created", Payload(json.dumps({"a": number})))


def test_without_a_filter_no_payload_is_parsed():
    subscription = Subscription(event_types=["*"])

    assert subscription.wants("user.created", Payload("this is no JSON"))


def test_of_a_type_that_is_not_wanted_no_payload_is_parsed():
    subscription = Subscription(event_types=["meter.created"], filter={"/a": [1]})

    assert not subscription.wants("user.created", Payload("this is no JSON"))


@pytest.mark.parametrize(
    ("filter", "pointer", "code"),
    [
        (None, "", "type"),
        ([], "", "type"),
        ("/a", "", "type"),
        ({f"/{index}": [1] for index in range(11)}, "", "limit"),
        ({"/a": ["x" * 16384]}, "", "too_large"),
        ({"/a": ["é" * 8192]}, "", "too_large"),
        ({"a": [1]}, "/a", "pointer"),
        ({"/a~2": [1]}, "/~1a~02", "pointer"),
        ({"/" + "9" * 500: [1]}, "/~1" + "9" * 500, "pointer"),
        ({"/a": "m-1"}, "/~1a", "type"),
        ({"/a": {"m": 1}}, "/~1a", "type"),
        ({"/a": None}, "/~1a", "type"),
        ({"/a": []}, "/~1a", "empty"),
        ({"/a": list(range(101))}, "/~1a", "limit"),
        ({"/a": ["x", ["y"]]}, "/~1a/1", "type"),
        ({"/a": [{}]}, "/~1a/0", "type"),
        ({"/a": ["x\0"]}, "/~1a/0", "nul"),
        ({"/\0": ["x"]}, "", "nul"),
        ({"/a": ["\ud800"]}, "/~1a/0", "surrogate"),
        ({"/a": [10**400]}, "/~1a/0", "number"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(filter, pointer, code):
    [fault] = faults_of(filter)

    assert (fault.pointer, fault.code) == (pointer, code)


def test_every_fault_is_named():
    faults = list(faults_of({"a": [1], "/b": [], "/c": [[], 1, {}]}))

    assert [fault.pointer for fault in faults] == ["/a", "/~1b", "/~1c/0", "/~1c/2"]


def test_the_largest_filter_is_one():
    filter = {f"/{index}": ["x" * 8] * 100 for index in range(10)}

    assert not list(faults_of(filter))
