"""What the headers of every email say: who gets the answers, how to end it, and which email it belongs to."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import Application
from deliveries import lifecycle
from deliveries.cases import finish, take
from deliveries.dispatch import drain
from deliveries.failing import tell_gone
from deliveries.lifecycle import choose
from deliveries.mailing import send_notices
from deliveries.models import Case, Delivery, Notice
from deliveries.publishing import publish
from deliveries.reminding import remind
from deliveries.summaries import end_of_week, facts
from subscriptions.links import summary_link, unsubscribe_link
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.cases import person
from tests.support.smtp import Mailbox, mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

ANN, BOB = "ann@example.org", "bob@example.org"
HELP = "help@greenhomes.example"
REVOKED = "hosted_consent.revoked"


@pytest.fixture
def owner() -> Application:
    application = factories.application()
    application.reply_to = HELP
    application.save()
    return application


@pytest.fixture
def case(owner: Application, clock: Clock) -> Case:
    """A revoked consent that Ann and Bob were told of."""
    factories.confirmed_emails(owner, [ANN, BOB])
    Notice.objects.all().delete()
    publish(owner, REVOKED, factories.example(REVOKED))
    clock.forward_to(timezone.now())
    drained(clock)
    return Case.objects.get()


def drained(clock: Clock) -> Mailbox:
    with mail_server() as mailbox:
        drain("email", clock)
    return mailbox


def later(clock: Clock) -> Mailbox:
    """Whatever is to be sent within days."""
    clock.forward(timedelta(days=9))
    with mail_server() as mailbox:
        send_notices(clock)
    return mailbox


def hourly(owner: Application) -> Recipient:
    ann = factories.confirmed_emails(owner).recipients.get()
    choose(ann, {"frequency": "hourly"}, datetime.now(UTC))
    return ann


@pytest.mark.parametrize("types", [["user.created"], ["user.created", "meter.created"]], ids=["one", "two"])
def test_answers_to_a_digest_go_to_the_application(owner, clock, types):
    hourly(owner)
    for each in types:
        publish(owner, each, factories.example(each))
    clock.forward(timedelta(hours=2))

    [message] = [each for each in drained(clock).messages() if "openvolt-attempt" in each]

    assert message["reply-to"] == HELP


def test_a_digest_of_one_has_the_headers_of_that_event(owner, clock):
    ann = hourly(owner)
    event = publish(owner, "user.created", factories.example("user.created"))
    clock.forward(timedelta(hours=2))

    [message] = [each for each in drained(clock).messages() if "openvolt-attempt" in each]

    assert message["openvolt-event-id"] == str(event.id)
    assert message["feedback-id"] == f"{ann.subscription_id}:user.created:openvolt"
    assert message["message-id"] == f"<{Delivery.objects.get().digest}@openvolt.example>"


def test_answers_to_a_question_go_to_the_application(owner, clock):
    factories.emails(owner)

    message = drained(clock).message()

    assert message["subject"].startswith("Please confirm")
    assert message["reply-to"] == HELP
    assert message["list-unsubscribe"] == f"<{unsubscribe_link(Recipient.objects.get().id)}>"


def test_answers_to_what_a_contact_is_told_go_to_the_application(owner, clock):
    subscription = factories.webhook(owner)
    lifecycle.disable(subscription, clock(), "The receiver answered 410.")
    subscription.refresh_from_db()
    tell_gone(subscription, clock())

    message = later(clock).message()

    assert message["to"] == owner.contacts[0]
    assert message["reply-to"] == HELP
    assert message["list-unsubscribe"] is None
    assert message["feedback-id"] == f"{subscription.id}:gone:openvolt"


def test_an_application_without_an_address_for_answers_has_none(owner, clock):
    Application.objects.update(reply_to="")
    factories.emails(owner)

    assert drained(clock).message()["reply-to"] is None


def test_a_note_to_a_recipient_can_be_ended_and_belongs_to_the_email_that_told_of_the_event(case, clock):
    take(case, person(case, ANN), clock())

    note = later(clock).message()

    bob = Recipient.objects.get(email=BOB)
    first = f"<{Delivery.objects.get(recipient=bob).id}@openvolt.example>"
    assert note["to"] == BOB
    assert note["reply-to"] == HELP
    assert note["list-unsubscribe"] == f"<{unsubscribe_link(bob.id)}>"
    assert note["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert note["list-id"] == f'"Green Homes" <{bob.subscription_id}.openvolt.example>'
    assert note["feedback-id"] == f"{bob.subscription_id}:case_taken:openvolt"
    assert (note["references"], note["in-reply-to"]) == (first, first)
    assert note["message-id"] != first


def test_a_note_belongs_to_the_digest_that_told_of_the_event(owner, clock):
    hourly(owner)
    factories.confirmed_emails(owner, [BOB])
    for each in (REVOKED, "user.created"):
        publish(owner, each, factories.example(each))
    clock.forward(timedelta(hours=2))
    drained(clock)
    case = Case.objects.get()
    take(case, person(case, BOB), clock())

    note = later(clock).message()

    digest = Delivery.objects.filter(recipient__email=ANN).values_list("digest", flat=True).first()
    assert note["to"] == ANN
    assert note["references"] == f"<{digest}@openvolt.example>"


def test_a_note_belongs_to_the_email_that_came_instead_of_a_webhook(owner, clock):
    factories.falling_back(owner, ANN)
    factories.confirmed_emails(owner, [BOB])
    Notice.objects.all().delete()
    publish(owner, REVOKED, factories.example(REVOKED))
    clock.forward_to(timezone.now())
    drain("webhook", clock)
    drained(clock)
    case = Case.objects.get()
    take(case, person(case, BOB), clock())

    note = later(clock).message()

    told = Notice.objects.get(kind=Notice.Kind.FALLBACK)
    assert note["to"] == ANN
    assert note["references"] == f"<{told.id}@openvolt.example>"


def test_a_reminder_belongs_to_the_email_that_told_of_the_event(case, clock):
    clock.forward(timedelta(days=9))
    remind(clock())

    reminders = later(clock).messages()

    firsts = {
        one.recipient.email: f"<{one.id}@openvolt.example>"
        for one in Delivery.objects.select_related("recipient")
        if one.recipient
    }
    assert {each["to"]: each["references"] for each in reminders} == firsts
    assert all(each["list-unsubscribe"] for each in reminders)


def test_a_reminder_of_several_things_belongs_to_the_emails_that_told_of_them(case, clock, owner):
    publish(owner, REVOKED, factories.example(REVOKED))
    clock.forward_to(timezone.now())
    drained(clock)
    clock.forward(timedelta(days=9))
    remind(clock())

    for reminder in later(clock).messages():
        ids = Delivery.objects.filter(recipient__email=reminder["to"]).order_by("id")
        assert reminder["references"].split() == [f"<{one.id}@openvolt.example>" for one in ids]
        assert reminder["in-reply-to"] == reminder["references"]


def test_what_came_of_it_belongs_to_the_email_that_told_of_the_event(case, clock):
    take(case, person(case, ANN), clock())
    finish(case, person(case, ANN), "Called them.", clock())

    [note] = [each for each in later(clock).messages() if each["subject"].startswith("Done")]

    assert note["references"] == note["in-reply-to"] == f"<{first_told(BOB)}@openvolt.example>"


def first_told(email: str) -> object:
    return Delivery.objects.get(recipient__email=email).id


def test_a_summary_is_of_a_list_that_its_button_ends(owner, clock):
    owner.weekly_summary = True
    owner.save()
    Notice.objects.create(
        kind=Notice.Kind.SUMMARY,
        application=owner,
        email=owner.contacts[0],
        facts=facts(owner, end_of_week(clock()) - timedelta(days=7)),
    )
    message = drained(clock).message()

    assert message["list-id"] == f'"Green Homes" <{owner.id}.openvolt.example>'
    assert message["feedback-id"] == f"{owner.id}:summary:openvolt"
    assert message["list-unsubscribe"] == f"<{summary_link(owner.id, owner.contacts[0])}>"
    assert message["reply-to"] == HELP
