"""The half-hourly periods that UK electricity is metered in."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

LONDON = ZoneInfo("Europe/London")
HALF_HOUR = timedelta(minutes=30)


def london(day: date, hour: int, minute: int = 0) -> datetime:
    """A time on a London clock, in UTC; of an hour that the clocks repeat, the first."""
    return datetime.combine(day, time(hour, minute), LONDON).astimezone(UTC)


def half_hours(day: date) -> list[datetime]:
    """The starts, in UTC, of a London day's half hours: 48, but 46 and 50 on the Sundays when clocks change."""
    start, end = london(day, 0), london(day + timedelta(days=1), 0)
    return [start + number * HALF_HOUR for number in range((end - start) // HALF_HOUR)]
