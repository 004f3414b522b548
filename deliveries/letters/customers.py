"""What a customer is called: by the name that the payload or an earlier event has, else by the id."""

import re

from django.utils.translation import gettext as _

from deliveries.letters import Told
from deliveries.letters.facts import Fact, label

NAMES = ("customer.name", "customer_name", "customer")
# Object ids and UUIDs differ at their ends; of any other id, nobody knows which part tells it from the next.
MACHINE_MADE = re.compile(r"[0-9a-f]{24}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def customer_name(told: Told) -> str:
    """Empty where there is none."""
    id = told.text("customer_id")
    return next((name for path in NAMES if (name := told.text(path)) and name != id), told.customer)


def customer(told: Told) -> str:
    """For a subject: the name or the shortened id; empty where there is neither."""
    if name := customer_name(told):
        return name
    id = told.text("customer_id")
    return _("customer %(id)s") % {"id": shortened(id)} if id else ""


def name_fact(told: Told) -> list[Fact]:
    """For the details, wherever the name is from."""
    name = customer_name(told)
    return [Fact(label(("customer_name",)), name)] if name else []


def shortened(id: str) -> str:
    return f"{id[:4]}…{id[-6:]}" if MACHINE_MADE.fullmatch(id) else id


def who(told: Told) -> str:
    """For the beginning of a sentence, with the whole id."""
    if name := customer_name(told):
        return name
    id = told.text("customer_id")
    return _("Customer %(id)s") % {"id": id} if id else _("A customer")
