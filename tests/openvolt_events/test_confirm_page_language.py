"""Whoever confirms has not chosen a language yet: the page has the browser's, and so have the emails from then on."""

from urllib.parse import urlsplit

import pytest
from django.test import Client

from deliveries.letters.reading import ZERO_WIDTH_SPACE
from subscriptions.links import case_link, confirm_link, preferences_link, reading_link, unsubscribe_link
from subscriptions.models import Recipient
from tests.support import factories

pytestmark = pytest.mark.django_db

GERMAN = {"accept-language": "fr-CH, de-AT;q=0.9, en;q=0.5"}
TRICK = "Click https://evil.example.com/now \u202egnp"
ASKED, GEFRAGT = "Do you want these emails?", "Möchten Sie diese E-Mails?"


@pytest.fixture
def ann() -> Recipient:
    return factories.emails(factories.application()).recipients.get()


def opened(link: str, headers: dict[str, str] | None = None) -> str:
    return Client(headers=headers).get(urlsplit(link).path).content.decode()


def pressed(link: str, headers: dict[str, str]) -> str:
    return Client(headers=headers).post(urlsplit(link).path).content.decode()


def language(recipient: Recipient) -> str:
    recipient.refresh_from_db()
    return recipient.language


def test_the_question_is_asked_in_the_browsers_language_and_opening_it_changes_nothing(ann):
    assert '<html lang="de">' in opened(confirm_link(ann.id), GERMAN)
    assert '<html lang="en">' in opened(confirm_link(ann.id))
    assert language(ann) == "en"


def test_confirming_takes_the_browsers_language_for_the_emails(ann):
    page = pressed(confirm_link(ann.id), GERMAN)

    assert '<html lang="de">' in page
    assert "Uhrzeiten in den E-Mails sind UTC" in page
    assert language(ann) == "de"
    assert ann.status == "confirmed"


@pytest.mark.parametrize("headers", [{}, {"accept-language": "tlh"}, {"accept-language": "x;q=,,"}])
def test_a_language_that_is_not_ours_is_english(ann, headers):
    pressed(confirm_link(ann.id), headers)

    assert language(ann) == "en"


@pytest.mark.parametrize("link", [confirm_link, unsubscribe_link, preferences_link])
def test_who_has_confirmed_is_spoken_to_in_the_language_of_the_emails(ann, link):
    pressed(confirm_link(ann.id), {})

    assert '<html lang="en">' in opened(link(ann.id), GERMAN)


def test_who_chose_english_keeps_it_when_confirming_again(ann):
    pressed(confirm_link(ann.id), {})
    pressed(unsubscribe_link(ann.id), GERMAN)
    pressed(confirm_link(ann.id), GERMAN)

    assert language(ann) == "en"


def test_who_chose_german_keeps_it_when_asked_anew(ann):
    Recipient.objects.update(language="de", confirmed_at=None)
    pressed(confirm_link(ann.id), {"accept-language": "en"})

    assert language(ann) == "de"


@pytest.mark.parametrize("link", [confirm_link, unsubscribe_link, preferences_link])
@pytest.mark.parametrize("status", ["confirmed", "unsubscribed", "unconfirmed", "suppressed"])
def test_no_page_shows_the_applications_name_as_a_link_or_turned_around(ann, link, status):
    application = ann.subscription.application
    type(application).objects.update(name=TRICK)
    Recipient.objects.update(status=status)

    page = opened(link(ann.id))

    assert "https://evil" not in page
    assert "evil.example" not in page
    assert "\u202e" not in page
    assert (
        "Unsubscribed" in page
        or "evil.example.com" in page.replace(ZERO_WIDTH_SPACE, "")
        or status == "suppressed"
    )


def test_the_contacts_page_shows_no_raw_name_either():
    application = factories.application()
    type(application).objects.update(name=TRICK, contacts=["ops@example.org"])

    page = opened(reading_link(application.id, "ops@example.org"))

    assert "evil.example.com" in page.replace(ZERO_WIDTH_SPACE, "")
    assert "evil.example" not in page


@pytest.mark.parametrize("path", ["/cases/broken", "/contacts/reading/broken", "/contacts/summary/broken"])
def test_a_broken_link_answers_in_the_browsers_language(path):
    assert '<html lang="de">' in Client(headers=GERMAN).get(path).content.decode()


def test_the_page_of_a_case_that_is_forgotten_does_too(ann):
    assert '<html lang="de">' in opened(case_link(ann.id, ann.subscription_id), GERMAN)
