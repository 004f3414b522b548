"""What is said of things that a person should handle: the button for it, who has it, and the notes about that."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote

from django.utils.translation import gettext as _

from deliveries.channels import Handling
from deliveries.letters import Action, Letter, Told
from deliveries.letters.facts import Fact
from deliveries.letters.reader import Reader
from deliveries.letters.reading import SCHEME, clean, isolated

HANDLED = ("hosted_consent.revoked", "api_keys.rotated")  # the types of events that a person should handle
LONGEST_OUTCOME = 500


def who(handling: Handling | None, reader: Reader) -> str:
    """One sentence on who is on it, or what came of it; empty while nobody is."""
    if handling is None:
        return ""
    words = {
        "who": clean(handling.by),
        "since": reader.moment(handling.since),
        "outcome": isolated(clean(SCHEME.sub("", handling.outcome), LONGEST_OUTCOME)),
    }
    if handling.done_at is None:
        return _("%(who)s is on it since %(since)s.") % words
    words["done"] = reader.moment(handling.done_at)
    if words["outcome"]:
        return _("Done by %(who)s on %(done)s: %(outcome)s") % words
    return _("Done by %(who)s on %(done)s.") % words


def yours(handling: Handling, reader: Reader) -> str:
    words = {"since": reader.moment(handling.since)}
    return _("You are on it since %(since)s. The others who were told of it see that.") % words


def write_to_them(email: str) -> Action:
    label = _("Write to %(whom)s") % {"whom": email}
    return Action(label, f"mailto:{quote(email, safe='@')}", label)


def page_for(email: str, application: str) -> str:
    words = {"email": email, "application": application}
    return _("This page is for %(email)s, who was told of it by %(application)s.") % words


def handled(letter: Letter, told: Told) -> Letter:
    """The letter with the button for whoever handles it; what was its button is a link below."""
    if not told.case:
        return letter
    letter = with_button(letter, told.case, told.handling)
    said = who(told.handling, told.reader)
    return replace(letter, details=[Fact(_("Handled"), said), *letter.details]) if said else letter


def with_button(letter: Letter, url: str, handling: Handling | None = None) -> Letter:
    if handling is not None:
        return replace(letter, action=to_the_page(_("See who is on it"), url), link=letter.action)
    hint = _("Say first that you are on it: the others who were told of it see who is.")
    return replace(
        letter,
        todo=f"{letter.todo} {hint}".strip(),
        action=to_the_page(_("I'm on it"), url),
        link=letter.action,
    )


def to_the_page(label: str, url: str) -> Action:
    plain = _("%(label)s: open this page and press the button: %(url)s")
    return Action(label, url, plain % {"label": label, "url": url})


@dataclass(frozen=True)
class Note:
    """What a note is about: the letter that told of it, the reader's page, who did something, and who is on it now."""

    about: Letter
    url: str
    by: str
    handling: Handling | None
    reader: Reader

    @property
    def words(self) -> dict[str, str]:
        return {"who": clean(self.by), "what": self.about.subject}

    def letter(self, subject: str, what: str) -> Letter:
        """A short one: what is new, and what it is about."""
        return Letter(
            subject=subject,
            preview=what,
            what=what,
            meaning=self.about.what,
            action=to_the_page(_("See who is on it"), self.url),
        )


Writer = Callable[[Note], Letter]


def taken(note: Note) -> Letter:
    return note.letter(_("%(who)s is on it: %(what)s") % note.words, who(note.handling, note.reader))


def done(note: Note) -> Letter:
    return note.letter(_("Done: %(what)s") % note.words, who(note.handling, note.reader))


def handed_over(note: Note) -> Letter:
    what = _("%(who)s has handed this over to you: now you are the one who is on it.")
    letter = note.letter(_("For you: %(what)s") % note.words, what % note.words)
    return replace(letter, todo=note.about.todo, link=note.about.action)


def unhandled(note: Note) -> Letter:
    what = _("You were told of this a working day ago or longer, and nobody has said to be on it.")
    letter = note.letter(_("Nobody is on it yet: %(what)s") % note.words, what)
    return with_button(replace(letter, todo=note.about.todo, action=note.about.action), note.url)
