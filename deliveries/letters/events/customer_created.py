from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters import Letter, Told, pass_on, write_to_customer

EVENT_TYPE = "customer.created"
SENTENCE = gettext_noop("A customer was added.")


def letter(told: Told) -> Letter:
    customer = told.name("name", "_id")
    subject = _("Customer added: %(customer)s") % {"customer": customer}
    what = _("%(customer)s was added as a customer of %(application)s on %(at)s.") % {
        "customer": customer,
        "application": told.application,
        "at": told.when("created_at"),
    }
    return Letter(
        subject=subject,
        preview=_("Consents and meters can now be set up for this customer."),
        what=what,
        meaning=_("Consents and meters can now be set up for this customer."),
        todo=_(
            "Nothing, if you expected this. If the name or the email address is wrong, correct it before consent is "
            "asked for."
        ),
        action=write_to_customer(told, "", told.application)
        or pass_on(_("Ask a colleague about it"), subject, what),
        details=told.facts(("name", "email", "address", "created_at", "_id")),
    )
