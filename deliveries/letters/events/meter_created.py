from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from deliveries.letters import Letter, Told, pass_on

EVENT_TYPE = "meter.created"
SENTENCE = gettext_noop("A meter was added.")


def letter(told: Told) -> Letter:
    subject = _("Meter added: %(meter)s") % {"meter": told.name("description", "meter_number")}
    what = _("Meter %(meter)s was added for %(customer)s on %(at)s.") % {
        "meter": number_and_description(told),
        "customer": told.text("customer.name") or _("a customer"),
        "at": told.when("created_at"),
    }
    return Letter(
        subject=subject,
        preview=what,
        what=what,
        meaning=_(
            "Its data can follow as soon as a valid consent covers it: first up to 13 months of history, which can "
            "take a while, then an update a day."
        ),
        todo=_(
            "Check that the meter number and the address belong to this customer. Otherwise there is nothing to do."
        ),
        action=pass_on(_("Ask a colleague to check it"), subject, what),
        details=told.facts(
            (
                "meter_number",
                "description",
                "customer.name",
                "customer.email",
                "address",
                "data_source",
                "update_frequency",
                "status",
                "created_at",
                "customer_id",
                "customer._id",
                "_id",
            )
        ),
    )


def number_and_description(told: Told) -> str:
    number, description = told.text("meter_number"), told.text("description")
    if number and description:
        return _("%(number)s (%(description)s)") % {"number": number, "description": description}
    return number or description
