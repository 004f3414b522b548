"""What a webhook missed and a person should handle: whoever is told by email instead can say to be on it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Application
from deliveries.cases import close, finish, hand_over, take
from deliveries.dispatch import drain
from deliveries.mailing import send_notices
from deliveries.models import Case, Delivery, Notice
from deliveries.notices import GATHER_FOR
from deliveries.publishing import publish
from deliveries.reminding import remind
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.cases import link_in, person, press, text_of
from tests.support.smtp import Mailbox, mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

ANN, BOB = "ann@example.org", "bob@example.org"
REVOKED = "hosted_consent.revoked"


def publish_and_send(owner: Application, clock: Clock, event_type: str = REVOKED) -> Mailbox:
    """The webhook fails, then everybody gets the emails about it."""
    publish(owner, event_type, factories.example(event_type))
    clock.forward_to(timezone.now())
    drain("webhook", clock)
    with mail_server() as mailbox:
        drain("email", clock)
        send_notices(clock)
    return mailbox


def email_first(owner: Application, clock: Clock) -> None:
    """Bob is told; then the webhook fails, of which Ann has not been told yet."""
    factories.falling_back(owner, ANN)
    factories.confirmed_emails(owner, [BOB])
    publish(owner, REVOKED, factories.example(REVOKED))
    clock.forward_to(timezone.now())
    with mail_server():
        drain("email", clock)
    drain("webhook", clock)


def sent(clock: Clock) -> dict[str, str]:
    with mail_server() as mailbox:
        send_notices(clock)
    return {str(message["to"]): str(message["subject"]) for message in mailbox.messages()}


def test_the_email_has_the_button_and_its_page_takes_the_case(owner, clock):
    factories.falling_back(owner, ANN)
    message = publish_and_send(owner, clock).message()

    assert message["subject"].startswith("[Webhook failed] Consent revoked")
    assert "→ I'm on it: " in text_of(message)
    assert Case.objects.get().is_open

    assert press(link_in(message), "take").status_code == 200
    case = Case.objects.get()
    assert (case.taken_by, case.is_taken) == (ANN, True)
    assert press(link_in(message), "done", outcome="It was a mistake.").status_code == 200
    assert Case.objects.get().outcome == "It was a mistake."


def test_what_needs_nobody_opens_no_case_and_has_no_such_button(owner, clock):
    factories.falling_back(owner, ANN)
    message = publish_and_send(owner, clock, "customer.created").message()

    assert "/cases/" not in text_of(message)
    assert not Case.objects.exists()


def test_who_was_told_by_email_and_who_was_told_instead_share_one_case(owner, clock):
    factories.falling_back(owner, ANN)
    factories.confirmed_emails(owner, [BOB])
    publish_and_send(owner, clock)
    case = Case.objects.get()
    ann, bob = person(case, ANN), person(case, BOB)

    assert take(case, bob, clock())
    assert sent(clock) == {
        ANN: "bob@example.org is on it: Consent revoked by customer 65a0…b94e01: Flat 2 electricity"
    }
    assert hand_over(case, bob, ann, clock())
    assert sent(clock) == {ANN: "For you: Consent revoked by customer 65a0…b94e01: Flat 2 electricity"}
    assert finish(case, ann, "Done.", clock())
    assert sent(clock) == {BOB: "Done: Consent revoked by customer 65a0…b94e01: Flat 2 electricity"}


def test_who_was_not_sent_the_email_is_nobody_who_was_told(owner, clock):
    email_first(owner, clock)

    assert Notice.objects.filter(kind="fallback", sent_at=None).count() == 1
    case = Case.objects.get()
    assert take(case, person(case, BOB), clock())
    assert not Notice.objects.filter(kind="case_taken").exists()


def test_the_email_says_who_was_faster(owner, clock):
    email_first(owner, clock)
    case = Case.objects.get()
    assert take(case, person(case, BOB), clock())

    with mail_server() as mailbox:
        send_notices(clock)

    assert mailbox.message()["subject"].startswith("[Webhook failed] Consent revoked")
    assert "bob@example.org has been on it since" in text_of(mailbox.message())
    assert "→ See who is on it: " in text_of(mailbox.message())


def test_the_email_says_that_staff_have_closed_it(owner, clock):
    email_first(owner, clock)
    assert close(Case.objects.get(), clock())

    with mail_server() as mailbox:
        send_notices(clock)

    [late] = [message for message in mailbox.messages() if message["to"] == ANN]
    assert "Marked as done by Openvolt staff on " in text_of(late)
    assert "I'm on it" not in text_of(late)


def test_what_nobody_takes_is_told_once_more(owner, clock):
    factories.falling_back(owner, ANN)
    publish_and_send(owner, clock)

    clock.forward(timedelta(days=4))
    assert remind(clock()) == 1
    clock.forward(GATHER_FOR)

    assert sent(clock) == {
        ANN: "Nobody is on it yet: Consent revoked by customer 65a0…b94e01: Flat 2 electricity"
    }
    assert remind(clock()) == 0


def test_who_is_told_instead_of_a_webhook_can_end_the_notes_of_others(owner, clock):
    factories.falling_back(owner, ANN)
    factories.confirmed_emails(owner, [BOB])
    publish_and_send(owner, clock)
    Recipient.objects.filter(email=ANN).update(notes=False)
    case = Case.objects.get()

    assert take(case, person(case, BOB), clock())

    assert sent(clock) == {}


def test_a_second_subscription_that_misses_the_same_event_opens_no_second_case(owner, clock):
    for email in (ANN, BOB):
        factories.falling_back(owner, email)

    mailbox = publish_and_send(owner, clock)

    assert Delivery.objects.filter(status="failed").count() == 2
    assert len(mailbox.messages()) == 2
    assert Case.objects.count() == 1
