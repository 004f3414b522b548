"""When a recipient wants emails: at once or in digests, and none in the quiet hours. The moment is passed in.

All of it goes by the clock on the recipient's wall. What that skips in spring counts as the moment when it does; of
what it shows twice in autumn a daily digest takes the first. Quiet hours are what the clock shows, both times.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from django.db.models import TextChoices

AROUND = range(-2, 5)  # hours or days to look at: clocks are put back and forward by two hours at most
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Frequency(TextChoices):
    AT_ONCE = "at_once"
    HOURLY = "hourly"
    DAILY = "daily"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What one recipient chose. Quiet hours begin at `quiet_from` and end at `quiet_until`; None: there are none."""

    frequency: str = Frequency.AT_ONCE
    digest_hour: int = 8
    quiet_from: time | None = None
    quiet_until: time | None = None
    timezone: str = "UTC"

    @property
    def zone(self) -> tzinfo:
        return zone_of(self.timezone)

    def is_quiet(self, moment: datetime) -> bool:
        begin, end = self.quiet_from, self.quiet_until
        if begin is None or end is None:
            return False
        shown = moment.astimezone(self.zone).time()
        return begin <= shown < end if begin < end else shown >= begin or shown < end

    def awake(self, moment: datetime) -> datetime:
        """This moment, or the end of the quiet hours that it is in."""
        if self.quiet_until is None or not self.is_quiet(moment):
            return moment
        ends = (at for wall in self.days(moment, self.quiet_until) for at in instants(self.zone, wall))
        return min(at for at in ends if at > moment and not self.is_quiet(at))

    def next_digest(self, now: datetime) -> datetime | None:
        """When what happens now is told together with other things; None: at once."""
        if self.frequency == Frequency.AT_ONCE:
            return self.awake(now) if self.is_quiet(now) else None
        moments = self.full_hours(now) if self.frequency == Frequency.HOURLY else self.digest_hours(now)
        return min(at for at in map(self.awake, moments) if at > now)

    def full_hours(self, now: datetime) -> Iterable[datetime]:
        hour = self.shown(now).replace(minute=0, second=0, microsecond=0)
        return (at for nth in AROUND for at in instants(self.zone, hour + nth * HOUR))

    def digest_hours(self, now: datetime) -> Iterable[datetime]:
        return (instants(self.zone, wall)[0] for wall in self.days(now, time(self.digest_hour)))

    def days(self, moment: datetime, at: time) -> Iterator[datetime]:
        """What the clock shows at this time of the days around."""
        today = self.shown(moment).date()
        return (datetime.combine(today + nth * DAY, at) for nth in AROUND)

    def shown(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None, fold=0)


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo:
    """UTC for a name that is not known: an email has to go out."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):  # a path out of the zones, no zone, a directory of zones
        return UTC


def instants(zone: tzinfo, wall: datetime) -> list[datetime]:
    """When clocks there show this (UTC): once or twice; when they skip it, the moment at which they do."""
    found = sorted({wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)})
    shown = [at for at in found if at.astimezone(zone).replace(tzinfo=None, fold=0) == wall]
    return shown or [change_between(zone, *found)]


def change_between(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The moment between these two at which clocks there are put forward."""

    def has_changed(second: int) -> bool:
        return datetime.fromtimestamp(second, zone).utcoffset() != before.astimezone(zone).utcoffset()

    seconds = range(int(before.timestamp()), int(after.timestamp()) + 1)
    return datetime.fromtimestamp(seconds[bisect_left(seconds, True, key=has_changed)], UTC)
