"""Every page behind a link in an email, in each of its states, in German: no word of it is left in English."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from accounts.models import Application
from deliveries.cases import close, take
from deliveries.failing import tell_gone
from deliveries.lifecycle import disable, resume
from deliveries.models import Case, Delivery
from deliveries.publishing import publish
from subscriptions.links import (
    case_link,
    confirm_link,
    preferences_link,
    reading_link,
    summary_link,
    unsubscribe_link,
)
from subscriptions.models import Recipient
from tests.deliveries.test_email_german import ENGLISH, QUOTED, WORD
from tests.support import factories
from tests.support.cases import page_of, person, press

pytestmark = pytest.mark.django_db

GERMAN = {"accept-language": "de"}
ANN, BEN = "ann@firma.test", "ben@firma.test"
REVOKED, ROTATED = "hosted_consent.revoked", "api_keys.rotated"
# Names of zones, which are the same everywhere, and of the service.
CHOICES = re.compile(r"<option[^>]*>[^<]*</option>|<optgroup[^>]*>|Openvolt Events")
APART = re.compile(r'\{"[^}]*\}|(?:GET|POST) /|[^\s]*[._/@=\d][^\s]*')


@pytest.fixture
def owner() -> Application:
    return Application.objects.create(name="Gut & Söhne", contacts=[BEN])


@pytest.fixture
def ann(owner: Application) -> Recipient:
    recipient = factories.confirmed_emails(owner, [ANN]).recipients.get()
    Recipient.objects.update(language="de", timezone="Europe/Berlin")
    recipient.refresh_from_db()
    return recipient


def path(link: str) -> str:
    return urlsplit(link).path


def is_german(page: Any) -> None:
    html = page.content.decode()
    assert '<html lang="de">' in html
    seen = re.sub(r"<[^>]+>", " ", CHOICES.sub(" ", html))
    found = {*WORD.findall(APART.sub(" ", QUOTED.sub(" ", seen)).lower())}
    assert found & ENGLISH == set(), html
    assert len(found) > 8


@pytest.mark.parametrize("status", Recipient.Status.values)
@pytest.mark.parametrize("link", [confirm_link, unsubscribe_link, preferences_link])
def test_a_recipients_page_is_german_whatever_the_recipient_is(ann, status, link):
    Recipient.objects.update(status=status)

    is_german(Client().get(path(link(ann.id))))


@pytest.mark.parametrize("link", [confirm_link, unsubscribe_link])
def test_what_a_button_of_a_recipients_page_leads_to_is_german(ann, link):
    Recipient.objects.update(status="unconfirmed")

    is_german(Client().post(path(link(ann.id))))


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"types": "nonsense", "frequency": "nonsense", "quiet_from": "x", "timezone": "x", "language": "x"},
        {"types": "user.created", "quiet_from": "22:00"},
        {"types": "user.created", "quiet_from": "22:00", "quiet_until": "22:00"},
    ],
)
def test_what_is_wrong_with_a_choice_is_said_in_german(ann, sent):
    page = Client().post(path(preferences_link(ann.id)), sent)

    assert page.status_code == 422
    is_german(page)


def test_choices_that_are_saved_are_german_and_so_are_those_of_a_fallback(owner, ann):
    page = path(preferences_link(ann.id))
    chosen = {"types": "user.created", "frequency": "daily", "digest_hour": 8}

    is_german(Client().post(page, {**chosen, "timezone": "Europe/Berlin", "language": "de"}))

    instead = factories.falling_back(owner, ANN).recipients.get()
    Recipient.objects.update(language="de")
    for link in (confirm_link, preferences_link, unsubscribe_link):
        is_german(Client().get(path(link(instead.id))))


@pytest.mark.parametrize("link", [confirm_link, unsubscribe_link, preferences_link])
def test_a_link_of_who_was_removed_is_german(ann, link):
    Recipient.objects.update(removed_at=timezone.now())

    is_german(Client().get(path(link(ann.id))))


@pytest.mark.parametrize("event_type", [REVOKED, ROTATED])
def test_the_page_of_a_case_is_german_in_every_state(owner, ann, event_type):
    case = case_of(owner, event_type)
    page = page_of(case, ANN)

    is_german(Client().get(page))
    is_german(press(page, "nonsense"))
    is_german(press(page, "take"))
    is_german(press(page, "done", outcome="Geklärt."))
    is_german(press(page, "give_back"))


def case_of(owner: Application, event_type: str) -> Case:
    """Of which whoever is a recipient was told."""
    german = {"description": "Wohnung", "reason": "Umzug", "name": "Kasse", "rotated_by": BEN}
    payload = factories.example(event_type)
    publish(owner, event_type, payload | {key: german[key] for key in german.keys() & payload.keys()})
    Delivery.objects.update(status="succeeded", next_attempt_at=None, finished_at=timezone.now())
    return Case.objects.get()


def test_the_page_of_what_somebody_else_has_or_staff_have_closed_is_german(owner, ann):
    factories.confirmed_emails(owner, [BEN])
    Recipient.objects.update(language="de")
    case = case_of(owner, REVOKED)
    take(case, person(case, BEN), timezone.now())

    is_german(Client().get(page_of(case, ANN)))

    close(case, timezone.now())
    is_german(Client().get(page_of(case, ANN)))


def test_the_page_of_an_outage_is_german_in_every_state(owner):
    owner.let_read(BEN, "Europe/Berlin", "de")
    subscription = factories.webhook(owner)
    disable(subscription, timezone.now(), "Gone.")
    subscription.refresh_from_db()
    tell_gone(subscription, timezone.now())
    case = Case.objects.get()
    page = page_of(case, BEN)

    is_german(Client().get(page))
    is_german(press(page, "take"))
    resume(subscription, timezone.now())
    is_german(Client().get(page))


def test_a_contacts_pages_are_german(owner):
    owner.let_read(BEN, "Europe/Berlin", "de")
    reading, summary = path(reading_link(owner.id, BEN)), path(summary_link(owner.id, BEN))

    is_german(Client().get(reading))
    is_german(Client().post(reading, {"timezone": "x", "language": "x"}))
    is_german(Client().post(reading, {"timezone": "Europe/Berlin", "language": "de"}))
    is_german(Client().get(summary))
    is_german(Client().post(summary))


def test_an_english_page_would_be_found(ann):
    Recipient.objects.update(language="en")

    with pytest.raises(AssertionError):
        is_german(Client().get(path(confirm_link(ann.id))))


def test_a_link_that_is_broken_too_old_or_of_nobody_is_german(owner, ann):
    case = case_of(owner, REVOKED)
    of_ann, of_nobody = path(case_link(case.id, ann.id)), path(case_link(ann.id, ann.id))
    confirm = path(confirm_link(ann.id))
    client = Client(headers=GERMAN)

    for kind in ("recipients/confirm", "recipients/unsubscribe", "recipients/preferences", "cases"):
        is_german(client.get(f"/{kind}/x"))
    for kind in ("reading", "summary"):
        is_german(client.get(f"/contacts/{kind}/x"))
    is_german(Client().get(of_nobody))
    with time_machine.travel(timezone.now() + timedelta(days=91)):
        is_german(Client().get(of_ann))
        is_german(client.get(confirm))
