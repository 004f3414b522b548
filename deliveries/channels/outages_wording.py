"""What a contact of an application is told of several subscriptions in one email."""

from collections.abc import Mapping
from typing import Any

from accounts.models import Application
from deliveries.channels.wording import Wording, contacts_page, outage_frame, wording
from deliveries.letters.outages import Outage
from deliveries.letters.outages_together import Outages, Writer, place
from deliveries.letters.reader import Reader
from deliveries.letters.reading import isolated, name


def outages_wording(
    write: Writer,
    told: Mapping[str, Mapping[str, Any]],
    email: str,
    application: Application,
    reader: Reader,
) -> Wording:
    """`told` are the facts of each subscription, by its id."""
    with reader.language_on():
        called = isolated(name(application.name))
        all_told = sorted((Outage(facts, called, id, reader) for id, facts in told.items()), key=place)
        pages = [contacts_page(one.facts, email) for one in all_told]
        ids = [one.subscription_id for one in all_told]
        letter = write(Outages(all_told, called, reader, pages))
        return wording(letter, reader, outage_frame(email, application, ids, reader))
