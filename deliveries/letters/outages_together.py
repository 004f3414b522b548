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
from deliveries.letters.outages import MOST_COUNTED, Outage, to_the_reference
from deliveries.letters.reader import Reader
from deliveries.letters.reading import SCHEME, clean, isolated, name

MOST_LISTED = 20
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
            "more": number(len(self.all) - MOST_LISTED),
        }

    def earliest(self, of: str) -> str:
        return self.reader.moment(min(datetime.fromisoformat(one.facts[of]) for one in self.all))

    @property
    def waiting(self) -> str:
        """Each is counted to a bound."""
        counts = [int(one.facts["unfinished"]) for one in self.all]
        total = sum(min(count, MOST_COUNTED) for count in counts)
        return (
            _("more than %(most)s") % {"most": number(total)} if max(counts) > MOST_COUNTED else number(total)
        )

    def section(self, title: str, line: Callable[[Outage], str]) -> Section:
        return Section(
            title=title,
            lines=[line(one) for one in self.all[:MOST_LISTED]],
            more=_("and %(more)s more") % self.words if len(self.all) > MOST_LISTED else "",
            links=[on_it(page) for page in self.pages[:MOST_LISTED]],
        )

    @property
    def preview(self) -> str:
        named = ", ".join(place(one) for one in self.all[:MOST_PREVIEWED])
        return f"{named}, …" if len(self.all) > MOST_PREVIEWED else named

    @property
    def details(self) -> list[Fact]:
        return [
            Fact(_("Subscriptions"), number(len(self.all))),
            Fact(_("Notifications that wait"), self.waiting),
        ]


Writer = Callable[[Outages], Letter]


def on_it(page: str) -> Action | None:
    return to_the_page(_("I'm on it"), page) if page else None


def place(outage: Outage) -> str:
    """By what its people know a subscription, without what mail programs would make a link of."""
    url = clean(SCHEME.sub("", outage.facts["url"]), LONGEST_PLACE)
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
        meaning=_(
            "Nothing is lost: what could not be delivered waits and is tried again. A subscription of which no attempt "
            "succeeds for five days is disabled; you are warned the day before."
        ),
        todo=look_at_them(),
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
        meaning=_(
            "One attempt that succeeds before then is enough to prevent it. A disabled subscription is sent nothing "
            "more; what happens is held for it until somebody resumes it."
        ),
        todo=look_at_them(),
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
        meaning=_(
            "Nothing more is sent to them. What waits, and what happens from now on, is held for each and goes out "
            "when somebody resumes it."
        ),
        todo=_(
            "Say first which of them you are on: the others who were told of it see who is. Mend the receivers; then "
            "resume the subscriptions: POST /v1/subscriptions/{id}/resume."
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
        meaning=_("What waits goes out now, by itself."),
        todo=_(
            "See whether deliveries have used up their attempts meanwhile: GET /v1/deliveries?status=failed. They are "
            "sent again by POST /v1/subscriptions/{id}/replays."
        ),
        action=to_the_reference(_("See how to send again what failed")),
        details=outages.details,
    )


def since_when(one: Outage) -> str:
    said = _("%(place)s: since %(since)s.") % {"place": place(one), "since": one.moment("since")}
    return f"{said} {one.last_answer}".strip()


def when_to_be_disabled(one: Outage) -> str:
    said = _("%(place)s: on %(at)s.") % {"place": place(one), "at": one.moment("disable_at")}
    return f"{said} {one.last_answer}".strip()


def when_disabled(one: Outage) -> str:
    return _("%(place)s: on %(at)s.") % {"place": place(one), "at": one.moment("at")}


def when_disabled_and_why(one: Outage) -> str:
    return f"{when_disabled(one)} {one.last_answer}".strip()


def when_recovered(one: Outage) -> str:
    words = {"place": place(one), "at": one.moment("at"), "since": one.moment("since")}
    return _("%(place)s: since %(at)s. It had failed since %(since)s.") % words


def look_at_them() -> str:
    return _(
        "Many that fail at once often have one cause: look at what they have in common. GET /v1/deliveries?"
        "subscription_id=… shows what was sent to one of them and what came back. Delete those that nobody needs."
    )


def to_what_was_sent() -> Action:
    return to_the_reference(_("See how to look at what was sent"))
