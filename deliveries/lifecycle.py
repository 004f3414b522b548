"""What people do to subscriptions, recipients and deliveries. All of it only creates or re-dates deliveries.

A change of what publishers look at locks them out, for a moment: of a pause, a resume or a deletion that is the
subscription's state alone. Then its deliveries are moved, some at a time (`move_some`), while publishers go by the new
state. What was not moved yet is not sent against it: a claim looks at the state, and order is kept also behind what is
held. Deliveries that a worker holds are left to it; settling looks at the subscription's state itself.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, DateTimeField, Q, UUIDField, Value, When

from accounts.audit import picture, record
from accounts.email_addresses import same_for_all, tidy
from accounts.limits import check_room
from deliveries.cases import close_outages
from deliveries.chores import in_batches
from deliveries.digests import IS_AN_EMAIL, due_together, redate
from deliveries.locking import lock_beside_publishers, lock_out_publishers, lock_shared
from deliveries.models import Delivery, DeliveryQuerySet, Notice, Replay, Trigger
from deliveries.notices import add, in_turn
from deliveries.ordering import keys_of, let_next_go
from deliveries.publishing import (
    checked,
    create_deliveries,
    new_deliveries,
    recipients_of,
)
from deliveries.wakeup import wake
from events.event_types import EVENT_TYPES
from events.models import Event
from events.payloads import Payload
from subscriptions.models import EVERY_TYPE, Channel, Recipient, SigningSecret, Subscription, Suppression

STATE = ("status", "status_reason", "moving", "updated_at")
MOMENT = timedelta(microseconds=1)
MOVED_AT_ONCE = 5_000
LONGEST_MOVE = timedelta(seconds=10)  # that who asks waits for
REACHABLE = Q(recipient=None) | Q(recipient__status=Recipient.Status.CONFIRMED)


class NotPossible(Exception):
    """What was asked for doesn't fit the state it finds; the text says why, and what to do instead."""


class SubscriptionDeleted(NotPossible):
    def __init__(self) -> None:
        super().__init__("The subscription was deleted; only its history is left.")


def lock_existing(id: UUID) -> Subscription:
    """Locks publishers out. Raises SubscriptionDeleted."""
    locked = lock_out_publishers(id)
    refuse_deleted(locked)
    return locked


def refuse_deleted(subscription: Subscription) -> None:
    if subscription.deleted_at is not None:
        raise SubscriptionDeleted


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
    locked: Subscription, values: Mapping[str, Any], emails: Iterable[str] | None, now: datetime
) -> None:
    """Set these fields, and with `emails` the recipients. Deliveries that are under way go on as they are."""
    with transaction.atomic():
        before, headers = picture(locked), locked.headers
        for name, value in values.items():
            setattr(locked, name, value)
        names = ["encrypted_headers" if name == "headers" else name for name in values]
        locked.save(update_fields=[*names, "updated_at"])
        if emails is not None:
            set_recipients(locked, emails, now)
        after = picture(locked) | changed_values(headers, locked.headers)
        record("subscription.changed", locked, before, after)


def changed_values(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[str]]:
    """Of which headers the value is another one, for the log, which may not know what it was or is."""
    names = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    return {"changed_header_values": names} if names else {}


def rotate_secret(subscription: Subscription, overlap: timedelta, now: datetime) -> str:
    """A new signing secret; the ones before sign beside it for `overlap`. Returns the new one."""
    with transaction.atomic():
        refuse_deleted(lock_beside_publishers(subscription.id))
        record("subscription.secret_rotated", subscription, after={"previous_expires_at": now + overlap})
        return SigningSecret.objects.rotate(subscription, overlap, now)


def set_recipients(subscription: Subscription, emails: Iterable[str], now: datetime) -> None:
    """Make these the subscription's recipients; of a webhook, the one it falls back on.

    New ones are asked to confirm, unless they declined to be asked; dropped ones get nothing more. Who unsubscribed, or
    was suppressed, stays so: only they themselves, or staff, can change that.
    """
    wanted = {same_for_all(email): email for email in emails}
    with transaction.atomic():
        lock_out_publishers(subscription.id)
        known = {same_for_all(recipient.email): recipient for recipient in subscription.recipients.all()}
        remove([recipient for email, recipient in known.items() if email not in wanted], now)
        suppressed = Suppression.objects.of(wanted)
        declined = Recipient.objects.who_declined(subscription.application_id, wanted)
        new = Recipient.objects.bulk_create(
            Recipient(
                subscription=subscription,
                email=tidy(address),
                status=first_status(email in suppressed, email in declined),
                unsubscribed_at=now if email in declined else None,
                created_at=now,
            )
            for email, address in wanted.items()
            if email not in known
        )
        back = [known[email] for email in wanted if email in known and known[email].removed_at is not None]
        Recipient.objects.filter(pk__in=[recipient.pk for recipient in back]).update(removed_at=None)
        unconfirmed = [one for one in [*new, *back] if one.status == Recipient.Status.UNCONFIRMED]
        ask_in_turn(unconfirmed, subscription.application_id, now)


def first_status(is_suppressed: bool, has_declined: bool) -> Recipient.Status:
    if is_suppressed:
        return Recipient.Status.SUPPRESSED
    return Recipient.Status.UNSUBSCRIBED if has_declined else Recipient.Status.UNCONFIRMED


def remove(recipients: Sequence[Recipient], now: datetime) -> None:
    ids = [recipient.id for recipient in recipients]
    Recipient.objects.filter(pk__in=ids, removed_at=None).update(removed_at=now)
    cancel_unfinished(Q(recipient__in=ids), now)


def ask_in_turn(recipients: Iterable[Recipient], application: UUID, now: datetime) -> None:
    """Ask them to confirm, as soon as that asks nobody too often, nor too many."""
    add(in_turn(questions(recipients, now), application, now))


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
    """The recipient agrees (again, after an unsubscribe): what was held for them goes out, together.

    Not so when the address was suppressed meanwhile.
    """
    with transaction.atomic():
        subscription = lock_out_publishers(recipient.subscription_id)
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
        lock_out_publishers(recipient.subscription_id)
        Recipient.objects.filter(pk=recipient.pk).exclude(status=Recipient.Status.SUPPRESSED).update(
            status=Recipient.Status.UNSUBSCRIBED, unsubscribed_at=now
        )
        cancel_unfinished(Q(recipient=recipient), now)
    recipient.refresh_from_db()


def choose(recipient: Recipient, preferences: Mapping[str, Any], now: datetime) -> None:
    """What the recipient wants from now on, and when. What waits follows: re-dated, or cancelled as of no interest."""
    with transaction.atomic():
        lock_out_publishers(recipient.subscription_id)
        Recipient.objects.filter(pk=recipient.pk).update(**preferences)
        recipient.refresh_from_db()
        if recipient.types:
            unwanted = Q(recipient=recipient) & ~Q(event_type__in=recipient.types) & ~Q(trigger=Trigger.TEST)
            cancel_unfinished(unwanted, now)
        redate(recipient, now)
        wake([Channel.EMAIL])


def pause(subscription: Subscription, now: datetime, reason: str = "") -> Subscription:
    """Hold every delivery until `resume`. One that is disabled is held already, and stays so, with why it is."""
    with transaction.atomic():
        subscription = lock_existing(subscription.id)
        if subscription.status != Subscription.Status.DISABLED:
            suspend(subscription, Subscription.Status.PAUSED, reason or subscription.status_reason)
    move_deliveries(subscription.id, now)
    return subscription


def disable(locked: Subscription, now: datetime, reason: str) -> None:
    """As a pause, but by the service; the reason says why.

    Publishers are not locked out: what they add meanwhile, like what is not held at once of a long backlog, is held by
    the sweep or by a claim.
    """
    suspend(locked, Subscription.Status.DISABLED, reason)
    move_some(locked, now)


def suspend(locked: Subscription, status: str, reason: str) -> None:
    before = picture(locked)
    mark(locked, status, reason)
    record(f"subscription.{status}", locked, before, picture(locked))


def mark(locked: Subscription, status: str, reason: str) -> None:
    """What is due of it is held when it is claimed, if it is not moved before."""
    locked.status, locked.status_reason, locked.moving = status, reason, True
    locked.save(update_fields=STATE)


def move_deliveries(subscription_id: UUID, now: datetime) -> None:
    """Hold, release or cancel what waits of it, as far as there is time. The rest is left to the sweep."""
    is_more, ends_at = True, time.monotonic() + LONGEST_MOVE.total_seconds()
    while is_more and time.monotonic() < ends_at:
        with transaction.atomic():
            is_more = move_some(lock_beside_publishers(subscription_id), now)


def finish_moves(now: datetime) -> int:
    """Of the sweep: go on with what those have left who had no more time, or were killed; returns in how many steps."""
    moving = Subscription.objects.filter(moving=True).defer("encrypted_headers").order_by("id")
    return in_batches(moving, 1, lambda locked: [move_some(one, now) for one in locked])


def move_some(locked: Subscription, now: datetime) -> bool:
    """Put the next of its deliveries into the place that its state gives them; whether there may be more."""
    if not locked.moving:
        return False
    pending, held = Delivery.objects.pending().idle(now), Delivery.objects.held()
    if locked.deleted_at is not None:
        found, move = first_of(pending, locked) or first_of(held, locked), cancel_and_let_go
    elif locked.is_active:
        found, move = first_of(held.filter(REACHABLE), locked), release_others
    else:
        found, move = first_of(pending, locked), hold
    if found:
        move(Q(id__in=found), now)
    else:
        locked.moving = False
        locked.save(update_fields=["moving"])
    return locked.moving


def first_of(deliveries: DeliveryQuerySet, subscription: Subscription) -> list[UUID]:
    """The oldest, by an index of those in one state, which what was moved has left."""
    its = deliveries.filter(application=subscription.application_id, subscription=subscription)
    return list(its.order_by("id").values_list("id", flat=True)[:MOVED_AT_ONCE])


def hold(which: Q, now: datetime) -> None:
    hold_all(Delivery.objects.filter(which).pending().idle(now))


def hold_all(deliveries: DeliveryQuerySet) -> None:
    deliveries.update(status=Delivery.Status.HELD, next_attempt_at=None, leased_until=None, lease_id=None)


def resume(subscription: Subscription, now: datetime) -> Subscription:
    """Active again: what was held is due now. What was claimed for an email together is released together."""
    with transaction.atomic():
        subscription = lock_existing(subscription.id)
        before = picture(subscription)
        subscription.forget_failures()
        subscription.save(update_fields=Subscription.health)
        mark(subscription, Subscription.Status.ACTIVE, "")
        release_emails(Q(subscription=subscription), now)
        Replay.objects.running().filter(subscription=subscription).update(due_at=now)
        close_outages(subscription, now)
        record("subscription.resumed", subscription, before, picture(subscription))
    move_deliveries(subscription.id, now)
    return subscription


def release(which: Q, now: datetime) -> None:
    """Make held deliveries due, but for recipients who have not confirmed."""
    release_emails(which, now)
    release_others(which, now)


def release_emails(which: Q, now: datetime) -> None:
    """What was claimed for an email stays in it: the mail server may have that, and programs know it by its name."""
    emails = Delivery.objects.held().filter(which & REACHABLE).filter(IS_AN_EMAIL).values("pk")
    Delivery.objects.filter(pk__in=emails).update(status=Delivery.Status.PENDING, next_attempt_at=now)


def release_others(which: Q, now: datetime) -> None:
    """What has gathered for a person goes out together, now or with the next digest; tests go alone."""
    held = Delivery.objects.held().filter(which & REACHABLE)
    people = Recipient.objects.filter(pk__in=held.values("recipient"))
    dues = {person.id: due_together(person, now) for person in people}
    Delivery.objects.filter(pk__in=held.values("pk")).update(
        status=Delivery.Status.PENDING,
        next_attempt_at=each_recipients({id: at for id, (at, _) in dues.items()}, now),
        digest=each_recipients({id: digest for id, (_, digest) in dues.items()}, None),
    )
    wake([Channel.WEBHOOK, Channel.EMAIL])


def each_recipients(values: Mapping[UUID, Any], others: Any) -> Case | Value:
    """In an UPDATE of deliveries, the value of each one's recipient; of tests, and without a recipient, the others'."""
    field = DateTimeField() if others else UUIDField()
    if not values:
        return Value(others, output_field=field)
    whens = [
        When(~Q(trigger=Trigger.TEST), recipient=id, then=Value(value, output_field=field))
        for id, value in values.items()
    ]
    return Case(*whens, default=Value(others, output_field=field))


def delete_subscription(subscription: Subscription, now: datetime) -> None:
    """Nothing more is sent; the history stays."""
    with transaction.atomic():
        locked = lock_existing(subscription.id)
        locked.deleted_at, locked.moving = now, True
        locked.save(update_fields=["deleted_at", "moving", "updated_at"])
        Replay.objects.filter(subscription=locked).end(Replay.Status.CANCELLED, now)
        record("subscription.deleted", locked, after={"deleted_at": now})
    move_deliveries(locked.id, now)


def cancel_and_let_go(which: Q, now: datetime) -> None:
    """Cancel unfinished deliveries that no worker holds; in an order, those behind them go on.

    The caller has locked the subscription.
    """
    ordered = Delivery.objects.filter(which, position__isnull=False).unfinished()
    keys = keys_of(ordered.only("subscription_id", "ordering_key"))
    cancel_unfinished(which, now)
    let_next_go(keys)


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
        subscription = lock_beside_publishers(delivery.subscription_id)
        locked = (
            Delivery.objects.select_for_update(of=("self",))
            .select_related("recipient", "event")
            .get(pk=delivery.pk)
        )
        refuse_retry(locked, subscription)
        before = picture(locked)
        make_due(locked, subscription, now)
        wake([locked.channel])
        record("delivery.retried", locked, before, picture(locked))
    return locked


def make_due(locked: Delivery, subscription: Subscription, now: datetime) -> None:
    """Now, but for a recipient after the quiet hours. The subscription is locked, too."""
    locked.status, locked.retry_requested, locked.finished_at = Delivery.Status.PENDING, True, None
    is_behind_failing = subscription.failing_since is not None and not locked.elsewhere
    locked.next_attempt_at = first_in_line(subscription, now) if is_behind_failing else now
    if locked.recipient:
        locked.next_attempt_at = locked.recipient.rhythm.awake(now)
    locked.digest = None  # an email of its own
    locked.behind = False  # it may be the first of its key now; if it is not, the next claim says so
    locked.save(
        update_fields=["status", "retry_requested", "next_attempt_at", "finished_at", "behind", "digest"]
    )


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
        mend = (
            "Resume it; that sends what is held."
            if delivery.status == Delivery.Status.HELD
            else "Resume it, then retry this delivery."
        )
        raise NotPossible(f"The subscription is {subscription.status}. {mend}")
    if delivery.recipient:
        refuse_recipient(delivery.recipient)


def refuse_recipient(recipient: Recipient) -> None:
    if recipient.removed_at is not None:
        raise NotPossible(
            "The recipient was removed from the subscription; only those who are in it get emails."
        )
    if recipient.status != Recipient.Status.CONFIRMED:
        raise NotPossible(f"The recipient is {recipient.status}; only a confirmed one gets emails.")


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
            lock_beside_publishers(delivery.subscription_id)
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
        raise SubscriptionDeleted
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
