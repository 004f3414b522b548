"""A digest: what has happened since the last one, by kind, what a person should look at first."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deliveries.letters import Action, Letter, Section, Told
from deliveries.letters.handling import HANDLED, see, to_finish, to_the_page, who, yours
from deliveries.letters.numbers import number
from deliveries.letters.reader import Reader
from deliveries.letters.reading import as_moment, cut, fitting, in_quotes
from deliveries.letters.stretches import by_meter

MERGED = "meter_data.received"
MOST_MERGED = 3  # of them, where the summary of all says more than each
MOST_NAMED = 3  # kinds in the subject
LONGEST_LINE = 140
LONGEST_MORE = 200
LONGEST_IN_BUTTON = 50
Write = Callable[[Told], Letter]


@dataclass(frozen=True)
class Extent:
    """How many lines there are of each kind that a person should handle, of each other kind, and of meters."""

    urgent: int
    others: int
    meters: int

    def of(self, kind: str) -> int:
        if kind in HANDLED:
            return self.urgent
        return min(self.others, MOST_MERGED) if kind == MERGED else self.others


WHOLE = Extent(50, 10, 12)
EXTENTS = (WHOLE, Extent(25, 4, 6), Extent(10, 2, 2), Extent(5, 1, 1))


def digest_letter(
    all_told: Sequence[Told],
    application: str,
    reader: Reader,
    write: Write,
    choose: Action,
    extent: Extent = WHOLE,
) -> Letter:
    """`choose` is for whoever gets more than they need."""
    kinds = by_kind(all_told)
    sections = {kind: section(kind, told, write, extent.of(kind)) for kind, told in kinds.items()}
    data = by_meter(merged(kinds.get(MERGED, ())), reader, extent.meters)
    letter = Letter(
        subject=subject_of([each.title for each in sections.values()], len(all_told), application),
        preview=preview(all_told, write),
        what=happened(all_told, application, reader),
        data=data if data.count else None,
        meaning="" if extent == WHOLE else too_long(),
    )
    urgent = [sections[kind] for kind in sections if kind in HANDLED]
    rest = [sections[kind] for kind in sections if kind not in HANDLED]
    if open_cases := [told for told in in_order(all_told) if told.case and not told.handling]:
        take = start(open_cases, write, _("I'm on it: %(what)s"))
        return replace(letter, sections=urgent, rest=rest, todo=handle_them(open_cases), action=take)
    letter = replace(letter, sections=urgent + rest)
    if theirs := [told for told in in_order(all_told) if told.is_theirs]:
        finish = start(theirs, write, _("Finish it, hand it over or give it back"))
        return replace(letter, todo=finish_them(theirs), action=finish)
    return replace(letter, todo=somebody_is_on_it() if urgent else nothing_to_do(), action=choose)


def in_order(all_told: Sequence[Told]) -> list[Told]:
    """The urgent ones first, each kind in order of time."""
    return [told for kind in by_kind(all_told).values() for told in kind]


def preview(all_told: Sequence[Told], write: Write) -> str:
    return fitting([write(told).subject for told in in_order(all_told)[:MOST_NAMED]])


def too_long() -> str:
    return _("Not all of it is shown here, as the email would be too long. The attachment has all.")


def handle_them(open_cases: Sequence[Told]) -> str:
    count = len(open_cases)
    return ngettext(
        "One of these needs somebody, and nobody is on it yet. Say that you are, then the others who were told of it "
        "see that.",
        "%(count)s of these need somebody, and nobody is on them yet. Say for each one that you are on it, then the "
        "others who were told of it see that.",
        count,
    ) % {"count": number(count)}


def finish_them(theirs: Sequence[Told]) -> str:
    count = len(theirs)
    return ngettext(
        "You are on one of these. Finish it when it is done, or hand it over.",
        "You are on %(count)s of these. Finish each when it is done, or hand it over.",
        count,
    ) % {"count": number(count)}


def start(cases: Sequence[Told], write: Write, alone: str) -> Action:
    """With the one that is first in the list. `alone` is what the button says when there is no other."""
    first = cases[0]
    label = alone if len(cases) == 1 else _("Start with “%(what)s”")
    return to_the_page(label % {"what": in_quotes(cut(write(first).subject, LONGEST_IN_BUTTON))}, first.case)


def nothing_to_do() -> str:
    return _(
        "Nothing, if you expected all of this. If you get more than you need, choose what you are told of, and when."
    )


def somebody_is_on_it() -> str:
    return _(
        "Nothing: somebody is on what a person should handle, or it is done. If you get more than you need, choose "
        "what you are told of, and when."
    )


def by_kind(all_told: Sequence[Told]) -> Mapping[str, list[Told]]:
    """The urgent ones first, then those of which there are most; all kinds that we have no words for together."""
    found, known = defaultdict(list), counted(1).keys()
    for told in sorted(all_told, key=lambda each: each.occurred_at):
        found[told.event_type if told.event_type in known else ""].append(told)
    places = {kind: nth for nth, kind in enumerate(HANDLED)}
    kinds = sorted(found, key=lambda kind: (places.get(kind, len(HANDLED)), -len(found[kind]), kind))
    return {kind: found[kind] for kind in kinds}


def section(kind: str, told: Sequence[Told], write: Write, most: int) -> Section:
    title = counted(len(told)).get(kind) or counted_others(len(told))
    shown = told[:most]
    more = len(told) - len(shown)
    return Section(
        title=title % {"count": number(len(told))},
        lines=[line(each, write(each), kind in HANDLED) for each in shown],
        links=[on_it(each) for each in shown],
        more=ngettext(
            "and %(count)s more, listed in notifications.json",
            "and %(count)s more, listed in notifications.json",
            more,
        )
        % {"count": number(more)}
        if more
        else "",
    )


def line(told: Told, letter: Letter, is_urgent: bool) -> str:
    words = {"at": told.happened, "what": cut(letter.subject, LONGEST_LINE)}
    if not is_urgent:
        return _("%(what)s (%(at)s)") % words
    more = who_is_on(told) or letter.preview
    return _("%(what)s (%(at)s). %(more)s") % {**words, "more": cut(more, LONGEST_MORE)}


def who_is_on(told: Told) -> str:
    if told.handling and told.is_theirs:
        return yours(told.handling, told.reader)
    return who(told.handling, told.reader)


def on_it(told: Told) -> Action | None:
    if not told.case:
        return None
    if told.is_theirs:
        return to_finish(told.case)
    return see(told.handling, told.case) if told.handling else to_the_page(_("I'm on it"), told.case)


def subject_of(kinds: Sequence[str], count: int, application: str) -> str:
    named = ", ".join(kinds[:MOST_NAMED]) + (", …" if len(kinds) > MOST_NAMED else "")
    told = ngettext(
        "One event at %(application)s: %(kinds)s", "%(count)s events at %(application)s: %(kinds)s", count
    )
    return told % {"count": number(count), "application": application, "kinds": named}


def happened(all_told: Sequence[Told], application: str, reader: Reader) -> str:
    moments: list[datetime] = [each.occurred_at for each in all_told]
    return _("This happened at %(application)s %(when)s:") % {
        "application": application,
        "when": reader.between(min(moments), max(moments)),
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
        "hosted_consent.revoked": ngettext("%(count)s consent revoked", "%(count)s consents revoked", count),
        "api_keys.rotated": ngettext("%(count)s API key replaced", "%(count)s API keys replaced", count),
        "meter_data.received": ngettext(
            "%(count)s batch of new meter data", "%(count)s batches of new meter data", count
        ),
        "hosted_consent.approved": ngettext(
            "%(count)s consent approved", "%(count)s consents approved", count
        ),
        "customer.created": ngettext("%(count)s customer added", "%(count)s customers added", count),
        "meter.created": ngettext("%(count)s meter added", "%(count)s meters added", count),
        "user.created": ngettext("%(count)s person given access", "%(count)s people given access", count),
    }


def counted_others(count: int) -> str:
    return ngettext("%(count)s other event", "%(count)s other events", count)
