"""What emails say of payloads that fit their schema and are odd all the same: nothing that is not so."""

from typing import Any

import pytest

from deliveries.letters import Letter, Told
from deliveries.letters.events import LETTERS
from events.event_types import EVENT_TYPES
from tests.deliveries.test_email_meanings import DAY, NOW, meaning, midnight
from tests.lookbook.emails import LONDON, Writer

ROTATED: dict[str, Any] = EVENT_TYPES["api_keys.rotated"].example
APPROVED: dict[str, Any] = EVENT_TYPES["hosted_consent.approved"].example


def letter(event_type: str, payload: dict[str, Any]) -> Letter:
    return LETTERS[event_type](Told(event_type, NOW, payload, "Green Homes", LONDON))


def test_an_old_key_that_ended_as_it_was_replaced_does_not_work_any_more():
    told = letter("api_keys.rotated", {**ROTATED, "old_key_expires_at": ROTATED["rotated_at"]})

    assert told.preview == "The old key has stopped working. Programs that still use it are refused."


def test_a_consent_that_ends_before_it_begins_lets_nobody_read():
    told = letter("hosted_consent.approved", {**APPROVED, "expiry": "2020-01-01T00:00:00.000Z"})

    assert (
        told.preview
        == "The consent has ended already, on 1 Jan 2020, 00:00 GMT: the meters can't be read under it."
    )


@pytest.mark.parametrize("month", [2, 9, 10])
def test_one_month_may_be_a_part_of_a_history_that_comes_month_by_month(month):
    said = meaning(midnight(2026, month), midnight(2026, month + 1))

    assert said.startswith(
        "They cover about a month: a part of the history of a new meter, or a gap that was filled."
    )


@pytest.mark.parametrize("days", [26, 40])
def test_less_or_more_than_a_month_is_not_called_one(days):
    assert "about a month" not in meaning(midnight(2026, 9), midnight(2026, 9) + days * DAY)


@pytest.mark.parametrize(
    ("event_type", "changes"),
    [
        ("customer.created", {"_id": "", "name": " ", "email": ""}),
        ("api_keys.rotated", {"name": "", "prefix": ""}),
        ("meter.created", {"meter_number": "", "description": ""}),
        ("user.created", {"_id": "", "name": "", "email": ""}),
    ],
)
def test_what_has_no_name_at_all_is_told_of_in_general_words(event_type, changes):
    told = Writer(LONDON).told(event_type, "", EVENT_TYPES[event_type].example | changes).wording

    assert told.subject == EVENT_TYPES[event_type].sentence.rstrip(".")
    assert "The details below are what was recorded." in told.text


def test_a_meter_is_called_by_its_description_where_it_has_no_number():
    told = letter(
        "meter.created", EVENT_TYPES["meter.created"].example | {"meter_number": "", "description": "Attic"}
    )

    assert told.what.startswith("Meter Attic was added for ")


def test_a_time_without_a_zone_is_said_as_it_was_written():
    told = letter("hosted_consent.revoked", {"_id": "c-1", "revoked_at": "2026-10-26T04:00:00"})

    assert "on 2026-10-26T04:00:00." in told.what
