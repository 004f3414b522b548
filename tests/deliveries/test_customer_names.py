"""What a customer is called whom an event names by an id alone: as an earlier event of the same application says."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Application
from deliveries import reminding
from deliveries.cases import take
from deliveries.customers import BY_ID_ALONE, customers_of
from deliveries.dispatch import drain
from deliveries.erasing import erase
from deliveries.lifecycle import choose, confirm_recipient, send_test
from deliveries.mailing import send_notices
from deliveries.models import Attempt, Case, Notice
from deliveries.notices import GATHER_FOR
from deliveries.publishing import publish
from events.models import Event
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.cases import page_of, person, text_of
from tests.support.smtp import Mailbox, mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

ANN, BOB = "ann@example.org", "bob@example.org"
REVOKED = "hosted_consent.revoked"
CUSTOMER = factories.example(REVOKED)["customer_id"]
BAKERY = "Hawthorn Bakery Ltd"
BY_NAME = f"Consent revoked by {BAKERY}: Flat 2 electricity"
BY_ID = "Consent revoked by customer 65a0…b94e01: Flat 2 electricity"


@pytest.fixture
def team(owner: Application) -> Subscription:
    subscription = factories.emails(owner, [ANN, BOB], [REVOKED])
    for recipient in subscription.recipients.all():
        confirm_recipient(recipient, timezone.now())
    return subscription


def customer(owner: Application, name: str = BAKERY, id: str = CUSTOMER) -> Event:
    payload = factories.example("customer.created") | {"_id": id, "name": name}
    return publish(owner, "customer.created", payload)


def revoked(owner: Application, **more: Any) -> Event:
    return publish(owner, REVOKED, factories.example(REVOKED) | more)


def sent(clock: Clock | None = None) -> Mailbox:
    with mail_server() as mailbox:
        drain("email", clock or Clock())
    return mailbox


def noted(clock: Clock) -> Mailbox:
    with mail_server() as mailbox:
        send_notices(clock)
    return mailbox


def subjects(mailbox: Mailbox) -> set[str]:
    return {str(message["subject"]) for message in mailbox.messages()}


def test_a_customer_who_was_created_here_is_called_by_name(owner, team):
    customer(owner)
    revoked(owner)

    mailbox = sent()

    assert subjects(mailbox) == {BY_NAME}
    text = text_of(mailbox.messages()[0])
    assert f"{BAKERY} withdrew the consent “Flat 2 electricity” on " in text
    assert f"Customer: {BAKERY}" in text
    assert f"Customer ID: {CUSTOMER}" in text


def test_a_meter_that_was_created_names_its_customer_too_and_the_newest_name_holds(owner, team):
    customer(owner, "Hawthorn Bakery")
    publish(owner, "meter.created", factories.example("meter.created"))
    revoked(owner)

    assert subjects(sent()) == {BY_NAME}


def test_a_name_in_the_payload_itself_is_believed_first(owner, team):
    customer(owner)
    revoked(owner, customer_name="Tom Okafor")

    assert subjects(sent()) == {"Consent revoked by Tom Okafor: Flat 2 electricity"}


def test_another_applications_customer_with_the_same_id_names_nobody(owner, team):
    customer(factories.application("Other"))
    revoked(owner)

    assert subjects(sent()) == {BY_ID}


def test_the_example_that_a_test_sends_names_nobody(owner, team):
    send_test(factories.webhook(owner), "customer.created", timezone.now())
    revoked(owner)

    assert subjects(sent()) == {BY_ID}


@pytest.mark.parametrize("payload", [{"name": " "}, {"_id": "x" * 101}, {"_id": ""}])
def test_what_has_no_name_or_no_id_to_look_up_is_published_and_names_nobody(owner, payload):
    event = publish(owner, "customer.created", factories.example("customer.created") | payload)

    assert Event.objects.get(pk=event.pk).names_customer is None


def test_an_erased_customer_is_known_by_the_id_at_most(owner, team):
    customer(owner)
    erase(owner, BAKERY, timezone.now())
    revoked(owner)

    assert not Event.objects.exclude(names_customer=None).exists()
    assert subjects(sent()) == {BY_ID}


def test_what_was_sent_with_the_name_is_erased_by_the_customers_id(owner, team):
    customer(owner)
    revoked(owner)
    sent()
    assert BAKERY in str(kept())

    erase(owner, CUSTOMER, timezone.now())

    assert BAKERY not in str(kept())


def kept() -> list[Any]:
    return [
        *Attempt.objects.values(),
        *Event.objects.values(),
        *Case.objects.values(),
        *Notice.objects.values(),
    ]


def test_the_email_that_comes_instead_of_a_webhook_says_the_name(owner):
    customer(owner)
    factories.falling_back(owner)
    revoked(owner)
    clock = Clock()

    drain("webhook", clock)

    assert subjects(noted(clock)) == {f"[Webhook failed] {BY_NAME}"}


def test_a_digest_says_the_name(owner, team):
    choose(team.recipients.get(email=ANN), {"frequency": "hourly"}, timezone.now())
    customer(owner)
    revoked(owner)
    revoked(owner, customer_id="cust-B")
    clock = Clock()
    clock.forward(timedelta(hours=1, seconds=1))

    [digest] = [each for each in sent(clock).messages() if str(each["to"]) == ANN]

    assert f"{BY_NAME} (" in text_of(digest)
    assert "Consent revoked by customer cust-B: Flat 2 electricity (" in text_of(digest)


def test_the_page_and_the_reminder_of_several_say_the_name(owner, team):
    customer(owner)
    event, _ = revoked(owner), revoked(owner, description="Flat 3 gas")
    clock = Clock()
    sent(clock)

    page = Client().get(page_of(Case.objects.get(pk=event.pk), ANN)).content.decode()
    clock.forward(timedelta(days=9))
    while reminding.remind(clock()):
        pass
    clock.forward(GATHER_FOR)

    text = text_of(noted(clock).messages()[0])
    assert BY_NAME in page
    assert f"{BY_NAME} (" in text
    assert f"Consent revoked by {BAKERY}: Flat 3 gas (" in text


def test_staff_see_the_email_with_the_name_and_of_an_example_none(owner, team, admin_client):
    customer(owner)
    event = revoked(owner)

    shown = admin_client.get("/admin/emails/", {"event": event.id})
    example = admin_client.get("/admin/emails/", {"type": REVOKED})

    assert shown.context["preview"].wording.subject == BY_NAME
    assert example.context["preview"].wording.subject == BY_ID


def test_a_note_says_the_name(owner, team):
    customer(owner)
    event = revoked(owner)
    clock = Clock()
    sent(clock)
    case = Case.objects.get(pk=event.pk)

    take(case, person(case, ANN), clock())

    assert subjects(noted(clock)) == {f"{ANN} is on it: {BY_NAME}"}


def test_names_of_many_take_one_query_and_events_of_other_types_none(owner):
    events = []
    for nth in range(20):
        customer(owner, f"Customer {nth}", f"customer-{nth}")
        events.append(revoked(owner, customer_id=f"customer-{nth}"))
    other = publish(owner, "user.created", factories.example("user.created"))

    with CaptureQueriesContext(connection) as asked:
        called = customers_of((owner.pk, event) for event in events)
    assert [called[event.pk] for event in events] == [f"Customer {nth}" for nth in range(20)]
    assert len(asked) == 1
    with CaptureQueriesContext(connection) as asked:
        assert customers_of([(owner.pk, other)]) == {}
    assert len(asked) == 0


def test_odd_payloads_ask_for_nobody(owner):
    odd = [
        Event(type=BY_ID_ALONE[0], payload=text) for text in ("null", "[]", "{", '{"customer_id": 5}', '"x"')
    ]

    assert customers_of((owner.pk, each) for each in odd) == {}
