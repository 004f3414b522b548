"""The weekly summary as an email: to a contact of the application, with a link that ends it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from accounts.models import Application
from deliveries.channels.wording import ANYBODY, Wording, contact_choices, wording
from deliveries.letters import Action
from deliveries.letters.reader import Reader
from deliveries.letters.reading import isolated, name
from deliveries.letters.summary import Week, summary
from subscriptions.links import summary_link


def summary_wording(
    facts: Mapping[str, Any], email: str, application: Application, reader: Reader = ANYBODY
) -> Wording:
    link = summary_link(application.id, email)
    with reader.language_on():
        called = isolated(name(application.name))
        frame = {
            "application": called,
            "facts": [(_("Application"), called)],
            "quote": _("If you need help, quote this:"),
            "ids": [_("Application %(id)s") % {"id": application.id}],
            "why": _(
                "You get this each Monday because %(email)s is a contact for %(application)s, which uses Openvolt."
            )
            % {"email": email, "application": called},
            **contact_choices(application, email),
            "leave": Action(_("End these summaries"), link, ""),
        }
        return replace(wording(summary(Week(facts, called, reader)), reader, frame), leave=link)
