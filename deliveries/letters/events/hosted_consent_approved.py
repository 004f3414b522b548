from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters import Letter, Told, pass_on
from deliveries.letters.customers import customer, name_fact, who
from deliveries.letters.reading import in_quotes

EVENT_TYPE = "hosted_consent.approved"
SENTENCE = gettext_noop("A customer gave consent to read their meters.")


def letter(told: Told) -> Letter:
    subject, what = subject_of(told), happened(told)
    return Letter(
        subject=subject,
        preview=reading(told),
        what=what,
        meaning=reading(told),
        todo=_(
            "Nothing, if your application creates the meters by itself. Otherwise create the meters that this consent "
            "covers; their data follows."
        ),
        action=pass_on(_("Tell whoever creates the meters"), subject, what),
        details=[
            *name_fact(told),
            *told.facts(("customer_id", "description", "flow_type", "approved_at", "expiry", "_id")),
        ],
    )


def subject_of(told: Told) -> str:
    whose, consent = customer(told), told.text("description")
    if whose and consent:
        return _("Consent approved by %(who)s: %(consent)s") % {"who": whose, "consent": consent}
    return _("Consent approved: %(whose)s") % {"whose": whose or consent or _("A customer")}


def happened(told: Told) -> str:
    at = told.when("approved_at")
    if consent := told.text("description"):
        return _("%(who)s gave the consent “%(consent)s” on %(at)s.") % {
            "who": who(told),
            "consent": in_quotes(consent),
            "at": at,
        }
    return _("%(who)s gave consent to read their meters on %(at)s.") % {"who": who(told), "at": at}


def reading(told: Told) -> str:
    until = told.text("expiry")
    if until and told.has_come("expiry", "approved_at"):
        return _("The consent has ended already, on %(until)s: the meters can't be read under it.") % {
            "until": until
        }
    if until:
        return _("The meters may now be read until %(until)s, when the consent ends.") % {"until": until}
    return _("The meters may now be read.")
