from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from deliveries.letters import Letter, Told, pass_on
from deliveries.letters.numbers import number
from deliveries.letters.stretches import NewData, by_meter

EVENT_TYPE = "meter_data.received"
SENTENCE = gettext_noop("New meter data has arrived.")


def letter(told: Told) -> Letter:
    new = by_meter(told.payload, told.reader)
    if not new.count:
        return without_meters(told)
    subject, what = subject_of(new), happened(new)
    return Letter(
        subject=subject,
        preview=what,
        what=what,
        meaning=_(
            "It may be the daily update, the history of a new meter, or a gap in the past that was filled. The "
            "readings themselves are not in this email."
        ),
        todo=_(
            "Nothing, if your application fetches the readings by itself. Otherwise they can be fetched from Openvolt "
            "now, for the times below."
        ),
        action=pass_on(_("Tell somebody who waits for it"), subject, what),
        data=new,
    )


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
