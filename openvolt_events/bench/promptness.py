"""How soon, on an idle system: from the 201 to the receiver, and from due to tried again."""

import random
import time
from datetime import datetime
from uuid import UUID

import requests

from accounts.models import ApiKey, Application, Scope
from deliveries.models import Attempt, Delivery
from openvolt_events.bench.figures import AtMost, Figure
from openvolt_events.bench.sizes import Sizes
from openvolt_events.bench.stage import Stage, publish, subscribe
from openvolt_events.load.figures import percentile
from openvolt_events.load.publishers import PAYLOAD, TYPE
from openvolt_events.load.receiver import HEALTHY, Conduct

BETWEEN_POSTS_SECONDS = (
    0.1,
    0.3,
)  # by chance: in step with a rest of the service, they would all meet it, or none
RETRY_SCHEDULE = [3]
FROM_ANSWER = (
    "single events by `POST /v1/events`, 0.1 to 0.3 s apart, from the 201 at the publisher until the whole"
    " request is at the receiver; 0 if it was there first."
)
FROM_DUE = (
    "deliveries of as many subscriptions that failed once, from the due time that the failed attempt set"
    " until the start of the next attempt."
)


def arrival(stage: Stage, sizes: Sizes) -> list[Figure]:
    group = stage.group("prompt")
    with stage.service() as (_, url):
        application = Application.objects.create(name=group)
        subscribe(application, [stage.receiver.url(group)])
        session = publisher_session()
        post_in_turn(session, url, application, 5)  # so that every worker has its connections
        rounds = [
            from_answer(stage, group, session, url, application, sizes.posts) for _ in range(sizes.rounds)
        ]
    return [
        Figure(
            f"from the 201 to the receiver, idle, {name}",
            [percentile(waits, share) for waits in rounds],
            " ms",
            AtMost(bound),
            FROM_ANSWER,
        )
        for name, share, bound in (("median", 0.5, 50), ("p99", 0.99, 250))
    ]


def publisher_key() -> str:
    _, key = ApiKey.objects.issue(kind=ApiKey.Kind.PLATFORM, name="bench", scopes=[Scope.READ, Scope.WRITE])
    return key


def publisher_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers["x-api-key"] = publisher_key()
    return session


def post_in_turn(
    session: requests.Session, url: str, application: Application, number: int
) -> dict[str, float]:
    """When each event was answered, by its id."""
    answered = {}
    body = {"application_id": str(application.id), "type": TYPE, "payload": PAYLOAD}
    for _ in range(number):
        response = session.post(f"{url}/v1/events", json=body, timeout=30)
        at = time.monotonic()
        response.raise_for_status()
        answered[response.json()["id"]] = at
        time.sleep(random.uniform(*BETWEEN_POSTS_SECONDS))  # noqa: S311 - guards nothing
    return answered


def from_answer(
    stage: Stage, group: str, session: requests.Session, url: str, application: Application, number: int
) -> list[float]:
    """Milliseconds, for each event."""
    stage.until_settled()
    before = stage.receiver.accepted(group)
    stage.receiver.take()
    answered = post_in_turn(session, url, application, number)
    arrivals = stage.arrivals(group, before + number)
    return [max(one.at - answered[one.event_id], 0) * 1000 for one in arrivals]


def retry(stage: Stage, sizes: Sizes) -> list[Figure]:
    with stage.service():
        rounds = [percentile(from_due(stage, sizes.retries), 0.99) for _ in range(sizes.rounds)]
    return [Figure("due retry until its attempt starts, idle, p99", rounds, " s", AtMost(1), FROM_DUE)]


def from_due(stage: Stage, number: int) -> list[float]:
    """Seconds, for each delivery."""
    group = stage.group("retry")
    application = Application.objects.create(name=group)
    urls = [stage.receiver.url(group, nth) for nth in range(number)]
    subscribe(application, urls, retry_schedule=RETRY_SCHEDULE)
    stage.receiver.conduct(group, Conduct(failing=1))
    publish(application, 1)
    due = due_times(stage, application, number)
    stage.receiver.conduct(group, HEALTHY)
    stage.until_settled()
    second = Attempt.objects.filter(number=2, delivery__application=application)
    started = second.values_list("delivery_id", "started_at")
    return [(at - was_due).total_seconds() for id, at in started if (was_due := due[id])]


def due_times(stage: Stage, application: Application, number: int) -> dict[UUID, datetime | None]:
    """When each delivery is due again, once all have failed once."""
    failed = Delivery.objects.pending().filter(application=application, attempt_count=1)
    stage.until(lambda: failed.count() == number, "the first attempts to fail")
    return dict(failed.values_list("id", "next_attempt_at"))
