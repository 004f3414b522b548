"""Claiming: which due deliveries a worker takes, and everything that sending them needs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection
from django.db.models import Prefetch

from deliveries.cases import handling_of
from deliveries.channels import EmailTarget, Handling, Notification, WebhookTarget
from deliveries.customers import customers_of
from deliveries.letters.handling import HANDLED
from deliveries.models import LONGEST_LEASE, Delivery, Trigger, schedule_of
from subscriptions.models import Channel, Recipient, SigningSecret, Subscription

LEASE_MARGIN = timedelta(seconds=10)  # to begin and to settle in, around an attempt that uses up its deadline
KEY_LOOKED_FOR_AGAIN = timedelta(minutes=1)
CANDIDATES = 512
FURTHEST_POSITION = 2**63 - 1
NEWEST = 128
DIGESTS = 8  # a claim: their payloads are in memory together
MOST_IN_DIGEST = 500
LARGEST_DIGEST = 5 * 1024 * 1024  # bytes of payloads; a single one may be no larger than that

# As `DeliveryQuerySet.idle`: no worker holds it.
IDLE = "(leased_until IS NULL OR leased_until <= %(now)s OR leased_until > %(furthest)s)"
# A digest that no claim has taken yet; and the name that the claim gives it, once for what it takes (UUID version 8).
GATHERING = "substr(digest::text, 15, 1) = '5'"
EMAIL_NAME = (
    "overlay(overlay(md5(%(lease)s::text || digest::text) placing '8' from 13) placing '8' from 17)::uuid"
)
# A replay that goes to another URL is a way of its own, which shares neither limits nor health with the subscription's.
DETOUR = "CASE WHEN elsewhere THEN replay_id END AS detour"
# Three lanes take turns: of four places two go to the first attempts that have been due for longest, one to the newest
# ones, so that no backlog keeps what happens now from being told, and one to retries. A lane that is empty leaves its
# places to the others. The looks are bounded: a backlog may be long. Among subscriptions it goes in turns, too.
FRONT = f"""
    SELECT id, subscription_id, ordering_key, position, digest, detour, next_attempt_at, attempt_count > 0 AS is_retry,
        min(turn) AS turn
    FROM (
        SELECT *, row_number() OVER (PARTITION BY attempt_count = 0 ORDER BY next_attempt_at)
            * CASE attempt_count WHEN 0 THEN 2 ELSE 4 END AS turn
        FROM (
            SELECT id, subscription_id, ordering_key, position, digest, {DETOUR}, next_attempt_at, attempt_count
            FROM deliveries_delivery
            WHERE status = 'pending' AND NOT behind AND channel = %(lane)s AND next_attempt_at <= %(now)s
                AND {IDLE}
            ORDER BY next_attempt_at LIMIT %(candidates)s
        ) AS longest_due
        UNION ALL
        SELECT *, row_number() OVER (ORDER BY next_attempt_at DESC) * 4 FROM (
            SELECT id, subscription_id, ordering_key, position, digest, {DETOUR}, next_attempt_at, attempt_count
            FROM deliveries_delivery
            WHERE status = 'pending' AND NOT behind AND attempt_count = 0
                AND channel = %(lane)s AND next_attempt_at <= %(now)s
                AND {IDLE}
            ORDER BY next_attempt_at DESC LIMIT %(newest)s
        ) AS newest
    ) AS lanes GROUP BY id, subscription_id, ordering_key, position, digest, detour, next_attempt_at, attempt_count
"""  # noqa: S608 - nothing from outside is in it
# From one subscription with something pending to the next: an index jump each, however long their backlogs are.
WAITING = """
    WITH RECURSIVE waiting AS (
        (SELECT subscription_id AS id FROM deliveries_delivery
            WHERE status = 'pending' AND NOT behind AND channel = %(lane)s
            ORDER BY subscription_id LIMIT 1)
        UNION ALL
        SELECT (
            SELECT subscription_id FROM deliveries_delivery
            WHERE status = 'pending' AND NOT behind AND channel = %(lane)s AND subscription_id > waiting.id
            ORDER BY subscription_id LIMIT 1
        ) FROM waiting WHERE waiting.id IS NOT NULL
    )
"""
PAST_THE_FRONT = f"""
    {WAITING}
    SELECT due.* FROM waiting CROSS JOIN LATERAL (
        SELECT id, subscription_id, ordering_key, position, digest, {DETOUR}, next_attempt_at,
            attempt_count > 0 AS is_retry, row_number() OVER (ORDER BY next_attempt_at) AS turn
        FROM deliveries_delivery
        WHERE status = 'pending' AND NOT behind AND channel = %(lane)s AND next_attempt_at <= %(now)s
            AND {IDLE}
            AND subscription_id = waiting.id
        ORDER BY next_attempt_at LIMIT %(share)s
    ) AS due
    WHERE waiting.id IS NOT NULL AND waiting.id <> ALL(%(full)s)
"""  # noqa: S608 - nothing from outside is in it
# `counted` locks the counters until the commit, so that no number is left out, and in the order of their
# subscriptions, so that two claims can't wait for each other. No index of the delivery's has the sequence: the
# claim rewrites the row in its page (HOT), and the numbers are found through a narrow table that only grows.
NUMBER = "sequence = numbered.number"
LEASE = f"""
counted AS (
    INSERT INTO deliveries_sequencecounter AS counter (subscription_id, last)
    SELECT subscription_id, count(*) FROM taken WHERE sequence IS NULL AND NOT elsewhere
    GROUP BY subscription_id ORDER BY subscription_id
    ON CONFLICT (subscription_id) DO UPDATE SET last = counter.last + excluded.last
    RETURNING subscription_id, last
), numbered AS (
    SELECT id, subscription_id, retry_requested, sequence IS NULL AND NOT elsewhere AS is_new, coalesce(
        sequence, CASE WHEN NOT elsewhere THEN last + 1 - row_number() OVER (
            PARTITION BY subscription_id, sequence IS NULL AND NOT elsewhere
            ORDER BY position DESC NULLS LAST, next_attempt_at DESC, id DESC
        ) END) AS number
    FROM taken LEFT JOIN counted USING (subscription_id)
), given AS (
    INSERT INTO deliveries_sequencenumber (subscription_id, number, delivery_id)
    SELECT subscription_id, number, id FROM numbered WHERE is_new
), leased AS (
    UPDATE deliveries_delivery AS delivery
    SET leased_until = %(until)s, lease_id = %(lease)s, sequence = numbered.number
    FROM numbered WHERE delivery.id = numbered.id
    RETURNING delivery.id, delivery.event_id, delivery.subscription_id, delivery.recipient_id, delivery.trigger,
        delivery.attempt_count, delivery.sequence, delivery.ordering_key, delivery.position, delivery.digest,
        {DETOUR}, CASE WHEN elsewhere THEN (
            SELECT url FROM deliveries_replay AS replay WHERE replay.id = replay_id
        ) END, numbered.retry_requested, extract(epoch FROM delivery.next_attempt_at)::float
)
"""  # noqa: S608 - nothing from outside is in it
# `taken` looks up an array of ids, so that no guess of the planner's makes it walk the whole backlog.
CLAIM = f"""
WITH candidates AS MATERIALIZED ({{candidates}}), fair AS (
    SELECT candidates.id, turn, is_retry, failing_since IS NOT NULL AND detour IS NULL AS is_probe,
        CASE WHEN detour IS NULL THEN rate_limit END AS rate_limit,
        row_number() OVER (PARTITION BY coalesce(detour, subscription_id) ORDER BY turn, next_attempt_at) AS place
    FROM candidates JOIN subscriptions_subscription ON subscriptions_subscription.id = subscription_id
    WHERE position IS NULL AND digest IS NULL AND coalesce(detour, subscription_id) <> ALL(%(full)s)
), allowed AS (
    SELECT id, is_probe, row_number() OVER (
        PARTITION BY is_probe ORDER BY CASE WHEN is_retry THEN 2 * place ELSE place END, turn
    ) AS nth
    FROM fair
    WHERE place <= CASE WHEN is_probe THEN 1 ELSE least(%(share)s, rate_limit) END
), taken AS (
    SELECT id, subscription_id, position, next_attempt_at, retry_requested, sequence, elsewhere
    FROM deliveries_delivery
    WHERE id = ANY(ARRAY(
            SELECT id FROM allowed WHERE nth <= CASE WHEN is_probe THEN %(probes)s ELSE %(limit)s END
        )) AND status = 'pending' AND next_attempt_at <= %(now)s
        AND {IDLE}
    FOR UPDATE SKIP LOCKED
), {LEASE}
SELECT is_any_ordered, is_any_gathered, leased.* FROM (
    SELECT EXISTS (SELECT FROM candidates WHERE position IS NOT NULL) AS is_any_ordered,
        EXISTS (SELECT FROM candidates WHERE digest IS NOT NULL) AS is_any_gathered
) AS seen LEFT JOIN leased ON TRUE
"""  # noqa: S608 - nothing from outside is in it
# Of a key (an ordered subscription, or a part of it) no candidate is taken for itself, but the `heads`: the first that
# is not finished; and with it the `run` behind it, as far as nothing in it is held, waits for a retry, or is in other
# hands. Rows are compared as a whole, so that the planner has but one index that it can use. What another claim has
# locked is not `taken`, nor what comes after that.
# `marked` takes the candidates that wait for others out of the indexes of what is due, for they may be many. Whoever
# finishes a delivery takes the mark off the next one (ordering.py), and must not miss it: so the mark is made only
# under a lock on an unfinished one ahead, a `blocker`. This statement waits for no lock on a delivery.
CLAIM_IN_ORDER = f"""
WITH candidates AS MATERIALIZED ({{candidates}}), keys AS (
    SELECT DISTINCT subscription_id, ordering_key FROM candidates WHERE position IS NOT NULL
), heads AS MATERIALIZED (
    SELECT head.* FROM keys CROSS JOIN LATERAL (
        SELECT id, subscription_id, ordering_key, position, next_attempt_at, status, leased_until
        FROM deliveries_delivery AS delivery
        WHERE (delivery.subscription_id, delivery.ordering_key, delivery.position)
                > (keys.subscription_id, keys.ordering_key, 0)
            AND status IN ('pending', 'held') AND position IS NOT NULL
        ORDER BY delivery.subscription_id, delivery.ordering_key, delivery.position LIMIT 1
    ) AS head
), fair AS (
    SELECT heads.*, failing_since IS NOT NULL AS is_probe,
        row_number() OVER (PARTITION BY subscription_id ORDER BY next_attempt_at, position) AS place
    FROM heads JOIN subscriptions_subscription AS subscription ON subscription.id = subscription_id
    WHERE heads.status = 'pending' AND next_attempt_at <= %(now)s
        AND {IDLE}
        AND subscription_id <> ALL(%(full)s)
), allowed AS (
    SELECT *, row_number() OVER (PARTITION BY is_probe ORDER BY place, next_attempt_at) AS nth FROM fair
    WHERE place <= CASE WHEN is_probe THEN 1 ELSE %(share)s END
), chosen AS MATERIALIZED (
    SELECT id, subscription_id, ordering_key, CASE WHEN is_probe THEN 1 ELSE 1 + least(
            %(share)s / count(*) OVER (PARTITION BY subscription_id) - 1,
            %(runs)s / count(*) OVER ()
        ) END AS longest
    FROM allowed WHERE nth <= CASE WHEN is_probe THEN %(probes)s ELSE %(limit)s END
), run AS MATERIALIZED (
    SELECT id, place FROM (
        SELECT one.id, place, longest,
            bool_and(is_ready) OVER (PARTITION BY chosen.id ORDER BY place) AS is_near,
            bool_or(is_leased) OVER (PARTITION BY chosen.id) AS is_in_other_hands
        FROM chosen CROSS JOIN LATERAL (
            SELECT id, subscription_id, ordering_key,
                row_number() OVER (ORDER BY subscription_id, ordering_key, position) AS place,
                status = 'pending' AND (next_attempt_at <= %(now)s OR attempt_count = 0) AS is_ready,
                coalesce(leased_until > %(now)s AND leased_until <= %(furthest)s, FALSE) AS is_leased
            FROM deliveries_delivery AS delivery
            WHERE (delivery.subscription_id, delivery.ordering_key, delivery.position)
                    > (chosen.subscription_id, chosen.ordering_key, 0)
                AND (delivery.subscription_id, delivery.ordering_key, delivery.position)
                    <= (chosen.subscription_id, chosen.ordering_key, {FURTHEST_POSITION})
                AND status IN ('pending', 'held') AND position IS NOT NULL
            ORDER BY delivery.subscription_id, delivery.ordering_key, delivery.position LIMIT %(share)s
        ) AS one
        WHERE one.subscription_id = chosen.subscription_id AND one.ordering_key = chosen.ordering_key
    ) AS waiting
    WHERE place <= longest AND is_near AND NOT is_in_other_hands
), locked AS MATERIALIZED (
    SELECT id, subscription_id, ordering_key, position, next_attempt_at, retry_requested, sequence, elsewhere
    FROM deliveries_delivery
    WHERE id = ANY(ARRAY(SELECT id FROM run))
        AND status = 'pending' AND (next_attempt_at <= %(now)s OR attempt_count = 0)
        AND {IDLE}
    FOR UPDATE SKIP LOCKED
), taken AS MATERIALIZED (
    SELECT * FROM (
        SELECT locked.*, place, row_number() OVER (
            PARTITION BY subscription_id, ordering_key ORDER BY position
        ) AS nth
        FROM locked JOIN run USING (id)
    ) AS one
    WHERE place = nth
), waiting AS MATERIALIZED (
    SELECT candidates.*, heads.id AS head FROM candidates JOIN heads USING (subscription_id, ordering_key)
    WHERE candidates.position > heads.position AND candidates.id <> ALL(ARRAY(SELECT id FROM taken))
), blockers AS MATERIALIZED (
    SELECT id FROM deliveries_delivery
    WHERE id = ANY(ARRAY(SELECT head FROM waiting)) AND status IN ('pending', 'held')
        AND id <> ALL(ARRAY(SELECT id FROM taken))
    FOR NO KEY UPDATE SKIP LOCKED
), blocked AS MATERIALIZED (
    SELECT id FROM deliveries_delivery
    WHERE id = ANY(ARRAY(
            SELECT id FROM waiting
            WHERE head = ANY(ARRAY(SELECT id FROM blockers UNION ALL SELECT id FROM taken WHERE place = 1))
        )) AND status = 'pending' AND NOT behind
    FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE deliveries_delivery SET behind = TRUE WHERE id = ANY(ARRAY(SELECT id FROM blocked))
), {LEASE}
SELECT * FROM leased
"""  # noqa: S608
# Of a digest all that can go out together is taken, or nothing: what somebody else has locked makes it wait for the
# next look. Two claims at once do not share one out, for the second finds its name locked. What is more than an email
# should hold keeps the name, and is the next email. What is taken for the first time gets the email's own name.
CLAIM_DIGESTS = f"""
WITH candidates AS MATERIALIZED ({{candidates}}), due AS MATERIALIZED (
    SELECT digest FROM candidates WHERE digest IS NOT NULL AND subscription_id <> ALL(%(full)s)
    GROUP BY digest ORDER BY min(turn) LIMIT %(digests)s
), chosen AS MATERIALIZED (
    SELECT digest FROM due WHERE pg_try_advisory_xact_lock(hashtextextended(digest::text, 0))
), members AS MATERIALIZED (
    SELECT digest, id FROM (
        SELECT chosen.digest, one.id, row_number() OVER up_to_here AS nth,
            sum(octet_length(payload)) OVER up_to_here AS size
        FROM chosen CROSS JOIN LATERAL (
            SELECT id, event_id FROM deliveries_delivery AS delivery
            WHERE delivery.digest = chosen.digest AND status = 'pending'
            ORDER BY id LIMIT {MOST_IN_DIGEST}
        ) AS one JOIN events_event ON events_event.id = one.event_id
        WINDOW up_to_here AS (PARTITION BY chosen.digest ORDER BY one.id)
    ) AS sized
    WHERE nth = 1 OR size <= {LARGEST_DIGEST}
), locked AS MATERIALIZED (
    SELECT id, subscription_id, position, next_attempt_at, retry_requested, sequence, elsewhere, digest
    FROM deliveries_delivery
    WHERE id = ANY(ARRAY(SELECT id FROM members)) AND digest = ANY(ARRAY(SELECT digest FROM chosen))
        AND status = 'pending' AND {IDLE}
    FOR UPDATE SKIP LOCKED
), taken AS MATERIALIZED (
    SELECT * FROM locked WHERE digest IN (
        SELECT members.digest FROM members LEFT JOIN locked ON locked.id = members.id
        GROUP BY members.digest HAVING bool_and(locked.id IS NOT NULL)
    )
), {LEASE.replace(NUMBER, f"{NUMBER}, digest = CASE WHEN {GATHERING} THEN {EMAIL_NAME} ELSE digest END")}
SELECT * FROM leased
"""  # noqa: S608
EVENTS = "SELECT id, type, occurred_at, payload FROM events_event WHERE id = ANY(%s)"


log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ClaimedEvent:
    """Of an event, what is told."""

    id: UUID
    type: str
    occurred_at: datetime
    payload: str


@dataclass(slots=True)
class ClaimedDelivery:
    """A row of Delivery as sending needs it; an object of the model costs more than the sending of it."""

    id: UUID
    event: ClaimedEvent
    subscription: Subscription
    subscription_id: UUID
    recipient: Recipient | None
    channel: str
    trigger: str
    attempt_count: int
    sequence: int | None
    ordering_key: str | None = None
    position: int | None = None
    digest: UUID | None = None
    detour: UUID | None = None
    detour_url: str | None = None

    @property
    def test(self) -> bool:
        return self.trigger == Trigger.TEST

    @property
    def schedule(self) -> list[timedelta]:
        return schedule_of(self.channel, self.subscription)


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery, or a digest, that this worker alone may attempt, until its lease ends."""

    delivery: ClaimedDelivery
    lease_id: UUID
    trigger: str
    target: WebhookTarget | EmailTarget
    begin_by: datetime
    others: tuple["Claim", ...] = ()
    handling: Handling | None = None
    customer: str = ""

    @property
    def each(self) -> tuple["Claim", ...]:
        """With the others that the same email tells of."""
        return self, *self.others

    @property
    def subscription(self) -> Subscription:
        return self.delivery.subscription

    @property
    def is_probe(self) -> bool:
        """Whether it finds out if a subscription that fails has recovered."""
        return self.subscription.failing_since is not None and self.delivery.detour is None

    @property
    def is_paced(self) -> bool:
        """Whether its subscription's limit is kept by it."""
        return bool(self.subscription.rate_limit) and self.delivery.detour is None

    @property
    def way(self) -> UUID:
        """Names what it shares a window with: its subscription, or the replay by which it goes elsewhere."""
        return self.delivery.detour or self.delivery.subscription_id

    @property
    def is_awaited(self) -> bool:
        """Whether people who were told that it fails are to be told when it succeeds."""
        return self.subscription.told_failing_since is not None and self.delivery.detour is None

    @property
    def sendable(self) -> bool:
        """Whether its subscription and recipient still want it; a pause may have come since it was due."""
        recipient = self.delivery.recipient
        return self.subscription.is_active and (
            recipient is None
            or (recipient.removed_at is None and recipient.status == Recipient.Status.CONFIRMED)
        )

    def is_quiet(self, now: datetime) -> bool:
        """Whether its recipient wants no email now."""
        recipient = self.delivery.recipient
        return recipient is not None and self.trigger != Trigger.TEST and recipient.rhythm.is_quiet(now)

    def notification(self) -> Notification:
        return notification(
            self.delivery, self.delivery.attempt_count + 1, self.trigger, self.handling, self.customer
        )


def notification(
    delivery: Delivery | ClaimedDelivery,
    attempt: int,
    trigger: str,
    handling: Handling | None = None,
    customer: str = "",
) -> Notification:
    event = delivery.event
    return Notification(
        delivery_id=delivery.id,
        subscription_id=delivery.subscription_id,
        event_id=event.id,
        event_type=event.type,
        occurred_at=event.occurred_at,
        payload=event.payload,
        sequence=delivery.sequence or 0,
        attempt=attempt,
        trigger=trigger,
        test=delivery.test,
        handling=handling,
        customer=customer,
    )


def attempt_timeout(lane: str) -> timedelta:
    """The deadline of one whole attempt."""
    return settings.WEBHOOK_TIMEOUT if lane == Channel.WEBHOOK else timedelta(seconds=settings.EMAIL_TIMEOUT)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much to claim: `limit` in all, `share` of one subscription, nothing of those that are `full`.

    Of each subscription that fails it is one, to find out whether it has recovered, and `probes` of these in all.
    What is in an order may come beside that, as much again, and `runs` that follow it one by one.
    """

    limit: int
    share: int
    full: Collection[UUID] = ()
    probes: int = 1000
    runs: int = 256


def claim(lane: str, now: datetime, limits: Limits) -> list[Claim]:
    """Take what is due, by lanes and within the limits. Whoever is passed over pays nothing for it."""
    return claim_among(FRONT, lane, now, limits)


def claim_past_the_front(lane: str, now: datetime, limits: Limits) -> list[Claim]:
    """Take of each subscription what has been due for longest: no backlog hides another. Slower than `claim`."""
    return claim_among(PAST_THE_FRONT, lane, now, limits)


def claim_among(candidates: str, lane: str, now: datetime, limits: Limits) -> list[Claim]:
    lease_id = uuid4()
    parameters: dict[str, Any] = {
        "lane": lane,
        "now": now,
        "limit": limits.limit,
        "share": limits.share,
        "full": list(limits.full),
        "probes": limits.probes,
        "runs": limits.runs,
        "candidates": CANDIDATES,
        "newest": NEWEST,
        "digests": min(DIGESTS, limits.limit),
        "until": now + attempt_timeout(lane) + LEASE_MARGIN,
        "furthest": now + LONGEST_LEASE,
        "lease": lease_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(CLAIM.format(candidates=candidates), parameters)
        found = cursor.fetchall()
        rows = [row for _, _, *row in found if row[0]]
        is_any_ordered, is_any_gathered, *_ = found[0]
        if is_any_ordered:
            cursor.execute(CLAIM_IN_ORDER.format(candidates=candidates), parameters)
            rows += cursor.fetchall()
        if is_any_gathered:
            cursor.execute(CLAIM_DIGESTS.format(candidates=candidates), parameters)
            rows += cursor.fetchall()
    rows.sort(key=lambda row: row[-1])
    return claims(lane, rows, lease_id, now) if rows else []


def claims(lane: str, rows: list[Any], lease_id: UUID, now: datetime) -> list[Claim]:
    """The claimed rows with all that sending them needs, in a fixed number of queries."""
    events = events_of({row[1] for row in rows})
    subscriptions = subscriptions_of({row[2] for row in rows}, now)
    recipients = (
        Recipient.objects.in_bulk({row[3] for row in rows if row[3]}) if lane == Channel.EMAIL else {}
    )
    webhooks = {id: webhook_target(subscription) for id, subscription in subscriptions.items()}
    begin_by, found = now + LEASE_MARGIN / 2, []
    for id, event_id, subscription_id, recipient_id, trigger, *columns, retry_requested, _ in rows:
        if subscription_id not in subscriptions:
            continue
        subscription, recipient = subscriptions[subscription_id], recipients.get(recipient_id)
        delivery = ClaimedDelivery(
            id, events[event_id], subscription, subscription_id, recipient, lane, trigger, *columns
        )
        target = email_target(subscription, recipient) if recipient else webhooks[subscription_id]
        if delivery.detour_url:  # the subscription's own headers may be credentials for where it goes else
            target = replace(webhooks[subscription_id], url=delivery.detour_url, headers={})
        found.append(
            Claim(delivery, lease_id, Trigger.MANUAL if retry_requested else trigger, target, begin_by)
        )
    return found if lane == Channel.WEBHOOK else emails(with_customers(with_handling(found)))


def with_handling(found: Sequence[Claim]) -> list[Claim]:
    """With who is on it, for what a person should handle. Of anything else nobody asks."""
    known = handling_of({one.delivery.event.id for one in found if one.delivery.event.type in HANDLED})
    if not known:
        return list(found)
    return [replace(one, handling=known.get(one.delivery.event.id)) for one in found]


def with_customers(found: Sequence[Claim]) -> Sequence[Claim]:
    """With what the customers are called whom the events name by an id alone."""
    known = customers_of((one.subscription.application_id, one.delivery.event) for one in found)
    if not known:
        return found
    return [replace(one, customer=known.get(one.delivery.event.id, "")) for one in found]


def emails(found: Sequence[Claim]) -> list[Claim]:
    """One claim an email: those of a digest are with the first of them."""
    together: dict[UUID, list[Claim]] = {}
    for one in found:
        together.setdefault(one.delivery.digest or one.delivery.id, []).append(one)
    in_order = (sorted(each, key=lambda one: one.delivery.id) for each in together.values())
    return [replace(first, others=tuple(others)) if others else first for first, *others in in_order]


def events_of(ids: Collection[UUID]) -> Mapping[UUID, ClaimedEvent]:
    with connection.cursor() as cursor:
        cursor.execute(EVENTS, [list(ids)])
        return {row[0]: ClaimedEvent(*row) for row in cursor.fetchall()}


def subscriptions_of(ids: Collection[UUID], now: datetime) -> dict[UUID, Subscription]:
    """Without those whose secrets can't be decrypted: they wait, and hold up nobody, until the key is back."""
    secrets = Prefetch("secrets", SigningSecret.objects.valid(now))
    wanted = Subscription.objects.select_related("application").prefetch_related(secrets)
    try:
        return wanted.in_bulk(list(ids))
    except ValueError as reason:
        if len(ids) > 1:
            return {id: one for single in ids for id, one in subscriptions_of([single], now).items()}
        log.error("subscription waits for an encryption key", subscription=str(*ids), reason=str(reason))
        Subscription.objects.filter(id__in=ids).update(cooling_until=now + KEY_LOOKED_FOR_AGAIN)
        return {}


def webhook_target(subscription: Subscription) -> WebhookTarget:
    secrets = tuple(secret.secret for secret in subscription.secrets.all())
    return WebhookTarget(subscription.url, secrets, subscription.headers)


def email_target(subscription: Subscription, recipient: Recipient) -> EmailTarget:
    return EmailTarget(
        recipient.email,
        recipient.id,
        subscription.application.name,
        recipient.timezone,
        recipient.language,
        subscription.application.reply_to,
        subscription.description if subscription.channel == Channel.EMAIL else "",
    )
