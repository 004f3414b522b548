"""The ledger: proves from the tables that nothing was lost, doubled or miscounted.

One statement, and so one snapshot: what is at work meanwhile makes no fault, and the rows stay in the database.

An event is told once to everybody who wanted it, and counts them itself. Whom it should have counted is known of the
subscriptions that were as they are now since before the event; of email subscriptions it is not, since their recipients
come and go. A delivery's last attempt may be another than the one that decided it: a worker that came back late adds to
the history and decides nothing. Numbers up to the highest that retention has taken (retention.py) may be missing.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection
from django.db.models import Count

from deliveries.models import Delivery

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
YOUNG = "interval '1 day'"  # RETENTION_DAYS is one at least
UNDER_WAY = "1 minute"  # for what was begun before an event, and not yet seen by its publisher

DELIVERIES = """
    SELECT 'delivery', delivery.id::text, says
    FROM deliveries_delivery AS delivery
    LEFT JOIN events_event AS event ON event.id = event_id
    LEFT JOIN subscriptions_subscription AS subscription ON subscription.id = delivery.subscription_id
    LEFT JOIN subscriptions_recipient AS recipient ON recipient.id = recipient_id
    LEFT JOIN (SELECT id, subscription_id, url FROM deliveries_replay) AS replay ON replay.id = replay_id
    LEFT JOIN deliveries_sequencenumber AS numbered
        ON numbered.subscription_id = delivery.subscription_id AND numbered.number = delivery.sequence
    LEFT JOIN (
        SELECT delivery_id, count(*) AS attempts, min(number) AS first, max(number) AS last,
            bool_or(outcome = 'succeeded') AS has_succeeded
        FROM deliveries_attempt GROUP BY delivery_id
    ) AS history ON history.delivery_id = delivery.id
    CROSS JOIN LATERAL (
        SELECT delivery.status IN ('succeeded', 'failed', 'cancelled') AS is_finished,
            coalesce(attempts, 0) AS made
    ) AS known
    CROSS JOIN LATERAL (VALUES
        ((delivery.status = 'pending') <> (next_attempt_at IS NOT NULL),
            concat('is ', delivery.status, ', and its next attempt is at: ', coalesce(next_attempt_at::text, 'never'))),
        (is_finished <> (finished_at IS NOT NULL),
            concat('is ', delivery.status, ', and finished at: ', coalesce(finished_at::text, 'never'))),
        ((leased_until IS NULL) <> (lease_id IS NULL), 'has half a lease'),
        (lease_id IS NOT NULL AND delivery.status <> 'pending', concat('is ', delivery.status, ', and leased')),
        (retry_requested AND is_finished, concat('is ', delivery.status, ', and a retry is asked for')),
        (attempt_count <> made, concat('counts ', attempt_count, ' attempts; there are ', made)),
        (made > 0 AND (first <> 1 OR last <> made),
            concat('has ', made, ' attempts, numbered from ', first, ' to ', last)),
        (delivery.status = 'succeeded' AND has_succeeded IS NOT TRUE, 'is succeeded without an attempt that has'),
        (delivery.status = 'failed' AND made = 0, 'is failed without an attempt'),
        (made > 0 AND sequence IS NULL AND NOT elsewhere, 'was attempted without a sequence number'),
        (replay_id IS NOT NULL AND trigger <> 'replay', concat('is of a replay, and its trigger is ', trigger)),
        (replay.subscription_id IS DISTINCT FROM delivery.subscription_id AND replay_id IS NOT NULL,
            'is of a replay of another subscription'),
        (elsewhere IS DISTINCT FROM coalesce(replay.url <> '', FALSE),
            concat('goes ', CASE WHEN elsewhere THEN 'elsewhere' ELSE 'to its receiver' END,
                ', and its replay does not')),
        (sequence IS NOT NULL AND numbered.delivery_id IS DISTINCT FROM delivery.id,
            concat('has sequence number ', sequence, ', which belongs to: ',
                coalesce(numbered.delivery_id::text, 'nothing'))),
        (event.application_id IS DISTINCT FROM delivery.application_id, 'is of another application than its event'),
        (subscription.application_id IS DISTINCT FROM delivery.application_id,
            'is of another application than its subscription'),
        (subscription.channel IS DISTINCT FROM delivery.channel, 'is of another channel than its subscription'),
        (recipient_id IS NOT NULL AND recipient.subscription_id IS DISTINCT FROM delivery.subscription_id,
            'has a recipient of another subscription'),
        (behind AND NOT is_finished AND NOT EXISTS (
            SELECT FROM deliveries_delivery AS earlier
            WHERE earlier.subscription_id = delivery.subscription_id AND earlier.ordering_key = delivery.ordering_key
                AND earlier.position < delivery.position AND earlier.status IN ('pending', 'held')
        ), 'waits behind nothing')
    ) AS rule (is_broken, says)
    WHERE is_broken AND delivery.created_at >= %(since)s
"""
COUNTED = """
    SELECT 'event', event.id::text, concat('counts ', delivery_count, ' deliveries; there are ', coalesce(made, 0))
    FROM events_event AS event LEFT JOIN (
        SELECT event_id, count(*) AS made FROM deliveries_delivery WHERE trigger = 'scheduled' GROUP BY event_id
    ) AS counted ON event_id = event.id
    WHERE event.created_at >= %(since)s AND delivery_count <> coalesce(made, 0)
"""
TOLD_TWICE = """
    SELECT 'event', event_id::text,
        concat('is told ', count(*), ' times to subscription ', subscription_id, ' recipient ' || recipient_id)
    FROM deliveries_delivery WHERE trigger = 'scheduled' AND created_at >= %(since)s
    GROUP BY event_id, subscription_id, recipient_id HAVING count(*) > 1
"""
# Retention may have taken deliveries of replays that are no longer young.
REPLAYED = f"""
    SELECT 'replay', replay.id::text, says
    FROM deliveries_replay AS replay LEFT JOIN (
        SELECT replay_id, count(DISTINCT event_id) AS events, count(*) AS made,
            count(DISTINCT (event_id, recipient_id)) AS told
        FROM deliveries_delivery WHERE replay_id IS NOT NULL GROUP BY replay_id
    ) AS made ON made.replay_id = replay.id
    CROSS JOIN LATERAL (VALUES
        (told < made.made, concat('tells ', made.made - told, ' of its events twice')),
        (coalesce(events, 0) > queued OR (coalesce(events, 0) < queued AND created_at > now() - {YOUNG}),
            concat('counts ', queued, ' events; there are ', coalesce(events, 0)))
    ) AS rule (is_broken, says)
    WHERE is_broken AND created_at >= %(since)s
"""  # noqa: S608 - nothing from outside is in it
NOT_TOLD = """
    SELECT 'event', event.id::text, concat('has no delivery to subscription ', subscription.id)
    FROM events_event AS event JOIN subscriptions_subscription AS subscription
        ON subscription.application_id = event.application_id AND deleted_at IS NULL AND channel = 'webhook'
        AND event_types && ARRAY['*', event.type]::varchar[] AND updated_at < event.created_at - %(under_way)s::interval
    WHERE NOT test AND event.created_at >= %(since)s AND NOT EXISTS (
        SELECT FROM deliveries_delivery AS delivery WHERE delivery.event_id = event.id
            AND delivery.subscription_id = subscription.id AND trigger = 'scheduled'
    )
"""
ATTEMPTS = """
    SELECT 'attempt', attempt.id::text, concat('belongs to delivery ', delivery_id, ', which is not there')
    FROM deliveries_attempt AS attempt LEFT JOIN deliveries_delivery AS delivery ON delivery.id = delivery_id
    WHERE delivery.id IS NULL AND started_at >= %(since)s
"""
NUMBERS = """
    SELECT 'sequence number', concat(numbered.subscription_id, '/', number), says
    FROM (
        SELECT numbered.*, coalesce(forgotten, 0) AS forgotten,
            lag(number, 1, 0::bigint) OVER (PARTITION BY subscription_id ORDER BY number) AS before
        FROM deliveries_sequencenumber AS numbered LEFT JOIN deliveries_sequencecounter USING (subscription_id)
    ) AS numbered
    LEFT JOIN deliveries_delivery AS delivery ON delivery.id = delivery_id
    CROSS JOIN LATERAL (VALUES
        (number = before OR (number > forgotten AND number <> greatest(before, forgotten) + 1),
            concat('follows ', before)),
        (delivery.id IS NULL, concat('belongs to delivery ', delivery_id, ', which is not there')),
        (delivery.id IS NOT NULL
            AND (delivery.subscription_id, sequence) IS DISTINCT FROM (numbered.subscription_id, number),
            concat('belongs to delivery ', delivery_id, ', which has: ', delivery.subscription_id, '/', sequence))
    ) AS rule (is_broken, says)
    WHERE is_broken AND coalesce(created_at >= %(since)s, TRUE)
"""
COUNTERS = """
    SELECT 'sequence counter', subscription_id::text,
        concat('counts to ', coalesce(counter.last, 0), '; the highest number is ',
            coalesce(greatest(highest.last, forgotten), 0))
    FROM deliveries_sequencecounter AS counter FULL JOIN (
        SELECT subscription_id, max(number) AS last FROM deliveries_sequencenumber GROUP BY subscription_id
    ) AS highest USING (subscription_id)
    WHERE counter.last IS DISTINCT FROM greatest(highest.last, forgotten)
"""
LEDGER = " UNION ALL ".join(
    [DELIVERIES, COUNTED, TOLD_TWICE, REPLAYED, NOT_TOLD, ATTEMPTS, NUMBERS, COUNTERS]
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that does not add up."""

    kind: str
    id: str
    says: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id} {self.says}"


def faults(since: datetime = BEGINNING) -> Iterator[Fault]:
    """Every row that does not add up, of the events and deliveries that were created since then.

    They come from the database a few at a time, however many they are.
    """
    with connection.chunked_cursor() as cursor:
        cursor.execute(LEDGER, {"since": since, "under_way": UNDER_WAY})
        for row in cursor:
            yield Fault(*row)


def states(since: datetime = BEGINNING) -> Counter[str]:
    """How many deliveries there are in each state."""
    created = Delivery.objects.filter(created_at__gte=since).order_by()
    return Counter(dict(created.values_list("status").annotate(number=Count("pk"))))
