"""A thousand stretches of meter data as one summary that a person reads."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliveries.letters.reader import Reader
from deliveries.letters.stretches import NewData, by_meter, legend

LONDON, BERLIN = Reader("Europe/London"), Reader("Europe/Berlin")


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stretch(start: datetime, end: datetime, meter: str = "m") -> dict[str, str]:
    return {"meter_id": meter, "start_interval": stamp(start), "end_interval": stamp(end)}


def months(*numbers: int, meter: str = "m") -> list[dict[str, str]]:
    """Counted from January 2025, as the platform sends them: from half past midnight to midnight."""

    def first(number: int) -> datetime:
        return datetime(2025 + number // 12, number % 12 + 1, 1, 0, 30, tzinfo=UTC)

    return [stretch(first(each), first(each + 1) - timedelta(minutes=30), meter) for each in numbers]


def bar(data: NewData, number: int = 0) -> str:
    drawn = data.meters[number].bar
    assert drawn
    return f"{drawn.first} {drawn.drawn()} {drawn.last}: {drawn.summary}"


@pytest.mark.parametrize("reader", [Reader(), LONDON, BERLIN])
def test_thirteen_months_are_thirteen_full_cells_wherever_they_are_read(reader):
    data = by_meter(months(*range(13)), reader)

    assert bar(data) == f"Jan 2025 {'█' * 13} Jan 2026: 13 of 13 months complete"
    assert data.days == "1 Jan 2025 to 31 Jan 2026"


def test_one_stretch_of_thirteen_months_is_drawn_like_thirteen_of_one():
    whole = stretch(datetime(2025, 1, 1, 0, 30, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))

    assert bar(by_meter([whole], Reader())) == bar(by_meter(months(*range(13)), Reader()))


def test_months_that_are_not_there_are_gaps_and_a_half_is_a_part():
    half = stretch(datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 5, 15, tzinfo=UTC))

    data = by_meter([*months(0, 1, 7), half], Reader())

    assert bar(data) == "Jan 2025 ██░░▒░░█ Aug 2025: 3 of 8 months complete"
    assert data.needs_legend


def test_meters_share_one_scale_and_each_has_its_own_periods():
    data = by_meter(months(0, 1, 2) + months(2, meter="other"), Reader())

    assert bar(data) == "Jan 2025 ███ Mar 2025: 3 of 3 months complete"
    assert bar(data, 1) == "Mar 2025 █ : 1 of 1 month complete"
    assert not data.needs_legend


def test_a_few_days_are_drawn_as_days_also_when_the_clocks_change():
    first = datetime(2026, 10, 22, 23, tzinfo=UTC)  # midnight in London, two days before its clocks go back
    days = [
        stretch(first + timedelta(days=n), first + timedelta(days=n + 1, hours=1 if n == 2 else 0))
        for n in range(5)
    ]

    assert bar(by_meter(days, LONDON)) == "23 Oct █████ 27 Oct: 5 of 5 days complete"
    assert bar(by_meter(days, Reader())) == "23 Oct █████ 27 Oct: 5 of 5 days complete"
    assert bar(by_meter(days, BERLIN)) == "23 Oct █████ 27 Oct: 5 of 5 days complete"


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/London", "Europe/Berlin", "America/New_York", "Asia/Dubai", "Pacific/Honolulu"]
)
def test_a_day_of_a_british_meter_is_called_the_same_everywhere(zone):
    summer = stretch(datetime(2026, 7, 3, 23, tzinfo=UTC), datetime(2026, 7, 4, 23, tzinfo=UTC))
    clocks_go_back = stretch(datetime(2026, 10, 24, 23, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC))

    assert by_meter([summer], Reader(zone)).days == "4 Jul 2026"
    assert by_meter([clocks_go_back], Reader(zone)).days == "25 Oct 2026"


def test_half_an_hour_before_midnight_is_of_that_day():
    late = stretch(datetime(2026, 7, 3, 23, tzinfo=UTC), datetime(2026, 7, 3, 23, 30, tzinfo=UTC))

    assert by_meter([late], Reader()).days == "3 Jul 2026"


def test_one_whole_day_needs_no_bar_and_its_holes_are_shown_by_the_hour():
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    whole = [stretch(midnight, midnight + timedelta(days=1))]
    holes = [
        stretch(midnight + timedelta(hours=a), midnight + timedelta(hours=b)) for a, b in [(2, 3), (5.5, 7)]
    ]

    assert by_meter(whole, Reader()).meters[0].bar is None
    assert bar(by_meter(holes, Reader())) == "02:00 █░░▒█ 06:00: 2 of 5 hours complete"


@pytest.mark.parametrize("reader", [Reader(), LONDON, BERLIN, Reader("America/New_York")])
def test_a_day_in_a_month_and_half_an_hour_in_a_day_are_seen_where_they_are(reader):
    days = [
        stretch(datetime(2026, month, 14, tzinfo=UTC), datetime(2026, month, 15, tzinfo=UTC))
        for month in (1, 2, 6, 8)
    ]
    half_hours = [
        stretch(datetime(2026, 11, day, 17, tzinfo=UTC), datetime(2026, 11, day, 17, 30, tzinfo=UTC))
        for day in (1, 5, 9)
    ]

    assert bar(by_meter(days, reader)) == "Jan 2026 ▒▒░░░▒░▒ Aug 2026: 0 of 8 months complete"
    assert bar(by_meter(half_hours, reader)) == "1 Nov ▒░░░▒░░░▒ 9 Nov: 0 of 9 days complete"


def test_half_an_hour_over_midnight_is_seen_in_one_of_its_days():
    over = [
        stretch(datetime(2026, 11, day, 23, 45, tzinfo=UTC), datetime(2026, 11, day + 1, 0, 15, tzinfo=UTC))
        for day in (1, 8)
    ]

    assert bar(by_meter(over, Reader())) == "2 Nov ▒░░░░░░▒ 9 Nov: 0 of 8 days complete"


def test_decades_are_drawn_as_years_and_ages_not_at_all():
    decade = stretch(datetime(2015, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    age = stretch(datetime(1900, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    end_of_time = stretch(datetime(2025, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC))

    assert bar(by_meter([decade], Reader())) == "2015 ██████████ 2024: 10 of 10 years complete"
    assert by_meter([age], Reader()).meters[0].bar is None
    assert by_meter([end_of_time], BERLIN).meters[0].bar is None


def test_stretches_that_overlap_or_come_twice_count_once():
    assert bar(by_meter(months(0, 1) * 50, Reader())) == "Jan 2025 ██ Feb 2025: 2 of 2 months complete"


@pytest.mark.parametrize(
    ("start", "end", "period"),
    [
        ("yesterday", "today", "yesterday to today"),
        ("yesterday", "", "yesterday to unknown"),
        ("yesterday", ["x"], "yesterday to unknown"),
        ("yesterday", None, "yesterday to unknown"),
        (None, "2026-11-02T00:00:00Z", "unknown to 2 Nov 2026, 00:00 UTC"),
        (None, {}, "at an unknown time"),
    ],
)
def test_moments_that_cant_be_read_are_shown_as_they_came_or_said_to_be_unknown(start, end, period):
    data = by_meter([{"meter_id": "m", "start_interval": start, "end_interval": end}], Reader())

    assert data.meters[0].period == period
    assert data.meters[0].bar is None


def test_the_legend_is_in_words():
    assert legend() == {"full": "complete", "part": "in part", "none": "not in this delivery"}


anything = st.none() | st.text() | st.integers() | st.datetimes().map(str)
moments = st.datetimes(min_value=datetime(1, 1, 1)).map(lambda at: at.isoformat() + "Z")
items = st.fixed_dictionaries(
    {"meter_id": st.sampled_from(["a", "b"]) | anything, "start_interval": moments | anything},
    optional={"end_interval": moments | anything},
)


@given(
    st.lists(items | anything, max_size=30),
    st.sampled_from(["UTC", "Europe/London", "Asia/Tokyo", "America/New_York"]),
)
def test_any_list_makes_a_bounded_summary(payload, zone):
    data = by_meter(payload, Reader(zone))

    assert len(data.meters) <= min(12, data.count)
    for meter in data.meters:
        assert meter.bar is None or 1 <= len(meter.bar.cells) <= 40
        assert len(meter.period) < 500
