"""What a digest says: of each event once, and to whoever is on it as to that person."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Application
from deliveries.cases import close, finish, take
from deliveries.dispatch import drain
from deliveries.lifecycle import choose
from deliveries.models import Case, Delivery
from deliveries.publishing import publish
from subscriptions.models import Recipient, Subscription
from tests.support import factories
from tests.support.cases import LINK, html_of, person, text_of
from tests.support.replays import replayed
from tests.support.smtp import mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
REVOKED, USER = "hosted_consent.revoked", "user.created"


def daily(owner: Application, clock: Clock, language: str = "en") -> Recipient:
    """Far from now, so that nothing of it is due by itself."""
    recipient = factories.confirmed_emails(owner).recipients.get()
    hour = (clock().hour + 12) % 24
    choose(recipient, {"frequency": "daily", "digest_hour": hour, "language": language}, clock())
    return recipient


def at_once(owner: Application, clock: Clock, email: str = "ann@example.org") -> Subscription:
    """Another one, by which the same person hears of the same at once."""
    subscription = factories.confirmed_emails(owner, [email])
    choose(subscription.recipients.get(), {"notes": False}, clock())
    return subscription


def happen(owner: Application, clock: Clock, *types: str) -> None:
    for each in types:
        publish(owner, each, factories.example(each))
    drained(clock)


def drained(clock: Clock) -> list[Any]:
    clock.forward_to(timezone.now())
    with mail_server() as mailbox:
        drain("email", clock)
    return mailbox.messages()


def digest(clock: Clock) -> Any:
    clock.forward(DAY)
    [message] = drained(clock)
    return message


def attached(message: Any) -> list[dict[str, Any]]:
    [part] = message.iter_attachments()
    found: list[dict[str, Any]] = json.loads(part.get_payload(decode=True))
    return found


def test_what_is_replayed_while_the_originals_gather_is_counted_and_listed_once(owner, clock):
    ann = daily(owner, clock)
    happen(owner, clock, REVOKED, USER)
    replayed(ann, clock)

    message = digest(clock)

    assert message["subject"] == "2 events at Green Homes: 1 consent revoked, 1 person given access"
    text = text_of(message)
    assert text.count("Person given access: ") == 1
    assert "One of these needs somebody" in text
    assert len(set(LINK.findall(text))) == 1
    assert text.count("I'm on it: open this page") == 1
    told = {each["delivery_id"] for each in attached(message)}
    assert told == {str(id) for id in Delivery.objects.values_list("id", flat=True)}
    assert len(told) == 4


def test_one_event_and_its_replay_are_one_event_also_in_the_subject(owner, clock):
    ann = daily(owner, clock)
    happen(owner, clock, USER)
    replayed(ann, clock)

    message = digest(clock)

    assert message["subject"] == "One event at Green Homes: 1 person given access"
    assert len(attached(message)) == 2


def test_what_is_replayed_after_the_digest_is_told_again(owner, clock):
    ann = daily(owner, clock)
    happen(owner, clock, REVOKED, USER)
    first = digest(clock)
    Recipient.objects.update(digest_hour=(clock().hour + 12) % 24)
    replayed(ann, clock)

    again = digest(clock)

    assert again["subject"] == f"[Replay] {first['subject']}"


YOURS = "You have been on it since "
FINISH = "Finish it, hand it over or give it back"


def test_whoever_is_on_it_is_spoken_to_as_that_person(owner, clock):
    daily(owner, clock)
    at_once(owner, clock, "Ann@Example.org")
    happen(owner, clock, REVOKED, USER)
    case = Case.objects.get()
    take(case, person(case, "Ann@Example.org"), clock())

    message = digest(clock)

    text = text_of(message)
    assert YOURS in text
    assert "has been on it" not in text
    assert "See who is on it" not in text
    assert "Nothing: somebody is on" not in text
    assert "You are on one of these. Finish it when it is done, or hand it over." in text
    assert text.count(f"{FINISH}: open this page") == 2  # below its line, and the button
    assert len(set(LINK.findall(text))) == 1
    assert html_of(message).count(FINISH) == 2


def test_who_is_on_several_begins_with_the_first_of_them(owner, clock):
    daily(owner, clock)
    at_once(owner, clock)
    happen(owner, clock, REVOKED, REVOKED)
    for case in Case.objects.order_by("created_at"):
        take(case, person(case, "ann@example.org"), clock())

    text = text_of(digest(clock))

    assert "You are on 2 of these. Finish each when it is done, or hand it over." in text
    assert "Start with “Consent revoked by " in text


def test_what_nobody_is_on_comes_before_what_its_reader_is_on(owner, clock):
    daily(owner, clock)
    at_once(owner, clock)
    happen(owner, clock, REVOKED, REVOKED)
    case = Case.objects.order_by("created_at").first()
    assert case
    take(case, person(case, "ann@example.org"), clock())

    text = text_of(digest(clock))

    assert "One of these needs somebody, and nobody is on it yet." in text
    assert text.count("I'm on it: ") == 2
    assert text.count(f"{FINISH}: open this page") == 1


def test_what_its_reader_has_done_is_told_as_done(owner, clock):
    daily(owner, clock)
    at_once(owner, clock)
    happen(owner, clock, REVOKED, USER)
    case = Case.objects.get()
    ann = person(case, "ann@example.org")
    take(case, ann, clock())
    finish(case, ann, "It was meant.", clock())

    text = text_of(digest(clock))

    assert "It was meant." in text
    assert YOURS not in text
    assert FINISH not in text
    assert "See what came of it: " in text


def test_what_staff_have_closed_before_anybody_was_on_it_needs_nobody_in_a_digest(owner, clock):
    daily(owner, clock)
    happen(owner, clock, REVOKED, USER)
    assert close(Case.objects.get(), clock())

    text = text_of(digest(clock))

    assert "Marked as done by Openvolt staff on " in text
    assert "needs somebody" not in text
    assert "I'm on it" not in text
    assert "Nothing: somebody is on what a person should handle, or it is done." in text


def test_in_german_whoever_is_on_it_is_spoken_to_as_that_person(owner, clock):
    daily(owner, clock, "de")
    at_once(owner, clock)
    happen(owner, clock, REVOKED, USER)
    case = Case.objects.get()
    take(case, person(case, "ann@example.org"), clock())

    text = text_of(digest(clock))

    assert "Sie kümmern sich um eines davon." in text
    assert "kümmert sich seit" not in text
