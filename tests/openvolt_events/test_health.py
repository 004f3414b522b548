"""Alive is one thing; able to deliver is another."""

from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from deliveries.heartbeat import beat
from deliveries.lifecycle import pause
from deliveries.models import Delivery, Heartbeat
from deliveries.publishing import publish
from subscriptions.models import Subscription
from tests.support import factories
from tests.support.api import Api, problem_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def due_delivery():
    owner = factories.application()
    factories.webhook(owner)
    publish(owner, "user.created", factories.example("user.created"))
    return Delivery.objects.get()


def ready():
    response = Api().get("/readyz")
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()


def wait_since(delivery, age):
    Delivery.objects.filter(pk=delivery.pk).update(next_attempt_at=timezone.now() - age)


def test_a_service_whose_worker_beats_and_whose_queue_is_empty_is_ready():
    beat()

    status, document = ready()

    assert (status, document["status"]) == (200, "ready")
    assert all(check["ok"] for check in document["checks"].values())
    assert document["checks"]["oldest_due"]["seconds"] is None
    assert document["checks"]["migrations"]["missing"] == []


def test_without_a_worker_that_ever_worked_it_is_not_ready():
    status, document = ready()

    assert (status, document["status"]) == (503, "not ready")
    assert document["checks"]["worker"] == {"ok": False, "last_beat_at": None}


def test_a_worker_that_has_not_worked_for_minutes_is_not_ready():
    beat()
    Heartbeat.objects.update(beat_at=timezone.now() - timedelta(minutes=4))

    status, document = ready()

    assert status == 503
    assert document["checks"]["worker"]["ok"] is False
    assert document["checks"]["worker"]["last_beat_at"].endswith("Z")


def test_a_delivery_that_is_due_for_a_moment_is_fine(due_delivery):
    beat()
    wait_since(due_delivery, timedelta(seconds=30))

    status, document = ready()

    assert status == 200
    assert 29 <= document["checks"]["oldest_due"]["seconds"] <= 60


def test_a_delivery_that_has_been_due_for_long_is_not(due_delivery):
    beat()
    wait_since(due_delivery, timedelta(minutes=6))

    status, document = ready()

    assert status == 503
    assert document["checks"]["oldest_due"]["ok"] is False
    assert document["checks"]["worker"]["ok"] is True


def test_what_waits_because_its_subscription_is_paused_is_fine(due_delivery):
    beat()
    wait_since(due_delivery, timedelta(hours=6))
    pause(due_delivery.subscription, timezone.now())

    assert ready()[0] == 200


def test_what_is_left_for_a_claim_to_hold_waits_for_a_resume_and_is_fine(due_delivery):
    beat()
    wait_since(due_delivery, timedelta(hours=6))
    Subscription.objects.update(status="disabled")

    assert ready()[0] == 200


def test_a_database_that_lacks_a_migration_is_not_ready_and_says_which():
    beat()
    MigrationRecorder.Migration.objects.filter(app="deliveries").delete()

    status, document = ready()

    assert status == 503
    assert "deliveries.0001_initial" in document["checks"]["migrations"]["missing"]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_not_ready_and_tells_nothing_about_it(monkeypatch, error):
    def away(*_):
        raise error("connection refused: host=db.internal")

    monkeypatch.setattr(BaseDatabaseWrapper, "cursor", away)

    status, document = ready()

    monkeypatch.undo()
    assert status == 503
    assert document["checks"]["database"]["ok"] is False
    assert "db.internal" not in str(document)


def test_the_web_server_is_alive_whatever_the_database_does(monkeypatch):
    def away(*_):
        raise OperationalError("connection refused")

    monkeypatch.setattr(BaseDatabaseWrapper, "cursor", away)

    response = Api().get("/healthz")

    monkeypatch.undo()
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_for_anyone_and_only_to_look_at(path):
    beat()

    assert Api().get(path).status_code == 200
    assert Api().call("HEAD", path).status_code == 200
    assert Api().post(path).status_code == 405
    assert problem_of(Api().get(f"/v1{path}"), 404)
