from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters import Letter, Told, pass_on
from deliveries.letters.reading import in_quotes

EVENT_TYPE = "user.created"
SENTENCE = gettext_noop("A person was given access.")


def letter(told: Told) -> Letter:
    who = told.text("name") or told.text("email") or _("A new person")
    subject = _("Person given access: %(who)s") % {"who": told.name("name", "email", "_id")}
    what = happened(told, who)
    return Letter(
        subject=subject,
        preview=_("Check that you know this person and that the role is right."),
        what=what,
        meaning=_(
            "This person may see what the application keeps about its customers and meters, as far as the role allows."
        ),
        todo=_(
            "Check that you know this person and that the role is right. If not, tell whoever manages access for your "
            "team at once."
        ),
        action=pass_on(_("Ask your team who it is"), subject, what),
        details=told.facts(("name", "email", "role", "_id")),
    )


def happened(told: Told, who: str) -> str:
    words = {"who": who, "application": told.application, "at": told.happened}
    if role := told.text("role"):
        return _(
            "%(who)s was given access to %(application)s on Openvolt on %(at)s, with the role “%(role)s”."
        ) % {"role": in_quotes(role), **words}
    return _("%(who)s was given access to %(application)s on Openvolt on %(at)s.") % words
