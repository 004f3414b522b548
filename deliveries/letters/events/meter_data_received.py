from datetime import datetime, timedelta

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from deliveries.letters import Letter, Told, pass_on
from deliveries.letters.numbers import number
from deliveries.letters.stretches import NewData, by_meter

EVENT_TYPE = "meter_data.received"
SENTENCE = gettext_noop("New meter data has arrived.")
DAY = timedelta(days=1)
MONTH, YEAR = timedelta(days=30.44), timedelta(days=365.25)
A_MONTH = (
    timedelta(days=27, hours=22),
    timedelta(days=31, hours=2),
)  # February, and March, and the clocks' hour
LEAST_HISTORY = timedelta(days=59)  # January and February
LONGEST_IN_MONTHS = timedelta(days=731)
LONGEST_UPDATE = timedelta(days=2, hours=1)
RECENT = timedelta(days=3)


def letter(told: Told) -> Letter:
    new = by_meter(told.payload, told.reader)
    if not new.count:
        return without_meters(told)
    subject, what = subject_of(new), happened(new)
    return Letter(
        subject=subject,
        preview=what,
        what=what,
        meaning=" ".join(
            [kind_of(new, told.occurred_at), _("The readings themselves are not in this email.")]
        ).strip(),
        todo=_(
            "Nothing, if your application fetches the readings by itself. Otherwise they can be fetched from Openvolt "
            "now, for the times below."
        ),
        action=pass_on(_("Tell somebody who waits for it"), subject, what),
        data=new,
    )


def kind_of(new: NewData, now: datetime) -> str:
    """By how much it is, and of when; empty if that can't be known."""
    if new.first is None or new.last is None or new.last > now + DAY:
        return ""
    if new.longest >= LEAST_HISTORY:
        return history(new.longest)
    if A_MONTH[0] <= new.longest <= A_MONTH[1] and not new.has_holes:
        return _("They cover about a month: a part of the history of a new meter, or a gap that was filled.")
    if not new.has_holes and new.last - new.first <= LONGEST_UPDATE and now - new.last <= RECENT:
        return _("This looks like the daily update.")
    return _("They are about the past: a gap that was filled, or readings that came late.")


def history(length: timedelta) -> str:
    if length <= LONGEST_IN_MONTHS:
        told = _("They cover about %(count)s months, as the history of a new meter does.")
        return told % {"count": number(round(length / MONTH))}
    told = _("They cover about %(count)s years, as the history of a new meter does.")
    return told % {"count": number(round(length / YEAR))}


def subject_of(new: NewData) -> str:
    words = {"count": number(new.count), "days": new.days}
    if new.days:
        return (
            ngettext(
                "New meter data: %(count)s meter, %(days)s",
                "New meter data: %(count)s meters, %(days)s",
                new.count,
            )
            % words
        )
    return ngettext("New meter data: %(count)s meter", "New meter data: %(count)s meters", new.count) % words


def happened(new: NewData) -> str:
    words = {"count": number(new.count), "days": new.days, "meter": new.meters[0].meter}
    if new.days:
        return (
            ngettext(
                "New readings have arrived for the meter %(meter)s, for %(days)s.",
                "New readings have arrived for %(count)s meters, for %(days)s.",
                new.count,
            )
            % words
        )
    return (
        ngettext(
            "New readings have arrived for the meter %(meter)s.",
            "New readings have arrived for %(count)s meters.",
            new.count,
        )
        % words
    )


def without_meters(told: Told) -> Letter:
    subject = _("New meter data")
    what = _("Openvolt reported new readings without naming a meter.")
    return Letter(
        subject=subject,
        preview=what,
        what=what,
        todo=_("Nothing. If it happens again, tell the people who develop %(application)s.")
        % {"application": told.application},
        action=pass_on(_("Tell the developers"), subject, what),
    )
