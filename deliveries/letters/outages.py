"""What the contacts of an application are told when a subscription fails for long, and when it gets through again.

The words are for whoever looks after the receiver. Of the URL's query nothing is said, for it may be a token.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deliveries.letters import Action, Letter, pass_on
from deliveries.letters.answers import answer
from deliveries.letters.facts import Fact
from deliveries.letters.handling import to_read
from deliveries.letters.numbers import number
from deliveries.letters.reader import Reader
from deliveries.letters.reading import isolated, name, said

MOST_COUNTED = 1000
LONGEST_RECEIVER = 60
LONGEST_DESCRIPTION = 40


@dataclass(frozen=True)
class Outage:
    """A subscription that fails, as letters speak of it. The facts are `deliveries.failing.facts`."""

    facts: Mapping[str, Any]
    application: str
    subscription_id: str
    reader: Reader

    @property
    def receiver(self) -> str:
        """What its people call it, and the host, to which there may be others."""
        host = said(urlsplit(self.facts["url"]).netloc, LONGEST_RECEIVER) or _("the receiver")
        called = said(self.facts["description"], LONGEST_DESCRIPTION)
        return isolated(f"{called} ({host})") if called else host

    @property
    def last_answer(self) -> str:
        return answer(self.facts["last_error"])

    @property
    def waiting(self) -> str:
        return counted([self.facts["unfinished"]])

    @property
    def lost(self) -> int:
        """How many have failed for good since the outage began."""
        return int(self.facts["failed"])

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
            "failed": counted([self.lost]),
            "wish": replay_since(self.facts["failed_from"]) if self.lost else "",
            "answer": self.last_answer,
            "path": f"/v1/subscriptions/{self.subscription_id}",
            "id": self.subscription_id,
        }

    def details(self, *more: tuple[str, str]) -> list[Fact]:
        told = [
            (_("Receiver"), said(self.facts["url"])),
            (_("Description"), name(self.facts["description"])),
            (_("Failing since"), self.moment("since")),
            (_("Failed attempts"), number(self.facts["failures"]) if self.facts["failures"] else ""),
            (_("The last failure"), self.last_answer),
            (_("Notifications that wait"), self.waiting),
            (_("Notifications that failed for good"), counted([self.lost])),
            *more,
        ]
        return [Fact(label, isolated(value)) for label, value in told if value]


Writer = Callable[[Outage], Letter]


def counted(counts: Collection[int]) -> str:
    """All of them together. Each is counted to a bound."""
    total = number(sum(min(count, MOST_COUNTED) for count in counts))
    return _("more than %(most)s") % {"most": total} if max(counts) > MOST_COUNTED else total


def lost_so_far(counts: Collection[int]) -> str:
    """What is said of what failed for good, if anything has."""
    told = ngettext(
        "%(count)s notification has failed for good so far, and is not tried again.",
        "%(count)s notifications have failed for good so far, and are not tried again.",
        sum(counts),
    )
    return capitalized(told % {"count": counted(counts)}) if sum(counts) else ""


def lost_meanwhile(counts: Collection[int]) -> str:
    told = ngettext(
        "%(count)s notification has failed for good meanwhile, and is not sent by itself.",
        "%(count)s notifications have failed for good meanwhile, and are not sent by themselves.",
        sum(counts),
    )
    return capitalized(told % {"count": counted(counts)}) if sum(counts) else ""


def capitalized(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def replay_since(since: str) -> str:
    """The body of a request for the replay of what failed."""
    moment = datetime.fromisoformat(since).astimezone(UTC).isoformat(timespec="milliseconds")
    return f'{{"since": "{moment.replace("+00:00", "Z")}", "only": "failed"}}'


def send_again(outage: Outage) -> str:
    told = _(
        "What failed for good is sent again by a replay, once the receiver works: POST %(path)s/replays with %(wish)s."
    )
    return told % outage.words if outage.lost else ""


def joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def failing(outage: Outage) -> Letter:
    words = outage.words
    subject = _("Webhooks to %(receiver)s have failed since %(since)s") % words
    what = _("Every attempt to tell %(receiver)s what happens in %(application)s has failed since %(since)s.")
    return Letter(
        subject=subject,
        preview=latest(outage) or what % words,
        what=what % words,
        meaning=joined(
            what_waits([outage.lost]),
            _(
                "If no attempt succeeds for five days, until %(disable_at)s, the subscription is disabled; you are "
                "warned the day before."
            )
            % words,
        ),
        todo=look_at_it(outage),
        action=to_the_receivers_people(outage, subject, what % words),
        details=outage.details((_("Disabled, unless one succeeds"), outage.moment("disable_at"))),
    )


def what_waits(lost: Collection[int]) -> str:
    if told := lost_so_far(lost):
        return joined(told, _("What else could not be delivered waits and is tried again."))
    return _("Nothing is lost so far: what could not be delivered waits and is tried again.")


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
        meaning=joined(
            _(
                "One attempt that succeeds before then is enough to prevent it. A disabled subscription is sent "
                "nothing more; what happens is held for it until somebody resumes it."
            ),
            lost_so_far([outage.lost]),
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
    todo = _("Fix the receiver. Then resume the subscription: POST %(path)s/resume.")
    return ended(outage, what % outage.words, todo % outage.words)


def gone(outage: Outage) -> Letter:
    what = _(
        "The subscription that tells %(receiver)s what happens in %(application)s was disabled on %(at)s, because "
        "the receiver answered 410 Gone: it wants no more notifications."
    )
    todo = _(
        "If that was meant, delete the subscription. If not, fix the receiver; then resume the subscription: POST "
        "%(path)s/resume."
    )
    return ended(outage, what % outage.words, todo % outage.words)


def ended(outage: Outage, what: str, todo: str) -> Letter:
    words = outage.words
    return Letter(
        subject=_("Webhooks to %(receiver)s are disabled") % words,
        preview=joined(
            _(
                "Nothing is sent until somebody resumes the subscription. Notifications that wait: %(waiting)s."
            )
            % words,
            _("Failed for good: %(failed)s.") % words if outage.lost else "",
        ),
        what=what,
        meaning=joined(
            _(
                "Nothing more is sent to it. What waits, and what happens from now on, is held for it and goes out "
                "when somebody resumes it."
            ),
            lost_so_far([outage.lost]),
        ),
        todo=joined(todo, send_again(outage)),
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
        meaning=joined(lost_meanwhile([outage.lost]), goes_out_now([outage.lost])),
        todo=send_again(outage) or _("Nothing more."),
        action=to_the_reference(_("See how to send again what failed")) if outage.lost else None,
        details=outage.details((_("Succeeded"), outage.moment("at"))),
    )


def goes_out_now(lost: Collection[int]) -> str:
    return (
        _("What waits goes out now, by itself.")
        if any(lost)
        else _("Nothing is lost: what waits goes out now, by itself.")
    )


def latest(outage: Outage) -> str:
    return f"{outage.in_a_row} {outage.last_answer}".strip()


def look_at_it(outage: Outage) -> str:
    look = _(
        "Find out why no attempt succeeds: GET /v1/deliveries?subscription_id=%(id)s shows what was sent and what came "
        "back. If nobody needs the subscription any more, delete it."
    )
    return joined(look % outage.words, send_again(outage))


def to_the_receivers_people(outage: Outage, subject: str, what: str) -> Action:
    return pass_on(_("Tell the people who run the receiver"), subject, f"{what} {outage.last_answer}".strip())


def to_the_reference(label: str) -> Action:
    return to_read(label, f"{settings.PUBLIC_URL}/docs/")
