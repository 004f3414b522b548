"""Addresses that a mail server refuses again and again without saying that they do not exist."""

from datetime import timedelta

import pytest

from deliveries.dispatch import drain
from deliveries.models import Delivery, MailEvent, Notice
from deliveries.publishing import publish
from deliveries.suppressing import lift
from deliveries.tracking import SOFT_BOUNCES
from subscriptions.models import Subscription, Suppression
from tests.support import factories
from tests.support.smtp import mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

UNAVAILABLE = "550 Requested action not taken: mailbox unavailable"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def team() -> Subscription:
    team = factories.confirmed_emails(factories.application(), ["Ann@example.org"])
    Notice.objects.all().delete()
    return team


def told(team: Subscription, clock: Clock, times: int, answer: str) -> None:
    for _ in range(times):
        publish(team.application, "user.created", factories.example("user.created"))
        mail_answers(clock, answer)


def mail_answers(clock: Clock, answer: str) -> None:
    clock.forward(MINUTE)
    with mail_server() as mailbox:
        mailbox.answers = {"RCPT": answer} if answer else {}
        drain("email", clock)


def test_an_address_that_is_refused_for_five_emails_is_suppressed_in_plain_words_until_staff_lift_it(
    team, clock
):
    told(team, clock, SOFT_BOUNCES - 1, UNAVAILABLE)
    assert not Suppression.objects.exists()

    told(team, clock, 1, UNAVAILABLE)

    suppression = Suppression.objects.get()
    assert (suppression.email, suppression.source) == ("ann@example.org", "mail server")
    assert suppression.reason == (
        "The mail server refused the address for 5 emails in 14 days, and took none in between: "
        "Requested action not taken: mailbox unavailable"
    )
    assert team.recipients.get().status == "suppressed"
    lift(suppression, clock())
    mail_answers(clock, UNAVAILABLE)  # the question
    assert not Suppression.objects.standing().exists()


def test_an_email_that_is_taken_makes_up_for_those_that_were_refused(team, clock):
    told(team, clock, SOFT_BOUNCES - 1, UNAVAILABLE)
    told(team, clock, 1, "")
    told(team, clock, SOFT_BOUNCES - 1, UNAVAILABLE)

    assert not Suppression.objects.exists()
    told(team, clock, 1, UNAVAILABLE)
    assert Suppression.objects.exists()


def test_questions_count_like_other_emails(clock):
    for _ in range(SOFT_BOUNCES):
        factories.emails(factories.application(), ["ann@example.org"])

    mail_answers(clock, UNAVAILABLE)

    assert Suppression.objects.get().email == "ann@example.org"


def test_many_deliveries_in_one_digest_count_as_one_email(team, clock):
    team.recipients.update(frequency="hourly")
    for _ in range(SOFT_BOUNCES):
        publish(team.application, "user.created", factories.example("user.created"))
    clock.forward(timedelta(hours=1))

    mail_answers(clock, UNAVAILABLE)

    assert {*Delivery.objects.values_list("status", flat=True)} == {"failed"}
    assert MailEvent.objects.count() == 1
    assert not Suppression.objects.exists()


@pytest.mark.parametrize(
    "answer",
    [
        "550 blocked",
        "550 Mail from your IP address was rejected",
        "550 5.7.1 Recipient refused by policy",
        "552 5.2.2 Mailbox full",
        "552 Mailbox full",
        "550 The recipient's mailbox is over its quota",
        "550 relay not permitted",
        "450 mailbox unavailable",
    ],
)
def test_what_is_said_of_us_or_of_a_full_mailbox_suppresses_nobody(team, clock, answer):
    told(team, clock, SOFT_BOUNCES + 1, answer)

    assert not MailEvent.objects.exists()
    assert not Suppression.objects.exists()
