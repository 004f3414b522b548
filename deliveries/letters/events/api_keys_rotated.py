from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters import ADDRESS, Letter, Told, pass_on
from deliveries.letters.facts import Fact
from deliveries.letters.reading import in_quotes

EVENT_TYPE = "api_keys.rotated"
SENTENCE = gettext_noop("An API key was replaced.")


def letter(told: Told) -> Letter:
    key = told.name("name", "prefix")
    subject = _("API key replaced: %(key)s") % {"key": key}
    what = happened(told, key)
    ask = _("Was it meant that the API key %(key)s was replaced?") % {"key": key}
    return Letter(
        subject=subject,
        preview=deadline(told),
        what=what,
        meaning=deadline(told),
        todo=" ".join(
            [find_out(told), _("Check that every program which used the old key has the new one.")]
        ),
        action=pass_on(_("Ask your team about it"), ask, what),
        details=[
            *told.facts(("name", "rotated_by", "rotated_at", "old_key_expires_at")),
            *both_keys(told),
        ],
    )


def both_keys(told: Told) -> list[Fact]:
    """Neither can be taken for the other: whoever has to revoke one needs its ID."""
    said = {
        _("New key begins with"): "new_prefix",
        _("New key's ID"): "new_api_key_id",
        _("Old key begins with"): "prefix",
        _("Old key's ID"): "api_key_id",
    }
    return [Fact(label, text) for label, path in said.items() if (text := told.text(path))]


def happened(told: Told, key: str) -> str:
    words = {"key": in_quotes(key), "application": told.application, "at": told.when("rotated_at")}
    if by := told.text("rotated_by"):
        return _("%(by)s replaced the API key “%(key)s” of %(application)s on %(at)s.") % {"by": by, **words}
    return _("The API key “%(key)s” of %(application)s was replaced on %(at)s.") % words


def find_out(told: Told) -> str:
    """By no email to whoever did it: if the account was taken over, a thief answers."""
    by = told.text("rotated_by")
    if ADDRESS.fullmatch(by):
        return _(
            "Ask %(by)s in person or by phone whether it was meant, not by email: if the account was taken over, the "
            "mailbox may be, too. If it was not meant, revoke the new key and find out who has access."
        ) % {"by": by}
    return _(
        "Check that somebody on your team meant to do this. If nobody did, revoke the new key and find out who has "
        "access."
    )


def deadline(told: Told) -> str:
    until = told.text("old_key_expires_at")
    if until and not told.has_come("old_key_expires_at", "rotated_at"):
        return _("The old key works until %(until)s. Programs that still use it then are refused.") % {
            "until": until
        }
    return _("The old key has stopped working. Programs that still use it are refused.")
