"""A digest: what has happened since the last one, by kind, what a person should look at first."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deliveries.letters import Action, Letter, Section, Told
from deliveries.letters.handling import to_the_page, who
from deliveries.letters.reader import Reader
from deliveries.letters.reading import as_moment, cut
from deliveries.letters.stretches import by_meter

URGENT = ("hosted_consent.revoked", "api_keys.rotated")
MERGED = "meter_data.received"
MOST_LINES = 10  # of a section
MOST_MERGED = 3  # of them, where the summary of all says more than each
MOST_NAMED = 3  # kinds in the subject
LONGEST_LINE = 140
LONGEST_PREVIEW = 160
Write = Callable[[Told], Letter]


def digest_letter(all_told: Sequence[Told], application: str, reader: Reader, write: Write) -> Letter:
    kinds = by_kind(all_told)
    sections = [section(kind, told, write) for kind, told in kinds.items()]
    data = by_meter(merged(kinds.get(MERGED, ())), reader)
    return Letter(
        subject=subject_of([each.title for each in sections], len(all_told), application),
        preview=cut(" · ".join(line for each in sections for line in each.lines[:2]), LONGEST_PREVIEW),
        what=happened(all_told, application, reader),
        sections=sections,
        data=data if data.count else None,
    )


def by_kind(all_told: Sequence[Told]) -> Mapping[str, list[Told]]:
    """The urgent ones first, then those of which there are most; all kinds that we have no words for together."""
    found = defaultdict(list)
    for told in sorted(all_told, key=lambda each: each.occurred_at):
        found[told.event_type if told.event_type in counted(1) else ""].append(told)
    places = {kind: nth for nth, kind in enumerate(URGENT)}
    in_order = sorted(found, key=lambda kind: (places.get(kind, len(URGENT)), -len(found[kind]), kind))
    return {kind: found[kind] for kind in in_order}


def section(kind: str, told: Sequence[Told], write: Write) -> Section:
    title = counted(len(told)).get(kind) or counted_others(len(told))
    shown = told[: MOST_MERGED if kind == MERGED else MOST_LINES]
    more = len(told) - len(shown)
    return Section(
        title=title % {"count": len(told)},
        lines=[line(each, write(each), kind in URGENT) for each in shown],
        links=[on_it(each) for each in shown],
        more=ngettext(
            "and %(count)d more, listed in notifications.json",
            "and %(count)d more, listed in notifications.json",
            more,
        )
        % {"count": more}
        if more
        else "",
    )


def line(told: Told, letter: Letter, is_urgent: bool) -> str:
    words = {"at": told.happened, "what": cut(letter.subject, LONGEST_LINE)}
    if not is_urgent:
        return _("%(what)s (%(at)s)") % words
    more = f"{letter.preview} {who(told.handling, told.reader)}".strip()
    return _("%(what)s (%(at)s). %(more)s") % {**words, "more": more}


def on_it(told: Told) -> Action | None:
    if not told.case:
        return None
    return to_the_page(_("See who is on it") if told.handling else _("I'm on it"), told.case)


def subject_of(kinds: Sequence[str], count: int, application: str) -> str:
    named = ", ".join(kinds[:MOST_NAMED]) + (", …" if len(kinds) > MOST_NAMED else "")
    return _("%(count)d events at %(application)s: %(kinds)s") % {
        "count": count,
        "application": application,
        "kinds": named,
    }


def happened(all_told: Sequence[Told], application: str, reader: Reader) -> str:
    moments: list[datetime] = [each.occurred_at for each in all_told]
    return _("This happened at %(application)s from %(first)s to %(last)s:") % {
        "application": application,
        "first": reader.moment(min(moments)),
        "last": reader.moment(max(moments)),
    }


def merged(all_told: Sequence[Told]) -> list[object]:
    """The stretches of all of them, as if they had come at once; without those that say nothing of when."""
    payloads = (told.payload for told in all_told if isinstance(told.payload, list))
    return [each for payload in payloads for each in payload if is_stretch(each)]


def is_stretch(value: object) -> bool:
    return isinstance(value, dict) and all(
        as_moment(value.get(f"{end}_interval")) for end in ("start", "end")
    )


def counted(count: int) -> dict[str, str]:
    """What so many of each kind are called."""
    return {
        "hosted_consent.revoked": ngettext("%(count)d consent revoked", "%(count)d consents revoked", count),
        "api_keys.rotated": ngettext("%(count)d API key replaced", "%(count)d API keys replaced", count),
        "meter_data.received": ngettext(
            "%(count)d time new meter data", "%(count)d times new meter data", count
        ),
        "hosted_consent.approved": ngettext(
            "%(count)d consent approved", "%(count)d consents approved", count
        ),
        "customer.created": ngettext("%(count)d customer added", "%(count)d customers added", count),
        "meter.created": ngettext("%(count)d meter added", "%(count)d meters added", count),
        "user.created": ngettext("%(count)d person given access", "%(count)d people given access", count),
    }


def counted_others(count: int) -> str:
    return ngettext("%(count)d other event", "%(count)d other events", count)
