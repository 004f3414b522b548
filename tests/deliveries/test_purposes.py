"""One address in several subscriptions: each email, and each question, names the one that it comes from."""

from datetime import timedelta

import pytest

from deliveries.dispatch import drain
from deliveries.lifecycle import choose, confirm_recipient
from deliveries.publishing import publish
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.cases import text_of
from tests.support.smtp import mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

PURPOSES = ["Accounts team", "On call"]


def texts(clock: Clock) -> list[str]:
    """Of the emails that go out now, in one line each."""
    with mail_server() as mailbox:
        drain("email", clock)
    return sorted(" ".join(text_of(message).split()) for message in mailbox.messages())


def agree(clock: Clock, **choices: str) -> None:
    for recipient in Recipient.objects.all():
        confirm_recipient(recipient, clock())
        choose(recipient, choices, clock())


def happen(owner, times: int = 1) -> None:
    for _ in range(times):
        publish(owner, "user.created", factories.example("user.created"))


def test_two_questions_to_one_address_say_what_each_is_about(owner, clock):
    for purpose in PURPOSES:
        factories.emails(owner, description=purpose)

    asked = texts(clock)

    assert [
        sum(f"They call these emails “{purpose}”." in text for text in asked) for purpose in PURPOSES
    ] == [1, 1]


def test_two_emails_of_one_event_say_why_there_are_two(owner, clock):
    for purpose in PURPOSES:
        factories.emails(owner, description=purpose)
    agree(clock)
    happen(owner)

    told = texts(clock)

    why = "You get this because ann@example.org agreed to get emails about Green Homes, which uses Openvolt."
    for purpose in PURPOSES:
        assert sum(f"{why} They call these emails “{purpose}”." in text for text in told) == 1


def test_so_does_a_digest_in_its_readers_language(owner, clock):
    factories.emails(owner, description="Nachtdienst")
    agree(clock, frequency="hourly", language="de")
    happen(owner, 2)
    clock.forward(timedelta(hours=1))

    [told] = texts(clock)

    assert "Dort heißen diese E-Mails „Nachtdienst“." in told


def test_where_nobody_has_described_it_there_is_nothing_to_say(owner, clock):
    factories.emails(owner)
    asked = texts(clock)
    agree(clock)
    happen(owner)

    assert not any("They call" in text for text in asked + texts(clock))


def test_a_description_makes_no_link_and_turns_no_line_around(owner, clock):
    factories.emails(owner, description="Click https://evil.example.com/now \u202egnp\r\nBcc: a@b.example")
    asked = texts(clock)
    agree(clock)
    happen(owner)

    for text in asked + texts(clock):
        assert "They call these emails “Click evil" in text
        assert "evil.example.com" not in text
        assert "\u202e" not in text
