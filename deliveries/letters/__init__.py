"""What emails say, apart from how they look: a `Letter` is words, in one reader's language and time zone.

`events/` has one file a type of event, `layout` makes the text and the HTML of any letter. Whoever has something new
to say (a digest, a warning) writes a `Letter`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import Any
from urllib.parse import quote

from django.utils.translation import gettext as _

from deliveries.channels import Handling
from deliveries.letters.charts import Chart
from deliveries.letters.facts import Fact, facts, shown
from deliveries.letters.reader import Reader
from deliveries.letters.reading import as_moment, at, cut, isolated, said, searchable
from deliveries.letters.stretches import NewData

LONGEST_ADDRESS = 100
LONGEST_BODY = 300
LONGEST_LABEL = 40
DAY = re.compile(r"\d{4}-\d\d-\d\d")  # how moments begin

# Fewer than RFC 5322 allows: nothing that a mailto link would take for another header, nor a person for a trick.
ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")


@dataclass(frozen=True)
class Action:
    """The one button. `plain` is what the text part says instead."""

    label: str
    url: str
    plain: str


@dataclass(frozen=True)
class Section:
    """Several things of one kind, a line each, and for each a link, if there are `links`."""

    title: str
    lines: Sequence[str]
    more: str = ""
    links: Sequence[Action | None] = ()

    @property
    def rows(self) -> Iterator[tuple[str, Action | None]]:
        return zip_longest(self.lines, self.links)


@dataclass(frozen=True)
class Letter:
    """An email's words, not escaped. `preview` is what a mailbox shows next to the subject, and the text part's first
    line if there is no `opening`.

    `what` happened is one sentence; `meaning` and `todo` may be empty, and so may everything after them. `link` stands
    below the button, in plain words. What is in `rest` can wait: it comes after the button.
    """

    subject: str
    preview: str
    what: str
    meaning: str = ""
    todo: str = ""
    opening: str = ""
    action: Action | None = None
    link: Action | None = None
    items: Sequence[str] = ()
    details: Sequence[Fact] = ()
    data: NewData | None = None
    sections: Sequence[Section] = ()
    rest: Sequence[Section] = ()
    charts: Sequence[Chart] = ()
    small: str = ""


class Unnamed(Exception):
    """The payload has nothing that what it tells of could be called by."""


@dataclass(frozen=True)
class Told:
    """One event as a letter speaks of it: whatever the payload's shape, short and clean text comes out.

    `case` is the page on which its reader can say to be on it; empty for what needs nobody. `customer` is what an
    earlier event has called the customer; empty when none has. `is_theirs` if the reader is the one who is on it.
    """

    event_type: str
    occurred_at: datetime
    payload: Any = field(repr=False)
    application: str
    reader: Reader
    case: str = ""
    handling: Handling | None = None
    customer: str = ""
    is_theirs: bool = False

    @property
    def happened(self) -> str:
        return self.reader.moment(self.occurred_at)

    def text(self, path: str) -> str:
        """The text, number or moment at `a.b.c` of the payload; empty when there is none."""
        return isolated(shown(at(self.payload, path), path, self.reader))

    def name(self, *paths: str) -> str:
        """The text at the first of these paths that has one. Raises `Unnamed` when none has."""
        for path in paths:
            if text := self.text(path):
                return text
        raise Unnamed

    def when(self, path: str) -> str:
        """The moment at this path, as it was written if it has no time zone; when there is none, that of the event."""
        text = self.text(path)
        return text if text and DAY.match(str(at(self.payload, path))) else self.happened

    def has_come(self, path: str, since: str) -> bool:
        """Whether the moment at the first path is not after that at the second, or of the event."""
        moment = as_moment(at(self.payload, path))
        return moment is not None and moment <= (as_moment(at(self.payload, since)) or self.occurred_at)

    def facts(self, paths: Sequence[str]) -> list[Fact]:
        """What the payload has at these paths, in this order."""
        return facts(self.payload, self.reader, paths)


def write_to(told: Told, path: str, label: str, subject: str) -> Action | None:
    """A button that opens an email to the address at this path of the payload, if it is a plain one."""
    address = str(at(told.payload, path))
    if len(address) > LONGEST_ADDRESS or not ADDRESS.fullmatch(address):
        return None
    plain = _("%(label)s: write to %(address)s.") % {"label": label, "address": address}
    return Action(label, f"mailto:{quote(address, safe='@')}?subject={quote(searchable(subject))}", plain)


def write_to_customer(told: Told, customer: str, subject: str) -> Action | None:
    """The same, to the customer at this path (`""` for the payload itself), called by name."""
    path = f"{customer}." if customer else ""
    whom = cut(told.text(f"{path}name"), LONGEST_LABEL) or _("the customer")
    return write_to(told, f"{path}email", _("Write to %(whom)s") % {"whom": whom}, subject)


def pass_on(label: str, subject: str, body: str) -> Action:
    """A button that opens an email in which all is said, to whom the reader chooses."""
    url = f"mailto:?subject={quote(searchable(subject))}&body={quote(said(body, LONGEST_BODY))}"
    plain = _(
        "%(label)s: write an email of your own. Do not forward this one, for whoever has its links can act for you."
    )
    return Action(label, url, plain % {"label": label})
