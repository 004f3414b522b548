"""What a preview says of an event is what publishing it then does."""

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from deliveries.channels import event_timestamp
from deliveries.lifecycle import confirm_recipient, delete_subscription, disable, pause, unsubscribe_recipient
from deliveries.models import Delivery
from deliveries.previewing import Code, Verdict, preview
from deliveries.publishing import Change, UnknownEventType, publish
from events.payloads import PayloadRefused
from subscriptions.models import Recipient
from tests.support import factories
from tests.support.api import rows_stored

pytestmark = pytest.mark.django_db

PAYLOAD = {"_id": "u", "role": "admin"}


def previewed(owner):
    """The only subscription's part of a preview."""
    [found] = preview(Change(owner, "user.created", PAYLOAD), timezone.now()).subscriptions
    return found


def test_a_webhook_that_wants_it_is_told(owner):
    subscription = factories.webhook(owner, filter={"/role": ["admin"]})

    found = previewed(owner)

    assert found.subscription == subscription
    assert (found.fate.verdict, found.fate.code, found.recipients) == (Verdict.TOLD, None, None)


def test_why_a_webhook_is_not_told_is_said(owner):
    subscription = factories.webhook(owner, types=["meter.created"])
    assert previewed(owner).fate.code == Code.EVENT_TYPE

    subscription.event_types, subscription.filter = ["*"], {"/_id": ["u"], "/role": ["developer"]}
    subscription.save()
    fate = previewed(owner).fate
    assert (fate.verdict, fate.code, fate.pointer) == (Verdict.NOT_TOLD, Code.FILTER, "/role")
    assert "/role" in str(fate.reason)


def test_why_it_is_held_is_said(owner):
    subscription = factories.webhook(owner)
    pause(subscription, timezone.now())
    assert (previewed(owner).fate.verdict, previewed(owner).fate.code) == (Verdict.HELD, Code.PAUSED)

    disable(subscription, timezone.now(), "It answered 410.")
    fate = previewed(owner).fate
    assert (fate.verdict, fate.code) == (Verdict.HELD, Code.DISABLED)
    assert "It answered 410." in str(fate.reason)


def test_every_recipient_is_said_by_itself(owner):
    names = ["confirmed", "unconfirmed", "unsubscribed", "suppressed", "choosy", "gone"]
    subscription = factories.emails(owner, [f"{name}@example.org" for name in names])
    people = {one.email.split("@")[0]: one for one in subscription.recipients.all()}
    for name in ("confirmed", "choosy"):
        confirm_recipient(people[name], timezone.now())
    unsubscribe_recipient(people["unsubscribed"], timezone.now())
    Recipient.objects.filter(pk=people["suppressed"].pk).update(status="suppressed")
    Recipient.objects.filter(pk=people["choosy"].pk).update(types=["meter.created"])
    Recipient.objects.filter(pk=people["gone"].pk).update(removed_at=timezone.now())

    found = previewed(owner)

    assert found.fate.verdict == Verdict.TOLD
    assert {one.email.split("@")[0]: (one.fate.verdict, one.fate.code) for one in found.recipients or []} == {
        "confirmed": (Verdict.TOLD, None),
        "unconfirmed": (Verdict.HELD, Code.UNCONFIRMED),
        "unsubscribed": (Verdict.NOT_TOLD, Code.UNSUBSCRIBED),
        "suppressed": (Verdict.NOT_TOLD, Code.SUPPRESSED),
        "choosy": (Verdict.NOT_TOLD, Code.NOT_CHOSEN),
    }


def test_emails_for_nobody_are_said(owner):
    recipient = factories.emails(owner).recipients.get()
    assert (previewed(owner).fate.verdict, previewed(owner).fate.code) == (Verdict.HELD, Code.UNCONFIRMED)

    unsubscribe_recipient(recipient, timezone.now())
    assert previewed(owner).fate.code == Code.NO_RECIPIENTS


def test_a_deleted_subscription_and_those_of_others_are_not_there(owner):
    delete_subscription(factories.webhook(owner), timezone.now())
    factories.webhook(factories.application("Another"))

    found = preview(Change(owner, "user.created", PAYLOAD), timezone.now())

    assert (found.subscriptions, found.notification) == ([], None)


def test_the_notification_is_the_one_that_is_sent_but_for_its_delivery_id(owner):
    pause(factories.webhook(owner), timezone.now())
    told = factories.webhook(owner)
    moment = timezone.now()

    notification = preview(Change(owner, "user.created", PAYLOAD, moment), moment).notification

    assert notification is not None
    assert notification.body().decode() == (
        f'{{"subscription_id":"{told.id}","event_id":"user.created","event_timestamp":"{event_timestamp(moment)}",'
        f'"delivery_id":"{notification.delivery_id}","payload":{{"_id":"u","role":"admin"}}}}'
    )


REFUSED = (UnknownEventType, PayloadRefused)


@pytest.mark.parametrize(("type", "payload"), [("user.melted", PAYLOAD), ("user.created", {})])
def test_what_publishing_refuses_its_preview_refuses_with_the_same_words(owner, type, payload):
    with pytest.raises(REFUSED) as refused:
        preview(Change(owner, type, payload), timezone.now())
    with pytest.raises(REFUSED) as unpublished:
        publish(owner, type, payload)

    assert (refused.type, str(refused.value)) == (unpublished.type, str(unpublished.value))


TYPES = st.sampled_from([["*"], ["user.created"], ["meter.created"]])
FILTERS = st.sampled_from([{}, {"/role": ["admin"]}, {"/role": ["x"]}, {"/none": [None]}, {"/x": [1, "a"]}])
STATES = st.sampled_from(["active", "paused", "disabled"])
PERSON = st.tuples(
    st.sampled_from(Recipient.Status.values), st.sampled_from([[], ["meter.created"], ["user.created"]])
)
WANTED = st.tuples(TYPES, FILTERS, STATES, st.none() | st.lists(PERSON, min_size=1, max_size=3))


def subscribed(owner, types, filter, state, people):
    if people is None:
        subscription = factories.webhook(owner, types=types, filter=filter)
    else:
        addresses = [f"p{index}@example.org" for index in range(len(people))]
        subscription = factories.emails(owner, addresses, types, filter=filter)
        for person, (status, chosen) in zip(subscription.recipients.order_by("id"), people, strict=True):
            Recipient.objects.filter(pk=person.pk).update(status=status, types=chosen)
    subscription.status = state
    subscription.save()


@examples(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    wanted=st.lists(WANTED, max_size=4),
    payload=st.fixed_dictionaries(
        {"_id": st.just("u")},
        optional={"role": st.sampled_from(["admin", "x"]), "x": st.sampled_from([1, "a", True])},
    ),
)
def test_publishing_does_what_its_preview_said(owner, wanted, payload):
    with transaction.atomic():
        for one in wanted:
            subscribed(owner, *one)
        before = rows_stored()
        found = preview(Change(owner, "user.created", payload), timezone.now())
        after = rows_stored()
        event = publish(owner, "user.created", payload)
        deliveries = list(Delivery.objects.filter(event=event).select_related("recipient"))
        transaction.set_rollback(True)

    said = {
        (one.subscription.id, email): fate.verdict
        for one in found.subscriptions
        for email, fate in (
            [(None, one.fate)]
            if one.recipients is None
            else [(person.email, person.fate) for person in one.recipients]
        )
    }
    verdicts = {"pending": Verdict.TOLD, "held": Verdict.HELD}
    done = {
        (one.subscription_id, one.recipient.email if one.recipient else None): verdicts[one.status]
        for one in deliveries
    }
    assert after == before
    assert len(found.subscriptions) == len(wanted)
    assert {place: verdict for place, verdict in said.items() if verdict != Verdict.NOT_TOLD} == done
    for one in found.subscriptions:
        verdicts_of_all = {verdict for (id, _), verdict in said.items() if id == one.subscription.id}
        best = [verdict for verdict in (Verdict.TOLD, Verdict.HELD) if verdict in verdicts_of_all]
        assert one.fate.verdict == (best[0] if best else Verdict.NOT_TOLD)
