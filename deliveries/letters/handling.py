"""What is said of things that a person should handle: the button for it, who has it, and the notes about that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import quote

from django.utils.translation import gettext as _

from deliveries.channels import Handling
from deliveries.letters import Action, Letter, Section, Told
from deliveries.letters.numbers import number
from deliveries.letters.reader import Reader
from deliveries.letters.reading import clean, fitting, isolated, name, said

HANDLED = ("hosted_consent.revoked", "api_keys.rotated")  # the types of events that a person should handle
LONGEST_OUTCOME = 500


def who(handling: Handling | None, reader: Reader) -> str:
    """One sentence on who is on it, or what came of it; empty while nobody is."""
    if handling is None:
        return ""
    words = {
        "who": clean(handling.by),
        "since": reader.moment(handling.since),
        "outcome": isolated(said(handling.outcome, LONGEST_OUTCOME)),
    }
    if handling.done_at is None:
        return _("%(who)s has been on it since %(since)s.") % words
    words["done"] = reader.moment(handling.done_at)
    if not handling.by:
        return done_by_nobody_told(handling, words)
    if words["outcome"]:
        return _("Done by %(who)s on %(done)s: %(outcome)s") % words
    return _("Done by %(who)s on %(done)s.") % words


def done_by_nobody_told(handling: Handling, words: Mapping[str, str]) -> str:
    """An outcome is in words of the service's own then."""
    if handling.outcome:
        return " ".join([_("It is done."), _(handling.outcome)])
    return _("Marked as done by Openvolt staff on %(done)s.") % words


def yours(handling: Handling, reader: Reader) -> str:
    words = {"since": reader.moment(handling.since)}
    return _("You have been on it since %(since)s. The others who were told of it see that.") % words


def write_to_them(email: str) -> Action:
    label = _("Write to %(whom)s") % {"whom": email}
    return Action(label, f"mailto:{quote(email, safe='@')}", label)


def page_for(email: str, application: str) -> str:
    words = {"email": email, "application": isolated(name(application))}
    return _("This page is for %(email)s, who was told of it by %(application)s.") % words


def handled(letter: Letter, told: Told) -> Letter:
    """The letter with the button for whoever handles it; what was its button is a link below."""
    if not told.case:
        return letter
    if told.handling is None:
        return with_button(letter, told.case)
    if told.is_theirs:
        theirs = replace(letter, preview=yours(told.handling, told.reader), opening="")
        return as_theirs(theirs, told.case)
    said = who(told.handling, told.reader)
    return replace(
        letter,
        preview=said,
        opening="",
        todo=_("%(said)s There is nothing for you to do.") % {"said": said},
        action=see(told.handling, told.case),
        link=None if told.handling.done_at else write_to_them(clean(told.handling.by)),
    )


def as_theirs(letter: Letter, url: str) -> Letter:
    """To whoever is on it."""
    return replace(letter, action=to_finish(url), link=letter.action)


def to_finish(url: str) -> Action:
    return to_the_page(_("Finish it, hand it over or give it back"), url)


def with_button(letter: Letter, url: str) -> Letter:
    hint = _("Say first that you are on it: the others who were told of it see who is.")
    return replace(
        letter,
        todo=f"{hint} {letter.todo}".strip(),
        action=to_the_page(_("I'm on it"), url),
        link=letter.action,
    )


def see(handling: Handling, url: str) -> Action:
    return to_read(_("See what came of it") if handling.done_at else _("See who is on it"), url)


def to_read(label: str, url: str) -> Action:
    return Action(label, url, _("%(label)s: %(url)s") % {"label": label, "url": url})


def to_the_page(label: str, url: str) -> Action:
    plain = _("%(label)s: open this page and press the button: %(url)s")
    return Action(label, url, plain % {"label": label, "url": url})


@dataclass(frozen=True)
class Note:
    """What a note is about: the letter that told of it, the reader's page, who did something, and who is on it now.

    `happened_at` tells it from others with the same subject.
    """

    about: Letter
    url: str
    by: str
    handling: Handling | None
    reader: Reader
    happened_at: datetime

    @property
    def words(self) -> dict[str, str]:
        return {"who": clean(self.by), "what": self.about.subject}

    def letter(self, subject: str, what: str) -> Letter:
        """A short one: what is new, and what it is about."""
        return Letter(subject=subject, preview=what, what=what, meaning=self.about.what)


Writer = Callable[[Note], Letter]
WriterOfSeveral = Callable[[Sequence[Note]], Letter]


def taken(note: Note) -> Letter:
    letter = note.letter(_("%(who)s is on it: %(what)s") % note.words, who(note.handling, note.reader))
    return replace(
        letter,
        todo=_("Nothing, unless you know something about it: then write to %(who)s.") % note.words,
        action=to_read(_("See who is on it"), note.url),
        link=write_to_them(clean(note.by)),
    )


def done(note: Note) -> Letter:
    letter = note.letter(_("Done: %(what)s") % note.words, who(note.handling, note.reader))
    return replace(letter, todo=_("Nothing more."), action=to_read(_("See what came of it"), note.url))


def handed_over(note: Note) -> Letter:
    what = _("%(who)s has handed this over to you: now you are the one who is on it.")
    letter = note.letter(_("For you: %(what)s") % note.words, what % note.words)
    return as_theirs(replace(letter, todo=note.about.todo, action=note.about.action), note.url)


def unhandled(note: Note) -> Letter:
    what = _("You were told of this a working day ago or earlier, and nobody is on it yet.")
    letter = note.letter(_("Nobody is on it yet: %(what)s") % note.words, what)
    return with_button(replace(letter, todo=note.about.todo, action=note.about.action), note.url)


def given_back(note: Note) -> Letter:
    what = _("%(who)s is not on it any more, and nobody else is.") % note.words
    letter = note.letter(_("Nobody is on it any more: %(what)s") % note.words, what)
    return with_button(replace(letter, todo=note.about.todo, action=note.about.action), note.url)


def unfinished(note: Note) -> Letter:
    what = yours(note.handling, note.reader) if note.handling else ""
    letter = note.letter(_("You are still on it: %(what)s") % note.words, what)
    return as_theirs(replace(letter, todo=note.about.todo, action=note.about.action), note.url)


def taken_together(notes: Sequence[Note]) -> Letter:
    return several(
        notes,
        with_who,
        subject=_("Somebody is on it: %(count)s things that you were told of"),
        what=_("Somebody is on each of these: there is nothing for you to do."),
        title=_("Somebody is on it"),
        todo=_("Nothing, unless you know something about one of them."),
        label=_("See who is on it"),
        link=to_read,
    )


def done_together(notes: Sequence[Note]) -> Letter:
    return several(
        notes,
        with_who,
        subject=_("Done: %(count)s things that you were told of"),
        what=_("These are done."),
        title=_("Done"),
        todo=_("Nothing more."),
        label=_("See what came of it"),
        link=to_read,
    )


def handed_over_together(notes: Sequence[Note]) -> Letter:
    return several(
        notes,
        subject=_("For you: %(count)s things that you were told of"),
        what=_("These have been handed over to you: now you are the one who is on them."),
        title=_("For you"),
        todo="",
        label=_("Finish it, hand it over or give it back"),
    )


def unhandled_together(notes: Sequence[Note]) -> Letter:
    return several(
        notes,
        subject=_("Nobody is on it yet: %(count)s things that you were told of"),
        what=_("You were told of these a working day ago or earlier, and nobody is on them yet."),
        title=_("Nobody is on it yet"),
        todo=_("Say which of them you are on: the others who were told of it see who is."),
        label=_("I'm on it"),
    )


def given_back_together(notes: Sequence[Note]) -> Letter:
    return several(
        notes,
        subject=_("Nobody is on it any more: %(count)s things that you were told of"),
        what=_("Whoever was on these is not any more, and nobody else is."),
        title=_("Nobody is on it any more"),
        todo=_("Say which of them you are on: the others who were told of it see who is."),
        label=_("I'm on it"),
    )


def unfinished_together(notes: Sequence[Note]) -> Letter:
    return several(
        notes,
        subject=_("You are still on it: %(count)s things that you were told of"),
        what=_("You said a working day ago or earlier that you are on these. The others see that."),
        title=_("You are still on it"),
        todo="",
        label=_("Finish it, hand it over or give it back"),
    )


def about(note: Note) -> str:
    at = note.reader.moment(note.happened_at)
    return _("%(what)s (%(at)s)") % {"what": note.about.subject, "at": at}


def with_who(note: Note) -> str:
    return f"{about(note)} · {who(note.handling, note.reader)}"


def several(
    notes: Sequence[Note],
    line: Callable[[Note], str] = about,
    *,
    subject: str,
    what: str,
    title: str,
    todo: str,
    label: str,
    link: Callable[[str, str], Action] = to_the_page,
) -> Letter:
    """About two or more, a line with a page for each."""
    return Letter(
        subject=subject % {"count": number(len(notes))},
        preview=fitting([note.about.subject for note in notes]),
        what=what,
        sections=[
            Section(
                title=title,
                lines=[line(note) for note in notes],
                links=[link(label, note.url) for note in notes],
            )
        ],
        todo=todo,
    )
