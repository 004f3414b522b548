"""How the contacts of an application choose the language and the time zone in which they are told."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.test import Client

from accounts.models import Application
from deliveries.failing import tell_gone
from deliveries.lifecycle import disable
from deliveries.mailing import send_notices
from deliveries.models import Case
from deliveries.notices import GATHER_FOR
from deliveries.reminding import remind
from subscriptions.links import case_link, reading_link, summary_link
from tests.support import factories
from tests.support.cases import link_in, page_of, text_of
from tests.support.smtp import mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

ANN, BEN = "Ann@example.org", "ben@example.org"
GERMAN = {"timezone": "Europe/Berlin", "language": "de"}
IN_GERMAN = {"accept-language": "de-AT, en;q=0.5"}


@pytest.fixture
def owner() -> Application:
    owner = factories.application()
    owner.contacts = [ANN, BEN]
    owner.save()
    return owner


def path(link: str) -> str:
    return urlsplit(link).path


def page(owner: Application, email: str = ANN) -> str:
    return path(reading_link(owner.id, email))


def choose(page: str, **more: str) -> Any:
    return Client(enforce_csrf_checks=True).post(page, GERMAN | more)


def one_is_gone(owner: Application, clock: Clock) -> None:
    subscription = factories.webhook(owner)
    disable(subscription, clock(), "Gone.")
    subscription.refresh_from_db()
    tell_gone(subscription, clock())
    clock.forward(GATHER_FOR)


def sent(clock: Clock) -> dict[str, Any]:
    with mail_server() as mailbox:
        send_notices(clock)
    return {message["to"]: message for message in mailbox.messages()}


def test_a_contact_chooses_by_the_link_in_an_email_and_is_told_so_from_then_on(owner: Application):
    clock = Clock()
    one_is_gone(owner, clock)
    told = sent(clock)[ANN]
    [link] = re.findall(r"http\S+/contacts/reading/\S+", text_of(told))

    answer = choose(path(link))

    assert "Gespeichert." in answer.content.decode()
    assert '<html lang="de">' in answer.content.decode()
    one_is_gone(owner, clock)
    told = sent(clock)
    assert told[ANN]["subject"] == "Webhooks an 127.0.0.1:9 sind abgeschaltet"
    assert "Zeitzone: Europe/Berlin" in text_of(told[ANN])
    assert told[BEN]["subject"] == "Webhooks to 127.0.0.1:9 are disabled"


def test_the_page_of_a_case_and_the_reminder_of_it_are_in_the_contacts_language(
    client: Client, owner: Application
):
    clock = Clock()
    choose(page(owner))
    one_is_gone(owner, clock)
    told = sent(clock)[ANN]

    assert '<html lang="de">' in client.get(link_in(told)).content.decode()
    clock.forward(timedelta(days=7))
    remind(clock())
    clock.forward(GATHER_FOR)
    reminded = sent(clock)
    assert reminded[ANN]["subject"].startswith("Noch kümmert sich niemand")
    assert "/contacts/reading/" in text_of(reminded[ANN])
    assert reminded[BEN]["subject"].startswith("Nobody is on it yet")


def test_the_page_about_the_weekly_summary_is_in_the_contacts_language(client: Client, owner: Application):
    choose(page(owner))

    said = client.get(path(summary_link(owner.id, ANN))).content.decode()

    assert "Wöchentliche Zusammenfassung beenden?" in said
    assert "End the weekly summary?" in client.get(path(summary_link(owner.id, BEN))).content.decode()


def test_who_has_chosen_nothing_reads_in_the_services_own_language(owner: Application, settings):
    settings.LANGUAGE_CODE = "de-de"

    assert owner.reads(ANN) == ("UTC", "de")


def test_opening_the_page_changes_nothing(client: Client, owner: Application):
    for method in (client.get, client.head):
        answer = method(page(owner), headers=IN_GERMAN)
        assert answer.status_code == 200
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"

    owner.refresh_from_db()
    assert owner.contact_choices == {}


@pytest.mark.parametrize("wrong", [{"language": "tlh"}, {"timezone": "../../etc/passwd"}, {"language": ""}])
def test_what_is_not_offered_is_not_taken(owner: Application, wrong: dict[str, str]):
    assert choose(page(owner), **wrong).status_code == 422

    owner.refresh_from_db()
    assert owner.contact_choices == {}


def test_a_link_chooses_for_its_contact_alone_and_only_while_that_is_one(owner: Application):
    other = factories.application("Other")
    for_a_summary = summary_link(owner.id, ANN).rpartition("/")[2]

    assert choose(f"/contacts/reading/{for_a_summary}").status_code == 404
    assert "nothing to do" in choose(page(owner, "eve@example.org")).content.decode()
    choose(page(owner))
    choose(page(owner, BEN), language="en", timezone="Asia/Tokyo")

    owner.refresh_from_db()
    other.refresh_from_db()
    assert owner.reads(ANN.lower()) == ("Europe/Berlin", "de")
    assert owner.reads(BEN) == ("Asia/Tokyo", "en")
    assert other.contact_choices == {}


def test_a_link_that_is_broken_answers_in_the_browsers_language(client: Client):
    for broken in ("/contacts/reading/x", "/contacts/summary/x", "/cases/x", "/recipients/confirm/x"):
        answer = client.get(broken, headers=IN_GERMAN)
        assert answer.status_code == 404
        assert '<html lang="de">' in answer.content.decode()


def test_a_link_to_a_case_that_is_too_old_answers_in_the_recipients_language_or_the_browsers(
    client: Client, owner: Application
):
    subscription = factories.confirmed_emails(owner, ["joe@example.org"])
    recipient = subscription.recipients.get()
    one_is_gone(owner, Clock())
    case = Case.objects.get()
    of_recipient, of_contact = path(case_link(case.id, recipient.id)), page_of(case, ANN)
    subscription.recipients.update(language="de")

    with time_machine.travel(case.created_at + timedelta(days=91)):
        answers = [
            client.get(of_recipient),
            client.get(of_contact),
            client.get(of_contact, headers=IN_GERMAN),
        ]

    assert [answer.status_code for answer in answers] == [410, 410, 410]
    assert "gilt 90 Tage" in answers[0].content.decode()
    assert "works for 90 days" in answers[1].content.decode()
    assert "gilt 90 Tage" in answers[2].content.decode()
