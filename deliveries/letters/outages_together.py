"""The news of several subscriptions in one letter: those of the same kind, that contacts are told of at the same time.

What is said of one alone is in `outages.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from deliveries.letters import Action, Letter, Section
from deliveries.letters.facts import Fact
from deliveries.letters.handling import to_the_page
from deliveries.letters.numbers import number
from deliveries.letters.outages import (
    Outage,
    counted,
    goes_out_now,
    joined,
    lost_meanwhile,
    lost_so_far,
    replay_since,
    to_the_reference,
    what_waits,
)
from deliveries.letters.reader import Reader
from deliveries.letters.reading import isolated, name, said

MOST_PREVIEWED = 3
LONGEST_PLACE = 100


@dataclass(frozen=True)
class Outages:
    """Two or more of one application. `pages` are where to say to be on it, of each; empty where nobody has to be."""

    all: Sequence[Outage]
    application: str
    reader: Reader
    pages: Sequence[str]

    @property
    def words(self) -> dict[str, str]:
        return {
            "count": number(len(self.all)),
            "application": self.application,
            "since": self.earliest("since"),
            "disable_at": self.earliest("disable_at"),
        }

    def earliest(self, of: str) -> str:
        return self.reader.moment(min(datetime.fromisoformat(one.facts[of]) for one in self.all))

    @property
    def lost(self) -> list[int]:
        return [one.lost for one in self.all]

    @property
    def send_again(self) -> str:
        if not any(self.lost):
            return ""
        since = min(one.facts["failed_from"] for one in self.all if one.lost)
        told = _(
            "What failed for good is sent again by a replay of each, once its receiver works: POST "
            "/v1/subscriptions/{id}/replays with %(wish)s."
        )
        return told % {"wish": replay_since(since)}

    def section(self, title: str, line: Callable[[Outage], str]) -> Section:
        return Section(
            title=title,
            lines=[line(one) for one in self.all],
            links=[on_it(page) for page in self.pages],
        )

    @property
    def preview(self) -> str:
        named = ", ".join(place(one) for one in self.all[:MOST_PREVIEWED])
        return f"{named}, …" if len(self.all) > MOST_PREVIEWED else named

    @property
    def details(self) -> list[Fact]:
        return [
            Fact(_("Subscriptions"), number(len(self.all))),
            Fact(_("Notifications that wait"), counted([one.facts["unfinished"] for one in self.all])),
            Fact(_("Notifications that failed for good"), counted(self.lost)),
        ]


Writer = Callable[[Outages], Letter]


def on_it(page: str) -> Action | None:
    return to_the_page(_("I'm on it"), page) if page else None


def place(outage: Outage) -> str:
    """By what its people know a subscription, without what mail programs would make a link of."""
    url = said(outage.facts["url"], LONGEST_PLACE)
    called = name(outage.facts["description"])
    return f"{isolated(called)} ({url})" if called else url


def failing(outages: Outages) -> Letter:
    what = _(
        "Every attempt to tell these %(count)s subscriptions what happens in %(application)s has failed."
    )
    return Letter(
        subject=_("Webhooks of %(count)s subscriptions have failed since %(since)s") % outages.words,
        preview=outages.preview,
        what=what % outages.words,
        sections=[outages.section(_("Failing"), since_when)],
        meaning=joined(
            what_waits(outages.lost),
            _(
                "A subscription of which no attempt succeeds for five days is disabled; you are warned the day before."
            ),
        ),
        todo=joined(look_at_them(), outages.send_again),
        action=to_what_was_sent(),
        details=outages.details,
    )


def disabling(outages: Outages) -> Letter:
    what = _(
        "Every attempt to tell these %(count)s subscriptions what happens in %(application)s has failed for days. Each "
        "is disabled at the time below, if none succeeds until then."
    )
    return Letter(
        subject=_("Webhooks of %(count)s subscriptions will be disabled from %(disable_at)s on")
        % outages.words,
        preview=outages.preview,
        what=what % outages.words,
        sections=[outages.section(_("To be disabled"), when_to_be_disabled)],
        meaning=joined(
            _(
                "One attempt that succeeds before then is enough to prevent it. A disabled subscription is sent "
                "nothing more; what happens is held for it until somebody resumes it."
            ),
            lost_so_far(outages.lost),
        ),
        todo=joined(look_at_them(), outages.send_again),
        action=to_what_was_sent(),
        details=outages.details,
    )


def disabled(outages: Outages) -> Letter:
    what = _(
        "These %(count)s subscriptions, which tell what happens in %(application)s, were disabled, because "
        "every attempt had failed for five days."
    )
    return ended(outages, what % outages.words, when_disabled_and_why)


def gone(outages: Outages) -> Letter:
    what = _(
        "These %(count)s subscriptions, which tell what happens in %(application)s, were disabled, because "
        "their receivers answered 410 Gone: they want no more notifications."
    )
    return ended(outages, what % outages.words, when_disabled)


def ended(outages: Outages, what: str, line: Callable[[Outage], str]) -> Letter:
    return Letter(
        subject=_("Webhooks of %(count)s subscriptions are disabled") % outages.words,
        preview=outages.preview,
        what=what,
        sections=[outages.section(_("Disabled"), line)],
        meaning=joined(
            _(
                "Nothing more is sent to them. What waits, and what happens from now on, is held for each and goes "
                "out when somebody resumes it."
            ),
            lost_so_far(outages.lost),
        ),
        todo=joined(
            _(
                "Say first which of them you are on: the others who were told of it see who is. Fix the receivers; "
                "then resume the subscriptions: POST /v1/subscriptions/{id}/resume."
            ),
            outages.send_again,
        ),
        action=to_the_reference(_("See how to resume them")),
        details=outages.details,
    )


def recovered(outages: Outages) -> Letter:
    what = _(
        "Attempts to tell these %(count)s subscriptions what happens in %(application)s succeed again. They had failed."
    )
    return Letter(
        subject=_("Webhooks of %(count)s subscriptions get through again") % outages.words,
        preview=outages.preview,
        what=what % outages.words,
        sections=[outages.section(_("Getting through again"), when_recovered)],
        meaning=joined(lost_meanwhile(outages.lost), goes_out_now(outages.lost)),
        todo=outages.send_again or _("Nothing more."),
        action=to_the_reference(_("See how to send again what failed")) if any(outages.lost) else None,
        details=outages.details,
    )


def since_when(one: Outage) -> str:
    told = _("%(place)s: since %(since)s.") % {"place": place(one), "since": one.moment("since")}
    return joined(told, lost_of(one), one.last_answer)


def when_to_be_disabled(one: Outage) -> str:
    told = _("%(place)s: on %(at)s.") % {"place": place(one), "at": one.moment("disable_at")}
    return joined(told, lost_of(one), one.last_answer)


def when_disabled(one: Outage) -> str:
    told = _("%(place)s: on %(at)s.") % {"place": place(one), "at": one.moment("at")}
    return joined(told, lost_of(one))


def when_disabled_and_why(one: Outage) -> str:
    return joined(when_disabled(one), one.last_answer)


def when_recovered(one: Outage) -> str:
    words = {"place": place(one), "at": one.moment("at"), "since": one.moment("since")}
    return joined(_("%(place)s: since %(at)s. It had failed since %(since)s.") % words, lost_of(one))


def lost_of(one: Outage) -> str:
    return _("Failed for good: %(failed)s.") % one.words if one.lost else ""


def look_at_them() -> str:
    return _(
        "Many that fail at once often have one cause: look at what they have in common. GET /v1/deliveries?"
        "subscription_id=… shows what was sent to one of them and what came back. Delete those that nobody needs."
    )


def to_what_was_sent() -> Action:
    return to_the_reference(_("See how to look at what was sent"))
