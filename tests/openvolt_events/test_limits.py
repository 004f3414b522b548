"""Each limit of the public API is a setting, and its breach says which."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import factories
from tests.support.workers import database_url

REPOSITORY = Path(__file__).resolve().parent.parent.parent
LOW = {
    "MAX_PAYLOAD_BYTES": "16384",
    "MAX_SUBSCRIPTIONS": "1",
    "MAX_RECIPIENTS": "2",
    "MAX_HEADERS": "3",
    "MAX_API_KEYS": "3",
}
STORED = {"events": 0, "subscriptions": 1, "keys": 3}
CALLS = """
import json, sys
import django
django.setup()
from django.apps import apps
from django.test.utils import setup_test_environment
setup_test_environment()
from tests.support.api import Api
own, platform, application_id = sys.argv[1:]
api, answers = Api(own), []

def seen(response):
    answers.append((response.status_code, response.content.decode()))

webhook = {"channel": "webhook", "url": "http://127.0.0.1:9/", "event_types": ["*"]}
emails = {"channel": "email", "event_types": ["*"]}
event = {"application_id": application_id, "type": "user.created", "payload": {"_id": "x" * 16384}}
seen(Api(platform).post("/v1/events", event))
seen(api.post("/v1/subscriptions", emails | {"recipients": [f"p{one}@example.org" for one in range(3)]}))
seen(api.post("/v1/subscriptions", webhook | {"headers": {f"x-{one}": "1" for one in range(4)}}))
assert api.post("/v1/subscriptions", webhook | {"headers": {"x-1": "1"}}).status_code == 201
seen(api.post("/v1/subscriptions", webhook))
assert [api.post("/v1/api-keys").status_code for _ in range(2)] == [201, 201]
seen(api.post("/v1/api-keys"))
stored = {
    "events": apps.get_model("events", "Event").objects.count(),
    "subscriptions": apps.get_model("subscriptions", "Subscription").objects.count(),
    "keys": apps.get_model("accounts", "ApiKey").objects.filter(kind="application").count(),
}
print(json.dumps({"answers": answers, "stored": stored, "document": api.get("/v1/openapi.json").json()}))
"""


@pytest.mark.django_db(transaction=True)
def test_a_service_with_lower_limits_refuses_more_and_names_the_limit():
    owner = factories.application()
    keys = [factories.application_key(owner), factories.platform_key()]

    done = subprocess.run(
        [sys.executable, "-c", CALLS, *keys, str(owner.id)],
        cwd=REPOSITORY,
        env=dict(os.environ)
        | LOW
        | {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "openvolt_events.settings"},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    refused = [
        (422, "MAX_PAYLOAD_BYTES", "16384"),
        (422, "MAX_RECIPIENTS", "2"),
        (422, "MAX_HEADERS", "3"),
        (409, "MAX_SUBSCRIPTIONS", "1"),
        (409, "MAX_API_KEYS", "3"),
    ]
    for (status, body), (expected, limit, most) in zip(found["answers"], refused, strict=True):
        assert (status, limit in body, most in body) == (expected, True, True), body
    assert found["stored"] == STORED
    schemas = found["document"]["components"]["schemas"]
    assert schemas["NewEmailSubscriptionRequest"]["properties"]["recipients"]["maxItems"] == 2
    assert schemas["NewWebhookSubscriptionRequest"]["properties"]["headers"]["maxProperties"] == 3
    assert schemas["ReplayTargetsRequest"]["properties"]["subscription_ids"]["maxItems"] == 1
