"""The story that the examples tell: an application subscribes, things happen, it is told, and looks into it.

A new operation gets its example here: add a `call` where it fits in, then `make examples`.
"""

import json
from typing import Any
from unittest.mock import patch

import time_machine
from django.conf import settings
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings
from django.utils import timezone

from deliveries.dispatch import drain
from tests.examples.recorder import Recorder
from tests.support import factories
from tests.support.api import Api
from tests.support.receivers import Answer, Receiver

UNKNOWN = "0192c5f1-7b60-7d3a-9a51-0c2f6be3a7d4"
HAPPENED = "2026-10-26T00:05:00.000Z"
METERS = "https://hooks.greenhomes.example/meters"
CUSTOMERS = "https://hooks.greenhomes.example/customers"


def play() -> dict[str, Any]:
    """The examples, from a database that is empty but for the schema."""
    with (
        Receiver(Answer(204)) as healthy,
        Receiver(Answer(500, {"content-type": "text/plain"}, b"out of order")) as broken,
    ):
        places = {healthy.url: METERS, broken.url: CUSTOMERS, "http://testserver": "https://events.example"}
        story = Story(Recorder({**places, "127.0.0.1": "203.0.113.7"}), healthy, broken)
        story.begin()
        story.subscribe()
        story.publish()
        story.publish_more()
        story.look()
        story.tell_again()
        story.tell_all_again()
        story.govern()
        story.keys()
        story.refusals()
        return story.recorder.recorded()


class Story:
    def __init__(self, recorder: Recorder, healthy: Receiver, broken: Receiver) -> None:
        self.recorder, self.call = recorder, recorder.call
        self.healthy, self.broken = healthy, broken

    def deliver(self) -> None:
        self.recorder.tick()
        drain("webhook", timezone.now)

    def begin(self) -> None:
        """The platform makes an application, which looks at itself and at the catalogue."""
        self.recorder.keys["platform"] = factories.platform_key()
        new = {"name": "Green Homes", "contacts": ["ops@greenhomes.example"]}
        made = self.call("create_application", "A new application", "platform", body=new, status=201)
        self.application = made["id"]
        self.recorder.keys["application"] = made["api_key"]
        self.call("list_applications", "All applications", "platform")
        self.call("get_application", "The key's own application")
        self.call("list_event_types", "The first two types", query="?limit=2")
        self.call("get_event_type", "What `user.created` means and holds", name="user.created")
        self.call("get_event_type", "No such type", name="user.melted", status=404)

    def subscribe(self) -> None:
        meters = {
            "channel": "webhook",
            "url": self.healthy.url,
            "event_types": ["*"],
            "description": "Meter data pipeline",
            "metadata": {"team": "data"},
            "headers": {"x-environment": "production"},
        }
        customers = {"channel": "webhook", "url": self.broken.url, "event_types": ["customer.created"]}
        people = {
            "channel": "email",
            "recipients": ["ann@greenhomes.example"],
            "event_types": ["hosted_consent.revoked"],
        }
        inside = {"channel": "webhook", "url": "https://10.0.0.5/hooks", "event_types": ["*"]}
        made = self.call("create_subscription", "By webhook, every type", body=meters, status=201)
        self.meters = made["id"]
        made = self.call("create_subscription", "By webhook, one type", body=customers, status=201)
        self.customers = made["id"]
        self.people = self.call("create_subscription", "By email", body=people, status=201)["id"]
        self.call("create_subscription", "An address that is not public", body=inside, status=422)
        self.call("list_subscriptions", "Those by webhook", query="?channel=webhook")
        self.call("get_subscription", "One subscription", id=self.people)
        self.call("get_subscription", "No such subscription", id=UNKNOWN, status=404)
        change = {"event_types": ["customer.created", "user.created"], "rate_limit": 50}
        self.call("change_subscription", "Other types, and a limit", body=change, id=self.customers)

    def publish(self) -> None:
        event = self.event("customer.created")
        self.call("preview_event", "Who would be told", "platform", body=event)
        named = {"Idempotency-Key": "crm-4711"}
        call = self.call
        made = call(
            "publish_event", "A customer was created", "platform", body=event, headers=named, status=201
        )
        self.customer_created = made["id"]
        call("publish_event", "The same again", "platform", body=event, headers=named)
        other = self.event("user.created")
        call(
            "publish_event",
            "Another event under the same key",
            "platform",
            body=other,
            headers=named,
            status=409,
        )
        broken = {**self.event("user.created"), "payload": {"_id": 5}}
        call("publish_event", "A payload that its type does not allow", "platform", body=broken, status=422)
        call("publish_event", "The wrong kind of key", "application", body=event, status=403)
        self.deliver()

    def event(self, type: str) -> dict[str, Any]:
        example = factories.example(type)
        return {"application_id": self.application, "type": type, "payload": example, "occurred_at": HAPPENED}

    def publish_more(self) -> None:
        """One of each type that is left, so that each notification has been sent."""
        names = ["meter.created", "meter_data.received"]
        batch = {"events": [self.event(name) for name in names]}
        made = self.call("publish_events", "Two events, both or none", "platform", body=batch, status=201)
        self.meter_created = made["data"][0]["id"]
        bad = {"events": [self.event("user.created"), {**self.event("user.created"), "type": "user.melted"}]}
        self.call("publish_events", "One of them is wrong: none is stored", "platform", body=bad, status=422)
        rest = ["api_keys.rotated", "hosted_consent.approved", "hosted_consent.revoked", "user.created"]
        quietly = Api(self.recorder.keys["platform"])
        assert (
            quietly.post("/v1/events/batch", {"events": [self.event(name) for name in rest]}).status_code
            == 201
        )
        self.deliver()
        for request in self.healthy.requests:
            notification = json.loads(request.body)
            self.recorder.notifications.setdefault(notification["event_id"], notification)

    def look(self) -> None:
        wish = {"event_types": ["user.created"], "filter": {"/role": ["admin", "developer"]}}
        self.call("preview_subscription", "What would have matched", body=wish)
        self.call("get_subscription", "One that fails", id=self.customers)
        self.call("list_events", "The newest two", query="?limit=2")
        self.call("list_events", "With payloads", query="?type=user.created&expand=payload")
        event = self.call("get_event", "With its payload and deliveries", id=self.customer_created)
        self.call("get_event", "No such event", id=UNKNOWN, status=404)
        by_subscription = {one["subscription_id"]: one["id"] for one in event["deliveries"]}
        self.succeeded, self.failing = by_subscription[self.meters], by_subscription[self.customers]
        self.call("list_deliveries", "What was delivered", query="?status=succeeded&limit=2")
        self.call("list_deliveries", "No such status", query="?status=lost", status=422)
        self.call("get_delivery", "It succeeded at once", id=self.succeeded)
        self.call("get_delivery", "The receiver is out of order", id=self.failing)
        self.call("list_sequence", "The first three numbers", query="?limit=3", id=self.meters)

    def tell_again(self) -> None:
        call = self.call
        call("retry_delivery", "Now, instead of later", id=self.failing, status=202)
        call("retry_delivery", "It has succeeded", id=self.succeeded, status=409)
        call("cancel_delivery", "No further attempt", id=self.failing)
        targets = {"subscription_ids": [self.meters]}
        call("replay_event", "To one subscription", body=targets, id=self.meter_created, status=202)
        call("replay_event", "To every active one that matches", body={}, id=self.meter_created, status=202)
        type = {"type": "meter.created"}
        call("test_subscription", "With the example of a type", body=type, id=self.meters, status=202)

    def tell_all_again(self) -> None:
        call = self.call
        missed = {
            "since": "2026-01-01T00:00:00.000Z",
            "only": "all",
            "types": ["meter.created", "user.created"],
        }
        replay = call("start_replay", "All of two types", body=missed, id=self.meters, status=202)
        call("start_replay", "How many they would be", body={**missed, "dry_run": True}, id=self.meters)
        call("get_replay", "How far it is", id=replay["id"])
        call("list_replays", "Those of a subscription", id=self.meters)
        call("cancel_replay", "Tell no more of them", id=replay["id"])

    def govern(self) -> None:
        call = self.call
        call("pause_subscription", "Hold what is to come", id=self.meters)
        call("resume_subscription", "Send what was held", id=self.meters)
        call("get_secret", "The newest secret", id=self.meters)
        call("get_secret", "An email is not signed", id=self.people, status=409)
        overlap = {"overlap_seconds": 86400}
        call("rotate_secret", "Both sign for a day", body=overlap, id=self.meters)
        call("delete_subscription", "It is gone", id=self.customers, status=204)

    def keys(self) -> None:
        call = self.call
        new = {"name": "CI", "scopes": ["read"]}
        made = call("create_api_key", "A key that may only read", body=new, status=201)
        self.recorder.keys["reader"] = made["api_key"]
        call("list_api_keys", "All that are valid")
        call(
            "create_api_key", "A key can't make itself more", "reader", body={"scopes": ["write"]}, status=403
        )
        call("rotate_api_key", "The old one lives for an hour", body={"overlap_seconds": 3600}, id=made["id"])
        call("revoke_api_key", "It is refused from now on", id=made["id"], status=204)

    def refusals(self) -> None:
        """What any call may answer."""
        call = self.call
        call("list_events", "No key", "", status=401)
        call("create_api_key", "A field that there is not", body={"colour": "blue"}, status=422)
        call("create_api_key", "No JSON", body=b"{", status=400)
        text = {"content-type": "text/plain"}
        call("create_api_key", "Another content type", body=b"name=CI", headers=text, status=415)
        with time_machine.travel(timezone.now(), tick=False), override_settings(RATE_LIMIT_APPLICATION=50):
            for _ in range(50):
                Api(self.recorder.keys["application"]).get("/v1/application")
            call("list_events", "More than the key may ask", status=429)
        call("create_api_key", "In chunks", body={}, headers={"Transfer-Encoding": "chunked"}, status=411)
        length = {"Content-Length": str(settings.MAX_BODY_BYTES + 1)}
        call("create_api_key", "More than may be sent", body={}, headers=length, status=413)
        with patch.object(BaseDatabaseWrapper, "cursor", side_effect=OperationalError("connection refused")):
            call("list_events", "The database is away", status=503)
