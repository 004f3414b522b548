"""The page behind the button of an email about something that a person should handle."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page

from accounts.models import AuditEntry
from deliveries.cases import take
from deliveries.dispatch import drain
from deliveries.failing import tell_gone
from deliveries.lifecycle import (
    choose,
    delete_subscription,
    disable,
    send_test,
    set_recipients,
    unsubscribe_recipient,
)
from deliveries.mailing import send_notices
from deliveries.models import Case, Delivery
from deliveries.notices import GATHER_FOR
from deliveries.publishing import publish
from subscriptions.links import case_link, preferences_link, unsubscribe_link
from subscriptions.models import Recipient, Subscription
from tests.support import factories
from tests.support.browser import Sizes, seen_at
from tests.support.cases import html_of, link_in, page_of, person, press, text_of
from tests.support.smtp import mail_server

pytestmark = pytest.mark.django_db

ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"
REVOKED = "hosted_consent.revoked"
CUSTOMER = {"_id": "65a0", "name": "Tom Okafor", "email": "tom@mail.example"}


@pytest.fixture
def team() -> Subscription:
    return factories.confirmed_emails(factories.application("Green & <b>Homes</b>"), [ANN, BOB, EVE])


@pytest.fixture
def case(team: Subscription) -> Case:
    """Of which all three were told."""
    publish(team.application, REVOKED, factories.example(REVOKED) | {"customer": CUSTOMER})
    Delivery.objects.update(status="succeeded", next_attempt_at=None, finished_at=timezone.now())
    return Case.objects.get()


def words(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def state(case: Case) -> tuple[str, str]:
    case.refresh_from_db()
    return case.state, case.taken_by


@pytest.mark.django_db(transaction=True)
def test_a_consent_is_revoked_both_are_told_one_takes_it_and_the_other_hears_of_that(clock):
    owner = factories.application()
    factories.confirmed_emails(owner, [ANN, BOB])
    factories.confirmed_emails(owner, [EVE])
    choose(Recipient.objects.get(email=EVE), {"frequency": "hourly"}, clock())
    for each in (REVOKED, "user.created"):
        publish(owner, each, factories.example(each))

    clock.forward_to(timezone.now())
    with mail_server() as mailbox:
        drain("email", clock)
        pages = {
            message["to"]: link_in(message)
            for message in mailbox.messages()
            if "Consent" in message["subject"]
        }
        mailbox.envelopes.clear()
        assert press(pages[ANN], "take").status_code == 200
        late = press(pages[BOB], "take")
        assert late.status_code == 409
        assert f"{ANN} has been on it since" in words(late)
        clock.forward_to(timezone.now())
        drain("email", clock)
        assert [(note["to"], note["subject"]) for note in mailbox.messages()] == [
            (BOB, f"{ANN} is on it: Consent revoked by customer 65a0…b94e01: Flat 2 electricity")
        ]
        mailbox.envelopes.clear()
        press(pages[ANN], "done", outcome="She moved out.")
        clock.forward(timedelta(hours=1, seconds=1))
        drain("email", clock)

    digest = next(each for each in mailbox.messages() if "events at" in each["subject"])
    assert digest["to"] == EVE
    assert f"Done by {ANN} on " in text_of(digest)
    assert "She moved out." in text_of(digest)


@pytest.mark.parametrize("method", ["get", "head", "options"])
def test_looking_changes_nothing(client, case, method):
    for email in (ANN, BOB):
        assert getattr(client, method)(page_of(case, email)).status_code == 200
    assert state(case) == ("open", "")

    take(case, person(case, ANN), timezone.now())
    for email in (ANN, BOB):
        assert getattr(client, method)(page_of(case, email) + "?do=give_back").status_code == 200
    assert state(case) == ("taken", ANN)


@pytest.mark.django_db(transaction=True)
def test_a_scanner_that_opens_every_link_of_every_email_changes_nothing(client, clock):
    owner = factories.application()
    factories.confirmed_emails(owner, [ANN, BOB])
    for each in (REVOKED, "api_keys.rotated"):
        publish(owner, each, factories.example(each))
    webhook = factories.webhook(owner)
    disable(webhook, clock(), "Gone.")
    webhook.refresh_from_db()
    tell_gone(webhook, clock())
    clock.forward_to(timezone.now() + 2 * GATHER_FOR)
    with mail_server() as mailbox:
        drain("email", clock)

    links = {
        urlsplit(link).path
        for message in mailbox.messages()
        for link in re.findall(r'href="(http://localhost[^"]+)"', html_of(message))
    }
    assert len([link for link in links if link.startswith("/cases/")]) == 5
    for link in links:
        for method in (client.get, client.head):
            assert method(link).status_code == 200

    assert {*Case.objects.values_list("state", flat=True)} == {"open"}
    assert {*Recipient.objects.values_list("status", flat=True)} == {"confirmed"}


def test_whoever_has_it_sees_what_to_do_and_the_others_do_not(client, case):
    assert "tom@mail.example?subject" not in client.get(page_of(case, ANN)).content.decode()

    mine = press(page_of(case, ANN), "take")
    theirs = client.get(page_of(case, BOB))

    assert "You have been on it since" in words(mine)
    assert "mailto:tom@mail.example" in mine.content.decode()
    assert f"{ANN} has been on it since" in words(theirs)
    assert "mailto:tom@mail.example" not in theirs.content.decode()
    assert "What you can do" not in words(theirs)
    assert "<form" not in theirs.content.decode()


def test_it_goes_from_hand_to_hand(client, case):
    page = press(page_of(case, ANN), "take").content.decode()
    [bob] = re.findall(rf'<option value="([^"]+)">{BOB}<', page)
    assert f">{ANN}</option>" not in page

    assert press(page_of(case, ANN), "hand_over", to=bob).status_code == 200
    assert state(case) == ("taken", BOB)
    assert press(page_of(case, ANN), "done", outcome="Mine!").status_code == 409
    assert press(page_of(case, BOB), "give_back").status_code == 200
    assert state(case) == ("open", "")


@pytest.mark.parametrize("to", ["", "nonsense", "0318df2f-7b9c-4b2e-bf8d-113919ab1e78", BOB])
def test_to_nobody_else_can_it_be_handed_over(case, to):
    press(page_of(case, ANN), "take")

    assert press(page_of(case, ANN), "hand_over", to=to).status_code == 409
    assert state(case) == ("taken", ANN)


def test_who_is_not_told_of_it_any_more_does_not_get_it_and_the_page_says_so(case, clock):
    page = press(page_of(case, ANN), "take").content.decode()
    [bob] = re.findall(rf'<option value="([^"]+)">{BOB}<', page)
    unsubscribe_recipient(Recipient.objects.get(email=BOB), clock())

    answer = press(page_of(case, ANN), "hand_over", to=bob)

    assert answer.status_code == 409
    assert "Nothing was changed: whom you chose is not told of this any more." in words(answer)
    assert "somebody else was faster" not in words(answer)
    assert "You have been on it since" in words(answer)
    assert f">{BOB}</option>" not in answer.content.decode()
    Recipient.objects.update(language="de")
    answer = press(page_of(case, ANN), "hand_over", to=bob)
    assert "erfährt davon nichts mehr" in words(answer)
    assert state(case) == ("taken", ANN)


def test_the_outcome_is_escaped_and_shown_to_the_others(client, case):
    press(page_of(case, ANN), "take")
    press(page_of(case, ANN), "done", outcome="<script>alert(1)</script> called & settled")

    page = client.get(page_of(case, BOB))
    assert "<script>" not in page.content.decode()
    assert "called &amp; settled" in page.content.decode()
    assert "<form" not in page.content.decode()


@pytest.mark.parametrize("do", ["", "nonsense", "delete"])
def test_an_unknown_button_does_nothing(case, do):
    assert press(page_of(case, ANN), do).status_code == 400
    assert state(case) == ("open", "")


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_refused(client, case, method):
    assert getattr(client, method)(page_of(case, ANN)).status_code == 405


def test_a_link_is_of_no_use_to_anybody_else_for_anything_else_or_when_it_is_changed(client, case, team):
    link = page_of(case, ANN)
    ann, bob = (team.recipients.get(email=email).id for email in (ANN, BOB))
    foreign = urlsplit(unsubscribe_link(ann)).path.replace("/recipients/unsubscribe/", "/cases/")
    for broken in ("/cases/nonsense", foreign, link[:-3], link.replace(ann.hex, bob.hex), f"{link}x"):
        for answer in (client.get(broken), client.post(broken, {"do": "take"})):
            assert answer.status_code == 404
    assert state(case) == ("open", "")


def test_an_old_link_says_so_and_changes_nothing(client, case):
    link = page_of(case, ANN)

    with time_machine.travel(timezone.now() + timedelta(days=91)):
        for answer in (client.get(link), client.post(link, {"do": "take"})):
            assert answer.status_code == 410
    assert state(case) == ("open", "")


def test_who_was_removed_has_nothing_to_do(client, case, team):
    link = page_of(case, ANN)

    set_recipients(team, [BOB], timezone.now())
    assert "There is nothing to handle here" in words(client.post(link, {"do": "take"}))
    delete_subscription(team, timezone.now())
    assert "There is nothing to handle here" in words(client.get(link))
    assert state(case) == ("open", "")


def test_a_recipient_of_another_application_has_nothing_to_do(client, case):
    stranger = factories.confirmed_emails(factories.application("Other"), ["x@example.org"]).recipients.get()

    page = client.post(urlsplit(case_link(case.id, stranger.id)).path, {"do": "take"})

    assert "There is nothing to handle here" in words(page)
    assert state(case) == ("open", "")


@pytest.mark.parametrize(("language", "said"), [("en", "It was a test"), ("de", "Es war ein Test")])
def test_a_tests_button_leads_to_a_page_that_says_so(client, team, language, said):
    Recipient.objects.update(language=language)
    send_test(team, REVOKED, timezone.now())
    delivery = Delivery.objects.filter(recipient__email=ANN).get()
    assert delivery.recipient

    page = client.get(urlsplit(case_link(delivery.event_id, delivery.recipient.id)).path)

    assert said in words(page)


def test_a_contact_of_the_application_takes_a_disabled_endpoint(client, clock):
    owner = factories.application()
    webhook = factories.webhook(owner, "https://hooks.example.com/in?token=secret")
    disable(webhook, clock(), "Gone.")
    webhook.refresh_from_db()
    tell_gone(webhook, clock())
    clock.forward(GATHER_FOR)
    with mail_server() as mailbox:
        send_notices(clock)
    page = link_in(mailbox.message())

    assert "Webhooks to hooks.\u200bexample.\u200bcom are disabled" in words(client.get(page))
    assert "secret" not in client.get(page).content.decode()
    assert press(page, "take").status_code == 200
    assert Case.objects.get().taken_by == owner.contacts[0]

    owner.contacts = ["new@example.org"]
    owner.save()
    assert "There is nothing to handle here" in words(client.get(page))


def test_in_german_all_of_it_is_german(client, case):
    Recipient.objects.update(language="de", timezone="Europe/Berlin")

    page = words(client.get(page_of(case, ANN)))
    assert "Noch kümmert sich niemand darum." in page
    page = words(press(page_of(case, ANN), "take"))
    for said in (
        "Sie kümmern sich seit",
        "Erledigt",
        "Übergeben an",
        "Wieder abgeben",
        "Was kam dabei heraus?",
    ):
        assert said in page
    assert "kümmert sich seit" in words(client.get(page_of(case, BOB)))


def test_the_log_says_who_pressed_from_where(case):
    press(page_of(case, ANN), "take")

    entry = AuditEntry.objects.get(action="case.taken")
    assert (entry.actor_kind, entry.actor, entry.address) == ("person", ANN, "127.0.0.1")


def test_the_page_is_for_nobody_else(client, case):
    for link in (page_of(case, ANN), "/cases/nonsense"):
        headers = client.get(link).headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-robots-tag"] == "noindex, nofollow"
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert "set-cookie" not in headers


def test_who_wants_no_notes_says_so_on_the_preferences_page(client, team):
    ann = team.recipients.get(email=ANN)
    page = urlsplit(preferences_link(ann.id)).path
    assert 'name="notes"' in client.get(page).content.decode()
    fields = {
        "types": ["user.created"],
        "frequency": "at_once",
        "digest_hour": 8,
        "timezone": "UTC",
        "language": "en",
    }

    client.post(page, fields)

    ann.refresh_from_db()
    assert not ann.notes


SIZES: Sizes = [(390, "dark"), (390, "light"), (1280, "light"), (1280, "dark")]


@pytest.mark.django_db(transaction=True)
def test_every_state_of_the_page_fits_and_keeps_to_the_policy(
    live_server, small_page: Page, case: Case
) -> None:
    Recipient.objects.filter(email=EVE).update(email=f"{'a' * 60}@{'long.' * 20}example.org")
    page = small_page
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)

    def look(email: str) -> None:
        page.goto(live_server.url + page_of(case, email))
        assert page.locator("h1").count() == 1
        for width in seen_at(page, SIZES):
            assert page.evaluate("document.documentElement.scrollWidth") <= width

    look(ANN)  # open
    press(page_of(case, ANN), "take")
    look(ANN)
    look(BOB)
    press(page_of(case, ANN), "done", outcome="word " * 90 + "x" * 200)
    look(BOB)
    assert complaints == []


@pytest.mark.django_db(transaction=True)
def test_it_is_taken_and_finished_with_the_keyboard_alone(live_server, page: Page, case: Case) -> None:
    page.goto(live_server.url + page_of(case, ANN))

    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.get_by_text("You have been on it since").wait_for()
    page.get_by_label("What came of it?").focus()
    page.keyboard.type("Called.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    page.get_by_text("Done by").wait_for()
    case.refresh_from_db()
    assert (case.state, case.outcome) == ("done", "Called.")


def test_a_browser_needs_no_cookie(case):
    assert Client(enforce_csrf_checks=True).post(page_of(case, ANN), {"do": "take"}).status_code == 200
