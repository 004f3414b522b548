"""How many events a second can be published, against a bare bulk insert of the same rows."""

import json
import time

from django.db import transaction
from django.utils import timezone

from accounts.models import Application
from deliveries.models import Delivery
from deliveries.publishing import Change, publish_many
from events.models import Event
from openvolt_events.bench.figures import AtLeast, Figure, ratio
from openvolt_events.bench.sizes import Sizes
from openvolt_events.bench.stage import Stage, subscribe
from openvolt_events.load.publishers import PAYLOAD, TYPE
from subscriptions.models import Subscription

BATCH = 1000
HOW = (
    "batches of 1,000 changes of 1 KB through `publish_many` (schema, matching, events, deliveries, wake-up; one"
    " matching subscription), against `bulk_create` of the same rows, ready-made, in one transaction; alternately."
)


def publishing(stage: Stage, sizes: Sizes) -> list[Figure]:
    ours, bare = [], []
    with stage.database():
        application = Application.objects.create(name="publish")
        [subscription] = subscribe(application, [stage.receiver.url(stage.group("publish"))])
        publish_batch(application)
        insert_batch(subscription)
        for _ in range(sizes.rounds):
            seconds = [(publish_batch(application), insert_batch(subscription)) for _ in range(sizes.batches)]
            ours.append(BATCH * sizes.batches / sum(published for published, _ in seconds))
            bare.append(BATCH * sizes.batches / sum(inserted for _, inserted in seconds))
    measure = "publish: events/s in batches of 1,000, against a bulk insert"
    return [ratio(measure, ours, bare, AtLeast(0.5), HOW)]


def publish_batch(application: Application) -> float:
    """Seconds that it took."""
    changes = [Change(application, TYPE, PAYLOAD)] * BATCH
    began = time.perf_counter()
    publish_many(changes, timezone.now())
    return time.perf_counter() - began


def insert_batch(subscription: Subscription) -> float:
    """Seconds that it took, without making the rows."""
    now, text = timezone.now(), json.dumps(PAYLOAD, separators=(",", ":"))
    whose = subscription.application
    events = [Event(application=whose, type=TYPE, occurred_at=now, payload=text) for _ in range(BATCH)]
    deliveries = [
        Delivery(
            application=whose,
            event=event,
            subscription=subscription,
            channel=subscription.channel,
            event_type=event.type,
            next_attempt_at=now,
        )
        for event in events
    ]
    began = time.perf_counter()
    with transaction.atomic():
        Event.objects.bulk_create(events)
        Delivery.objects.bulk_create(deliveries)
    return time.perf_counter() - began
