"""Why a delivery, or a notice, waits although nothing went wrong with it: told to people, derived and never stored."""

from datetime import UTC, datetime, timedelta

from deliveries.models import Delivery, Notice
from deliveries.notices import DAY, GATHER_FOR, MOST_QUESTIONS, MOST_QUESTIONS_AN_HOUR
from deliveries.ordering import EVERYTHING, first_unfinished
from subscriptions.models import Recipient
from subscriptions.rhythm import Frequency

WITH_DIGESTS = {Notice.Kind.CASE_TAKEN, Notice.Kind.CASE_DONE, Notice.Kind.CASE_GIVEN_BACK}
REMINDERS = {Notice.Kind.CASE_UNHANDLED, Notice.Kind.CASE_UNFINISHED}


def why_waiting(delivery: Delivery, now: datetime) -> str | None:
    """A plain sentence; None for what is finished, under way, or waits for its retry."""
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
    if (ahead := first_unfinished(delivery)) and ahead.pk != delivery.pk:
        return f"It waits behind delivery {ahead.pk}, which {condition(ahead, now)}, to keep the order{kept(delivery)}."
    subscription, at = delivery.subscription, delivery.next_attempt_at
    if delivery.elsewhere:
        return "It is due and next in line at its replay's URL." if at is not None and at <= now else None
    until = subscription.cooling_until
    if until is not None and subscription.is_cooling(now) and at is not None and at < until:
        if not subscription.failure_count:
            return f"Its subscription's secret can't be read with ENCRYPTION_KEYS; the next look is at {moment(until)}."
        return (
            f"Its subscription has failed {subscription.failure_count} times in a row; "
            f"the next probe is at {moment(until)}."
        )
    if at is None or at > now:
        return why_not_yet(delivery, delivery.recipient, at, now)
    if subscription.failing_since is not None:
        return "Its subscription is failing: one attempt at a time is made until one succeeds."
    if subscription.rate_limit:
        return f"Its subscription is limited to {subscription.rate_limit} a second."
    return "It is due and next in line: the attempts under way for a subscription and for a host are limited."


def why_not_yet(
    delivery: Delivery, recipient: Recipient | None, at: datetime | None, now: datetime
) -> str | None:
    """Of a first attempt, or of one that a person asked for, that is not due yet."""
    if recipient is None or at is None or (delivery.attempt_count and not delivery.retry_requested):
        return None
    gathers = delivery.digest is not None and delivery.digest.version == 5  # not taken by a claim yet
    if gathers and recipient.frequency != Frequency.AT_ONCE:
        return f"It gathers for the recipient's {recipient.frequency} digest, which goes out at {moment(at)}."
    if recipient.rhythm.is_quiet(now):
        return f"The recipient wants no email in the quiet hours, which end at {moment(at)}."
    if gathers:
        return f"It gathers with what else the replay tells, in one email; it is due at {moment(at)}."
    return why_left_alone(recipient.email, at)


def why_left_alone(email: str, at: datetime) -> str:
    domain = email.rpartition("@")[2].lower()
    return f"The mail server of {domain}, or ours on its behalf, asked for time; it is due at {moment(at)}."


def why_notice_waits(notice: Notice, paused_until: datetime | None, now: datetime) -> str | None:
    """A plain sentence; None for what is finished, due, under way, or waits for its retry.

    `paused_until` is when the address's domain has had the time that it asked for.
    """
    at = notice.due_at
    if at is None:
        return None
    if paused_until is not None:
        return why_left_alone(notice.email, max(at, paused_until))
    if at <= now or notice.attempt_count:
        return None
    if notice.kind == Notice.Kind.CONFIRMATION:
        return why_not_asked_yet(at, at - notice.created_at)
    return why_not_told_yet(notice, notice.recipient, at, now)


def why_not_asked_yet(at: datetime, wait: timedelta) -> str:
    """An address waits for whole days (`notices.in_turn`), an application for hours."""
    if wait % DAY:
        limit = f"An application asks {MOST_QUESTIONS_AN_HOUR} addresses an hour at most to confirm"
    else:
        limit = f"An address is asked {MOST_QUESTIONS} times a day at most whether it may get an application's emails"
    return f"{limit}; its turn is at {moment(at)}."


def why_not_told_yet(notice: Notice, recipient: Recipient | None, at: datetime, now: datetime) -> str | None:
    if recipient is not None and notice.kind in WITH_DIGESTS and recipient.frequency != Frequency.AT_ONCE:
        return f"It goes out at the time of the recipient's {recipient.frequency} digest, {moment(at)}."
    if recipient is not None and recipient.rhythm.is_quiet(now):
        return f"The recipient wants no email in the quiet hours, which end at {moment(at)}."
    if at - notice.created_at <= GATHER_FOR:
        return f"It gathers with others of its kind, in one email; it is due at {moment(at)}."
    if notice.kind in REMINDERS:
        return f"Nobody is reminded within a working day of being told; it is due at {moment(at)}."
    return None


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def condition(ahead: Delivery, now: datetime) -> str:
    """What the one that others wait for is doing."""
    if ahead.status == Delivery.Status.HELD:
        return "is held"
    if ahead.leased_until is not None and ahead.leased_until > now:
        return "is under way"
    if ahead.next_attempt_at is None or ahead.next_attempt_at <= now:
        return "is due"
    return f"has failed {times(ahead.attempt_count)} and is tried again at {moment(ahead.next_attempt_at)}"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def kept(delivery: Delivery) -> str:
    """Among which deliveries the order is kept. The subscription's own words may have changed since."""
    if delivery.ordering_key == EVERYTHING:
        return ""
    pointer = delivery.subscription.ordering_key
    return f" of those with the same {pointer}" if pointer else " of those with the same ordering key"
