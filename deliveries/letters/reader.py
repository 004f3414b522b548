"""Who reads an email: in which language, and in which time zone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from django.utils.dates import MONTHS_3
from django.utils.translation import gettext as _
from django.utils.translation import override

from deliveries.letters.reading import as_moment, clean
from subscriptions.rhythm import zone_of

LANGUAGES = {
    "en": "English",
    "de": "Deutsch",
}  # those with all words in locale/, and the one they are written in


@dataclass(frozen=True, slots=True)
class Reader:
    """Names that are not known are read as UTC and English: an email has to go out."""

    timezone: str = "UTC"
    language: str = "en"

    @property
    def zone(self) -> tzinfo:
        return zone_of(self.timezone)

    @property
    def zone_name(self) -> str:
        """`Europe/London`, or UTC."""
        return getattr(self.zone, "key", "UTC")

    @contextmanager
    def language_on(self) -> Iterator[None]:
        """Within this block, this thread's words are in the reader's language."""
        with override(self.language if self.language in LANGUAGES else "en"):
            yield

    def local(self, moment: datetime) -> datetime:
        """On the reader's clock; in UTC at the ends of time, where there is no other."""
        try:
            return moment.astimezone(self.zone)
        except OverflowError:
            return moment.astimezone(UTC)

    def day(self, moment: datetime) -> str:
        local = self.local(moment)
        return _("%(day)d %(month)s %(year)d") % {
            "day": local.day,
            "month": month_name(local),
            "year": local.year,
        }

    def short_day(self, moment: datetime) -> str:
        local = self.local(moment)
        return _("%(day)d %(month)s") % {"day": local.day, "month": month_name(local)}

    def month(self, moment: datetime) -> str:
        local = self.local(moment)
        return f"{month_name(local)} {local.year}"

    def year(self, moment: datetime) -> str:
        return str(self.local(moment).year)

    def time(self, moment: datetime) -> str:
        return f"{self.local(moment):%H:%M}"

    def moment(self, moment: datetime) -> str:
        """Day, time, and what the clocks there call it: 2 Nov 2026, 16:05 GMT."""
        return f"{self.day(moment)}, {self.time(moment)} {abbreviation(self.local(moment))}"

    def shown(self, value: object) -> str:
        """A value as people write it; empty for what is no text, number or truth."""
        if isinstance(value, bool):
            return _("yes") if value else _("no")
        if not isinstance(value, str | int | float):
            return ""
        moment = as_moment(value)
        return self.moment(moment) if moment else clean(value)


def month_name(local: datetime) -> str:
    return str(MONTHS_3[local.month]).title()


def abbreviation(local: datetime) -> str:
    """GMT, CEST; UTC+4 where the zone has no letters for it."""
    letters = local.tzname() or "UTC"
    if letters[0] not in "+-":
        return letters
    hours, minutes = letters[:3], letters[3:]
    return f"UTC{hours[0]}{int(hours[1:])}{':' + minutes if minutes else ''}"
