"""What a webhook could not tell, or not in time, is told by email to the person whom its subscription names."""

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from deliveries import lifecycle
from deliveries.dispatch import drain
from deliveries.fallback import sweep
from deliveries.mailing import send_notices
from deliveries.models import Delivery, Notice
from deliveries.notices import MOST_FALLBACKS
from deliveries.publishing import publish
from deliveries.replaying import COMMITTED_AFTER, plan, start, work_off
from subscriptions.models import Recipient, Subscription
from tests.support import factories
from tests.support.receivers import Answer, Receiver
from tests.support.smtp import mail_server

pytestmark = pytest.mark.django_db

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ADDRESS = "ann@example.org"


def falls_back(owner, url: str, types=("*",), after: timedelta | None = None, **fields) -> Subscription:
    """A webhook subscription whose first failed attempt is the last, and a person who has confirmed."""
    since = timezone.now() if after else None
    return factories.falling_back(
        owner, ADDRESS, url, types, fallback_after=after, fallback_looked_until=since, **fields
    )


def tell(owner, event_type: str = "user.created") -> None:
    publish(owner, event_type, factories.example(event_type))


def mailed(clock) -> list:
    """The emails that this sends."""
    before = len(mail.outbox)
    send_notices(clock)
    return mail.outbox[before:]


def test_a_webhook_that_fails_for_good_is_told_by_email_in_the_words_of_its_event(owner, clock):
    with Receiver(Answer(500)) as receiver:
        falls_back(owner, f"{receiver.url}hook?token=s3cret")
        tell(owner)
        drain("webhook", clock)
    delivery = Delivery.objects.get()
    assert delivery.status == "failed"

    [email] = mailed(clock)

    assert email.to == [ADDRESS]
    assert email.subject.startswith("[Webhook failed] ")
    first = str(email.body).split("\n", 1)[0]
    assert first.startswith(f"The webhook to 127.0.0.1:{receiver.port} failed for good, after 1 attempt: ")
    assert "500" in first
    assert "s3cret" not in str(email.message())
    name, content, kind = email.attachments[0]
    assert (name, kind) == ("notification.json", "application/json")
    assert str(delivery.id) in str(content)


def test_a_mail_server_gets_it_with_a_way_to_unsubscribe(owner, clock):
    falls_back(owner, "http://127.0.0.1:9/")
    tell(owner)
    drain("webhook", clock)

    with mail_server() as mailbox:
        send_notices(clock)

    [message] = mailbox.messages()
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Auto-Submitted"] == "auto-generated"
    assert str(Notice.objects.get().id) in message["Message-ID"]
    assert [part.get_content_type() for part in message.iter_attachments()][-1] == "application/json"


def test_who_has_unsubscribed_gets_nothing_more_not_even_what_was_to_be_sent(owner, clock):
    falls_back(owner, "http://127.0.0.1:9/")
    tell(owner)
    drain("webhook", clock)

    lifecycle.unsubscribe_recipient(Recipient.objects.get(), clock())
    assert mailed(clock) == []
    assert Notice.objects.get().error == "The recipient is unsubscribed."

    clock.forward(MINUTE)
    tell(owner)
    drain("webhook", clock)
    assert Delivery.objects.filter(status="failed").count() == 2
    assert Notice.objects.count() == 1


def test_the_duty_is_made_in_the_transaction_of_the_failure(owner, clock, monkeypatch):
    falls_back(owner, "http://127.0.0.1:9/")
    tell(owner)
    monkeypatch.setattr("deliveries.settling.note_health", broken)

    with pytest.raises(ZeroDivisionError):
        drain("webhook", clock)

    assert Delivery.objects.get().status == "pending"
    assert not Notice.objects.exists()


def broken(*_) -> None:
    raise ZeroDivisionError


def test_only_the_chosen_types_are_told_and_of_these_what_the_person_wants(owner, clock):
    subscription = falls_back(owner, "http://127.0.0.1:9/", types=["user.created", "meter.created"])
    Recipient.objects.update(types=["meter.created"])
    for event_type in ("user.created", "meter.created", "customer.created"):
        tell(owner, event_type)

    while Delivery.objects.pending().exists():
        drain("webhook", clock)
        clock.forward(HOUR)

    [notice] = Notice.objects.filter(subscription=subscription, kind="fallback")
    assert Delivery.objects.get(pk=notice.facts["delivery"]).event_type == "meter.created"


def test_nobody_is_told_before_they_confirm(owner, clock):
    falls_back(owner, "http://127.0.0.1:9/")
    Recipient.objects.update(status="unconfirmed")
    tell(owner)

    drain("webhook", clock)

    assert not Notice.objects.exists()


def test_a_test_that_fails_is_told_to_nobody(owner, clock):
    subscription = falls_back(owner, "http://127.0.0.1:9/", after=MINUTE)
    lifecycle.send_test(subscription, None, clock())
    clock.forward(HOUR)
    sweep()

    drain("webhook", clock)

    assert Delivery.objects.get().status == "failed"
    assert not Notice.objects.exists()


def test_a_replay_to_another_url_is_told_to_nobody(owner, clock):
    with Receiver(Answer(200)) as receiver:
        subscription = falls_back(owner, receiver.url)
        tell(owner)
        drain("webhook", clock)
    now = timezone.now()
    start(plan(subscription, since=now - HOUR, until=now, only="all", now=now, url="http://127.0.0.1:9/"))
    clock.forward(2 * COMMITTED_AFTER)
    work_off(clock)
    drain("webhook", clock)

    assert {*Delivery.objects.filter(elsewhere=True).values_list("status", flat=True)} == {"failed"}
    assert not Notice.objects.exists()


def test_what_has_not_arrived_in_time_is_told_once_and_not_again_when_it_fails(owner, clock):
    falls_back(owner, "http://127.0.0.1:9/", after=HOUR, retry_schedule=[2 * 3600])
    tell(owner)
    drain("webhook", clock)

    clock.forward(59 * MINUTE)
    sweep()
    assert mailed(clock) == []

    clock.forward(2 * MINUTE)
    sweep()
    sweep()
    [email] = mailed(clock)
    assert email.subject.startswith("[Webhook late] ")
    assert "is late by 61 minutes" in str(email.body).split("\n", 1)[0]

    clock.forward(3 * HOUR)
    drain("webhook", clock)
    assert Delivery.objects.get().status == "failed"
    assert mailed(clock) == []


def test_what_a_paused_subscription_holds_is_late_too(owner, clock):
    subscription = falls_back(owner, "http://127.0.0.1:9/", after=HOUR)
    lifecycle.pause(subscription, clock())
    tell(owner)

    clock.forward(2 * HOUR)
    sweep()

    [email] = mailed(clock)
    assert email.subject.startswith("[Webhook late] ")


def test_what_arrives_before_the_email_goes_out_is_not_told(owner, clock):
    with Receiver(Answer(500), Answer(200)) as receiver:
        falls_back(owner, receiver.url)
        tell(owner)
        drain("webhook", clock)
        lifecycle.retry(Delivery.objects.get(), clock())
        drain("webhook", clock)
    assert Delivery.objects.get().status == "succeeded"

    assert mailed(clock) == []
    assert Notice.objects.get().error == "The delivery has succeeded meanwhile."


def test_what_arrived_in_time_is_never_late(owner, clock):
    with Receiver(Answer(200)) as receiver:
        falls_back(owner, receiver.url, after=HOUR)
        tell(owner)
        drain("webhook", clock)

    clock.forward(2 * HOUR)
    sweep()

    assert not Notice.objects.exists()


def test_what_was_late_while_nobody_looked_is_told_afterwards(owner, clock):
    falls_back(owner, "http://127.0.0.1:9/", after=HOUR)
    tell(owner)

    clock.forward(3 * DAY)
    sweep()

    [email] = mailed(clock)
    assert "is late by 3 days" in str(email.body)


def test_a_backlog_does_not_flood_the_person(owner, clock):
    subscription = falls_back(owner, "http://127.0.0.1:9/", after=HOUR)
    lifecycle.pause(subscription, clock())
    for _ in range(MOST_FALLBACKS + 5):
        tell(owner)

    clock.forward(2 * HOUR)
    sweep()
    sweep()

    assert Notice.objects.filter(kind="fallback").count() == MOST_FALLBACKS


def test_quiet_hours_are_kept(owner, clock):
    falls_back(owner, "http://127.0.0.1:9/")
    now = clock()
    Recipient.objects.update(
        quiet_from=(now - HOUR).time().replace(microsecond=0),
        quiet_until=(now + HOUR).time().replace(microsecond=0),
    )
    tell(owner)
    drain("webhook", clock)

    assert mailed(clock) == []
    clock.forward(HOUR)
    assert len(mailed(clock)) == 1


def test_an_email_that_the_mail_server_puts_off_is_tried_again(owner, clock):
    falls_back(owner, "http://127.0.0.1:9/")
    tell(owner)
    drain("webhook", clock)

    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "451 4.7.1 greylisted"
        send_notices(clock)
        assert Notice.objects.get().due_at - clock() == MINUTE

        del mailbox.answers["DATA"]
        clock.forward(MINUTE)
        send_notices(clock)
        assert len(mailbox.messages()) == 1


def test_whoever_is_named_later_is_asked_and_whoever_was_named_before_gets_nothing_more(owner, clock):
    subscription = falls_back(owner, "http://127.0.0.1:9/")
    lifecycle.change_subscription(subscription, {}, ["bob@example.org"], clock())

    tell(owner)
    drain("webhook", clock)

    [question] = mailed(clock)
    assert question.to == ["bob@example.org"]
    assert question.subject == "Please confirm: emails when webhooks of Green Homes fail"
    assert "tells 127.0.0.1:9 by webhook" in str(question.body)
    assert set(Notice.objects.values_list("kind", flat=True)) == {"confirmation"}
