"""Many endpoints that fail at once: each contact gets few emails, which name them all, and nothing of it is lost."""

import re
import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from deliveries.cases import finish, give_back, hand_over, take
from deliveries.dispatch import drain
from deliveries.domains import PAUSE
from deliveries.failing import sweep, tell_gone, tell_recovered
from deliveries.lifecycle import disable
from deliveries.mailing import claim_notices, longest_waiting, send_notices
from deliveries.models import Case, Notice, PausedDomain
from deliveries.notices import GATHER_FOR
from deliveries.publishing import publish
from deliveries.reminding import remind
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.cases import LINK, person, text_of
from tests.support.smtp import Mailbox, mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db

ANN, BEN = "ann@example.org", "ben@example.org"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LATER = timedelta(days=30)


@pytest.fixture
def owner():
    owner = factories.application()
    owner.contacts = [ANN, BEN]
    owner.save()
    return owner


def fail(owner, count: int, since, **fields) -> list[Subscription]:
    return [
        factories.webhook(
            owner,
            f"https://hooks{number:03}.example.org/in?token=hush-hush",
            failing_since=since,
            failure_count=9,
            last_failed_at=since + LATER,
            last_error=f"The receiver answered 50{number % 4}.",
            **fields,
        )
        for number in range(count)
    ]


def sent(clock: Clock) -> Mailbox:
    """What goes out when all that gathers has gathered."""
    clock.forward(GATHER_FOR)
    with mail_server() as mailbox:
        send_notices(clock)
    return mailbox


def subjects(mailbox: Mailbox) -> list[tuple[str, str]]:
    return sorted((str(message["to"]), str(message["subject"])) for message in mailbox.messages())


def is_settled() -> bool:
    return not Notice.objects.filter(due_at__isnull=False).exists()


def test_a_hundred_that_fail_at_once_are_five_emails_to_each_contact_that_name_each_of_them_once(
    owner, clock
):
    fail(owner, 100, clock() - 2 * HOUR)
    sweep()

    mailbox = sent(clock)

    assert [to for to, _ in subjects(mailbox)] == [ANN] * 5 + [BEN] * 5
    texts = [text_of(message) for message in mailbox.messages() if message["to"] == ANN]
    named = [
        name
        for text in texts
        for name in re.findall(r"- (hooks\d+)\.\u200bexample\.\u200borg/in: since ", text)
    ]
    assert sorted(named) == [f"hooks{number:03}" for number in range(100)]
    message = mailbox.messages()[0]
    assert message["subject"].startswith("Webhooks of 20 subscriptions have failed since ")
    assert "The receiver answered 503." in text_of(message)
    assert "hush-hush" not in message.as_string()
    assert (Notice.objects.filter(sent_at=clock()).count(), is_settled()) == (200, True)


def test_what_waits_for_a_domain_that_wants_time_is_one_email_still(owner, clock):
    owner.contacts = ["ann@slow.example"]
    owner.save()
    fail(owner, 3, clock() - 2 * HOUR)
    sweep()
    PausedDomain.objects.create(domain="slow.example", until=clock() + PAUSE)
    assert sent(clock).connections == 0

    clock.forward(PAUSE)

    assert [subject[:41] for _, subject in subjects(sent(clock))] == [
        "Webhooks of 3 subscriptions have failed s"
    ]
    assert {*Notice.objects.values_list("attempt_count", flat=True)} == {1}


def test_one_alone_has_the_words_of_one(owner, clock):
    fail(owner, 1, clock() - 2 * HOUR)
    sweep()

    assert {subject[:47] for _, subject in subjects(sent(clock))} == {
        "Webhooks to hooks000.example.org have failed si"
    }


def test_each_kind_comes_once_from_the_first_hour_until_they_are_disabled_and_back(owner, clock):
    began = clock()
    many = fail(owner, 20, began)
    told = []
    for at in (HOUR, 4 * DAY, 5 * DAY + HOUR):
        clock.forward_to(began + at)
        sweep()
        told += [subject for to, subject in subjects(sent(clock)) if to == ANN]
    for one in many:
        one.refresh_from_db()
        one.status = "active"
        tell_recovered(one, clock())
    told += [subject for to, subject in subjects(sent(clock)) if to == ANN]

    assert [re.split(" since | from ", subject)[0] for subject in told] == [
        "Webhooks of 20 subscriptions have failed",
        "Webhooks of 20 subscriptions will be disabled",
        "Webhooks of 20 subscriptions are disabled",
        "Webhooks of 20 subscriptions get through again",
    ]


def test_receivers_that_say_gone_within_a_minute_are_one_email_with_a_page_for_each(owner, clock):
    for one in fail(owner, 3, clock()):
        disable(one, clock(), "Gone.")
        tell_gone(one, clock())
        clock.forward(GATHER_FOR / 4)

    mailbox = sent(clock)

    assert {subject for _, subject in subjects(mailbox)} == {"Webhooks of 3 subscriptions are disabled"}
    assert len(set(LINK.findall(text_of(mailbox.messages()[0])))) == Case.objects.count() == 3


def test_those_of_another_application_are_in_another_email(owner, clock):
    fail(owner, 2, clock() - 2 * HOUR)
    other = factories.application("Other")
    other.contacts = [ANN]
    other.save()
    fail(other, 3, clock() - 2 * HOUR)
    sweep()

    mailbox = sent(clock)

    assert sorted(subject[:26] for to, subject in subjects(mailbox) if to == ANN) == [
        "Webhooks of 2 subscription",
        "Webhooks of 3 subscription",
    ]


def test_one_that_has_recovered_meanwhile_is_left_out_of_the_email(owner, clock):
    one, *_ = fail(owner, 3, clock() - 2 * HOUR)
    sweep()
    one.refresh_from_db()
    one.forget_failures()
    one.save()

    mailbox = sent(clock)

    assert {subject[:26] for _, subject in subjects(mailbox)} == {"Webhooks of 2 subscription"}
    assert "hooks000" not in text_of(mailbox.messages()[0])
    assert {each.error for each in Notice.objects.filter(subscription=one)} == {
        "It does not fail any more, or is not active."
    }


def test_an_email_that_is_refused_for_now_is_retried_whole_and_what_comes_meanwhile_is_another(owner, clock):
    owner.contacts = [ANN]
    owner.save()
    fail(owner, 3, clock() - 2 * HOUR)
    sweep()
    clock.forward(GATHER_FOR)
    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "451 4.7.1 later"
        send_notices(clock)
        first, *_ = Notice.objects.order_by("id")
        assert set(Notice.objects.values_list("attempt_count", "due_at")) == {
            (1, clock() + settings.EMAIL_RETRY_SCHEDULE[0])
        }
        mailbox.answers.clear()
        fail(owner, 2, clock() - 2 * HOUR)
        sweep()
        clock.forward(settings.EMAIL_RETRY_SCHEDULE[0] + GATHER_FOR)
        send_notices(clock)

    new, again = mailbox.messages()
    assert again["message-id"].startswith(f"<{first.id}@")
    assert again["subject"].startswith("Webhooks of 3 subscriptions")
    assert new["subject"].startswith("Webhooks of 2 subscriptions")
    assert is_settled()


def test_a_worker_that_is_killed_between_sending_and_settling_sends_the_same_again(owner, clock):
    owner.contacts = [ANN]
    owner.save()
    fail(owner, 5, clock() - 2 * HOUR)
    sweep()
    clock.forward(GATHER_FOR)

    first = longest_waiting(clock())
    assert first
    killed = claim_notices(first, clock())  # and nothing more is heard of it
    assert len(killed) == 5
    with mail_server() as mailbox:
        send_notices(clock)
        assert mailbox.messages() == []
        clock.forward(HOUR)
        send_notices(clock)

    assert mailbox.message()["message-id"].startswith(f"<{killed[0].id}@")
    assert mailbox.message()["subject"].startswith("Webhooks of 5 subscriptions")
    assert is_settled()


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_take_nothing_twice_and_leave_nothing_behind(owner, clock):
    fail(owner, 40, clock() - 2 * HOUR)
    sweep()
    clock.forward(GATHER_FOR)
    both = threading.Barrier(2)

    def run() -> None:
        both.wait(60)
        send_notices(clock)
        connection.close()

    with mail_server() as mailbox:
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert [to for to, _ in subjects(mailbox)] == [ANN, ANN, BEN, BEN]
    named = [re.findall(r"- (hooks\d+)", text_of(message)) for message in mailbox.messages()]
    assert Counter(name for names in named for name in names) == {
        f"hooks{number:03}": 2 for number in range(40)
    }
    assert is_settled()


def test_what_becomes_of_several_things_at_once_is_one_note_of_each_kind(owner, clock):
    factories.confirmed_emails(owner, [ANN, BEN])
    for _ in range(3):
        publish(owner, "hosted_consent.revoked", factories.example("hosted_consent.revoked"))
    clock.forward_to(timezone.now() + GATHER_FOR)
    with mail_server():
        drain("email", clock)
    cases = [*Case.objects.all()]
    told = []
    for act in (
        lambda case: take(case, person(case, ANN), clock()),
        lambda case: give_back(case, person(case, ANN), clock()),
        lambda case: take(case, person(case, ANN), clock()),
        lambda case: hand_over(case, person(case, ANN), person(case, BEN), clock()),
        lambda case: finish(case, person(case, BEN), "Called.", clock()),
    ):
        assert all(act(case) for case in cases)
        mailbox = sent(clock)
        told += subjects(mailbox)
        assert len(set(LINK.findall(text_of(mailbox.message())))) == 3
    assert "Called." in text_of(mailbox.message())

    assert told == [
        (BEN, "Somebody is on it: 3 things that you were told of"),
        (BEN, "Nobody is on it any more: 3 things that you were told of"),
        (BEN, "Somebody is on it: 3 things that you were told of"),
        (BEN, "For you: 3 things that you were told of"),
        (ANN, "Done: 3 things that you were told of"),
    ]


def test_what_nobody_has_taken_is_told_once_more_with_a_page_for_each_and_without_what_was_taken(
    owner, clock
):
    factories.confirmed_emails(owner, ["joe@example.org"])
    for _ in range(25):
        publish(owner, "hosted_consent.revoked", factories.example("hosted_consent.revoked"))
    clock.forward_to(timezone.now() + GATHER_FOR)
    with mail_server() as mailbox:
        drain("email", clock)
    assert len(mailbox.messages()) == 25
    clock.forward(7 * DAY)
    assert remind(clock()) == 25
    first, *_ = Case.objects.order_by("created_at")
    assert take(Case.objects.get(pk=first.pk), person(first, "joe@example.org"), clock())

    mailbox = sent(clock)

    assert sorted(message["subject"] for message in mailbox.messages()) == [
        "Nobody is on it yet: 19 things that you were told of",
        "Nobody is on it yet: 5 things that you were told of",
    ]
    assert len({link for message in mailbox.messages() for link in LINK.findall(text_of(message))}) == 24
    assert is_settled()


def test_what_is_more_than_one_email_is_in_the_same_emails_again_when_they_are_refused_for_now(owner, clock):
    owner.contacts = [ANN]
    owner.save()
    fail(owner, 25, clock() - 2 * HOUR)
    sweep()
    clock.forward(GATHER_FOR)
    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "451 later"
        send_notices(clock)
        assert set(Notice.objects.values_list("attempt_count", flat=True)) == {1}
        mailbox.answers.clear()
        clock.forward(settings.EMAIL_RETRY_SCHEDULE[0])
        send_notices(clock)

    ids = [str(id) for id in Notice.objects.order_by("id").values_list("id", flat=True)]
    assert sorted(message["message-id"].partition("@")[0][1:] for message in mailbox.messages()) == [
        ids[0],
        ids[20],
    ]
    assert is_settled()


def test_each_of_many_that_end_at_once_has_its_page(owner, clock):
    owner.contacts = [ANN]
    owner.save()
    for one in fail(owner, 25, clock()):
        disable(one, clock(), "Gone.")
        tell_gone(one, clock())

    mailbox = sent(clock)

    assert sorted(len(set(LINK.findall(text_of(one)))) for one in mailbox.messages()) == [5, 20]
