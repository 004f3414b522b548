"""Why a delivery waits although nothing went wrong with it: told to people, derived and never stored."""

from datetime import UTC, datetime

from deliveries.models import Delivery
from subscriptions.models import Recipient


def why_waiting(delivery: Delivery, now: datetime) -> str | None:
    """A plain sentence; None for what is finished, under way, or not due yet."""
    if delivery.status == Delivery.Status.HELD:
        return why_held(delivery)
    is_under_way = delivery.leased_until is not None and delivery.leased_until > now
    if delivery.status != Delivery.Status.PENDING or is_under_way:
        return None
    return why_not_sent(delivery, now)


def why_held(delivery: Delivery) -> str:
    recipient = delivery.recipient
    if not delivery.subscription.is_active:
        return f"Its subscription is {delivery.subscription.status}."
    if recipient is not None and recipient.status != Recipient.Status.CONFIRMED:
        return "The recipient has not confirmed the address."
    return "It is held."


def why_not_sent(delivery: Delivery, now: datetime) -> str | None:
    subscription, at = delivery.subscription, delivery.next_attempt_at
    until = subscription.cooling_until
    if until is not None and until > now and at is not None and at < until:
        probe = until.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return (
            f"Its subscription has failed {subscription.failure_count} times in a row; "
            f"the next probe is at {probe}."
        )
    if at is None or at > now:
        return None
    if subscription.failing_since is not None:
        return "Its subscription is failing: one attempt at a time is made until one succeeds."
    if subscription.rate_limit:
        return f"Its subscription is limited to {subscription.rate_limit} a second."
    return "It is due and next in line: the attempts under way for a subscription and for a host are limited."
