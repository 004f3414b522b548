from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters import Letter, Told, pass_on, write_to_customer
from deliveries.letters.events.hosted_consent_approved import who, whose

EVENT_TYPE = "hosted_consent.revoked"
SENTENCE = gettext_noop("A customer withdrew consent to read their meters.")


def letter(told: Told) -> Letter:
    subject = _("Consent revoked: %(whose)s") % {"whose": whose(told)}
    what = happened(told)
    return Letter(
        subject=subject,
        preview=_(
            "%(who)s: no new data from these meters since %(at)s. Somebody should ask the customer why."
        )
        % {"who": who(told), "at": told.when("revoked_at")},
        what=what,
        meaning=_(
            "Without a valid consent the meters under it can't be read. No new data will come from them."
        ),
        todo=_(
            "If you don't know why, ask the customer: it may be a mistake, or they may be about to leave. Stop what "
            "relies on new data from these meters. To read them again, send the customer a new consent link."
        ),
        action=write_to_customer(told, "customer", subject)
        or pass_on(_("Hand it to whoever knows the customer"), subject, what),
        details=told.facts(
            ("customer.name", "customer.email", "customer_id", "description", "reason", "revoked_at", "_id")
        ),
    )


def happened(told: Told) -> str:
    words = {"who": who(told), "at": told.when("revoked_at")}
    if consent := told.text("description"):
        what = _("%(who)s withdrew the consent “%(consent)s” on %(at)s.") % {"consent": consent, **words}
    else:
        what = _("%(who)s withdrew consent to read their meters on %(at)s.") % words
    reason = told.text("reason")
    return _("%(what)s Reason given: %(reason)s") % {"what": what, "reason": reason} if reason else what
