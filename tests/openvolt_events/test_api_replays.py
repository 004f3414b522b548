"""Replays through the API: what is asked for, what is answered, and what is refused."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import AuditEntry
from deliveries import replaying
from deliveries.models import Delivery, Replay
from deliveries.publishing import publish
from tests.support import factories
from tests.support.api import pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db

SINCE = "2026-10-25T00:00:00.000Z"


def user_created(owner):
    return publish(owner, "user.created", factories.example("user.created"))


def replays(subscription) -> str:
    return f"/v1/subscriptions/{subscription.id}/replays"


def test_a_replay_is_a_job_that_says_how_far_it_is(owner, api):
    for _ in range(3):
        user_created(owner)
    webhook = factories.webhook(owner)

    response = api.post(replays(webhook), {"since": SINCE, "only": "missed"})

    assert response.status_code == 202
    answer = response.json()
    assert (answer["subscription_id"], answer["since"], answer["only"]) == (str(webhook.id), SINCE, "missed")
    assert (answer["matched"], answer["queued"], answer["status"]) == (3, 0, "running")
    assert (answer["types"], answer["url"], answer["finished_at"]) == (None, None, None)

    clock = timezone.now() + timedelta(minutes=1)
    replaying.step(Replay.objects.get().id, webhook.id, clock)

    shown = api.get(f"/v1/replays/{answer['id']}").json()
    assert (shown["matched"], shown["queued"], shown["status"]) == (3, 3, "completed")
    made = api.get("/v1/deliveries").json()["data"]
    assert {one["replay_id"] for one in made} == {answer["id"]}


def test_a_dry_run_counts_says_how_long_it_takes_and_stores_nothing(owner, api):
    webhook = factories.webhook(owner)
    user_created(owner)
    before = rows_stored()

    response = api.post(replays(webhook), {"since": SINCE, "only": "all", "dry_run": True})

    assert response.status_code == 200
    answer = response.json()
    assert answer.keys() == {"since", "until", "matched", "exact", "estimated_seconds"}
    assert (answer["matched"], answer["exact"], answer["estimated_seconds"]) == (1, True, 0)
    assert rows_stored() == before


def test_a_dry_run_of_too_many_says_that_there_are_more(owner, api, monkeypatch):
    webhook = factories.webhook(owner)
    monkeypatch.setattr(replaying, "COUNTING", -1)

    dry = api.post(replays(webhook), {"since": SINCE, "only": "all", "dry_run": True}).json()
    job = api.post(replays(webhook), {"since": SINCE, "only": "all"}).json()

    assert (dry["matched"], dry["exact"]) == (0, False)
    assert job["matched"] is None


def test_the_replays_of_a_subscription_are_listed_the_newest_first(owner, api):
    webhook, other = factories.webhook(owner), factories.webhook(owner)
    first, second = factories.replay(webhook), factories.replay(webhook)
    factories.replay(other)

    page = api.get(f"{replays(webhook)}?limit=1").json()

    assert [one["id"] for one in page["data"]] == [str(second.id)]
    assert [one["id"] for one in api.get(page["next"]).json()["data"]] == [str(first.id)]


def test_the_deliveries_of_a_replay_are_found_by_it(owner, api):
    webhook = factories.webhook(owner)
    user_created(owner)
    first, second = factories.replay(webhook), factories.replay(webhook)
    for replay in (first, second):
        replaying.step(replay.id, webhook.id, timezone.now() + timedelta(minutes=1))

    found = api.get(f"/v1/deliveries?replay_id={first.id}").json()["data"]

    assert [one["replay_id"] for one in found] == [str(first.id)]
    assert len(api.get("/v1/deliveries").json()["data"]) == 3


def test_a_replay_is_cancelled_once_and_once_more_but_not_when_it_has_completed(owner, api):
    running, done = (factories.replay(factories.webhook(owner)) for _ in range(2))
    replaying.step(done.id, done.subscription_id, timezone.now() + timedelta(minutes=1))

    for _ in range(2):
        answer = api.post(f"/v1/replays/{running.id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    assert "completed" in problem_of(api.post(f"/v1/replays/{done.id}/cancel"), 409)["detail"]


@pytest.mark.parametrize(
    ("wish", "pointers"),
    [
        ({}, ["/since", "/only"]),
        ({"since": SINCE, "only": "some"}, ["/only"]),
        ({"since": "2999-01-01T00:00:00Z", "only": "all"}, ["/since"]),
        ({"since": "2026-10-25T00:00:00", "only": "all"}, ["/since"]),
        ({"since": SINCE, "until": SINCE, "only": "all"}, ["/until"]),
        ({"since": SINCE, "only": "all", "types": []}, ["/types"]),
        ({"since": SINCE, "only": "all", "types": ["user.created", "no.such"]}, ["/types/1"]),
        ({"since": SINCE, "only": "all", "types": ["user.created", "meter.created"]}, ["/types/1"]),
        ({"since": SINCE, "only": "all", "url": "http://10.0.0.1/"}, ["/url"]),
        ({"since": SINCE, "only": "all", "url": "gopher://example.org/"}, ["/url"]),
        ({"since": SINCE, "only": "all", "dry_run": "yes"}, ["/dry_run"]),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_its_place(owner, api, wish, pointers):
    webhook = factories.webhook(owner, types=["user.created"])
    before = rows_stored()

    assert pointers_of(api.post(replays(webhook), wish)) == pointers
    assert rows_stored() == before


def test_emails_can_not_go_to_another_url(owner, api):
    wish = {"since": SINCE, "only": "all", "url": "http://127.0.0.1:9/"}

    assert pointers_of(api.post(replays(factories.emails(owner)), wish)) == ["/url"]


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"])
def test_any_moment_in_the_past_will_do(owner, api, since):
    webhook = factories.webhook(owner)
    user_created(owner)

    answer = api.post(
        replays(webhook), {"since": since, "until": "9999-12-31T23:59:59Z", "only": "all"}
    ).json()

    assert answer["matched"] == 1
    assert answer["until"] == answer["created_at"]


def test_before_anything_could_be_published_nothing_was(owner, api):
    wish = {"since": "0200-04-10T00:00:00Z", "until": "0343-11-18T00:00:00Z", "only": "all"}

    assert api.post(replays(factories.webhook(owner)), wish).json()["matched"] == 0


def test_who_starts_and_who_cancels_is_in_the_audit_log_without_the_urls_query(owner, api):
    wish = {"since": SINCE, "only": "failed", "url": "http://127.0.0.1:9/in?token=x"}

    job = api.post(replays(factories.webhook(owner)), wish).json()
    api.post(f"/v1/replays/{job['id']}/cancel")

    started, cancelled = AuditEntry.objects.order_by("id")
    assert (started.action, started.object_id) == ("replay.started", job["id"])
    assert (started.after["url_without_query"], started.after["only"]) == ("http://127.0.0.1:9/in", "failed")
    assert (cancelled.before, cancelled.after) == ({"status": "running"}, {"status": "cancelled"})
    assert not Delivery.objects.exists()
