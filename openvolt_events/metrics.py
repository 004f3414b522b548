"""/metrics: how the service does, for Prometheus. docs/operating.md says what to make of it.

Each look asks the database anew (deliveries/vital_signs.py), so that every web server tells the same. A process counts
nothing by itself: what it counted would be gone with it, and there are several.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from hmac import compare_digest
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, ProgrammingError, connection
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from accounts.query_limits import query_limit, was_given_up
from deliveries import vital_signs
from deliveries.vital_signs import MOST_COUNTED, MOST_RECENT, MOST_SUBSCRIPTIONS, RECENT
from openvolt_events import __version__
from openvolt_events.api.problems import json_response, problem
from openvolt_events.callers import parsed

LONGEST_QUERY_SECONDS = 2.0
LONGEST_LOOK_SECONDS = 8.0  # Prometheus waits for ten, unless it is told otherwise
BY_INDEX = "SET LOCAL enable_seqscan TO off"  # whatever the planner guesses, a table may be long
SIGNS_OF_A_PROXY = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)
UP_TO = f"counted up to {MOST_COUNTED:,}"
OF_THE_LATEST = (
    f"Of the last {RECENT.total_seconds() / 60:.0f} minutes, or of the latest {MOST_RECENT:,} attempts if these were "
    "made in less (openvolt_recent_attempts_window_seconds)"
)

log = structlog.get_logger(__name__)


@csrf_exempt  # so that it says itself what it takes
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answers 200 also when the database is away, and says so: 503 would look like a web server that is."""
    if refusal := refused(request):
        return refusal
    response = HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_PLAIN_0_0_4)
    response.headers["Cache-Control"] = "no-store"
    return response


def refused(request: HttpRequest) -> HttpResponse | None:
    """With METRICS_TOKEN, who does not send it; without, who is not on this machine."""
    if not settings.METRICS_TOKEN:
        return None if is_from_this_machine(request) else no_stranger()
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    sent = token.strip() if scheme.lower() == "bearer" else ""
    if compare_digest(sent.encode(), settings.METRICS_TOKEN.encode()):
        return None
    detail = "This needs the METRICS_TOKEN of the service, as `Authorization: Bearer METRICS_TOKEN`."
    response = json_response(problem(HTTPStatus.UNAUTHORIZED, detail, "not-authenticated"))
    response.headers["WWW-Authenticate"] = 'Bearer realm="openvolt-events metrics"'
    return response


def no_stranger() -> HttpResponse:
    detail = (
        "Without METRICS_TOKEN, the metrics are told to direct connections from this machine alone. "
        "Set METRICS_TOKEN, and send it as `Authorization: Bearer METRICS_TOKEN`."
    )
    return json_response(problem(HTTPStatus.FORBIDDEN, detail, "permission-denied"))


def is_from_this_machine(request: HttpRequest) -> bool:
    """From a loopback address, to one, and not by way of a proxy here, who would speak for anybody."""
    host, _ = split_domain_port(request.get_host())
    is_named_so = host == "localhost" or is_loopback(parsed(host.strip("[]")))
    by_a_proxy = any(name in request.headers for name in SIGNS_OF_A_PROXY)
    return is_named_so and not by_a_proxy and is_loopback(parsed(str(request.META.get("REMOTE_ADDR", ""))))


def is_loopback(address: IPv4Address | IPv6Address | None) -> bool:
    return address is not None and address.is_loopback


Group = Callable[[datetime], Iterator[Metric]]


class Vitals(Collector):
    """One look: group by group, each for a bounded time. A group that can't be had is left out, and named."""

    def collect(self) -> Iterator[Metric]:
        gives_up_at = time.monotonic() + LONGEST_LOOK_SECONDS
        succeeded = GaugeMetricFamily(
            "openvolt_metrics_group_success",
            "Whether this group of metrics was had in time; those of a group that was not are missing.",
            labels=["group"],
        )
        is_up = True
        for name, group in GROUPS.items():
            families, is_up = read(name, group, gives_up_at) if is_up else (None, False)
            succeeded.add_metric([name], families is not None)
            yield from families or ()
        yield succeeded
        yield gauge("openvolt_database_up", "Whether the database answers.", is_up)
        yield gauge("openvolt_build_info", "The version that runs.", {__version__: 1}, "version")


def read(name: str, group: Group, gives_up_at: float) -> tuple[list[Metric] | None, bool]:
    """What the group has to say, if it could be had; and whether the database answers."""
    seconds = min(gives_up_at - time.monotonic(), LONGEST_QUERY_SECONDS)
    if seconds <= 0:
        return None, True
    try:
        with query_limit(timedelta(seconds=seconds)), connection.cursor() as cursor:
            cursor.execute(BY_INDEX)
            return list(group(timezone.now())), True
    except (DatabaseError, InterfaceError) as error:
        is_up = was_given_up(error) or isinstance(error, ProgrammingError)
        log.warning("metrics are left out", group=name, reason=str(error).strip())
        return None, is_up


def gauge(name: str, help: str, values: float | Mapping[str, float], label: str = "") -> GaugeMetricFamily:
    """One value, or one for each value of the label."""
    if not isinstance(values, Mapping):
        return GaugeMetricFamily(name, help, value=float(values))
    family = GaugeMetricFamily(name, help, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def lanes(now: datetime) -> Iterator[Metric]:
    found = vital_signs.lanes(now)
    yield gauge(
        "openvolt_pending_deliveries",
        f"Deliveries with an attempt to come, now or later, {UP_TO}. Without those that wait behind another one of an "
        "ordered subscription.",
        {name: lane.pending for name, lane in found.items()},
        "channel",
    )
    yield gauge(
        "openvolt_due_deliveries",
        f"Deliveries whose next attempt should have begun, {UP_TO}: also those whose receivers are waited for.",
        {name: lane.due for name, lane in found.items()},
        "channel",
    )
    yield gauge(
        "openvolt_oldest_due_seconds",
        "For how long a delivery has been due that waits for nothing but a worker: its subscription has no rate limit, "
        "and does not fail. 0 when there is none.",
        {name: lane.oldest.total_seconds() for name, lane in found.items()},
        "channel",
    )


def stopped(now: datetime) -> Iterator[Metric]:
    found = vital_signs.stopped()
    yield gauge(
        "openvolt_held_deliveries",
        f"Deliveries that wait for a subscription to be resumed or a recipient to confirm, {UP_TO}.",
        found["held"],
    )
    yield gauge(
        "openvolt_failed_deliveries",
        f"Deliveries that have failed for good and are still kept, {UP_TO}.",
        found["failed"],
    )


def attempts(now: datetime) -> Iterator[Metric]:
    found = vital_signs.recent_attempts(now)
    yield gauge(
        "openvolt_recent_attempts_window_seconds",
        "The time that the metrics of recent attempts are of.",
        found.window.total_seconds(),
    )
    outcomes = GaugeMetricFamily(
        "openvolt_recent_attempts", f"{OF_THE_LATEST}: how many.", labels=["channel", "outcome"]
    )
    for channel, its in found.attempts.items():
        outcomes.add_metric([channel, "succeeded"], its.succeeded)
        outcomes.add_metric([channel, "failed"], its.failed)
    yield outcomes
    yield gauge(
        "openvolt_recent_deliveries_given_up",
        f"{OF_THE_LATEST}: the deliveries that have failed for good with one.",
        {channel: its.given_up for channel, its in found.attempts.items()},
        "channel",
    )
    yield quantiles(
        "openvolt_recent_attempt_duration_seconds",
        f"{OF_THE_LATEST}: how long one took.",
        {channel: its.duration for channel, its in found.attempts.items()},
    )
    yield quantiles(
        "openvolt_recent_first_attempt_delay_seconds",
        f"{OF_THE_LATEST}: from the making of a delivery until its first attempt began, also while it was held.",
        {channel: its.first for channel, its in found.attempts.items()},
    )


def quantiles(name: str, help: str, values: Mapping[str, Mapping[float, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help, labels=["channel", "quantile"])
    for channel, seconds in values.items():
        for quantile, value in seconds.items():
            family.add_metric([channel, str(quantile)], value)
    return family


def events(now: datetime) -> Iterator[Metric]:
    count, window = vital_signs.recent_events(now)
    yield gauge(
        "openvolt_recent_events",
        f"Events that were published in openvolt_recent_events_window_seconds, the latest {MOST_RECENT:,} at most.",
        count,
    )
    yield gauge("openvolt_recent_events_window_seconds", "The time that they are of.", window.total_seconds())


def subscriptions(now: datetime) -> Iterator[Metric]:
    yield gauge(
        "openvolt_subscriptions",
        f"Subscriptions by status; of the first {MOST_SUBSCRIPTIONS:,}.",
        vital_signs.subscriptions(),
        "status",
    )
    yield gauge(
        "openvolt_failing_subscriptions",
        f"Subscriptions whose every attempt since some moment has failed, {UP_TO}.",
        vital_signs.failing(),
    )


def started(now: datetime) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "openvolt_deliveries_started",
        "Deliveries that a worker has begun with, since there is a database. The one sum that is kept for this long.",
        labels=["channel"],
    )
    for channel, number in vital_signs.started().items():
        family.add_metric([channel], number)
    yield family


def workers(now: datetime) -> Iterator[Metric]:
    beat = vital_signs.last_beat()
    yield gauge(
        "openvolt_last_heartbeat_timestamp_seconds",
        "When a worker has last done a task; 0 when none ever has.",
        beat.timestamp() if beat else 0,
    )
    yield gauge(
        "openvolt_partitions_ahead_seconds",
        "For how long from now on there are partitions. Housekeeping makes them.",
        vital_signs.partitioned_ahead(now).total_seconds(),
    )
    yield gauge(
        "openvolt_due_notices",
        f"Emails of the service's own that should have gone out: questions to confirm, news of outages; {UP_TO}.",
        vital_signs.notices_due(now),
    )
    yield gauge(
        "openvolt_running_replays", f"Replays that have not ended, {UP_TO}.", vital_signs.replays_running()
    )
    if (tasks := vital_signs.tasks_queued()) is not None:
        yield gauge(
            "openvolt_queued_tasks",
            f"Tasks in django-q2's queue, {UP_TO}; missing when that is in Redis.",
            tasks,
        )


def tables(now: datetime) -> Iterator[Metric]:
    yield gauge(
        "openvolt_table_rows",
        "Rows of the tables that grow, as PostgreSQL estimated when it last vacuumed or analysed them.",
        vital_signs.rows(),
        "table",
    )


# What matters most comes first: a database that is slow may leave no time for the rest.
GROUPS: dict[str, Group] = {
    "workers": workers,
    "lanes": lanes,
    "attempts": attempts,
    "events": events,
    "subscriptions": subscriptions,
    "stopped": stopped,
    "started": started,
    "tables": tables,
}
REGISTRY = CollectorRegistry(auto_describe=False)
REGISTRY.register(Vitals())
