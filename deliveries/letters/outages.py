"""What the contacts of an application are told when a subscription fails for long, and when it gets through again.

The words are for whoever looks after the receiver. Of the URL's query nothing is said, for it may be a token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

from deliveries.letters import Action, Letter, pass_on
from deliveries.letters.answers import answer
from deliveries.letters.facts import Fact
from deliveries.letters.handling import to_read
from deliveries.letters.numbers import number
from deliveries.letters.reader import Reader
from deliveries.letters.reading import clean, isolated, name

MOST_COUNTED = 1000
LONGEST_RECEIVER = 60


@dataclass(frozen=True)
class Outage:
    """A subscription that fails, as letters speak of it. The facts are `deliveries.failing.facts`."""

    facts: Mapping[str, Any]
    application: str
    subscription_id: str
    reader: Reader

    @property
    def receiver(self) -> str:
        """The host."""
        return clean(urlsplit(self.facts["url"]).netloc, LONGEST_RECEIVER) or _("the receiver")

    @property
    def last_answer(self) -> str:
        return answer(self.facts["last_error"])

    @property
    def waiting(self) -> str:
        count = int(self.facts["unfinished"])
        return (
            _("more than %(most)s") % {"most": number(MOST_COUNTED)}
            if count > MOST_COUNTED
            else number(count)
        )

    @property
    def in_a_row(self) -> str:
        count = self.facts["failures"]
        return _("Failed attempts in a row: %(count)s.") % {"count": number(count)} if count else ""

    def moment(self, of: str) -> str:
        return self.reader.moment(datetime.fromisoformat(self.facts[of]))

    @property
    def words(self) -> dict[str, Any]:
        return {
            "application": self.application,
            "receiver": self.receiver,
            "since": self.moment("since"),
            "at": self.moment("at"),
            "disable_at": self.moment("disable_at"),
            "waiting": self.waiting,
            "answer": self.last_answer,
            "path": f"/v1/subscriptions/{self.subscription_id}",
            "id": self.subscription_id,
        }

    def details(self, *more: tuple[str, str]) -> list[Fact]:
        told = [
            (_("Receiver"), clean(self.facts["url"])),
            (_("Description"), name(self.facts["description"])),
            (_("Failing since"), self.moment("since")),
            (_("Failed attempts"), number(self.facts["failures"]) if self.facts["failures"] else ""),
            (_("The last failure"), self.last_answer),
            (_("Notifications that wait"), self.waiting),
            *more,
        ]
        return [Fact(label, isolated(value)) for label, value in told if value]


Writer = Callable[[Outage], Letter]


def failing(outage: Outage) -> Letter:
    words = outage.words
    subject = _("Webhooks to %(receiver)s have failed since %(since)s") % words
    what = _("Every attempt to tell %(receiver)s what happens in %(application)s has failed since %(since)s.")
    return Letter(
        subject=subject,
        preview=latest(outage) or what % words,
        what=what % words,
        meaning=_(
            "Nothing is lost: what could not be delivered waits and is tried again. If no attempt succeeds for five "
            "days, until %(disable_at)s, the subscription is disabled; you are warned the day before."
        )
        % words,
        todo=look_at_it(outage),
        action=to_the_receivers_people(outage, subject, what % words),
        details=outage.details((_("Disabled, unless one succeeds"), outage.moment("disable_at"))),
    )


def disabling(outage: Outage) -> Letter:
    words = outage.words
    subject = _("Webhooks to %(receiver)s will be disabled on %(disable_at)s") % words
    what = _(
        "Every attempt to tell %(receiver)s what happens in %(application)s has failed since %(since)s. If none "
        "succeeds before %(disable_at)s, the subscription is disabled then."
    )
    return Letter(
        subject=subject,
        preview=latest(outage) or what % words,
        what=what % words,
        meaning=_(
            "One attempt that succeeds before then is enough to prevent it. A disabled subscription is sent nothing "
            "more; what happens is held for it until somebody resumes it."
        ),
        todo=look_at_it(outage),
        action=to_the_receivers_people(outage, subject, what % words),
        details=outage.details((_("Disabled, unless one succeeds"), outage.moment("disable_at"))),
    )


def disabled(outage: Outage) -> Letter:
    what = _(
        "The subscription that tells %(receiver)s what happens in %(application)s was disabled on %(at)s, because "
        "every attempt had failed since %(since)s."
    )
    todo = _("Mend the receiver. Then resume the subscription: POST %(path)s/resume.")
    return ended(outage, what % outage.words, todo % outage.words)


def gone(outage: Outage) -> Letter:
    what = _(
        "The subscription that tells %(receiver)s what happens in %(application)s was disabled on %(at)s, because "
        "the receiver answered 410 Gone: it wants no more notifications."
    )
    todo = _(
        "If that was meant, delete the subscription. If not, mend the receiver; then resume the subscription: POST "
        "%(path)s/resume."
    )
    return ended(outage, what % outage.words, todo % outage.words)


def ended(outage: Outage, what: str, todo: str) -> Letter:
    words = outage.words
    return Letter(
        subject=_("Webhooks to %(receiver)s are disabled") % words,
        preview=_(
            "Nothing is sent until somebody resumes the subscription. Notifications that wait: %(waiting)s."
        )
        % words,
        what=what,
        meaning=_(
            "Nothing more is sent to it. What waits, and what happens from now on, is held for it and goes out when "
            "somebody resumes it."
        ),
        todo=todo,
        action=to_the_reference(_("See how to resume it")),
        details=outage.details((_("Disabled"), outage.moment("at"))),
    )


def recovered(outage: Outage) -> Letter:
    words = outage.words
    return Letter(
        subject=_("Webhooks to %(receiver)s get through again") % words,
        preview=_("The attempt of %(at)s succeeded; what waits goes out now.") % words,
        what=_(
            "An attempt to tell %(receiver)s what happens in %(application)s succeeded on %(at)s, after all had failed "
            "since %(since)s."
        )
        % words,
        meaning=_("What waits goes out now, by itself."),
        todo=_(
            "See whether deliveries have used up their attempts meanwhile: GET /v1/deliveries?subscription_id=%(id)s"
            "&status=failed. They are sent again by POST %(path)s/replays."
        )
        % words,
        action=to_the_reference(_("See how to send again what failed")),
        details=outage.details((_("Succeeded"), outage.moment("at"))),
    )


def latest(outage: Outage) -> str:
    return f"{outage.in_a_row} {outage.last_answer}".strip()


def look_at_it(outage: Outage) -> str:
    return (
        _(
            "Find out why the receiver refuses: GET /v1/deliveries?subscription_id=%(id)s shows what was sent and what "
            "came back. If nobody needs the subscription any more, delete it."
        )
        % outage.words
    )


def to_the_receivers_people(outage: Outage, subject: str, what: str) -> Action:
    return pass_on(_("Tell the people who run the receiver"), subject, f"{what} {outage.last_answer}".strip())


def to_the_reference(label: str) -> Action:
    return to_read(label, f"{settings.PUBLIC_URL}/docs/")
