from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters import Letter, Told, pass_on, write_to_customer
from deliveries.letters.customers import customer, name_fact, who
from deliveries.letters.reading import in_quotes

EVENT_TYPE = "hosted_consent.revoked"
SENTENCE = gettext_noop("A customer withdrew consent to read their meters.")


def letter(told: Told) -> Letter:
    subject, what = subject_of(told), happened(told)
    return Letter(
        subject=subject,
        preview=with_reason(told, stopped(told)) or unexplained(told),
        opening=stopped(told) if told.text("reason") else "",  # what happened says it
        what=what,
        meaning=_(
            "Without a valid consent the meters under it can't be read. No new data will come from them."
        ),
        todo=todo(told),
        action=write_to_customer(told, "customer", subject)
        or pass_on(_("Hand it to whoever knows the customer"), subject, what),
        details=[
            *name_fact(told),
            *told.facts(("customer.email", "customer_id", "description", "revoked_at", "_id")),
        ],
    )


def subject_of(told: Told) -> str:
    whose, consent = customer(told), told.text("description")
    if whose and consent:
        return _("Consent revoked by %(who)s: %(consent)s") % {"who": whose, "consent": consent}
    return _("Consent revoked: %(whose)s") % {"whose": whose or consent or _("A customer")}


def stopped(told: Told) -> str:
    return _("No new data since %(at)s from the meters under this consent.") % {"at": told.when("revoked_at")}


def unexplained(told: Told) -> str:
    return _("%(what)s Somebody should ask the customer why.") % {"what": stopped(told)}


def with_reason(told: Told, what: str) -> str:
    """Empty if no reason was given."""
    reason = told.text("reason")
    return _("%(what)s Reason given: %(reason)s") % {"what": what, "reason": reason} if reason else ""


def todo(told: Told) -> str:
    if told.text("reason"):
        return _(
            "See whether the reason is one that you can do something about: it may be a mistake, or the customer may "
            "be about to leave. Stop what relies on new data from these meters. To read them again, send the customer "
            "a new consent link."
        )
    return _(
        "If you don't know why, ask the customer: it may be a mistake, or they may be about to leave. Stop what "
        "relies on new data from these meters. To read them again, send the customer a new consent link."
    )


def happened(told: Told) -> str:
    words = {"who": who(told), "at": told.when("revoked_at")}
    if consent := told.text("description"):
        what = _("%(who)s withdrew the consent “%(consent)s” on %(at)s.") % {
            "consent": in_quotes(consent),
            **words,
        }
    else:
        what = _("%(who)s withdrew consent to read their meters on %(at)s.") % words
    return with_reason(told, what) or what
