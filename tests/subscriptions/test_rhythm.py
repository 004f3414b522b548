"""When digests go out, and when it is quiet: in every time zone, over a year with both changes of the clocks."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subscriptions.rhythm import Frequency, Rhythm

ZONES = sorted(available_timezones())
YEAR = datetime(2026, 1, 1, tzinfo=UTC)
LORD_HOWE = ("Australia/Lord_Howe", "Australia/LHI")  # half an hour is skipped there, and with it a full hour
STEP = timedelta(minutes=15)  # every zone's clocks differ from UTC by a multiple, and change at one

moments = st.integers(0, 365 * 24 * 3600).map(lambda seconds: YEAR + timedelta(seconds=seconds))
quarters = st.integers(0, 95).map(lambda nth: time(nth // 4, nth % 4 * 15))
rhythms = st.builds(
    lambda frequency, hour, zone, quiet: Rhythm(frequency, hour, quiet[0], quiet[1], zone),
    st.sampled_from(Frequency.values),
    st.integers(0, 23),
    st.sampled_from(ZONES),
    st.one_of(st.just((None, None)), st.tuples(quarters, quarters).filter(lambda ends: ends[0] != ends[1])),
)


def moment_of(rhythm: Rhythm, now: datetime) -> datetime:
    return rhythm.next_digest(now) or now


def local(zone: str, text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


@settings(max_examples=400, deadline=None)
@given(rhythms, moments)
def test_nothing_goes_out_in_the_quiet_hours_nor_before_it_happened_nor_days_late(rhythm, now):
    at = moment_of(rhythm, now)

    assert not rhythm.is_quiet(at)
    assert now <= at <= now + timedelta(hours=50)


@settings(max_examples=300, deadline=None)
@given(rhythms, moments, st.integers(1, 6 * 3600))
def test_what_happens_later_is_never_told_earlier(rhythm, now, later):
    assert moment_of(rhythm, now) <= moment_of(rhythm, now + timedelta(seconds=later))


@settings(max_examples=300, deadline=None)
@given(rhythms, moments)
def test_all_that_happens_before_a_digests_moment_is_in_it(rhythm, now):
    """So whatever gathers goes out once: its moment is the same for all, and what comes then is in the next."""
    at = rhythm.next_digest(now)

    if at is not None:
        assert rhythm.next_digest(at - timedelta(microseconds=1)) == at
        assert rhythm.next_digest(at) != at


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ZONES), moments)
def test_an_hourly_digest_goes_out_at_the_next_full_hour_of_the_clock_on_the_wall(zone, now):
    expected = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0) + STEP
    while expected.astimezone(ZoneInfo(zone)).minute:
        expected += STEP

    found = Rhythm(Frequency.HOURLY, timezone=zone).next_digest(now)

    assert found is not None
    assert found == expected or zone in LORD_HOWE


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
)
@pytest.mark.parametrize("hour", [0, 1, 2, 3, 23])
def test_a_daily_digest_goes_out_once_on_each_day_of_the_year(zone, hour):
    rhythm, moment = Rhythm(Frequency.DAILY, hour, timezone=zone), YEAR
    days: list[date] = []
    while len(days) < 365:
        following = rhythm.next_digest(moment)
        assert following is not None
        moment = following
        days.append(moment.astimezone(ZoneInfo(zone)).date())

    assert days == [days[0] + timedelta(days=nth) for nth in range(365)]


@settings(max_examples=10, deadline=None)
@given(rhythms)
def test_over_a_year_each_thing_is_in_exactly_one_email(rhythm):
    """One event in two hours and a half; emails are what has the same moment, and their moments only rise."""
    happened = [YEAR + nth * timedelta(minutes=149) for nth in range(365 * 24 * 60 // 149)]
    emails: dict[datetime, list[datetime]] = {}
    for now in happened:
        emails.setdefault(moment_of(rhythm, now), []).append(now)

    assert [*emails] == sorted(emails)
    assert [each for told in emails.values() for each in told] == happened
    assert not any(rhythm.is_quiet(moment) for moment in emails)


def test_an_hour_that_the_clocks_skip_is_the_moment_at_which_they_do():
    rhythm = Rhythm(Frequency.DAILY, 2, timezone="Europe/Berlin")

    assert rhythm.next_digest(local("Europe/Berlin", "2026-03-28 12:00")) == local(
        "Europe/Berlin", "2026-03-29 03:00"
    )
    assert rhythm.next_digest(local("Europe/Berlin", "2026-03-29 03:00")) == local(
        "Europe/Berlin", "2026-03-30 02:00"
    )


def test_of_an_hour_that_comes_twice_a_daily_digest_takes_the_first():
    rhythm = Rhythm(Frequency.DAILY, 2, timezone="Europe/Berlin")
    first = local("Europe/Berlin", "2026-10-25 02:00")

    assert rhythm.next_digest(local("Europe/Berlin", "2026-10-24 12:00")) == first
    assert rhythm.next_digest(first) == local("Europe/Berlin", "2026-10-26 02:00")


def test_an_hourly_digest_goes_out_in_both_of_an_hour_that_comes_twice():
    rhythm = Rhythm(Frequency.HOURLY, timezone="Europe/Berlin")
    first = local("Europe/Berlin", "2026-10-25 02:00")

    assert rhythm.next_digest(first) == first + timedelta(hours=1)
    assert rhythm.next_digest(first + timedelta(hours=1)) == first + timedelta(hours=2)


def test_quiet_hours_reach_over_midnight_and_end_with_one_email():
    rhythm = Rhythm(quiet_from=time(22), quiet_until=time(7), timezone="Europe/London")
    morning = local("Europe/London", "2026-07-02 07:00")

    assert rhythm.next_digest(local("Europe/London", "2026-07-01 21:59")) is None
    assert rhythm.next_digest(local("Europe/London", "2026-07-01 22:00")) == morning
    assert rhythm.next_digest(local("Europe/London", "2026-07-02 06:59")) == morning
    assert rhythm.next_digest(morning) is None


def test_quiet_hours_that_end_in_a_skipped_hour_end_when_the_clocks_skip_it():
    rhythm = Rhythm(quiet_from=time(22), quiet_until=time(2, 30), timezone="Europe/Berlin")

    assert rhythm.awake(local("Europe/Berlin", "2026-03-29 01:00")) == local(
        "Europe/Berlin", "2026-03-29 03:00"
    )


def test_a_digest_that_would_go_out_in_quiet_hours_goes_out_at_their_end():
    rhythm = Rhythm(Frequency.DAILY, 6, time(22), time(9), "Europe/Berlin")

    assert rhythm.next_digest(local("Europe/Berlin", "2026-07-01 12:00")) == local(
        "Europe/Berlin", "2026-07-02 09:00"
    )


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "Europe"])
def test_a_zone_that_is_not_known_is_utc(zone):
    assert Rhythm(Frequency.DAILY, 8, timezone=zone).next_digest(YEAR) == YEAR.replace(hour=8)
