"""What tests do on the page behind the button of an email."""

import re
from typing import Any
from urllib.parse import urlsplit

from django.test import Client

from deliveries.cases import Person, told
from deliveries.models import Case
from subscriptions.links import case_link, contact_id

LINK = re.compile(r"https?://[^\s\"<>]+/cases/[\w.-]+")


def text_of(message: Any) -> str:
    return str(message.get_body(("plain",)).get_content())


def html_of(message: Any) -> str:
    return str(message.get_body(("html",)).get_content())


def link_in(message: Any) -> str:
    """The page that the text part of an email leads to, as a path."""
    [link] = set(LINK.findall(text_of(message)))
    return urlsplit(link).path


def page_of(case: Case, email: str) -> str:
    """The page of the one with this address, a recipient or a contact."""
    people = {person.email: person.id for person in told(case)}
    return urlsplit(case_link(case.id, people.get(email) or contact_id(case.id, email))).path


def press(page: str, do: str, **fields: str) -> Any:
    return Client(enforce_csrf_checks=True).post(page, {"do": do, **fields})


def person(case: Case, email: str) -> Person:
    return next(one for one in told(case) if one.email == email)
