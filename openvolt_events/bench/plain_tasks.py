"""Baseline: one task of django-q2 a delivery, the way most projects do it."""

from functools import lru_cache

import requests
from django.db import transaction
from django_q.tasks import async_task
from standardwebhooks import Webhook

from deliveries.channels import Notification
from deliveries.models import Attempt, Delivery
from openvolt_events.bench.bare_senders import post

TASK = "openvolt_events.bench.plain_tasks.deliver"
SETTINGS = "openvolt_events.bench.plain_q2"


def enqueue_pending() -> None:
    """A task for each pending delivery."""
    with transaction.atomic():
        for delivery_id in (
            Delivery.objects.pending().order_by("next_attempt_at").values_list("id", flat=True)
        ):
            async_task(TASK, str(delivery_id))


@lru_cache(maxsize=1)
def session() -> requests.Session:
    """One of each worker, so that connections are kept."""
    kept = requests.Session()
    kept.trust_env = False
    return kept


def deliver(delivery_id: str) -> None:
    """The task: load, post, write down."""
    delivery = Delivery.objects.select_related("event", "subscription").get(pk=delivery_id)
    event, subscription = delivery.event, delivery.subscription
    notification = Notification(
        delivery.id, subscription.id, event.id, event.type, event.occurred_at, event.payload
    )
    response = post(session(), subscription.url, Webhook(subscription.secrets.get().secret), notification)
    response.raise_for_status()
    write_down(delivery, response)


def write_down(delivery: Delivery, response: requests.Response) -> None:
    delivery.status, delivery.next_attempt_at = Delivery.Status.SUCCEEDED, None
    delivery.attempt_count += 1
    with transaction.atomic():
        Attempt.objects.create(
            delivery=delivery,
            number=delivery.attempt_count,
            trigger=delivery.trigger,
            started_at=delivery.created_at,
            duration_ms=response.elapsed.total_seconds() * 1000,
            outcome=Attempt.Outcome.SUCCEEDED,
            status_code=response.status_code,
            response_headers=dict(response.headers),
        )
        delivery.save(update_fields=["status", "next_attempt_at", "attempt_count"])
