"""`fallback` of a webhook subscription: whom to tell by email of what the webhook could not tell."""

import pytest
from django.core import mail
from django.utils import timezone

from accounts.models import AuditEntry
from deliveries.lifecycle import confirm_recipient
from deliveries.mailing import send_notices
from deliveries.models import Notice
from subscriptions.models import Recipient, Subscription
from tests.support.api import Api, pointers_of

pytestmark = pytest.mark.django_db

BY_WEBHOOK = {"channel": "webhook", "url": "https://93.184.216.34/hook", "event_types": ["*"]}
FALLBACK = {
    "recipient": "ann@example.org",
    "event_types": ["hosted_consent.revoked"],
    "late_after_seconds": 3600,
}


def created(api: Api, fallback) -> dict:
    response = api.post("/v1/subscriptions", {**BY_WEBHOOK, "fallback": fallback})
    assert response.status_code == 201, response.content
    return response.json()


def changed(api: Api, id: str, fallback) -> dict | None:
    response = api.patch(f"/v1/subscriptions/{id}", {"fallback": fallback})
    assert response.status_code == 200, response.content
    return response.json()["fallback"]


def test_a_fallback_is_shown_with_its_recipient_who_is_asked_to_confirm(api):
    answer = created(api, FALLBACK)

    assert answer["fallback"] == {
        "recipient": {"email": "ann@example.org", "status": "unconfirmed"},
        "event_types": ["hosted_consent.revoked"],
        "late_after_seconds": 3600,
    }
    assert answer["recipients"] is None
    assert api.get(f"/v1/subscriptions/{answer['id']}").json()["fallback"] == answer["fallback"]
    assert api.get("/v1/subscriptions").json()["data"][0]["fallback"] == answer["fallback"]
    send_notices(timezone.now)
    assert [email.to for email in mail.outbox] == [["ann@example.org"]]

    confirm_recipient(Recipient.objects.get(), timezone.now())
    fallback = api.get(f"/v1/subscriptions/{answer['id']}").json()["fallback"]
    assert fallback["recipient"]["status"] == "confirmed"


def test_without_more_it_is_for_every_type_that_fails_and_nothing_is_late(api):
    fallback = created(api, {"recipient": "ann@example.org"})["fallback"]

    assert (fallback["event_types"], fallback["late_after_seconds"]) == (["*"], None)


def test_a_change_replaces_it_as_a_whole_and_asks_whoever_is_new(api):
    id = created(api, FALLBACK)["id"]

    fallback = changed(api, id, {"recipient": "bob@example.org"})

    assert fallback == {
        "recipient": {"email": "bob@example.org", "status": "unconfirmed"},
        "event_types": ["*"],
        "late_after_seconds": None,
    }
    assert [*Notice.objects.order_by("id").values_list("email", flat=True)] == [
        "ann@example.org",
        "bob@example.org",
    ]


def test_it_is_taken_away_with_null_and_left_alone_by_a_change_that_does_not_name_it(api):
    id = created(api, FALLBACK)["id"]

    answer = api.patch(f"/v1/subscriptions/{id}", {"description": "Production"}).json()
    assert answer["fallback"]["recipient"]["email"] == "ann@example.org"

    assert changed(api, id, None) is None
    assert not Recipient.objects.filter(removed_at=None).exists()


def test_another_delay_leaves_nothing_out_that_was_not_looked_at(api):
    id = created(api, FALLBACK)["id"]
    looked_until = Subscription.objects.get().fallback_looked_until

    changed(api, id, {**FALLBACK, "late_after_seconds": 60})

    assert Subscription.objects.get().fallback_looked_until == looked_until


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ("ann@example.org", "/fallback"),
        ({}, "/fallback/recipient"),
        ({"recipient": "nobody"}, "/fallback/recipient"),
        ({**FALLBACK, "event_types": []}, "/fallback/event_types"),
        ({**FALLBACK, "event_types": ["tariff.changed"]}, "/fallback/event_types/0"),
        ({**FALLBACK, "late_after_seconds": 59}, "/fallback/late_after_seconds"),
        ({**FALLBACK, "late_after_seconds": "3600"}, "/fallback/late_after_seconds"),
        ({**FALLBACK, "late_after_seconds": 1209601}, "/fallback/late_after_seconds"),
        ({**FALLBACK, "more": 1}, "/fallback/more"),
    ],
    ids=range(9),
)
def test_what_is_wrong_with_it_is_said_at_its_place(api, wrong, pointer):
    response = api.post("/v1/subscriptions", {**BY_WEBHOOK, "fallback": wrong})

    assert response.status_code == 422
    assert pointers_of(response) == [pointer]
    assert not Subscription.objects.exists()


def test_a_subscription_by_email_has_none(api):
    by_email = {"channel": "email", "recipients": ["ann@example.org"], "event_types": ["*"]}

    response = api.post("/v1/subscriptions", {**by_email, "fallback": FALLBACK})

    assert pointers_of(response) == ["/fallback"]
    assert api.post("/v1/subscriptions", by_email).json()["fallback"] is None


def test_the_audit_log_knows_who_was_named(api):
    id = created(api, FALLBACK)["id"]
    changed(api, id, {"recipient": "bob@example.org"})

    entry = AuditEntry.objects.get(action="subscription.changed")
    assert entry.before["recipient_emails"] == ["ann@example.org"]
    assert entry.after["recipient_emails"] == ["bob@example.org"]
    assert entry.before["fallback_after"] == "P0DT01H00M00S"


def test_staff_see_on_whom_a_subscription_falls_back(api, admin_client):
    id = created(api, FALLBACK)["id"]

    page = admin_client.get(f"/admin/subscriptions/subscription/{id}/change/").content.decode()

    assert "hosted_consent.revoked" in page
    assert "ann@example.org" in page
