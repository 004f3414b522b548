from datetime import timedelta

import pytest
from django.utils import timezone

from deliveries import lifecycle
from deliveries.lifecycle import NotPossible
from deliveries.models import Delivery
from deliveries.publishing import UnknownEventType, publish
from events.models import Event
from subscriptions.models import Recipient
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner():
    return factories.application()


def user_created(owner) -> Event:
    return publish(owner, "user.created", factories.example("user.created"))


def statuses(**which) -> list[str]:
    return list(Delivery.objects.filter(**which).order_by("id").values_list("status", flat=True))


def test_a_pause_holds_what_is_pending_and_a_resume_makes_it_due(owner):
    subscription = factories.webhook(owner)
    user_created(owner)

    lifecycle.pause(subscription, timezone.now())
    user_created(owner)
    assert statuses() == ["held", "held"]

    now = timezone.now()
    lifecycle.resume(subscription, now)
    assert Delivery.objects.due(now).count() == 2


def test_deleting_a_subscription_cancels_its_deliveries_and_keeps_the_history(owner):
    subscription = factories.webhook(owner)
    user_created(owner)

    lifecycle.delete_subscription(subscription, timezone.now())
    user_created(owner)

    assert statuses() == ["cancelled"]


def test_a_delivery_under_way_is_left_to_its_worker_by_a_pause(owner):
    subscription = factories.webhook(owner)
    user_created(owner)
    Delivery.objects.update(leased_until=timezone.now() + timedelta(seconds=20))

    lifecycle.pause(subscription, timezone.now())

    assert statuses() == ["pending"]


def test_a_replay_makes_new_deliveries_for_active_subscriptions_that_match_now(owner):
    event = user_created(owner)
    later = factories.webhook(owner)
    factories.webhook(owner, types=["meter.created"])
    lifecycle.pause(factories.webhook(owner), timezone.now())

    [delivery] = lifecycle.replay(event, None, timezone.now())

    assert (delivery.subscription, delivery.trigger, delivery.status) == (later, "replay", "pending")


def test_a_replay_to_a_named_subscription_that_is_paused_is_held_for_it(owner):
    event = user_created(owner)
    paused = factories.webhook(owner, types=["meter.created"])
    lifecycle.pause(paused, timezone.now())

    [delivery] = lifecycle.replay(event, [paused.id], timezone.now())

    assert delivery.status == "held"


def test_a_replay_never_reaches_another_applications_subscription(owner):
    event = user_created(owner)
    foreign = factories.webhook(factories.application("Another"))

    assert lifecycle.replay(event, [foreign.id], timezone.now()) == []


def test_a_failed_delivery_can_be_retried_and_is_due_at_once(owner):
    factories.webhook(owner)
    user_created(owner)
    Delivery.objects.update(status="failed", next_attempt_at=None, finished_at=timezone.now())

    retried = lifecycle.retry(Delivery.objects.get(), timezone.now())

    assert retried.next_trigger == "manual"
    assert Delivery.objects.due(timezone.now()).get() == retried


def test_a_succeeded_delivery_is_not_retried_but_replayed(owner):
    factories.webhook(owner)
    event = user_created(owner)
    Delivery.objects.update(status="succeeded", next_attempt_at=None)

    with pytest.raises(NotPossible, match=f"/v1/events/{event.id}/replay"):
        lifecycle.retry(Delivery.objects.get(), timezone.now())


def test_a_retry_for_a_paused_or_deleted_subscription_says_why_not(owner):
    subscription = factories.webhook(owner)
    user_created(owner)
    lifecycle.pause(subscription, timezone.now())
    with pytest.raises(NotPossible, match="paused"):
        lifecycle.retry(Delivery.objects.get(), timezone.now())

    lifecycle.delete_subscription(subscription, timezone.now())
    with pytest.raises(NotPossible, match="deleted"):
        lifecycle.retry(Delivery.objects.get(), timezone.now())


def test_a_cancelled_delivery_can_be_retried(owner):
    factories.webhook(owner)
    user_created(owner)
    cancelled = lifecycle.cancel(Delivery.objects.get(), timezone.now())
    assert (cancelled.status, cancelled.next_attempt_at) == ("cancelled", None)

    assert lifecycle.retry(cancelled, timezone.now()).status == "pending"


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_finished_delivery_cannot_be_cancelled(owner, status):
    factories.webhook(owner)
    user_created(owner)
    Delivery.objects.update(status=status, next_attempt_at=None)

    with pytest.raises(NotPossible, match=status):
        lifecycle.cancel(Delivery.objects.get(), timezone.now())


def test_a_test_sends_the_example_and_is_marked(owner):
    subscription = factories.webhook(owner, types=["meter.created"])

    [delivery] = lifecycle.send_test(subscription, None, timezone.now())

    assert delivery.test
    assert delivery.event.test
    assert delivery.event.type == "meter.created"
    assert delivery.event.payload_json == factories.example("meter.created")


def test_a_test_of_an_unknown_type_or_a_paused_subscription_is_refused(owner):
    subscription = factories.webhook(owner)
    with pytest.raises(UnknownEventType):
        lifecycle.send_test(subscription, "meter.melted", timezone.now())

    paused = lifecycle.pause(subscription, timezone.now())
    with pytest.raises(NotPossible, match="paused"):
        lifecycle.send_test(paused, None, timezone.now())
    assert not Event.objects.exists()


def test_confirming_releases_what_was_held_for_the_recipient(owner):
    subscription = factories.emails(owner, ["ann@example.org", "bob@example.org"])
    user_created(owner)
    ann = subscription.recipients.get(email="ann@example.org")

    lifecycle.confirm_recipient(ann, timezone.now())

    assert statuses(recipient=ann) == ["pending"]
    assert statuses(recipient__email="bob@example.org") == ["held"]


def test_a_resume_does_not_release_what_is_held_for_an_unconfirmed_recipient(owner):
    subscription = factories.emails(owner)
    user_created(owner)

    lifecycle.pause(subscription, timezone.now())
    lifecycle.resume(subscription, timezone.now())

    assert statuses() == ["held"]


def test_who_unsubscribes_gets_nothing_more_whatever_the_owner_does(owner):
    subscription = factories.confirmed_emails(owner)
    user_created(owner)
    ann = subscription.recipients.get()

    lifecycle.unsubscribe_recipient(ann, timezone.now())
    user_created(owner)
    lifecycle.set_recipients(subscription, ["ann@example.org"], timezone.now())

    assert statuses() == ["cancelled"]
    assert subscription.recipients.get().status == Recipient.Status.UNSUBSCRIBED


def test_a_new_recipient_is_asked_once_to_confirm_and_a_dropped_one_gets_nothing_more(owner):
    subscription = factories.confirmed_emails(owner)
    user_created(owner)

    lifecycle.set_recipients(subscription, ["Bob@Example.org"], timezone.now())
    lifecycle.set_recipients(subscription, ["bob@example.org"], timezone.now())

    bob = subscription.recipients.get(email="Bob@Example.org")
    assert bob.confirmation_requests.count() == 1
    assert statuses() == ["cancelled"]
