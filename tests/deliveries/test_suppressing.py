"""Addresses that mail servers refuse, and domains that ask for time, as drains meet them."""

from datetime import timedelta

import pytest

from deliveries import dispatch, domains
from deliveries.dispatch import drain
from deliveries.models import Delivery
from deliveries.publishing import publish
from subscriptions.models import Recipient, Suppression
from tests.support import factories
from tests.support.smtp import mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nobody_is_paused():
    yield
    domains.paused.clear()


def told(*recipients: str) -> None:
    owner = factories.application()
    factories.confirmed_emails(owner, recipients)
    publish(owner, "meter.created", factories.example("meter.created"))


def test_an_address_that_the_mail_server_says_does_not_exist_is_suppressed():
    told("ann@example.org")
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = "550 5.1.1 No such user here"
        drain("email", Clock())

    suppression = Suppression.objects.get()
    assert (suppression.email, suppression.source) == ("ann@example.org", "mail server")
    assert "No such user here" in suppression.reason
    assert Delivery.objects.get().status == "failed"
    assert Recipient.objects.get().status == "suppressed"


def test_a_refusal_of_the_message_suppresses_nobody():
    told("ann@example.org")
    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "554 5.7.1 looks like spam"
        drain("email", Clock())

    assert Delivery.objects.get().status == "failed"
    assert not Suppression.objects.exists()


def test_a_domain_that_asks_for_time_gets_it_at_no_attempt_and_others_do_not_wait():
    told("ann@slow.example", "bob@slow.example", "eve@slow.example", "joe@quick.example")
    domains.paused["slow.example"] = float("inf")
    clock = Clock()
    with mail_server() as mailbox:
        drain("email", clock)

    waiting = Delivery.objects.pending()
    assert [message["to"] for message in mailbox.messages()] == ["joe@quick.example"]
    assert set(waiting.values_list("attempt_count", "next_attempt_at")) == {(0, clock.now + domains.PAUSE)}
    domains.paused.clear()
    clock.forward(domains.PAUSE + timedelta(seconds=1))
    with mail_server() as mailbox:
        drain("email", clock)
    assert len(mailbox.messages()) == 3


def test_who_greylists_is_left_alone_for_a_moment():
    told("ann@slow.example")
    with mail_server() as mailbox:
        mailbox.answers["RCPT"] = "451 4.7.1 Greylisted"
        drain("email", Clock())

    assert "slow.example" in domains.paused


def test_a_drain_uses_few_connections():
    told(*(f"person{number}@example.org" for number in range(40)))
    with mail_server() as mailbox:
        drain("email", Clock())

    assert len(mailbox.messages()) == 40
    assert mailbox.connections <= dispatch.THREADS["email"] + dispatch.MOST_SLOW["email"]
