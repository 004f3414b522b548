"""What operators do to deliveries, events, subscriptions and recipients."""

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from accounts.admin_actions import OperatorAction
from accounts.audit import record
from deliveries.cases import close, reopen
from deliveries.lifecycle import (
    NotPossible,
    ask_to_confirm,
    cancel,
    delete_subscription,
    pause,
    refuse_deleted,
    replay,
    resume,
    retry,
    send_test,
)
from deliveries.models import Case, Delivery, Replay
from deliveries.publishing import UnknownEventType
from deliveries.replaying import cancel_replay
from deliveries.suppressing import lift
from events.models import Event
from subscriptions.models import Recipient, Subscription

RETRY = OperatorAction(
    name="retry",
    label="Retry now",
    done="Due now",
    act=retry,
    refusals=(NotPossible,),
    warning="Each of them is attempted at once, in place of its scheduled attempt.",
    fits=lambda delivery: delivery.status != Delivery.Status.SUCCEEDED,
)
CANCEL = OperatorAction(
    name="cancel",
    label="Cancel",
    done="Cancelled",
    act=cancel,
    refusals=(NotPossible,),
    warning="There will be no further attempt, unless somebody retries them.",
    fits=lambda delivery: delivery.status in (Delivery.Status.PENDING, Delivery.Status.HELD),
)

CANCEL_REPLAY = OperatorAction(
    name="cancel",
    label="Cancel",
    done="Cancelled",
    act=cancel_replay,
    refusals=(NotPossible,),
    warning="They make no further deliveries, and those that are still to be sent are cancelled.",
    fits=lambda replay: replay.status == Replay.Status.RUNNING,
)


def give_back(case: Case, now: datetime) -> None:
    if not reopen(case, now):
        raise NotPossible("Nobody has it.")


def end(case: Case, now: datetime) -> None:
    if not close(case, now):
        raise NotPossible("It is done already, or somebody has just taken it.")


GIVE_BACK = OperatorAction(
    name="give_back",
    label="Give back",
    done="Given back",
    act=give_back,
    refusals=(NotPossible,),
    warning="Whoever has them is on them no more, and anybody who was told can take them.",
    fits=lambda case: case.is_taken,
)
CLOSE = OperatorAction(
    name="close",
    label="Mark as done",
    done="Done",
    act=end,
    refusals=(NotPossible,),
    warning="Whoever was told of them hears that Openvolt staff have marked them as done. Nobody is reminded of "
    "them, and nobody can take them any more.",
    fits=lambda case: not case.is_done,
)


def replay_to_all(event: Event, now: datetime) -> None:
    if not replay(event, None, now):
        raise NotPossible("No active subscription wants this event now.")


def existing(act: Callable[[Subscription, datetime], object]) -> Callable[[Subscription, datetime], object]:
    """The act, refused to a subscription that was deleted."""

    def checked(subscription: Subscription, now: datetime) -> object:
        refuse_deleted(subscription)
        return act(subscription, now)

    return checked


def pause_active(subscription: Subscription, now: datetime) -> None:
    if not subscription.is_active:
        raise NotPossible(f"The subscription is {subscription.status} already.")
    pause(subscription, now, "Paused by the operators.")


def resume_suspended(subscription: Subscription, now: datetime) -> None:
    if subscription.is_active:
        raise NotPossible("The subscription is active already.")
    resume(subscription, now)


def ask_again(recipient: Recipient, now: datetime) -> None:
    if recipient.removed_at is not None:
        raise NotPossible("The recipient was removed from the subscription.")
    if recipient.status != Recipient.Status.UNCONFIRMED:
        raise NotPossible(f"The recipient is {recipient.status}; only an unconfirmed one is asked.")
    with transaction.atomic():
        ask_to_confirm([recipient], now)
        record("recipient.asked_again", recipient)


REPLAY = OperatorAction(
    name="replay",
    label="Replay",
    done="Told again",
    act=replay_to_all,
    refusals=(NotPossible,),
    warning="Every active subscription that wants them now gets a new delivery of each.",
)
PAUSE = OperatorAction(
    name="pause",
    label="Pause",
    done="Paused",
    act=existing(pause_active),
    refusals=(NotPossible,),
    warning="Their deliveries are held, not lost, until somebody resumes them.",
    fits=lambda subscription: subscription.is_active,
)
RESUME = OperatorAction(
    name="resume",
    label="Resume",
    done="Resumed",
    act=existing(resume_suspended),
    refusals=(NotPossible,),
    warning="What was held for them is due at once.",
    fits=lambda subscription: subscription.deleted_at is None and not subscription.is_active,
)
SEND_TEST = OperatorAction(
    name="send_test",
    label="Send test",
    done="Test sent to",
    act=existing(lambda subscription, now: send_test(subscription, None, now)),
    refusals=(NotPossible, UnknownEventType),
    warning="Each gets the example of its first event type, as a real delivery marked as a test.",
    fits=lambda subscription: subscription.is_active,
)
DELETE = OperatorAction(
    name="delete",
    label="Delete",
    done="Deleted",
    act=existing(delete_subscription),
    refusals=(NotPossible,),
    confirm_above=0,
    warning="Nothing more is sent to them, what waits is cancelled, and this can't be undone. Their history stays.",
    fits=lambda subscription: subscription.deleted_at is None,
    permission="remove",
)
ASK_AGAIN = OperatorAction(
    name="ask_again",
    label="Send confirmation again",
    done="Confirmation email queued for",
    act=ask_again,
    refusals=(NotPossible,),
    warning="Each gets the email with the link that confirms the address.",
    fits=lambda recipient: recipient.status == Recipient.Status.UNCONFIRMED and recipient.removed_at is None,
)
LIFT = OperatorAction(
    name="lift",
    label="Lift the suppression",
    done="Lifted",
    act=lift,
    refusals=(NotPossible,),
    confirm_above=0,
    warning="Whoever has the address is asked to confirm it again. Emails to an address that does not exist, or that "
    "complained, cost the sender's good name.",
    fits=lambda suppression: suppression.is_standing,
)
