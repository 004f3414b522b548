"""What became of each notification, and what its owner can still do about it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from deliveries.channels import Report, Timings
from deliveries.claiming import Limits, claim
from deliveries.lifecycle import pause
from deliveries.models import Attempt, Delivery
from deliveries.publishing import publish
from deliveries.settling import Tried, settle
from tests.support import factories
from tests.support.api import READING, pointers_of, problem_of

pytestmark = pytest.mark.django_db

STARTED = datetime(2026, 10, 26, 0, 5, tzinfo=UTC)


@pytest.fixture
def delivery(owner):
    factories.webhook(owner)
    publish(owner, "user.created", factories.example("user.created"))
    return Delivery.objects.get()


def finish(delivery, status):
    Delivery.objects.filter(pk=delivery.pk).update(
        status=status, next_attempt_at=None, finished_at=timezone.now()
    )


def attempt(report):
    """Make the attempt that is due, with this outcome."""
    claimed = claim("webhook", timezone.now(), Limits(limit=1, share=1))
    settle([Tried(one, report, STARTED, timedelta(milliseconds=10.5)) for one in claimed], timezone.now())


def test_every_filter_of_the_list_finds_its_deliveries(owner, api):
    first, second = factories.webhook(owner), factories.webhook(owner)
    emails = factories.confirmed_emails(owner)
    event = publish(owner, "user.created", factories.example("user.created"))
    later = publish(owner, "meter.created", factories.example("meter.created"))
    finish(event.deliveries.get(subscription=first), "failed")
    middle = timezone.now()
    Delivery.objects.filter(event=later).update(created_at=middle + timedelta(seconds=1))
    moment = f"{middle:%Y-%m-%dT%H:%M:%S.%fZ}"

    def found(query):
        response = api.get(f"/v1/deliveries?{query}")
        assert response.status_code == 200, response.content
        return {one["id"] for one in response.json()["data"]}

    def rows(**conditions):
        return {str(id) for id in Delivery.objects.filter(**conditions).values_list("id", flat=True)}

    assert len(found("")) == 6
    assert found(f"subscription_id={second.id}") == rows(subscription=second)
    assert found(f"event_id={event.id}") == rows(event=event)
    assert found("type=meter.created") == rows(event=later)
    assert found("status=failed") == rows(status="failed")
    assert found("channel=email") == rows(subscription=emails)
    assert found(f"created_after={moment}") == rows(event=later)
    assert found(f"created_before={moment}") == rows(event=event)
    assert found(f"event_id={event.id}&channel=webhook&status=pending") == rows(
        event=event, subscription=second
    )


@pytest.mark.parametrize(
    "query",
    [
        "subscription_id=me",
        "event_id=",
        "type=meter.melted",
        "status=lost",
        "channel=pigeon",
        "created_after=now",
        "created_before=2026-10-25",
        "colour=blue",
        "status=failed&status=held",
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_by_its_name(api, query):
    assert pointers_of(api.get(f"/v1/deliveries?{query}")) == ["/" + query.partition("=")[0]]


def test_a_new_delivery_is_shown_with_its_next_attempt_and_none_made(owner, api, delivery):
    answer = api.get(f"/v1/deliveries/{delivery.id}").json()

    assert answer == {
        "id": str(delivery.id),
        "subscription_id": str(delivery.subscription_id),
        "event_id": str(delivery.event_id),
        "type": "user.created",
        "channel": "webhook",
        "recipient": None,
        "status": "pending",
        "trigger": "scheduled",
        "test": False,
        "replay_id": None,
        "sequence": None,
        "attempt_count": 0,
        "next_attempt_at": answer["created_at"],
        "created_at": answer["created_at"],
        "finished_at": None,
        "waiting": answer["waiting"],
        "attempts": [],
        "mail_events": [],
    }


def test_an_attempt_is_shown_whole(api, delivery):
    attempt(
        Report(
            succeeded=False,
            error="The receiver answered 503.",
            status_code=503,
            remote_ip="93.184.216.34",
            request_headers={"webhook-id": str(delivery.id)},
            response_headers={"server": "nginx"},
            response_body="Try later.",
            timings=Timings(dns_ms=1.5, connect_ms=2.5, first_byte_ms=9.0, total_ms=10.5),
        ),
    )

    answer = api.get(f"/v1/deliveries/{delivery.id}").json()

    [made] = answer["attempts"]
    assert made == {
        "number": 1,
        "trigger": "scheduled",
        "started_at": "2026-10-26T00:05:00.000Z",
        "duration_ms": 10.5,
        "timings": {"dns_ms": 1.5, "connect_ms": 2.5, "tls_ms": None, "first_byte_ms": 9.0, "total_ms": 10.5},
        "outcome": "failed",
        "status_code": 503,
        "error": "The receiver answered 503.",
        "request_headers": {"webhook-id": str(delivery.id)},
        "request_body": made["request_body"],
        "request_truncated": False,
        "response_headers": {"server": "nginx"},
        "response_body": "Try later.",
        "response_truncated": False,
        "remote_ip": "93.184.216.34",
    }
    delivery.refresh_from_db()
    assert made["request_body"].startswith(
        f'{{"subscription_id":"{delivery.subscription_id}","event_id":"user.c'
    )
    assert delivery.event.payload in made["request_body"]
    assert answer["attempt_count"] == 1
    assert answer["next_attempt_at"] > answer["created_at"]


def test_long_bodies_are_cut_at_16_kib_and_say_so(owner, api):
    factories.webhook(owner)
    publish(owner, "user.created", {"_id": "ä" * 20_000})
    delivery = Delivery.objects.get()
    attempt(Report(succeeded=True, response_body="x" * 16384, response_truncated=True))

    [made] = api.get(f"/v1/deliveries/{delivery.id}").json()["attempts"]

    assert len(made["request_body"].encode()) in (16383, 16384)
    assert made["request_body"].endswith("ä")
    assert made["request_truncated"] is True
    assert len(made["response_body"]) == 16384
    assert made["response_truncated"] is True


def test_attempts_are_shown_oldest_first_and_the_last_two_hundred_of_many(api, delivery):
    Attempt.objects.bulk_create(
        Attempt(
            delivery=delivery,
            number=number,
            trigger="scheduled",
            started_at=timezone.now(),
            duration_ms=1,
            outcome="failed",
        )
        for number in range(1, 203)
    )

    numbers = [one["number"] for one in api.get(f"/v1/deliveries/{delivery.id}").json()["attempts"]]

    assert numbers == list(range(3, 203))


@pytest.mark.parametrize("status", ["pending", "failed", "cancelled"])
def test_a_delivery_that_has_not_succeeded_is_tried_again_now(api, delivery, status):
    later = timezone.now() + timedelta(hours=5)
    Delivery.objects.filter(pk=delivery.pk).update(next_attempt_at=later)
    if status != "pending":
        finish(delivery, status)

    response = api.post(f"/v1/deliveries/{delivery.id}/retry")

    assert response.status_code == 202
    assert response.json()["id"] == str(delivery.id)
    assert (response.json()["status"], response.json()["finished_at"]) == ("pending", None)
    assert [due.id for due in Delivery.objects.due(timezone.now())] == [delivery.id]
    assert Delivery.objects.get().retry_requested


def test_a_retry_of_a_succeeded_delivery_is_a_conflict_that_points_to_replay(api, delivery):
    finish(delivery, "succeeded")

    response = api.post(f"/v1/deliveries/{delivery.id}/retry")

    assert f"POST /v1/events/{delivery.event_id}/replay" in problem_of(response, 409)["detail"]
    assert Delivery.objects.get().status == "succeeded"


def test_a_retry_for_a_paused_subscription_is_a_conflict_that_points_to_resume(api, delivery):
    pause(delivery.subscription, timezone.now())

    assert "Resume" in problem_of(api.post(f"/v1/deliveries/{delivery.id}/retry"), 409)["detail"]


def test_a_cancelled_delivery_is_not_attempted_any_more(api, delivery):
    response = api.post(f"/v1/deliveries/{delivery.id}/cancel")

    assert response.status_code == 200
    assert (response.json()["status"], response.json()["next_attempt_at"]) == ("cancelled", None)
    assert response.json()["finished_at"] is not None
    assert not Delivery.objects.due(timezone.now()).exists()


def test_a_held_delivery_can_be_cancelled_and_cancelling_twice_changes_nothing(api, delivery):
    pause(delivery.subscription, timezone.now())

    first = api.post(f"/v1/deliveries/{delivery.id}/cancel")
    second = api.post(f"/v1/deliveries/{delivery.id}/cancel")

    assert first.json()["status"] == "cancelled"
    assert second.json() == first.json()


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_finished_delivery_cannot_be_cancelled(api, delivery, status):
    finish(delivery, status)

    assert status in problem_of(api.post(f"/v1/deliveries/{delivery.id}/cancel"), 409)["detail"]


@pytest.mark.parametrize("call", ["retry", "cancel"])
def test_a_retry_or_a_cancellation_takes_no_fields(api, delivery, call):
    assert pointers_of(api.post(f"/v1/deliveries/{delivery.id}/{call}", {"force": True})) == ["/force"]


def test_the_number_of_queries_of_a_list_of_deliveries_does_not_grow_with_its_rows(
    owner, api, django_assert_num_queries
):
    factories.webhook(owner)
    factories.confirmed_emails(owner, ["a@example.org", "b@example.org"])
    for _ in range(10):
        publish(owner, "user.created", factories.example("user.created"))
    api.get("/v1/deliveries")  # notes the use of the key, once a minute

    with django_assert_num_queries(2 + READING):
        assert len(api.get("/v1/deliveries").json()["data"]) == 30
