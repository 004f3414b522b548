"""Hours that leave out Saturdays and Sundays, by the calendar on somebody's wall."""

from datetime import datetime, time, timedelta

from subscriptions.rhythm import instants, zone_of

SATURDAY = 5
DAY = timedelta(days=1)


def after_working(length: timedelta, since: datetime, timezone: str) -> datetime:
    """The moment at which so much time has passed, if none does from Saturday 0:00 to Monday 0:00 there."""
    moment = since
    while True:
        moment = weekday(moment, timezone)
        end = next_weekend(moment, timezone)
        if moment + length <= end:
            return moment + length
        length -= end - moment
        moment = end


def weekday(moment: datetime, timezone: str) -> datetime:
    """This moment, or the Monday after the weekend that it is in."""
    return midnight(moment, timezone, 7) if local(moment, timezone).weekday() >= SATURDAY else moment


def next_weekend(moment: datetime, timezone: str) -> datetime:
    return midnight(moment, timezone, SATURDAY)


def midnight(moment: datetime, timezone: str, weekday: int) -> datetime:
    """When this day of the moment's week begins there; 7 is the Monday after."""
    shown = local(moment, timezone)
    wall = datetime.combine(shown.date() + (weekday - shown.weekday()) * DAY, time())
    return instants(zone_of(timezone), wall)[0]


def local(moment: datetime, timezone: str) -> datetime:
    return moment.astimezone(zone_of(timezone))
