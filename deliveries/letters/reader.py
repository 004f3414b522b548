"""Who reads an email: in which language, and in which time zone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, override

from deliveries.letters.numbers import fraction
from deliveries.letters.reading import as_moment, said
from subscriptions.rhythm import zone_of

LANGUAGES = {
    "en": "English",
    "de": "Deutsch",
}  # those with all words in locale/, and the one they are written in
MONTHS = (
    gettext_noop("Jan"),
    gettext_noop("Feb"),
    gettext_noop("Mar"),
    gettext_noop("Apr"),
    gettext_noop("May"),
    gettext_noop("Jun"),
    gettext_noop("Jul"),
    gettext_noop("Aug"),
    gettext_noop("Sep"),
    gettext_noop("Oct"),
    gettext_noop("Nov"),
    gettext_noop("Dec"),
)
# What clocks are called differently in other languages.
CLOCKS = {
    "CET": gettext_noop("CET"),
    "CEST": gettext_noop("CEST"),
    "EET": gettext_noop("EET"),
    "EEST": gettext_noop("EEST"),
    "WET": gettext_noop("WET"),
    "WEST": gettext_noop("WEST"),
}


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
        return _("%(day)s, %(time)s %(clock)s") % self.parts(moment)

    def parts(self, moment: datetime) -> dict[str, str]:
        return {
            "day": self.day(moment),
            "time": self.time(moment),
            "clock": abbreviation(self.local(moment)),
        }

    def between(self, first: datetime, last: datetime) -> str:
        """From one moment to another, without saying twice what is the same of both."""
        start, end = self.parts(first), self.parts(last)
        if start == end:
            return _("on %(moment)s") % {"moment": self.moment(first)}
        if (start["day"], start["clock"]) != (end["day"], end["clock"]):
            words = {"first": self.moment(first), "last": self.moment(last)}
            return _("between %(first)s and %(last)s") % words
        return _("on %(day)s, between %(first)s and %(last)s %(clock)s") % {
            **end,
            "first": start["time"],
            "last": end["time"],
        }

    def shown(self, value: object) -> str:
        """A value as people write it; empty for what is no text, number or truth. A whole number may be an ID."""
        if isinstance(value, bool):
            return _("yes") if value else _("no")
        if isinstance(value, float):
            return said(fraction(value))
        if not isinstance(value, str | int):
            return ""
        moment = as_moment(value)
        return self.moment(moment) if moment else said(value)


def month_name(local: datetime) -> str:
    return _(MONTHS[local.month - 1])


def abbreviation(local: datetime) -> str:
    """GMT, CEST; UTC+4 where the zone has no letters for it."""
    letters = local.tzname() or "UTC"
    if letters[0] not in "+-":
        return _(CLOCKS[letters]) if letters in CLOCKS else letters
    hours, minutes = letters[:3], letters[3:]
    return f"UTC{hours[0]}{int(hours[1:])}{':' + minutes if minutes else ''}"
