"""Subscribing by webhook and by email, through every verb; and what no subscription may be."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from deliveries.claiming import Limits, claim
from deliveries.lifecycle import confirm_recipient, unsubscribe_recipient
from deliveries.models import Delivery, Notice
from deliveries.publishing import publish
from subscriptions.models import Recipient, SigningSecret, Subscription
from tests.support import factories
from tests.support.api import READING, pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db

PUBLIC = "https://93.184.216.34/hook"
BY_WEBHOOK = {"channel": "webhook", "url": PUBLIC, "event_types": ["*"]}
BY_EMAIL = {"channel": "email", "recipients": ["ann@example.org"], "event_types": ["*"]}


def created(api, body):
    response = api.post("/v1/subscriptions", body)
    assert response.status_code == 201, response.content
    return response.json()


def signing(owner):
    """The secrets that would sign the webhook of a new event now."""
    published(owner)
    [claimed] = claim("webhook", timezone.now(), Limits(limit=1, share=1))
    Delivery.objects.update(status="cancelled", next_attempt_at=None)
    return claimed.target.secrets  # type: ignore[union-attr]


def published(owner, type="user.created"):
    return publish(owner, type, factories.example(type))


def test_a_webhook_subscription_is_created_active_with_all_that_was_said(owner, api):
    answer = created(
        api,
        {
            **BY_WEBHOOK,
            "event_types": ["meter.created", "user.created", "meter.created"],
            "description": "Production",
            "metadata": {"team": "blue", "nested": [1, None]},
            "headers": {"Authorization": "Bearer s3cret"},
            "retry_schedule": [1, 2, 3],
            "rate_limit": 5,
        },
    )

    subscription = Subscription.objects.get()
    assert answer == {
        "id": str(subscription.id),
        "channel": "webhook",
        "url": PUBLIC,
        "recipients": None,
        "event_types": ["meter.created", "user.created"],
        "filter": {},
        "description": "Production",
        "metadata": {"team": "blue", "nested": [1, None]},
        "headers": {"Authorization": "(not shown)"},
        "retry_schedule": [1, 2, 3],
        "rate_limit": 5,
        "ordered": False,
        "ordering_key": None,
        "fallback": None,
        "status": "active",
        "status_reason": "",
        "failing_since": None,
        "last_error": "",
        "disable_at": None,
        "created_at": answer["created_at"],
        "updated_at": answer["updated_at"],
        "secret": subscription.secrets.get().secret,
    }
    assert subscription.application == owner
    assert subscription.headers == {"Authorization": "Bearer s3cret"}


def test_a_limit_can_be_set_changed_and_taken_away(api):
    id = created(api, {**BY_WEBHOOK, "rate_limit": 1000})["id"]

    assert api.patch(f"/v1/subscriptions/{id}", {"rate_limit": 1}).json()["rate_limit"] == 1
    assert api.patch(f"/v1/subscriptions/{id}", {"rate_limit": None}).json()["rate_limit"] is None


@pytest.mark.parametrize("limit", [0, 1001, -1, 1.5, "5", True, []])
def test_a_limit_is_a_whole_number_from_1_to_1000(api, limit):
    response = api.post("/v1/subscriptions", {**BY_WEBHOOK, "rate_limit": limit})

    assert response.status_code == 422
    assert pointers_of(response) == ["/rate_limit"]


def test_a_subscription_by_email_has_no_limit(api):
    assert created(api, BY_EMAIL)["rate_limit"] is None
    response = api.post("/v1/subscriptions", {**BY_EMAIL, "rate_limit": 5})
    assert pointers_of(response) == ["/rate_limit"]


def test_an_order_can_be_asked_for_narrowed_and_taken_away(api):
    created_answer = created(api, {**BY_WEBHOOK, "ordered": True})
    assert (created_answer["ordered"], created_answer["ordering_key"]) == (True, None)

    def changed(**change):
        answer = api.patch(f"/v1/subscriptions/{created_answer['id']}", change).json()
        return answer["ordered"], answer["ordering_key"]

    assert changed(ordering_key="/0/meter_id") == (True, "/0/meter_id")
    assert changed(description="still") == (True, "/0/meter_id")
    assert changed(ordering_key="") == (True, None)
    assert changed(ordered=False) == (False, None)
    assert changed(ordered=True, ordering_key="/a~1b/~0") == (True, "/a~1b/~0")
    assert changed(ordered=False, ordering_key=None) == (False, None)


@pytest.mark.parametrize(
    ("order", "pointer"),
    [
        ({"ordered": "true"}, "/ordered"),
        ({"ordered": 1}, "/ordered"),
        ({"ordered": None}, "/ordered"),
        ({"ordering_key": "/0/meter_id"}, "/ordering_key"),
        ({"ordered": False, "ordering_key": "/0/meter_id"}, "/ordering_key"),
        ({"ordered": True, "ordering_key": "0/meter_id"}, "/ordering_key"),
        ({"ordered": True, "ordering_key": "/a~2"}, "/ordering_key"),
        ({"ordered": True, "ordering_key": "/a~"}, "/ordering_key"),
        ({"ordered": True, "ordering_key": "/a\0"}, "/ordering_key"),
        ({"ordered": True, "ordering_key": "/" + "x" * 500}, "/ordering_key"),
        ({"ordered": True, "ordering_key": ["0", "meter_id"]}, "/ordering_key"),
    ],
)
def test_an_order_that_is_none_is_refused_and_pointed_at(api, order, pointer):
    before = rows_stored()

    assert pointers_of(api.post("/v1/subscriptions", {**BY_WEBHOOK, **order})) == [pointer]
    assert rows_stored() == before


def test_an_order_that_has_a_key_cannot_be_taken_away_without_the_key(api):
    id = created(api, {**BY_WEBHOOK, "ordered": True, "ordering_key": "/0/meter_id"})["id"]

    response = api.patch(f"/v1/subscriptions/{id}", {"ordered": False})

    assert pointers_of(response) == ["/ordered"]
    assert api.get(f"/v1/subscriptions/{id}").json()["ordered"]


def test_a_subscription_by_email_has_no_order(api):
    response = api.post("/v1/subscriptions", {**BY_EMAIL, "ordered": True})

    assert pointers_of(response) == ["/ordered"]
    answer = created(api, BY_EMAIL)
    assert (answer["ordered"], answer["ordering_key"]) == (None, None)


def test_an_email_subscription_asks_its_recipients_to_confirm(api):
    answer = created(
        api, {**BY_EMAIL, "recipients": ["ann@example.org", "Bob@example.org", "ANN@example.org"]}
    )

    assert answer["recipients"] == [
        {"email": "ANN@example.org", "status": "unconfirmed"},
        {"email": "Bob@example.org", "status": "unconfirmed"},
    ]
    assert (answer["secret"], answer["url"], answer["headers"], answer["retry_schedule"]) == (None,) * 4
    assert Notice.objects.filter(sent_at=None).count() == 2


def test_a_new_subscription_gets_what_happens_from_now_on(owner, api):
    published(owner)
    created(api, BY_WEBHOOK)

    event = published(owner)

    assert [delivery.event for delivery in Delivery.objects.all()] == [event]


def test_recipients_have_the_status_that_they_gave_themselves(api):
    id = created(api, {**BY_EMAIL, "recipients": ["a@example.org", "b@example.org", "c@example.org"]})["id"]
    confirm_recipient(Recipient.objects.get(email="a@example.org"), timezone.now())
    unsubscribe_recipient(Recipient.objects.get(email="b@example.org"), timezone.now())

    recipients = api.get(f"/v1/subscriptions/{id}").json()["recipients"]

    assert [one["status"] for one in recipients] == ["confirmed", "unsubscribed", "unconfirmed"]


def test_the_secret_is_in_the_creation_answer_and_in_its_own_and_nowhere_else(api):
    answer = created(api, BY_WEBHOOK)
    id, secret = answer["id"], answer["secret"]

    others = [
        api.get("/v1/subscriptions"),
        api.get(f"/v1/subscriptions/{id}"),
        api.patch(f"/v1/subscriptions/{id}", {"description": "x"}),
        api.post(f"/v1/subscriptions/{id}/pause"),
        api.post(f"/v1/subscriptions/{id}/resume"),
        api.post(f"/v1/subscriptions/{id}/test"),
    ]

    assert secret.startswith("whsec_")
    assert api.get(f"/v1/subscriptions/{id}/secret").json() == {"secret": secret}
    for response in others:
        assert response.status_code < 300
        assert secret not in response.content.decode()
        assert '"secret"' not in response.content.decode()


def test_header_values_are_never_shown(api):
    id = created(api, {**BY_WEBHOOK, "headers": {"X-Api-Key": "s3cret"}})["id"]

    for response in (
        api.get("/v1/subscriptions"),
        api.get(f"/v1/subscriptions/{id}"),
        api.patch(f"/v1/subscriptions/{id}", {"headers": {"X-Api-Key": "s3cret", "X-Other": "s3cret"}}),
    ):
        assert "s3cret" not in response.content.decode()


def test_after_a_rotation_both_secrets_sign_until_the_overlap_ends(owner, api):
    answer = created(api, BY_WEBHOOK)
    old = answer["secret"]

    rotated = api.post(f"/v1/subscriptions/{answer['id']}/rotate-secret", {"overlap_seconds": 60})

    new = rotated.json()["secret"]
    assert rotated.status_code == 200
    assert signing(owner) == (new, old)
    assert api.get(f"/v1/subscriptions/{answer['id']}/secret").json() == {"secret": new}
    expiry = SigningSecret.objects.get(expires_at__isnull=False).expires_at
    assert rotated.json()["previous_expires_at"][:19] == f"{expiry:%Y-%m-%dT%H:%M:%S}"
    SigningSecret.objects.exclude(expires_at=None).update(expires_at=timezone.now())
    assert signing(owner) == (new,)


def test_a_rotation_overlaps_for_a_day_unless_told_otherwise(api):
    id = created(api, BY_WEBHOOK)["id"]

    api.post(f"/v1/subscriptions/{id}/rotate-secret")

    end = SigningSecret.objects.get(expires_at__isnull=False).expires_at
    assert end
    left = end - timezone.now()
    assert timedelta(hours=23) < left <= timedelta(hours=24)


def test_a_rotation_without_overlap_leaves_the_new_secret_alone(owner, api):
    id = created(api, BY_WEBHOOK)["id"]

    new = api.post(f"/v1/subscriptions/{id}/rotate-secret", {"overlap_seconds": 0}).json()["secret"]

    assert signing(owner) == (new,)


@pytest.mark.parametrize("overlap", [-1, 604801, 1.5, "60", True, None, 10**30])
def test_an_overlap_that_is_no_number_of_seconds_within_a_week_is_refused(api, overlap):
    id = created(api, BY_WEBHOOK)["id"]

    response = api.post(f"/v1/subscriptions/{id}/rotate-secret", {"overlap_seconds": overlap})

    assert pointers_of(response) == ["/overlap_seconds"]
    assert SigningSecret.objects.count() == 1


@pytest.mark.parametrize("call", ["secret", "rotate-secret"])
def test_an_email_subscription_has_no_secret(api, call):
    id = created(api, BY_EMAIL)["id"]

    response = api.call("GET" if call == "secret" else "POST", f"/v1/subscriptions/{id}/{call}")

    assert "no signing secret" in problem_of(response, 409)["detail"]


def test_a_change_changes_what_was_sent_and_nothing_else(api):
    before = created(api, {**BY_WEBHOOK, "description": "Old", "metadata": {"a": 1}})
    del before["secret"]

    answer = api.patch(
        f"/v1/subscriptions/{before['id']}", {"description": "New", "event_types": ["meter.created"]}
    )

    assert answer.status_code == 200
    changed = {"description": "New", "event_types": ["meter.created"]}
    assert answer.json() == {**before, **changed, "updated_at": answer.json()["updated_at"]}
    assert answer.json()["updated_at"] > before["updated_at"]
    assert api.get(f"/v1/subscriptions/{before['id']}").json() == answer.json()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"url": "https://93.184.216.34/other"}, "https://93.184.216.34/other"),
        ({"metadata": {}}, {}),
        ({"retry_schedule": None}, None),
        ({"retry_schedule": []}, []),
        ({"description": ""}, ""),
        ({"headers": {}}, {}),
    ],
)
def test_every_field_of_a_webhook_can_be_changed(api, change, expected):
    body = {
        **BY_WEBHOOK,
        "description": "x",
        "metadata": {"a": 1},
        "headers": {"X-A": "1"},
        "retry_schedule": [9],
    }
    id = created(api, body)["id"]

    answer = api.patch(f"/v1/subscriptions/{id}", change).json()

    assert answer[next(iter(change))] == expected


def test_a_header_that_is_sent_back_as_it_was_shown_keeps_its_value_whatever_its_case(api):
    id = created(api, {**BY_WEBHOOK, "headers": {"Authorization": "s3cret", "X-Old": "1"}})["id"]

    answer = api.patch(f"/v1/subscriptions/{id}", {"headers": {"authorization": "(not shown)", "X-New": "2"}})

    assert answer.status_code == 200
    assert Subscription.objects.get().headers == {"authorization": "s3cret", "X-New": "2"}


def test_a_hidden_value_of_a_header_that_is_not_there_is_refused(api):
    id = created(api, {**BY_WEBHOOK, "headers": {"X-Old": "1"}})["id"]

    change = api.patch(f"/v1/subscriptions/{id}", {"headers": {"X-New": "(not shown)"}})
    creation = api.post("/v1/subscriptions", {**BY_WEBHOOK, "headers": {"X-New": "(not shown)"}})

    assert pointers_of(change) == pointers_of(creation) == ["/headers/X-New"]
    assert Subscription.objects.get().headers == {"X-Old": "1"}


def test_metadata_and_a_filter_may_be_as_large_as_is_said_however_they_are_sent(api):
    metadata: dict[str, Any] = {"a": [1, 2], "b": "€" * 4, "c": ""}
    metadata["c"] = "x" * (
        16384 - len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    )
    filter = {"/a": [str(n) for n in range(100)], "/b": [""]}
    filter["/b"] = ["x" * (16384 - len(json.dumps(filter, separators=(",", ":"))))]

    answer = created(api, {**BY_WEBHOOK, "metadata": metadata, "filter": filter})

    assert (answer["metadata"], answer["filter"]) == (metadata, filter)
    larger = {
        "metadata": {**metadata, "c": metadata["c"] + "x"},
        "filter": {**filter, "/b": [filter["/b"][0] + "x"]},
    }
    details = problem_of(api.patch(f"/v1/subscriptions/{answer['id']}", larger), 422)["errors"]
    assert [error["pointer"] for error in details] == ["/filter", "/metadata"]
    assert all("has 16385 bytes" in error["detail"] for error in details)


@pytest.mark.parametrize(
    ("body", "change", "pointer"),
    [
        (BY_WEBHOOK, {"channel": "email"}, "/channel"),
        (BY_WEBHOOK, {"recipients": ["ann@example.org"]}, "/recipients"),
        (BY_WEBHOOK, {"url": None}, "/url"),
        (BY_WEBHOOK, {"url": ""}, "/url"),
        (BY_WEBHOOK, {"event_types": []}, "/event_types"),
        (BY_WEBHOOK, {"event_types": ["meter.melted"]}, "/event_types/0"),
        (BY_WEBHOOK, {"status": "active"}, "/status"),
        (BY_WEBHOOK, {"secret": "whsec_mine"}, "/secret"),
        (BY_WEBHOOK, {"metadata": {"a": {"b/c": "\0"}}}, "/metadata/a/b~1c"),
        (BY_WEBHOOK, {"metadata": {"a": "x" * 16384}}, "/metadata"),
        (BY_WEBHOOK, {"metadata": {"a": "x" * 16377}}, "/metadata"),
        (BY_WEBHOOK, {"metadata": []}, "/metadata"),
        (BY_WEBHOOK, {"headers": {"X-A": "a\nb"}}, "/headers/X-A"),
        (BY_WEBHOOK, {"headers": {"X-A": 5}}, "/headers/X-A"),
        (BY_WEBHOOK, {"headers": {"X-A": ""}}, "/headers/X-A"),
        (BY_WEBHOOK, {"headers": {"webhook-id": "mine"}}, "/headers/webhook-id"),
        (BY_WEBHOOK, {"retry_schedule": [-1]}, "/retry_schedule/0"),
        (BY_WEBHOOK, {"retry_schedule": [1] * 21}, "/retry_schedule"),
        (BY_WEBHOOK, {"retry_schedule": [1209600, 1]}, "/retry_schedule"),
        (BY_WEBHOOK, {"description": "x" * 501}, "/description"),
        (BY_WEBHOOK, {"description": 5}, "/description"),
        (BY_WEBHOOK, {"description": "a\0b"}, "/description"),
        (BY_EMAIL, {"url": PUBLIC}, "/url"),
        (BY_EMAIL, {"headers": {"X-A": "1"}}, "/headers"),
        (BY_EMAIL, {"retry_schedule": [1]}, "/retry_schedule"),
        (BY_EMAIL, {"recipients": []}, "/recipients"),
        (BY_EMAIL, {"recipients": ["ann"]}, "/recipients/0"),
    ],
)
def test_a_change_that_breaks_a_rule_is_refused_with_the_place_and_changes_nothing(
    api, body, change, pointer
):
    answer = created(api, body)
    del answer["secret"]

    response = api.patch(f"/v1/subscriptions/{answer['id']}", {"description": "changed", **change})

    assert pointers_of(response) == [pointer]
    assert api.get(f"/v1/subscriptions/{answer['id']}").json() == answer


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**BY_WEBHOOK, "channel": "pigeon"}, "/channel"),
        ({**BY_WEBHOOK, "recipients": ["ann@example.org"]}, "/recipients"),
        ({"channel": "webhook", "event_types": ["*"]}, "/url"),
        ({"channel": "email", "event_types": ["*"]}, "/recipients"),
        ({"channel": "webhook", "url": PUBLIC}, "/event_types"),
        ({"url": PUBLIC, "event_types": ["*"]}, "/channel"),
        ({**BY_WEBHOOK, "event_types": "*"}, "/event_types"),
        ({**BY_WEBHOOK, "colour": "blue"}, "/colour"),
    ],
)
def test_a_subscription_that_breaks_a_rule_is_refused_with_the_place_and_not_stored(api, body, pointer):
    before = rows_stored()

    response = api.post("/v1/subscriptions", body)

    assert pointers_of(response) == [pointer]
    assert rows_stored() == before


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::ffff:a00:1]/",
        "https://[64:ff9b::a00:1]/",
        "https://[fe80::1%25eth0]/",
        "https://user:password@example.com/",
        "https://user@example.com/",
        "http://93.184.216.34/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//example.com/",
        "example.com",
        "https://",
        "https://example.com:0/",
        "https://example.com/#part",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://example.com/" + "a" * 2048,
        "",
        5,
        None,
        ["https://example.com/"],
    ],
)
def test_a_url_that_no_webhook_may_go_to_is_refused_and_not_stored(api, monkeypatch, url):
    monkeypatch.setattr(settings, "WEBHOOK_ALLOWED_NETWORKS", [])
    before = rows_stored()

    response = api.post("/v1/subscriptions", {**BY_WEBHOOK, "url": url})

    assert pointers_of(response) == ["/url"]
    assert rows_stored() == before


def test_a_url_cannot_be_changed_to_one_that_no_webhook_may_go_to(api, monkeypatch):
    monkeypatch.setattr(settings, "WEBHOOK_ALLOWED_NETWORKS", [])
    id = created(api, BY_WEBHOOK)["id"]

    response = api.patch(f"/v1/subscriptions/{id}", {"url": "https://169.254.169.254/"})

    assert pointers_of(response) == ["/url"]
    assert Subscription.objects.get().url == PUBLIC


@pytest.mark.parametrize(
    "email",
    [
        "ann",
        "ann@",
        "@example.org",
        "ann@example",
        "Ann <ann@example.org>",
        "ann@example.org, bob@example.org",
        "ann@example.org\nBcc: bob@example.org",
        "ann@example.org\0",
        "a" * 250 + "@example.org",
        "",
        5,
        None,
    ],
)
def test_an_address_that_is_none_is_refused_and_pointed_at(api, email):
    before = rows_stored()

    response = api.post("/v1/subscriptions", {**BY_EMAIL, "recipients": ["good@example.org", email]})

    assert set(pointers_of(response)) == {"/recipients/1"}
    assert rows_stored() == before


def test_the_hundred_and_first_subscription_is_one_too_many_until_one_is_deleted(owner, api):
    for _ in range(settings.MAX_SUBSCRIPTIONS):
        last = factories.webhook(owner)

    refused = api.post("/v1/subscriptions", BY_WEBHOOK)
    api.delete(f"/v1/subscriptions/{last.id}")
    accepted = api.post("/v1/subscriptions", BY_WEBHOOK)

    assert "100" in (detail := problem_of(refused, 409)["detail"])
    assert "MAX_SUBSCRIPTIONS" in detail
    assert accepted.status_code == 201


def test_the_fifty_first_recipient_is_one_too_many(api):
    people = [f"person{number}@example.org" for number in range(settings.MAX_RECIPIENTS + 1)]

    refused = api.post("/v1/subscriptions", {**BY_EMAIL, "recipients": people})
    accepted = api.post("/v1/subscriptions", {**BY_EMAIL, "recipients": people[:-1]})
    changed = api.patch(f"/v1/subscriptions/{accepted.json()['id']}", {"recipients": people})

    assert "at most 50 recipients (MAX_RECIPIENTS)" in problem_of(refused, 422)["detail"]
    assert "MAX_RECIPIENTS" in problem_of(changed, 422)["detail"]
    assert Recipient.objects.count() == 50


def test_the_twenty_first_header_is_one_too_many(api):
    headers = {f"X-Header-{number}": "1" for number in range(settings.MAX_HEADERS + 1)}

    response = api.post("/v1/subscriptions", {**BY_WEBHOOK, "headers": headers})

    assert pointers_of(response) == ["/headers"]
    assert "at most 20 (MAX_HEADERS)" in problem_of(response, 422)["detail"]
    headers.popitem()
    assert len(created(api, {**BY_WEBHOOK, "headers": headers})["headers"]) == 20


def test_what_happens_during_a_pause_is_held_and_sent_on_resume(owner, api):
    id = created(api, BY_WEBHOOK)["id"]
    published(owner)

    paused = api.post(f"/v1/subscriptions/{id}/pause")
    published(owner)
    held = [delivery.status for delivery in Delivery.objects.all()]
    resumed = api.post(f"/v1/subscriptions/{id}/resume")

    assert (paused.status_code, paused.json()["status"]) == (200, "paused")
    assert held == ["held", "held"]
    assert (resumed.status_code, resumed.json()["status"]) == (200, "active")
    assert Delivery.objects.due(timezone.now()).count() == 2


def test_one_that_fails_says_since_when_why_and_when_that_ends(owner, api):
    webhook = factories.webhook(
        owner,
        failing_since=datetime(2026, 11, 20, 9, tzinfo=UTC),
        last_error="The receiver answered 500 Internal Server Error.",
        disable_at=datetime(2026, 11, 25, 9, tzinfo=UTC),
    )

    answer = api.get(f"/v1/subscriptions/{webhook.id}").json()

    assert answer["failing_since"] == "2026-11-20T09:00:00.000Z"
    assert answer["last_error"] == "The receiver answered 500 Internal Server Error."
    assert answer["disable_at"] == "2026-11-25T09:00:00.000Z"
    assert api.get("/v1/subscriptions").json()["data"] == [answer]


def test_a_disabled_subscription_says_why_and_is_resumed(owner, api):
    subscription = factories.webhook(
        owner, status="disabled", status_reason="The receiver answered 410 Gone."
    )

    shown = api.get(f"/v1/subscriptions/{subscription.id}").json()
    resumed = api.post(f"/v1/subscriptions/{subscription.id}/resume").json()

    assert (shown["status"], shown["status_reason"]) == ("disabled", "The receiver answered 410 Gone.")
    assert (resumed["status"], resumed["status_reason"]) == ("active", "")


def test_pausing_and_resuming_twice_changes_nothing_more(api):
    id = created(api, BY_WEBHOOK)["id"]

    statuses = [
        api.post(f"/v1/subscriptions/{id}/{verb}").json()["status"]
        for verb in ("pause", "pause", "resume", "resume")
    ]

    assert statuses == ["paused", "paused", "active", "active"]


def test_a_call_without_fields_refuses_a_body_with_some(api):
    id = created(api, BY_WEBHOOK)["id"]

    response = api.post(f"/v1/subscriptions/{id}/pause", {"until": "tomorrow"})

    assert pointers_of(response) == ["/until"]
    assert Subscription.objects.get().status == "active"


def test_a_test_is_a_real_delivery_of_the_types_example_and_marked(api):
    id = created(api, {**BY_WEBHOOK, "event_types": ["meter.created", "user.created"]})["id"]

    response = api.post(f"/v1/subscriptions/{id}/test", {"type": "user.created"})

    [made] = response.json()["data"]
    assert response.status_code == 202
    assert (made["type"], made["test"], made["trigger"], made["status"]) == (
        "user.created",
        True,
        "test",
        "pending",
    )
    event = api.get(f"/v1/events/{made['event_id']}").json()
    assert event["test"] is True
    assert event["payload"] == factories.example("user.created")


def test_a_test_without_a_type_sends_the_first_that_the_subscription_wants(api):
    id = created(api, {**BY_WEBHOOK, "event_types": ["user.created", "meter.created"]})["id"]

    [made] = api.post(f"/v1/subscriptions/{id}/test").json()["data"]

    assert made["type"] == "user.created"


@pytest.mark.parametrize("type", ["meter.melted", "", None, 5, ["user.created"], "*"])
def test_a_test_of_a_type_that_is_none_is_refused(api, type):
    id = created(api, BY_WEBHOOK)["id"]
    before = rows_stored()

    assert pointers_of(api.post(f"/v1/subscriptions/{id}/test", {"type": type})) == ["/type"]
    assert rows_stored() == before


def test_a_test_that_nobody_would_get_is_a_conflict_and_leaves_no_event(owner, api):
    unconfirmed = created(api, BY_EMAIL)["id"]
    paused = created(api, BY_WEBHOOK)["id"]
    api.post(f"/v1/subscriptions/{paused}/pause")
    before = rows_stored()

    assert "confirmed" in problem_of(api.post(f"/v1/subscriptions/{unconfirmed}/test"), 409)["detail"]
    assert "paused" in problem_of(api.post(f"/v1/subscriptions/{paused}/test"), 409)["detail"]
    assert rows_stored() == before


def test_a_deleted_subscription_is_gone_and_its_history_is_not(owner, api):
    id = created(api, BY_WEBHOOK)["id"]
    published(owner)
    done = Delivery.objects.get()
    Delivery.objects.update(status="succeeded", next_attempt_at=None, finished_at=timezone.now())
    published(owner)

    response = api.delete(f"/v1/subscriptions/{id}")

    published(owner)
    assert (response.status_code, response.content) == (204, b"")
    assert problem_of(api.get(f"/v1/subscriptions/{id}"), 404)
    assert problem_of(api.delete(f"/v1/subscriptions/{id}"), 404)
    assert api.get("/v1/subscriptions").json()["data"] == []
    history = api.get(f"/v1/deliveries?subscription_id={id}").json()["data"]
    assert [one["status"] for one in history] == ["cancelled", "succeeded"]
    assert api.get(f"/v1/deliveries/{done.id}").status_code == 200


def test_dropping_a_recipient_cancels_what_was_held_for_them_alone(owner, api):
    id = created(api, {**BY_EMAIL, "recipients": ["ann@example.org", "bob@example.org"]})["id"]
    published(owner)

    answer = api.patch(
        f"/v1/subscriptions/{id}", {"recipients": ["bob@example.org", "cy@example.org"]}
    ).json()

    assert [one["email"] for one in answer["recipients"]] == ["bob@example.org", "cy@example.org"]
    statuses = dict(Delivery.objects.values_list("recipient__email", "status"))
    assert statuses == {"ann@example.org": "cancelled", "bob@example.org": "held"}


def test_who_unsubscribed_cannot_be_subscribed_again_by_the_owner(api):
    id = created(api, BY_EMAIL)["id"]
    unsubscribe_recipient(Recipient.objects.get(), timezone.now())

    api.patch(f"/v1/subscriptions/{id}", {"recipients": ["bob@example.org"]})
    answer = api.patch(f"/v1/subscriptions/{id}", {"recipients": ["ann@example.org"]}).json()

    assert answer["recipients"] == [{"email": "ann@example.org", "status": "unsubscribed"}]


def test_the_list_is_filtered_by_channel_and_status(owner, api):
    by_email, paused = created(api, BY_EMAIL)["id"], created(api, BY_WEBHOOK)["id"]
    active = created(api, BY_WEBHOOK)["id"]
    api.post(f"/v1/subscriptions/{paused}/pause")

    def listed(query):
        return [one["id"] for one in api.get(f"/v1/subscriptions?{query}").json()["data"]]

    assert listed("") == [active, paused, by_email]
    assert listed("channel=email") == [by_email]
    assert listed("status=paused") == [paused]
    assert listed("channel=webhook&status=active") == [active]
    assert pointers_of(api.get("/v1/subscriptions?channel=pigeon&status=asleep")) == ["/channel", "/status"]


def test_the_number_of_queries_of_a_list_of_subscriptions_does_not_grow_with_its_rows(
    owner, api, django_assert_num_queries
):
    for _ in range(10):
        factories.webhook(owner)
        factories.confirmed_emails(owner, ["a@example.org", "b@example.org"])
    api.get("/v1/subscriptions")  # notes the use of the key, once a minute

    with django_assert_num_queries(3 + READING):
        assert len(api.get("/v1/subscriptions").json()["data"]) == 20


@pytest.mark.parametrize(
    ("sent", "pointers"),
    [
        ({"channel": "webhook"}, {"/event_types", "/url"}),
        ({"channel": "email", "url": "https://example.com/"}, {"/event_types", "/recipients", "/url"}),
        ({"channel": "webhook", "colour": 1}, {"/event_types", "/url", "/colour"}),
        ({"channel": "webhook", "url": 5, "event_types": ["*"]}, {"/url"}),
        ({"channel": "pigeon"}, {"/event_types", "/channel"}),
        ({}, {"/event_types", "/channel"}),
    ],
)
def test_all_that_is_missing_is_named_at_once(api, sent, pointers):
    found = pointers_of(api.post("/v1/subscriptions", sent))

    assert (set(found), len(found)) == (pointers, len(pointers))


def test_a_change_names_what_is_of_another_channel_beside_all_other_faults(api):
    id = created(api, BY_WEBHOOK)["id"]

    found = pointers_of(
        api.patch(f"/v1/subscriptions/{id}", {"recipients": ["a@example.org"], "event_types": []})
    )

    assert sorted(found) == ["/event_types", "/recipients"]


@pytest.mark.parametrize(
    "url", ["https://example.com/%zz", "https://example.com/a%2", "https://example.com/?q=100%"]
)
def test_a_url_whose_percent_sign_begins_no_escape_is_refused_as_it_would_be_called_otherwise(api, url):
    refused = api.post("/v1/subscriptions", {**BY_WEBHOOK, "url": url})

    assert pointers_of(refused) == ["/url"]
    assert "%25" in refused.json()["detail"]
    assert (
        api.post("/v1/subscriptions", {**BY_WEBHOOK, "url": "http://127.0.0.1:9/%2f%C3?q=%25"}).status_code
        == 201
    )


def test_a_header_without_a_name_is_pointed_at(api):
    assert pointers_of(api.post("/v1/subscriptions", {**BY_WEBHOOK, "headers": {"": "1"}})) == ["/headers/"]
