"""Digests: what gathers goes out as one email, each delivery with its own history."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from deliveries import digests as gathering
from deliveries.claiming import CLAIM_DIGESTS, Limits, claim
from deliveries.dispatch import drain
from deliveries.lifecycle import (
    cancel,
    choose,
    confirm_recipient,
    delete_subscription,
    pause,
    replay,
    resume,
    retry,
    send_test,
    set_recipients,
    unsubscribe_recipient,
)
from deliveries.models import Attempt, Delivery
from deliveries.publishing import publish
from deliveries.suppressing import suppress
from deliveries.vital_signs import lanes
from deliveries.waiting import why_waiting
from openvolt_events import admin_front
from openvolt_events.api import health
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.smtp import Mailbox, mail_server
from tests.support.workers import Clock

pytestmark = pytest.mark.django_db(transaction=True)

HOURLY = {"frequency": "hourly"}
LIMITS = Limits(limit=10, share=10)


@pytest.fixture
def ann() -> Recipient:
    recipient = factories.confirmed_emails(factories.application()).recipients.get()
    choose(recipient, HOURLY, datetime.now(UTC))
    return recipient


def happen(ann: Recipient, *types: str) -> list[Delivery]:
    for each in types or ("user.created", "meter.created", "hosted_consent.revoked"):
        publish(ann.subscription.application, each, factories.example(each))
    return deliveries()


def deliveries() -> list[Delivery]:
    return list(Delivery.objects.order_by("pk"))


def to_the_digest(clock: Clock) -> None:
    latest = max(each.next_attempt_at for each in deliveries() if each.next_attempt_at)
    clock.forward_to(latest + timedelta(seconds=1))


def told(mailbox: Mailbox) -> list[list[str]]:
    """Of each email, the deliveries in it."""
    return [[each["delivery_id"] for each in documents(message)] for message in mailbox.messages()]


def documents(message: Any) -> list[dict[str, Any]]:
    [part] = message.iter_attachments()
    found = json.loads(part.get_payload(decode=True))
    return found if isinstance(found, list) else [found]


def statuses() -> set[str]:
    return {each.status for each in deliveries()}


def test_three_events_go_out_as_one_email_at_the_hour_and_each_delivery_has_its_attempt(ann, clock):
    made = happen(ann)
    assert {each.next_attempt_at.minute for each in made if each.next_attempt_at} == {0}

    with mail_server() as mailbox:
        drain("email", clock)
        assert mailbox.envelopes == []
        to_the_digest(clock)
        drain("email", clock)
        drain("email", clock)

    assert told(mailbox) == [[str(each.pk) for each in made]]
    message = mailbox.message()
    assert message["subject"].startswith("3 events at Green Homes: 1 consent revoked, ")
    assert message["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert message["auto-submitted"] == "auto-generated"
    assert message["feedback-id"] == f"{ann.subscription_id}:digest:openvolt"
    assert statuses() == {"succeeded"}
    assert sorted(Attempt.objects.values_list("delivery", "number")) == [(each.pk, 1) for each in made]
    assert [each.sequence for each in deliveries()] == [1, 2, 3]


def test_a_digest_of_one_is_the_letter_of_that_event(ann, clock):
    [made] = happen(ann, "user.created")

    with mail_server() as mailbox:
        to_the_digest(clock)
        drain("email", clock)

    assert mailbox.message()["subject"] == "Person given access: Priya Shah"
    assert told(mailbox) == [[str(made.pk)]]


def test_a_digest_that_fails_is_retried_whole_as_the_same_email(ann, clock):
    made = happen(ann)

    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "451 later"
        to_the_digest(clock)
        drain("email", clock)
        failed = deliveries()
        assert len({each.next_attempt_at for each in failed}) == 1
        assert {each.attempt_count for each in failed} == {1}
        happen(ann, "customer.created")
        del mailbox.answers["DATA"]
        to_the_digest(clock)
        drain("email", clock)

    [again] = [each for each in mailbox.messages() if len(documents(each)) == 3]
    assert again["message-id"].startswith(f"<{failed[0].digest}@")
    assert [each["delivery_id"] for each in documents(again)] == [str(each.pk) for each in made]
    assert len(told(mailbox)) == 2  # what came late to the moment is not in it
    assert (
        sorted(Attempt.objects.filter(delivery__in=made).values_list("number", flat=True))
        == [1] * 3 + [2] * 3
    )


def test_a_worker_that_is_killed_after_sending_repeats_the_same_email(ann, clock):
    happen(ann)

    with mail_server() as mailbox:
        to_the_digest(clock)
        [lost] = claim("email", clock(), Limits(limit=10, share=10))
        name = lost.delivery.digest
        drain("email", clock)
        assert mailbox.envelopes == []
        clock.forward(timedelta(minutes=5))
        drain("email", clock)

    assert mailbox.message()["message-id"].startswith(f"<{name}@")
    assert len(told(mailbox)[0]) == 3
    assert statuses() == {"succeeded"}


def test_what_comes_late_to_a_digests_moment_is_an_email_of_its_own(ann, clock):
    first = happen(ann, "user.created", "meter.created")
    to_the_digest(clock)
    [email] = claim("email", clock(), Limits(limit=10, share=10))
    assert first[0].next_attempt_at
    late = Delivery.objects.get(pk=happen(ann, "customer.created")[-1].pk)
    gathered_name = gathering.digest_at(ann.id, first[0].next_attempt_at)
    Delivery.objects.filter(pk=late.pk).update(digest=gathered_name, next_attempt_at=first[0].next_attempt_at)

    [other] = claim("email", clock(), Limits(limit=10, share=10))

    assert [len(email.each), len(other.each)] == [2, 1]
    assert email.delivery.digest != other.delivery.digest


def test_more_than_an_email_holds_goes_on_in_the_next_one(ann, clock, monkeypatch):
    monkeypatch.setattr("deliveries.claiming.CLAIM_DIGESTS", small_digests(2))
    made = happen(ann, *["user.created"] * 5)

    with mail_server() as mailbox:
        to_the_digest(clock)
        drain("email", clock)

    assert sorted(len(each) for each in told(mailbox)) == [1, 2, 2]
    assert sorted(id for each in told(mailbox) for id in each) == sorted(str(each.pk) for each in made)
    assert len({message["message-id"] for message in mailbox.messages()}) == 3


def small_digests(most: int) -> str:
    assert "LIMIT 500" in CLAIM_DIGESTS
    return CLAIM_DIGESTS.replace("LIMIT 500", f"LIMIT {most}")


def test_a_digest_of_which_somebody_has_locked_a_part_waits_whole(ann, clock):
    made = happen(ann)
    to_the_digest(clock)
    Delivery.objects.filter(pk=made[0].pk).update(leased_until=clock() + timedelta(seconds=30))

    assert claim("email", clock(), Limits(limit=10, share=10)) == []

    clock.forward(timedelta(minutes=1))
    [one] = claim("email", clock(), Limits(limit=10, share=10))
    assert len(one.each) == 3


def test_one_that_is_retried_by_hand_leaves_the_digest_as_a_letter_of_its_own(ann, clock):
    made = happen(ann)
    retry(made[0], clock())

    with mail_server() as mailbox:
        drain("email", clock)
        to_the_digest(clock)
        drain("email", clock)

    assert told(mailbox) == [[str(made[0].pk)], [str(made[1].pk), str(made[2].pk)]]


def test_one_that_is_cancelled_is_not_in_the_digest(ann, clock):
    made = happen(ann)
    cancel(made[1], clock())

    with mail_server() as mailbox:
        to_the_digest(clock)
        drain("email", clock)

    assert told(mailbox) == [[str(made[0].pk), str(made[2].pk)]]


def test_a_test_and_a_replay_go_at_once(ann, clock):
    made = happen(ann, "user.created")
    replay(made[0].event, None, clock())
    send_test(ann.subscription, "meter.created", clock())

    with mail_server() as mailbox:
        drain("email", clock)

    assert sorted(message["openvolt-trigger"] for message in mailbox.messages()) == ["replay", "test"]


def test_in_quiet_hours_only_a_test_goes_out_and_the_rest_together_at_their_end(ann, clock):
    night = clock()
    begin, end = ((night + timedelta(hours=by)).time().replace(second=0, microsecond=0) for by in (-1, 3))
    choose(ann, {"frequency": "at_once", "quiet_from": begin, "quiet_until": end}, night)
    made = happen(ann)
    replay(made[0].event, None, night)
    send_test(ann.subscription, "meter.created", night)

    with mail_server() as mailbox:
        drain("email", clock)
        assert [message["openvolt-trigger"] for message in mailbox.messages()] == ["test"]
        to_the_digest(clock)
        drain("email", clock)

    assert [len(each) for each in told(mailbox)] == [1, 4]


def test_what_workers_come_to_late_is_not_sent_in_the_quiet_hours(ann, clock):
    choose(ann, {"frequency": "at_once"}, clock())
    happen(ann)
    begin, end = ((clock() + timedelta(hours=by)).time().replace(second=0, microsecond=0) for by in (-1, 3))
    Recipient.objects.filter(pk=ann.pk).update(quiet_from=begin, quiet_until=end)

    with mail_server() as mailbox:
        drain("email", clock)
        assert mailbox.envelopes == []
        to_the_digest(clock)
        drain("email", clock)

    assert [len(each) for each in told(mailbox)] == [3]


def test_a_changed_choice_re_dates_what_waits(ann, clock):
    happen(ann)
    choose(ann, {"frequency": "at_once"}, clock())

    with mail_server() as mailbox:
        drain("email", clock)

    assert [len(each) for each in told(mailbox)] == [3]


def test_what_is_no_longer_wanted_is_cancelled_and_not_made_any_more(ann, clock):
    happen(ann, "user.created", "meter.created")
    choose(ann, {"types": ["meter.created"]}, clock())
    happen(ann, "user.created")

    assert [(each.event_type, each.status) for each in deliveries()] == [
        ("user.created", "cancelled"),
        ("meter.created", "pending"),
    ]


def test_what_was_held_gathers_when_it_is_released(ann, clock):
    pause(ann.subscription, clock())
    happen(ann)
    resume(ann.subscription, clock())

    with mail_server() as mailbox:
        drain("email", clock)
        assert mailbox.envelopes == []
        to_the_digest(clock)
        drain("email", clock)

    assert [len(each) for each in told(mailbox)] == [3]


def test_two_recipients_get_one_digest_each(clock):
    subscription = factories.confirmed_emails(factories.application(), ["ann@example.org", "bob@example.org"])
    for person in subscription.recipients.all():
        choose(person, HOURLY, clock())
        confirm_recipient(person, clock())
    happen(person)

    with mail_server() as mailbox:
        to_the_digest(clock)
        drain("email", clock)

    assert sorted((message["to"], len(documents(message))) for message in mailbox.messages()) == [
        ("ann@example.org", 3),
        ("bob@example.org", 3),
    ]


def test_a_permanent_refusal_fails_all_of_the_digest(ann, clock):
    happen(ann)

    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "554 5.7.1 no"
        to_the_digest(clock)
        drain("email", clock)

    assert statuses() == {"failed"}
    assert Attempt.objects.count() == 3


def test_of_two_claims_at_once_one_gets_the_digest_whole_and_the_other_nothing(ann, clock):
    """However the two meet: each round is another one."""
    for _ in range(8):
        happen(ann)
        to_the_digest(clock)
        Delivery.objects.filter(status="pending").update(next_attempt_at=clock())
        together = Barrier(2, timeout=60)
        with ThreadPoolExecutor(2) as pool:
            found = [each.result() for each in [pool.submit(claimed, clock(), together) for _ in range(2)]]

        assert sorted(map(len, found)) == [0, 3]
        Delivery.objects.update(status="cancelled", next_attempt_at=None, leased_until=None, lease_id=None)


def claimed(now: datetime, together: Barrier) -> list[UUID]:
    """On a connection of this thread's own."""
    try:
        connection.ensure_connection()
        together.wait()
        return [each.delivery.id for one in claim("email", now, LIMITS) for each in one.each]
    finally:
        connection.close()


def test_while_one_claim_has_a_digest_and_is_not_committed_another_leaves_it_alone(ann, clock):
    happen(ann)
    to_the_digest(clock)

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        [mine] = claim("email", clock(), LIMITS)
        others = pool.submit(claimed, clock(), Barrier(1)).result(timeout=60)

    assert (len(mine.each), others) == (3, [])


def test_a_digest_whose_mail_server_takes_its_time_keeps_no_other_email_waiting(ann, clock):
    """Its answer comes when all the others are there, or not within the time that an attempt has."""
    others = [f"bob{number}@example.org" for number in range(12)]
    for person in factories.confirmed_emails(ann.subscription.application, others).recipients.all():
        choose(person, HOURLY, clock())
    happen(ann)

    with mail_server() as mailbox:

        async def slow(server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
            while address == ann.email and len(mailbox.envelopes) < len(others):
                await asyncio.sleep(0.01)
            envelope.rcpt_tos.append(address)
            return "250 OK"

        mailbox.handle_RCPT = slow  # type: ignore[method-assign]
        to_the_digest(clock)
        drain("email", clock)

    told_to = [message["to"] for message in mailbox.messages()]
    assert sorted(told_to) == sorted([ann.email, *others])
    assert told_to[-1] == ann.email
    assert set(Attempt.objects.values_list("outcome", flat=True)) == {"succeeded"}


def test_a_connection_that_is_cut_after_the_dot_sends_the_same_digest_twice_under_one_name(ann, clock):
    """docs/email.md says so: nobody knows whether the server has it."""
    made = happen(ann)

    with mail_server() as mailbox:

        async def cut(server: Any, session: Any, envelope: Any) -> str:
            mailbox.envelopes.append(envelope)
            if len(mailbox.envelopes) == 1:
                server.transport.abort()
            return "250 2.0.0 queued"

        mailbox.handle_DATA = cut  # type: ignore[method-assign]
        to_the_digest(clock)
        drain("email", clock)
        assert statuses() == {"pending"}
        to_the_digest(clock)
        drain("email", clock)

    first, again = mailbox.messages()
    assert first["message-id"] == again["message-id"]
    assert told(mailbox) == [[str(each.pk) for each in made]] * 2
    assert statuses() == {"succeeded"}


def test_a_digest_that_failed_and_was_held_is_the_same_email_on_resume(ann, clock):
    """It may have arrived: its receiver knows it by its name."""
    made = happen(ann)

    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "451 later"
        to_the_digest(clock)
        drain("email", clock)
        name = deliveries()[0].digest
        pause(ann.subscription, clock())
        resume(ann.subscription, clock())
        happen(ann, "customer.created")
        del mailbox.answers["DATA"]
        drain("email", clock)

    [again] = [each for each in mailbox.messages() if len(documents(each)) == 3]
    assert again["message-id"].startswith(f"<{name}@")
    assert [each["delivery_id"] for each in documents(again)] == [str(each.pk) for each in made]


def test_a_digest_of_a_paused_subscription_waits_and_gathers_again_on_resume(ann, clock):
    made = happen(ann)

    with mail_server() as mailbox:
        to_the_digest(clock)
        pause(ann.subscription, clock())
        drain("email", clock)
        assert mailbox.envelopes == []
        assert statuses() == {"held"}
        resume(ann.subscription, clock())
        to_the_digest(clock)
        drain("email", clock)

    assert told(mailbox) == [[str(each.pk) for each in made]]


@pytest.mark.parametrize(
    "end",
    [
        lambda ann, now: unsubscribe_recipient(ann, now),
        lambda ann, now: suppress({ann.email: "It does not exist."}, "mail server", now),
        lambda ann, now: set_recipients(ann.subscription, ["bob@example.org"], now),
        lambda ann, now: delete_subscription(ann.subscription, now),
    ],
    ids=["unsubscribed", "suppressed", "removed", "deleted"],
)
def test_who_wants_no_more_gets_no_digest_of_what_had_gathered_nor_a_retry_of_one(ann, clock, end):
    happen(ann)
    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "451 later"
        to_the_digest(clock)
        drain("email", clock)
        happen(ann)
        end(ann, clock())
        del mailbox.answers["DATA"]
        clock.forward(timedelta(days=2))
        drain("email", clock)

    assert [
        message for message in mailbox.messages() if message["to"] == ann.email and "notif" in str(message)
    ] == []
    assert statuses() == {"cancelled"}


def test_what_gathers_is_not_late(ann, clock):
    choose(ann, {"frequency": "daily", "digest_hour": (clock().hour + 12) % 24}, clock())
    happen(ann)
    later = clock() + timedelta(hours=6)

    assert health.oldest_due(later) == {"ok": True, "seconds": None}
    assert admin_front.oldest_due(later) is None
    assert admin_front.due_figure(later).value == 0
    assert (lanes(later)["email"].due, lanes(later)["email"].oldest) == (0, timedelta(0))


def test_why_something_waits_for_a_digest_is_said(ann, clock):
    [made] = happen(ann, "user.created")
    assert made.next_attempt_at
    hour = made.next_attempt_at.isoformat().replace("+00:00", "Z")

    assert why_waiting(made, clock()) == (
        f"It gathers for the recipient's hourly digest, which goes out at {hour}."
    )

    begin, end = ((clock() + timedelta(hours=by)).time().replace(second=0, microsecond=0) for by in (-1, 3))
    choose(ann, {"frequency": "at_once", "quiet_from": begin, "quiet_until": end}, clock())
    [made] = deliveries()
    assert "wants no email in the quiet hours, which end at " in str(why_waiting(made, clock()))
    assert "quiet hours" in str(why_waiting(retry(made, clock()), clock()))


def test_why_a_failed_digest_waits_needs_no_saying(ann, clock):
    happen(ann)
    with mail_server() as mailbox:
        mailbox.answers["DATA"] = "451 later"
        to_the_digest(clock)
        drain("email", clock)

    assert {why_waiting(each, clock()) for each in deliveries()} == {None}
