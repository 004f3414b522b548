"""A payload of meter_data.received, which may name a thousand stretches of time, as one summary by meter and period."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deliveries.letters.charts import Cells
from deliveries.letters.numbers import number
from deliveries.letters.reader import Reader
from deliveries.letters.reading import as_moment, said

MOST_METERS = 12
A_LITTLE = timedelta(hours=3)  # from the meter's midnight to the reader's, mostly
A_DAY = timedelta(hours=25)  # on the day when clocks go back
LONGEST_IN_DAYS = timedelta(days=31)
LONGEST_IN_MONTHS = timedelta(days=731)
LONGEST_IN_YEARS = timedelta(days=24 * 366)
USUAL_YEARS = range(1900, 2200)
FULL = 0.9  # of a period; a UK day's stretch runs from 00:30 to 00:00
TOUCHED = 0.05  # less of a stretch that is mostly elsewhere is the hour by which clocks change in between
BLOCKS = {"full": "█", "part": "▒", "none": "░"}

Stretch = tuple[datetime, datetime]


@dataclass(frozen=True)
class Bar(Cells):
    """Periods of one length in a row, each "full", "part" or "none" of it arrived."""

    first: str
    last: str
    summary: str

    def drawn(self) -> str:
        return "".join(BLOCKS[cell] for cell in self.cells)


@dataclass(frozen=True)
class MeterData:
    """What one meter got: so many stretches, from the first start to the last end."""

    meter: str
    period: str
    bar: Bar | None


@dataclass(frozen=True)
class NewData:
    """All of it; not all meters are listed. `longest` is how long a time of one meter arrived without holes."""

    meters: Sequence[MeterData]
    count: int
    days: str
    first: datetime | None
    last: datetime | None
    longest: timedelta
    has_holes: bool

    @property
    def more(self) -> int:
        return self.count - len(self.meters)

    @property
    def needs_legend(self) -> bool:
        return any(meter.bar and set(meter.bar.cells) != {"full"} for meter in self.meters)


@dataclass(frozen=True)
class Scale:
    """The periods that bars are drawn with: their edges (UTC), how many are said, how an edge is named."""

    edges: Sequence[datetime]
    counted: Callable[[int, int], str]
    named: Callable[[datetime], str]


def by_meter(payload: Any, reader: Reader, most: int = MOST_METERS) -> NewData:
    raw = defaultdict(list)
    for stretch in payload if isinstance(payload, list) else []:
        if isinstance(stretch, dict):
            raw[said(stretch.get("meter_id", _("without an ID")))].append(stretch)
    known = {meter: merged(moments_of(own)) for meter, own in raw.items()}
    first, last = bounds([stretch for own in known.values() for stretch in own])
    scale = scale_for(first, last, reader, gaps=any(len(own) > 1 for own in known.values()))
    listed = list(raw)[:most]
    meters = [of_meter(meter, raw[meter], known[meter], scale, reader) for meter in listed]
    whole = [unbroken(own) for own in known.values() if own]
    longest, has_holes = max(whole, default=timedelta(0)), timedelta(0) in whole
    return NewData(meters, len(raw), days(first, last, reader), first, last, longest, has_holes)


def moments_of(raw: Sequence[dict[str, Any]]) -> Iterator[Stretch]:
    """The stretches whose two ends can be read; an end may lie before its start."""
    for stretch in raw:
        ends = as_moment(stretch.get("start_interval")), as_moment(stretch.get("end_interval"))
        if ends[0] and ends[1]:
            yield min(ends[0], ends[1]), max(ends[0], ends[1])


def merged(stretches: Iterator[Stretch]) -> list[Stretch]:
    """In order, what touches or overlaps as one."""
    whole: list[Stretch] = []
    for start, end in sorted(stretches):
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((start, end))
    return whole


def unbroken(stretches: Sequence[Stretch]) -> timedelta:
    """From the first start to the last end; none, if they leave holes that are more than the half hours in between."""
    whole = stretches[-1][1] - stretches[0][0]
    filled = sum((end - start for start, end in stretches), timedelta(0))
    return whole if filled >= FULL * whole else timedelta(0)


def bounds(stretches: Sequence[Stretch]) -> tuple[datetime | None, datetime | None]:
    if not stretches:
        return None, None
    return min(stretch[0] for stretch in stretches), max(stretch[1] for stretch in stretches)


def of_meter(
    meter: str, raw: Sequence[dict[str, Any]], known: Sequence[Stretch], scale: Scale | None, reader: Reader
) -> MeterData:
    if not known:
        return MeterData(meter, unreadable(raw[0], raw[-1], reader), None)
    first, last = known[0][0], known[-1][1]
    whole = period(reader.moment(first), reader.moment(last))
    if len(raw) > 1:
        parts = ngettext("in %(count)s part", "in %(count)s parts", len(raw)) % {"count": number(len(raw))}
        whole = f"{whole} ({parts})"
    return MeterData(meter, whole, drawn(known, scale) if scale else None)


def unreadable(first: dict[str, Any], last: dict[str, Any], reader: Reader) -> str:
    """What is known of a time that has no two ends."""
    start, end = reader.shown(first.get("start_interval")), reader.shown(last.get("end_interval"))
    return period(start or _("unknown"), end or _("unknown")) if start or end else _("at an unknown time")


def period(first: str, last: str) -> str:
    return _("%(first)s to %(last)s") % {"first": first, "last": last}


def days(first: datetime | None, last: datetime | None, reader: Reader) -> str:
    """The days in words. A meter's day is not quite the reader's: up to 25 hours are the day of their middle."""
    if first is None or last is None:
        return ""
    if last - first <= A_DAY:
        return reader.day(first + (last - first) / 2)
    shift = shift_of(reader.local(first))
    first_day, last_day = reader.day(first - shift), reader.day(before(last, first) - shift)
    return first_day if first_day == last_day else period(first_day, last_day)


def before(last: datetime, first: datetime) -> datetime:
    """The last moment of a stretch, whose end is not part of it."""
    return last - timedelta(microseconds=1) if last > first else last


def shift_of(local: datetime) -> timedelta:
    """How far from the reader's midnight a day of the data begins, in whole hours; zero when it is something else."""
    since_midnight = timedelta(hours=local.hour)
    shift = since_midnight - timedelta(days=1) if local.hour >= 12 else since_midnight
    return shift if abs(shift) <= A_LITTLE else timedelta(0)


def scale_for(first: datetime | None, last: datetime | None, reader: Reader, *, gaps: bool) -> Scale | None:
    """Periods that are few enough to be seen. None when a bar would say nothing, or lose itself in time."""
    if first is None or last is None or {first.year, last.year} - set(USUAL_YEARS):
        return None
    local, length = reader.local(first), last - first
    if length <= A_DAY:
        return Scale(edges(local, last, hour), hours_counted, reader.time) if gaps else None
    shift = shift_of(local)
    for longest, step, counted_as, named in (
        (LONGEST_IN_DAYS, local_day, days_counted, reader.short_day),
        (LONGEST_IN_MONTHS, local_month, months_counted, reader.month),
        (LONGEST_IN_YEARS, local_year, years_counted, reader.year),
    ):
        if length <= longest:
            found = [edge + shift for edge in edges(local - shift, last - shift, step)]
            return Scale(found, counted_as, partial(named_without, named, shift))
    return None


def named_without(named: Callable[[datetime], str], shift: timedelta, edge: datetime) -> str:
    return named(edge - shift)


def edges(local: datetime, last: datetime, step: Callable[[datetime, int], datetime]) -> list[datetime]:
    """From the period in which the first moment lies to the end of that of the last one, in UTC."""
    found = [step(local, 0).astimezone(UTC)]
    while found[-1] < last:
        found.append(step(local, len(found)).astimezone(UTC))
    return found


def hour(local: datetime, count: int) -> datetime:
    return local.replace(minute=0, second=0, microsecond=0).astimezone(UTC) + timedelta(hours=count)


def local_day(local: datetime, count: int) -> datetime:
    midnight = datetime(local.year, local.month, local.day, tzinfo=local.tzinfo)
    return midnight + timedelta(days=count)


def local_month(local: datetime, count: int) -> datetime:
    months = local.year * 12 + local.month - 1 + count
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=local.tzinfo)


def local_year(local: datetime, count: int) -> datetime:
    return datetime(local.year + count, 1, 1, tzinfo=local.tzinfo)


def drawn(stretches: Sequence[Stretch], scale: Scale) -> Bar | None:
    """One meter's bar; what lies before its first period and after its last one is cut off."""
    cells = [cell(*each) for each in zip(pairwise(scale.edges), pieces(stretches, scale.edges), strict=True)]
    reached = [number for number, cell in enumerate(cells) if cell != "none"]
    if not reached:
        return None
    start, end = reached[0], reached[-1] + 1
    return Bar(
        cells[start:end],
        scale.named(scale.edges[start]),
        scale.named(scale.edges[end - 1]) if end - start > 1 else "",
        scale.counted(cells.count("full"), end - start),
    )


@dataclass(frozen=True)
class Piece:
    """How much of one stretch lies in a period."""

    length: timedelta
    stretch: timedelta


def pieces(stretches: Sequence[Stretch], edges: Sequence[datetime]) -> list[list[Piece]]:
    """Those in each period between two edges."""
    found: list[list[Piece]] = [[] for _ in pairwise(edges)]
    for start, end in stretches:
        number = bisect_right(edges, start) - 1
        while number < len(found) and edges[number] < end:
            length = min(end, edges[number + 1]) - max(start, edges[number])
            found[number].append(Piece(length, end - start))
            number += 1
    return found


def cell(period: Stretch, own: Sequence[Piece]) -> str:
    whole = period[1] - period[0]
    filled = sum((piece.length for piece in own), timedelta(0))
    if filled >= FULL * whole:
        return "full"
    is_here = any(2 * piece.length >= piece.stretch > timedelta(0) for piece in own)
    return "part" if is_here or filled >= TOUCHED * whole else "none"


def legend() -> dict[str, str]:
    return {"full": _("complete"), "part": _("in part"), "none": _("not in this delivery")}


def hours_counted(full: int, all_of: int) -> str:
    return counted(
        ngettext("%(full)s of %(count)s hour complete", "%(full)s of %(count)s hours complete", all_of),
        full,
        all_of,
    )


def days_counted(full: int, all_of: int) -> str:
    return counted(
        ngettext("%(full)s of %(count)s day complete", "%(full)s of %(count)s days complete", all_of),
        full,
        all_of,
    )


def months_counted(full: int, all_of: int) -> str:
    return counted(
        ngettext("%(full)s of %(count)s month complete", "%(full)s of %(count)s months complete", all_of),
        full,
        all_of,
    )


def years_counted(full: int, all_of: int) -> str:
    return counted(
        ngettext("%(full)s of %(count)s year complete", "%(full)s of %(count)s years complete", all_of),
        full,
        all_of,
    )


def counted(words: str, full: int, all_of: int) -> str:
    return words % {"full": number(full), "count": number(all_of)}
