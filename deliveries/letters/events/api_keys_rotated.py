from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters import ADDRESS, Letter, Told, pass_on

EVENT_TYPE = "api_keys.rotated"
SENTENCE = gettext_noop("An API key was replaced.")


def letter(told: Told) -> Letter:
    key = told.text("name") or told.text("prefix")
    subject = _("API key replaced: %(key)s") % {"key": key}
    what = happened(told, key)
    ask = _("Was it meant that the API key %(key)s was replaced?") % {"key": key}
    return Letter(
        subject=subject,
        preview=deadline(told),
        what=what,
        meaning=deadline(told),
        todo=f"{find_out(told)} {_('Check that every program which used the old key has the new one.')}",
        action=pass_on(_("Ask your team about it"), ask, what),
        details=told.facts(
            ("name", "prefix", "rotated_by", "rotated_at", "old_key_expires_at", "api_key_id"),
        ),
    )


def happened(told: Told, key: str) -> str:
    words = {"key": key, "application": told.application, "at": told.when("rotated_at")}
    if by := told.text("rotated_by"):
        return _("%(by)s replaced the API key “%(key)s” of %(application)s on %(at)s.") % {"by": by, **words}
    return _("The API key “%(key)s” of %(application)s was replaced on %(at)s.") % words


def find_out(told: Told) -> str:
    """By no email to whoever did it: if the account was taken over, a thief answers."""
    by = told.text("rotated_by")
    if ADDRESS.fullmatch(by):
        return _(
            "Ask %(by)s in person or by phone whether it was meant, not by email: if the account was taken over, the "
            "mailbox may be, too. If it was not meant, revoke the key and find out who has access."
        ) % {"by": by}
    return _(
        "Check that somebody on your team meant to do this. If nobody did, revoke the key and find out who has access."
    )


def deadline(told: Told) -> str:
    if until := told.text("old_key_expires_at"):
        return _("The old key works until %(until)s. Programs that still use it then are refused.") % {
            "until": until
        }
    return _("The old key has stopped working. Programs that still use it are refused.")
