"""What emails say that things mean, and what to do about them: true of the case at hand, and safe to follow."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deliveries.letters import Told
from deliveries.letters.events.meter_data_received import letter
from deliveries.letters.reader import Reader
from events.event_types import EVENT_TYPES
from tests.lookbook.emails import BERLIN, LONDON, Writer, samples, stretch

NOW = datetime(2026, 11, 2, 4, 5, tzinfo=UTC)
PAST = "They are about the past: a gap that was filled, or readings that came late."
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ROTATED: dict[str, Any] = EVENT_TYPES["api_keys.rotated"].example


def meaning(start: datetime, end: datetime, *more: dict[str, str], reader: Reader = LONDON) -> str:
    payload = [stretch("m-1", start, end), *more]
    with reader.language_on():
        return letter(Told("meter_data.received", NOW, payload, "Green Homes", reader)).meaning


def midnight(year: int, month: int, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def test_thirteen_months_are_called_the_history_that_they_are():
    said = meaning(midnight(2025, 10), midnight(2026, 11))

    assert said.startswith("They cover about 13 months, as the history of a new meter does.")
    assert "daily update" not in said


def test_six_years_are_said_in_years():
    assert "They cover about 6 years," in meaning(midnight(2020, 11), midnight(2026, 11))


@pytest.mark.parametrize("length", [HOUR / 2, DAY, 2 * DAY])
def test_what_has_just_been_metered_is_called_the_daily_update(length):
    end = midnight(2026, 11, 2)

    assert meaning(end - length, end).startswith("This looks like the daily update.")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (midnight(2026, 8, 3), midnight(2026, 8, 4)),
        (midnight(2026, 10, 25), midnight(2026, 11, 2)),
        (midnight(2027, 1, 1), midnight(2027, 1, 2)),
    ],
)
def test_any_other_stretch_is_called_neither(start, end):
    said = meaning(start, end)

    assert "daily update" not in said
    assert "history" not in said


def test_a_day_of_long_ago_is_called_a_gap_or_late():
    said = meaning(midnight(2026, 8, 3), midnight(2026, 8, 4))

    assert said.startswith(PAST)


def test_months_with_holes_and_hours_with_holes_are_gaps_that_were_filled():
    months = [stretch("m-1", midnight(2026, each), midnight(2026, each + 1)) for each in (1, 5, 8)]
    hours = stretch("m-1", midnight(2026, 11, 1) + 9 * HOUR, midnight(2026, 11, 1) + 12 * HOUR)

    assert meaning(midnight(2025, 10), midnight(2025, 11), *months).startswith(PAST)
    assert meaning(midnight(2026, 11, 1), midnight(2026, 11, 1) + HOUR, hours).startswith(PAST)


def test_of_times_that_can_not_be_read_nothing_is_made_up():
    said = Writer(LONDON).told("meter_data.received", "", [{"meter_id": "m-1"}]).wording.text

    assert "daily update" not in said
    assert "about the past" not in said


def test_a_german_reads_the_same():
    said = meaning(midnight(2025, 10), midnight(2026, 11), reader=BERLIN)

    assert said.startswith("Sie umfassen rund 13 Monate")


@pytest.mark.parametrize("name", ["api_keys.rotated", "api_keys.rotated.de"])
def test_whoever_replaced_a_key_is_not_asked_by_email_for_their_account_may_be_stolen(name):
    [sample] = [sample for sample in samples() if sample.name == name]

    assert f"mailto:{ROTATED['rotated_by']}" not in sample.wording.html
    assert f"write to {ROTATED['rotated_by']}" not in sample.wording.text
    assert f"Schreiben Sie an {ROTATED['rotated_by']}" not in sample.wording.text


def test_who_should_be_asked_about_a_key_is_named_and_how():
    text = Writer(LONDON).told("api_keys.rotated", "", ROTATED).wording.text

    assert f"Ask {ROTATED['rotated_by']} in person or by phone whether it was meant" in text
    assert "mailbox" in text


def test_a_summary_says_of_whom_it_is_that_nothing_arrives():
    assert "RECEIVERS THAT GET NOTHING" in text_of("summary.trouble")
    assert "EMPFÄNGER, DIE NICHTS BEKOMMEN" in text_of("summary.trouble.de")


@pytest.mark.parametrize("name", ["outage.failing", "outage.disabling"])
def test_a_receiver_that_may_not_even_answer_is_not_said_to_refuse(name):
    assert "refuses" not in text_of(name)
    assert "weist der Empfänger" not in text_of(f"{name}.de")


def text_of(name: str) -> str:
    [sample] = [sample for sample in samples() if sample.name == name]
    return sample.wording.text
