"""/healthz and /readyz: whether the web server lives, and whether the service can deliver."""

from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from deliveries import vital_signs
from deliveries.channels import event_timestamp
from deliveries.models import LATE, Heartbeat


@csrf_exempt  # so that it says itself what it takes
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """This process answers. It asks nobody else."""
    return JsonResponse({"status": "alive"})


@csrf_exempt
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """The service can deliver: each check says what it saw; 503 when one fails."""
    try:
        checks = {
            "database": {"ok": True},
            "migrations": migrations(),
            "worker": worker(timezone.now()),
            "oldest_due": oldest_due(timezone.now()),
        }
    except (DatabaseError, InterfaceError):
        checks = {
            "database": {"ok": False, "detail": "The database can't be reached, or has not been migrated."}
        }
    ready = all(check["ok"] for check in checks.values())
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JsonResponse({"status": "ready" if ready else "not ready", "checks": checks}, status=status)


def migrations() -> dict[str, Any]:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return {"ok": not missing, "missing": [f"{one.app_label}.{one.name}" for one, _ in missing]}


def worker(now: datetime) -> dict[str, Any]:
    """A task went through the queue in the last minutes: more than that a process lives."""
    heartbeat = Heartbeat.objects.first()
    return {
        "ok": heartbeat is not None and heartbeat.is_fresh(now),
        "last_beat_at": event_timestamp(heartbeat.beat_at) if heartbeat else None,
    }


def oldest_due(now: datetime) -> dict[str, Any]:
    """How long the next attempt that is due has been waiting for a worker, in seconds."""
    since = min(vital_signs.oldest_due(now).values(), default=None)
    waits = now - since if since else None
    return {
        "ok": waits is None or waits <= LATE,
        "seconds": round(waits.total_seconds(), 1) if waits else None,
    }
