from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters import Letter, Told, pass_on, write_to

EVENT_TYPE = "api_keys.rotated"
SENTENCE = gettext_noop("An API key was replaced.")


def letter(told: Told) -> Letter:
    key = told.text("name") or told.text("prefix")
    subject = _("API key replaced: %(key)s") % {"key": key}
    what = happened(told, key)
    ask = _("Did you replace the API key %(key)s?") % {"key": key}
    return Letter(
        subject=subject,
        preview=deadline(told),
        what=what,
        meaning=deadline(told),
        todo=_(
            "Check that somebody on your team meant to do this, and that every program which used the old key has the "
            "new one. If nobody did, revoke the key and find out who has access."
        ),
        action=write_to(told, "rotated_by", _("Ask who did it"), ask)
        or pass_on(_("Ask your team who did it"), ask, what),
        details=told.facts(
            ("name", "prefix", "rotated_by", "rotated_at", "old_key_expires_at", "api_key_id"),
        ),
    )


def happened(told: Told, key: str) -> str:
    words = {"key": key, "application": told.application, "at": told.when("rotated_at")}
    if by := told.text("rotated_by"):
        return _("%(by)s replaced the API key “%(key)s” of %(application)s on %(at)s.") % {"by": by, **words}
    return _("The API key “%(key)s” of %(application)s was replaced on %(at)s.") % words


def deadline(told: Told) -> str:
    if until := told.text("old_key_expires_at"):
        return _("The old key works until %(until)s. Programs that still use it then are refused.") % {
            "until": until
        }
    return _("The old key has stopped working. Programs that still use it are refused.")
