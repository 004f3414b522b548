"""Replay jobs that have done their work."""

from datetime import timedelta

from deliveries.models import Replay
from deliveries.replaying import COMMITTED_AFTER, plan, start, step
from subscriptions.models import Recipient
from tests.support.workers import Clock


def replayed(recipient: Recipient, clock: Clock) -> Replay:
    """A job that has made all its deliveries, with the time between its steps that the task leaves."""
    clock.forward(2 * COMMITTED_AFTER)
    now = clock()
    since = now - timedelta(days=2)
    job = start(plan(recipient.subscription, since=since, until=now, only="all", now=now))
    clock.forward(COMMITTED_AFTER)
    for _ in range(8):
        step(job.id, job.subscription_id, clock())
        clock.forward(timedelta(seconds=0.2))
    job.refresh_from_db()
    assert job.status == "completed"
    return job
