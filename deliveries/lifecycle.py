"""What people do to subscriptions, recipients and deliveries. All of it only creates or re-dates deliveries.

A change of a subscription's state locks its row FOR UPDATE: publishers, who lock it FOR KEY SHARE, wait.
Deliveries that a worker holds are left to it; settling looks at the subscription's state itself.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, DateTimeField, Q, UUIDField, Value, When

from accounts.audit import picture, record
from accounts.limits import check_room
from deliveries.cases import close_outages
from deliveries.digests import IS_AN_EMAIL, due_for, redate
from deliveries.models import Delivery, DeliveryQuerySet, Notice, Replay, Trigger
from deliveries.notices import add, not_pestered
from deliveries.ordering import keys_of, let_next_go
from deliveries.publishing import (
    checked,
    create_deliveries,
    lock_shared,
    new_deliveries,
    recipients_of,
)
from deliveries.wakeup import wake
from events.event_types import EVENT_TYPES
from events.models import Event
from events.payloads import Payload
from subscriptions.models import EVERY_TYPE, Channel, Recipient, SigningSecret, Subscription, Suppression

STATE = ("status", "status_reason", *Subscription.health)
MOMENT = timedelta(microseconds=1)


class NotPossible(Exception):
    """What was asked for doesn't fit the state it finds; the text says why, and what to do instead."""


def create_subscription(subscription: Subscription, emails: Collection[str], now: datetime) -> str | None:
    """Save a new subscription with its recipients, and a webhook's first signing secret; returns the secret.

    Raises LimitReached when the application has enough of them.
    """
    with transaction.atomic():
        application = subscription.application
        check_room(application, application.subscriptions.existing(), "MAX_SUBSCRIPTIONS")
        subscription.save(force_insert=True)
        secret = None
        if emails:
            set_recipients(subscription, emails, now)
        if subscription.channel == Channel.WEBHOOK:
            secret = SigningSecret.objects.create(subscription=subscription, created_at=now).secret
        record("subscription.created", subscription, after=picture(subscription))
        return secret


def change_subscription(
    subscription: Subscription, values: Mapping[str, Any], emails: Iterable[str] | None, now: datetime
) -> None:
    """Set these fields, and with `emails` the recipients. Deliveries that are under way go on as they are."""
    with transaction.atomic():
        before = picture(subscription)
        for name, value in values.items():
            setattr(subscription, name, value)
        names = ["encrypted_headers" if name == "headers" else name for name in values]
        subscription.save(update_fields=[*names, "updated_at"])
        if emails is not None:
            set_recipients(subscription, emails, now)
        record("subscription.changed", subscription, before, picture(subscription))


def rotate_secret(subscription: Subscription, overlap: timedelta, now: datetime) -> str:
    """A new signing secret; the ones before sign beside it for `overlap`. Returns the new one."""
    with transaction.atomic():
        lock(subscription.id)
        record("subscription.secret_rotated", subscription, after={"previous_expires_at": now + overlap})
        return SigningSecret.objects.rotate(subscription, overlap, now)


def set_recipients(subscription: Subscription, emails: Iterable[str], now: datetime) -> None:
    """Make these the subscription's recipients; of a webhook, the one it falls back on.

    New ones are asked to confirm; dropped ones get nothing more. Who unsubscribed, or was
    suppressed, stays so: only they themselves, or staff, can change that.
    """
    wanted = {email.lower(): email for email in emails}
    with transaction.atomic():
        lock(subscription.id)
        known = {recipient.email.lower(): recipient for recipient in subscription.recipients.all()}
        remove([recipient for email, recipient in known.items() if email not in wanted], now)
        suppressed = Suppression.objects.of(wanted)
        new = Recipient.objects.bulk_create(
            Recipient(
                subscription=subscription,
                email=address,
                status=first_status(email in suppressed),
                created_at=now,
            )
            for email, address in wanted.items()
            if email not in known
        )
        back = [known[email] for email in wanted if email in known and known[email].removed_at is not None]
        Recipient.objects.filter(pk__in=[recipient.pk for recipient in back]).update(removed_at=None)
        unconfirmed = [one for one in [*new, *back] if one.status == Recipient.Status.UNCONFIRMED]
        add(not_pestered(questions(unconfirmed, now), now))


def first_status(is_suppressed: bool) -> Recipient.Status:
    return Recipient.Status.SUPPRESSED if is_suppressed else Recipient.Status.UNCONFIRMED


def remove(recipients: Sequence[Recipient], now: datetime) -> None:
    ids = [recipient.id for recipient in recipients]
    Recipient.objects.filter(pk__in=ids, removed_at=None).update(removed_at=now)
    cancel_unfinished(Q(recipient__in=ids), now)


def ask_to_confirm(recipients: Iterable[Recipient], now: datetime) -> None:
    """Send each recipient the email with the link that confirms the address."""
    add(questions(recipients, now))


def questions(recipients: Iterable[Recipient], now: datetime) -> list[Notice]:
    return [
        Notice(
            kind=Notice.Kind.CONFIRMATION,
            application_id=recipient.application_id,
            email=recipient.email,
            recipient=recipient,
            subscription_id=recipient.subscription_id,
            due_at=now,
            created_at=now,
        )
        for recipient in recipients
    ]


def confirm_recipient(recipient: Recipient, now: datetime) -> None:
    """The recipient agrees (again, after an unsubscribe): what was held for them goes out.

    Not so when the address was suppressed meanwhile.
    """
    with transaction.atomic():
        subscription = lock(recipient.subscription_id)
        if Suppression.objects.of([recipient.email]):
            Recipient.objects.filter(pk=recipient.pk).update(status=Recipient.Status.SUPPRESSED)
            cancel_unfinished(Q(recipient=recipient), now)
        Recipient.objects.filter(pk=recipient.pk).exclude(status=Recipient.Status.SUPPRESSED).update(
            status=Recipient.Status.CONFIRMED, confirmed_at=now, unsubscribed_at=None
        )
        if subscription.is_active:
            release(Q(recipient=recipient), now)
    recipient.refresh_from_db()


def unsubscribe_recipient(recipient: Recipient, now: datetime) -> None:
    """The recipient wants nothing more: what was to be sent is cancelled. A suppressed one stays so."""
    with transaction.atomic():
        lock(recipient.subscription_id)
        Recipient.objects.filter(pk=recipient.pk).exclude(status=Recipient.Status.SUPPRESSED).update(
            status=Recipient.Status.UNSUBSCRIBED, unsubscribed_at=now
        )
        cancel_unfinished(Q(recipient=recipient), now)
    recipient.refresh_from_db()


def choose(recipient: Recipient, preferences: Mapping[str, Any], now: datetime) -> None:
    """What the recipient wants from now on, and when. What waits follows: re-dated, or cancelled as of no interest."""
    with transaction.atomic():
        lock(recipient.subscription_id)
        Recipient.objects.filter(pk=recipient.pk).update(**preferences)
        recipient.refresh_from_db()
        if recipient.types:
            unwanted = Q(recipient=recipient) & ~Q(event_type__in=recipient.types) & ~Q(trigger=Trigger.TEST)
            cancel_unfinished(unwanted, now)
        redate(recipient, now)
        wake([Channel.EMAIL])


def lock(subscription_id: UUID) -> Subscription:
    return Subscription.objects.select_for_update().get(pk=subscription_id)


def pause(subscription: Subscription, now: datetime, reason: str = "") -> Subscription:
    """Hold every delivery until `resume`."""
    return suspend(subscription.id, Subscription.Status.PAUSED, reason, now)


def disable(subscription: Subscription, now: datetime, reason: str) -> Subscription:
    """As a pause, but by the service; the reason says why."""
    return suspend(subscription.id, Subscription.Status.DISABLED, reason, now)


def suspend(subscription_id: UUID, status: str, reason: str, now: datetime) -> Subscription:
    with transaction.atomic():
        subscription = lock(subscription_id)
        before = picture(subscription)
        set_aside(subscription, status, reason, now)
        record(f"subscription.{status}", subscription, before, picture(subscription))
    return subscription


def set_aside(locked: Subscription, status: str, reason: str, now: datetime) -> None:
    """Hold what no worker has. The caller has locked the subscription."""
    mark(locked, status, reason)
    hold_all(Delivery.objects.filter(subscription=locked).pending().idle(now))


def mark(locked: Subscription, status: str, reason: str) -> None:
    """What is due of it is held when it is claimed."""
    locked.status, locked.status_reason = status, reason
    locked.save(update_fields=["status", "status_reason", "updated_at"])


def hold_all(deliveries: DeliveryQuerySet) -> None:
    deliveries.update(status=Delivery.Status.HELD, next_attempt_at=None, leased_until=None, lease_id=None)


def resume(subscription: Subscription, now: datetime) -> Subscription:
    """Active again: what was held is due now."""
    with transaction.atomic():
        subscription = lock(subscription.id)
        before = picture(subscription)
        subscription.status, subscription.status_reason = Subscription.Status.ACTIVE, ""
        subscription.forget_failures()
        subscription.save(update_fields=[*STATE, "updated_at"])
        release(Q(subscription=subscription), now)
        Replay.objects.running().filter(subscription=subscription).update(due_at=now)
        close_outages(subscription, now)
        record("subscription.resumed", subscription, before, picture(subscription))
    return subscription


def release(which: Q, now: datetime) -> None:
    """Make held deliveries due, but for recipients who have not confirmed. For those with a digest they gather.

    What was claimed for an email stays in it: the mail server may have that already, and programs know it by its name.
    """
    reachable = Q(recipient=None) | Q(recipient__status=Recipient.Status.CONFIRMED)
    held = Delivery.objects.held().filter(which & reachable)
    emails = held.filter(IS_AN_EMAIL).values("pk")
    Delivery.objects.filter(pk__in=emails).update(status=Delivery.Status.PENDING, next_attempt_at=now)
    people = Recipient.objects.filter(pk__in=held.values("recipient")).with_a_rhythm()
    dues = {person.id: due_for(person, Trigger.SCHEDULED, now) for person in people}
    Delivery.objects.filter(pk__in=held.values("pk")).update(
        status=Delivery.Status.PENDING,
        next_attempt_at=each_recipients({id: at for id, (at, _) in dues.items()}, now),
        digest=each_recipients({id: digest for id, (_, digest) in dues.items()}, None),
    )
    wake([Channel.WEBHOOK, Channel.EMAIL])


def each_recipients(values: Mapping[UUID, Any], others: Any) -> Case | Value:
    """In an UPDATE of deliveries, the value of each one's recipient."""
    field = DateTimeField() if others else UUIDField()
    if not values:
        return Value(others, output_field=field)
    whens = [When(recipient=id, then=Value(value, output_field=field)) for id, value in values.items()]
    return Case(*whens, default=Value(others, output_field=field))


def delete_subscription(subscription: Subscription, now: datetime) -> None:
    """Nothing more is sent; the history stays."""
    with transaction.atomic():
        locked = lock(subscription.id)
        locked.deleted_at = now
        locked.save(update_fields=["deleted_at", "updated_at"])
        Replay.objects.filter(subscription=locked).end(Replay.Status.CANCELLED, now)
        cancel_unfinished(Q(subscription=locked), now)
        left_to_workers = Delivery.objects.filter(subscription=locked, position__isnull=False).unfinished()
        let_next_go(keys_of(left_to_workers))
        record("subscription.deleted", locked, after={"deleted_at": now})


def cancel_unfinished(which: Q, now: datetime) -> None:
    """Cancel unfinished deliveries that no worker holds."""
    Delivery.objects.filter(which).unfinished().idle(now).update(
        status=Delivery.Status.CANCELLED,
        next_attempt_at=None,
        retry_requested=False,
        leased_until=None,
        lease_id=None,
        finished_at=now,
    )


def retry(delivery: Delivery, now: datetime) -> Delivery:
    """Another attempt of the same delivery, now, in place of the scheduled one.

    Raises NotPossible for a succeeded delivery (replay its event), and one whose subscription is not active.
    """
    with transaction.atomic():
        subscription = lock(delivery.subscription_id)
        locked = (
            Delivery.objects.select_for_update(of=("self",))
            .select_related("recipient", "event")
            .get(pk=delivery.pk)
        )
        refuse_retry(locked, subscription)
        before = picture(locked)
        locked.status = Delivery.Status.PENDING
        locked.retry_requested = True
        is_behind_failing = subscription.failing_since is not None and not locked.elsewhere
        locked.next_attempt_at = first_in_line(subscription, now) if is_behind_failing else now
        if locked.recipient:
            locked.next_attempt_at = locked.recipient.rhythm.awake(now)
        locked.digest = None  # an email of its own
        locked.finished_at = None
        locked.behind = False  # it may be the first of its key now; if it is not, the next claim says so
        locked.save(
            update_fields=["status", "retry_requested", "next_attempt_at", "finished_at", "behind", "digest"]
        )
        wake([locked.channel])
        record("delivery.retried", locked, before, picture(locked))
    return locked


def first_in_line(locked: Subscription, now: datetime) -> datetime:
    """Of a subscription that fails one delivery at a time is tried; this makes it the next one, with no cool-down."""
    if locked.cooling_until is not None:
        locked.cooling_until = None
        locked.save(update_fields=["cooling_until"])
    waiting = Delivery.objects.filter(subscription=locked, channel=locked.channel, behind=False).pending()
    first = waiting.order_by("next_attempt_at").first()
    at = first.next_attempt_at if first else None
    return min(now, at - MOMENT) if at else now


def refuse_retry(delivery: Delivery, subscription: Subscription) -> None:
    refuse_erased(delivery.event)
    if delivery.status == Delivery.Status.SUCCEEDED:
        raise NotPossible(
            "This delivery has succeeded. To tell the receiver again, replay its event: "
            f"POST /v1/events/{delivery.event_id}/replay."
        )
    if subscription.deleted_at is not None:
        raise NotPossible("The subscription of this delivery was deleted. Replay the event to another one.")
    if not subscription.is_active:
        raise NotPossible(f"The subscription is {subscription.status}. Resume it; that sends what is held.")
    if delivery.recipient and (
        not delivery.recipient.wants_email or delivery.recipient.status != Recipient.Status.CONFIRMED
    ):
        raise NotPossible(f"The recipient is {delivery.recipient.status}; only a confirmed one gets emails.")


def refuse_erased(event: Event) -> None:
    if event.is_erased:
        raise NotPossible(
            "The payload of this event was erased on a customer's behalf; it is told to nobody."
        )


def cancel(delivery: Delivery, now: datetime) -> Delivery:
    """No further attempt. One that is under way still ends up in the history. Raises NotPossible when finished.

    In an ordered subscription the next one goes on.
    """
    with transaction.atomic():
        if delivery.position is not None:
            Subscription.objects.select_for_update(no_key=True).only("id").get(pk=delivery.subscription_id)
        locked = Delivery.objects.select_for_update(of=("self",)).get(pk=delivery.pk)
        if locked.status == Delivery.Status.CANCELLED:
            return locked
        if locked.status not in (Delivery.Status.PENDING, Delivery.Status.HELD):
            raise NotPossible(
                f"This delivery has {locked.status}; only a pending or held one can be cancelled."
            )
        before = picture(locked)
        locked.status = Delivery.Status.CANCELLED
        locked.next_attempt_at = locked.leased_until = locked.lease_id = None
        locked.retry_requested = False
        locked.finished_at = now
        locked.save()
        if locked.position is not None:
            let_next_go(keys_of([locked]))
            wake([locked.channel])
        record("delivery.cancelled", locked, before, picture(locked))
    return locked


def replay(event: Event, subscription_ids: Sequence[UUID] | None, now: datetime) -> list[Delivery]:
    """Tell an old event again: new deliveries, to these subscriptions or to every active one that matches now.

    For a named subscription that is paused or disabled they are held. Raises NotPossible for a test, and for an
    event whose payload was erased.
    """
    refuse_erased(event)
    if event.test:
        raise NotPossible(
            "This event is a test, an example that nobody but its subscription should get. "
            "Send another one: POST /v1/subscriptions/{id}/test."
        )
    with transaction.atomic():
        subscriptions = replay_targets(event, subscription_ids)
        recipients = recipients_of(subscriptions)
        made = create_deliveries(
            [
                delivery
                for subscription in subscriptions
                for delivery in new_deliveries(event, subscription, recipients, Trigger.REPLAY, now)
            ]
        )
        told = [subscription.id for subscription in subscriptions]
        record("event.replayed", event, after={"subscriptions": told, "deliveries": len(made)})
        return made


def replay_targets(event: Event, subscription_ids: Sequence[UUID] | None) -> list[Subscription]:
    own = Subscription.objects.filter(application_id=event.application_id)
    if subscription_ids is None:
        locked = lock_shared(list(own.matching([event.type]).values_list("id", flat=True)))
        payload = Payload(event.payload)
        return [one for one in locked if one.is_active and one.wants(event.type, payload)]
    return lock_shared(list(own.filter(id__in=subscription_ids).values_list("id", flat=True)))


def send_test(subscription: Subscription, type: str | None, now: datetime) -> list[Delivery]:
    """Send the example of an event type (default: the subscription's first) as a real delivery, marked as a test.

    Raises UnknownEventType, and NotPossible when the subscription is not active or has nobody to tell.
    """
    chosen = type if type is not None else first_type(subscription)
    example = EVENT_TYPES[chosen].example if chosen in EVENT_TYPES else None
    event = Event(
        application_id=subscription.application_id,
        type=chosen,
        occurred_at=now,
        created_at=now,
        payload=checked(chosen, example),
        test=True,
    )
    with transaction.atomic():
        refuse_test(lock_shared([subscription.id]))
        event.save(force_insert=True)
        recipients = confirmed_recipients(subscription)
        deliveries = new_deliveries(event, subscription, recipients, Trigger.TEST, now)
        if not deliveries:
            raise NotPossible("No recipient has confirmed the address yet; nobody would get the test.")
        record("subscription.tested", subscription, after={"event": event.id, "type": chosen})
        return create_deliveries(deliveries)


def refuse_test(existing: Sequence[Subscription]) -> None:
    if not existing:
        raise NotPossible("The subscription was deleted; only its history is left.")
    if not existing[0].is_active:
        raise NotPossible(f"The subscription is {existing[0].status}. Resume it, then test it.")


def first_type(subscription: Subscription) -> str:
    named = [name for name in subscription.event_types if name != EVERY_TYPE]
    return named[0] if named else next(iter(EVENT_TYPES))


def confirmed_recipients(subscription: Subscription) -> dict[UUID, list[Recipient]]:
    return {
        subscription_id: [person for person in people if person.status == Recipient.Status.CONFIRMED]
        for subscription_id, people in recipients_of([subscription]).items()
    }
