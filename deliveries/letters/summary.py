"""What became of the notifications of a week, for the contacts of an application."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deliveries.letters import Letter, Section
from deliveries.letters.charts import Bar, Chart, cells
from deliveries.letters.numbers import milliseconds, number
from deliveries.letters.outages import replay_since, to_the_reference
from deliveries.letters.reader import Reader
from deliveries.letters.reading import isolated, name, said

DAY = timedelta(days=1)
LONGEST_RECEIVER = 60
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Week:
    """The facts are `deliveries.summaries.facts`."""

    facts: Facts
    application: str
    reader: Reader

    @property
    def calendar(self) -> Reader:
        """That of the days, which are UTC's wherever its reader is."""
        return replace(self.reader, timezone="UTC")

    @property
    def is_capped(self) -> bool:
        return any(day["more"] for day in self.facts["days"])

    @property
    def words(self) -> dict[str, str]:
        start = datetime.fromisoformat(self.facts["start"])
        return {
            "application": self.application,
            "first": self.calendar.day(start),
            "last": self.calendar.day(start + (len(self.facts["days"]) - 1) * DAY),
            "delivered": self.counted("delivered"),
            "failed": self.counted("failed"),
            "waiting": self.counted("waiting"),
        }

    def total(self, what: str) -> int:
        return sum(day[what] for day in self.facts["days"])

    def counted(self, what: str) -> str:
        """In a week with a day that was not counted to its end, that many or more."""
        count = number(self.total(what))
        return _("%(count)s or more") % {"count": count} if self.is_capped else count


def summary(week: Week) -> Letter:
    words, failing = week.words, failing_lines(week)
    needs_care = bool(failing or week.total("failed"))
    return Letter(
        subject=subject(week),
        preview=failing[0] if failing else outcome() % words,
        what=_(
            "What became of the notifications of %(application)s from %(first)s to %(last)s: %(delivered)s delivered, "
            "%(failed)s failed for good, %(waiting)s still waiting."
        )
        % words,
        sections=[Section(_("Receivers that get nothing"), failing, more_failing(week))] if failing else [],
        charts=[chart for chart in (days_chart(week), slowest_chart(week)) if chart.bars],
        meaning=capped(week),
        todo=see_what_failed(week) if needs_care else _("Nothing: every receiver gets what it should."),
        action=to_the_reference(_("See how to send again what failed")) if needs_care else None,
        small=_(
            "Days are those of UTC; a notification counts on the day on which it was to be sent. How long receivers "
            "take is measured on up to %(most)s notifications a day to each."
        )
        % {"most": number(week.facts["sampled"])},
    )


def subject(week: Week) -> str:
    if count := len(week.facts["failing"]) + week.facts["more_failing"]:
        told = ngettext(
            "Week at %(application)s: %(count)s receiver gets nothing",
            "Week at %(application)s: %(count)s receivers get nothing",
            count,
        )
        return told % {"application": week.application, "count": number(count)}
    if week.total("failed"):
        return _("Week at %(application)s: %(delivered)s delivered, %(failed)s failed") % week.words
    return _("Week at %(application)s: %(delivered)s delivered, none failed") % week.words


def outcome() -> str:
    return _("%(delivered)s delivered, %(failed)s failed for good, %(waiting)s still waiting.")


def failing_lines(week: Week) -> list[str]:
    return [failing_line(each, week.reader) for each in week.facts["failing"]]


def failing_line(told: Facts, reader: Reader) -> str:
    words = {
        "receiver": receiver(told),
        "since": reader.moment(datetime.fromisoformat(told["since"])) if told["since"] else "",
    }
    if not told["disabled"]:
        return _("%(receiver)s: every attempt has failed since %(since)s") % words
    if not told["since"]:
        return _("%(receiver)s: disabled; what happens is held for it") % words
    return _("%(receiver)s: disabled, failing since %(since)s; what happens is held for it") % words


def more_failing(week: Week) -> str:
    more = week.facts["more_failing"]
    return (
        ngettext("and %(count)s more", "and %(count)s more", more) % {"count": number(more)} if more else ""
    )


def receiver(told: Facts) -> str:
    """What its people call it, and its host; of the URL no more, for it may hold a token."""
    host = said(urlsplit(told["url"]).netloc, LONGEST_RECEIVER)
    described = name(told["description"])
    return isolated(f"{described} ({host})" if described and host else described or host or _("emails"))


def days_chart(week: Week) -> Chart:
    days = week.facts["days"]
    longest = max(sum_of(day) for day in days)
    return Chart(
        title=_("Day by day"),
        bars=[day_bar(day, longest, week) for day in days] if longest else [],
        legend={"full": _("delivered"), "part": _("waiting"), "fail": _("failed")},
    )


def sum_of(day: Facts) -> int:
    return int(day["delivered"] + day["waiting"] + day["failed"])


def day_bar(day: Facts, longest: int, week: Week) -> Bar:
    parts = {"full": day["delivered"], "part": day["waiting"], "fail": day["failed"]}
    return Bar(cells(parts, longest), day_name(day, week.calendar), said_of(day, week.facts["counted"]))


def day_name(day: Facts, reader: Reader) -> str:
    moment = datetime.fromisoformat(day["start"])
    return f"{weekdays()[moment.weekday()]} {reader.short_day(moment)}"


def weekdays() -> Sequence[str]:
    return (_("Mon"), _("Tue"), _("Wed"), _("Thu"), _("Fri"), _("Sat"), _("Sun"))


def said_of(day: Facts, most: int) -> str:
    """The counts that are not none."""
    counts = [
        _("%(count)s delivered") % {"count": number(day["delivered"])} if day["delivered"] else "",
        _("%(count)s waiting") % {"count": number(day["waiting"])} if day["waiting"] else "",
        _("%(count)s failed") % {"count": number(day["failed"])} if day["failed"] else "",
    ]
    told = ", ".join(each for each in counts if each) or _("nothing")
    return (
        _("of the first %(most)s, %(told)s") % {"most": number(most), "told": told} if day["more"] else told
    )


def slowest_chart(week: Week) -> Chart:
    slowest = week.facts["slowest"]
    longest = max((each["p95_ms"] for each in slowest), default=0)
    return Chart(
        title=_("The slowest receivers"),
        bars=[slow_bar(each, longest) for each in slowest],
        legend={"full": _("half of the attempts"), "part": _("95 of 100")},
    )


def slow_bar(told: Facts, longest: float) -> Bar:
    median, p95 = told["median_ms"], told["p95_ms"]
    speed = ngettext(
        "half within %(median)s, 95 of 100 within %(p95)s (%(attempts)s attempt)",
        "half within %(median)s, 95 of 100 within %(p95)s (%(attempts)s attempts)",
        told["attempts"],
    ) % {
        "median": milliseconds(median),
        "p95": milliseconds(p95),
        "attempts": number(told["attempts"]),
    }
    return Bar(cells({"full": median, "part": p95 - median}, longest), receiver(told), speed)


def capped(week: Week) -> str:
    most = number(week.facts["counted"])
    told = _("Some days had %(most)s notifications or more; of those, only the first %(most)s were counted.")
    return told % {"most": most} if week.is_capped else ""


def see_what_failed(week: Week) -> str:
    told = _(
        "See what has failed, and why: GET /v1/deliveries?status=failed. What failed for good is sent again by a "
        "replay, once its receiver works: POST /v1/subscriptions/{id}/replays with %(wish)s."
    )
    return told % {"wish": replay_since(week.facts["start"])}
