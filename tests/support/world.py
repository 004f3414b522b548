"""An application with something behind each id, and a good request for each operation of the document."""

from typing import Any

from django.utils import timezone

from accounts.models import ApiKey
from deliveries.models import Attempt, Delivery
from deliveries.publishing import publish
from tests.support import factories


class World:
    """An application with some of everything, so that generated requests find something."""

    def __init__(self) -> None:
        self.owner = factories.application()
        self.keys = {
            "application": factories.application_key(self.owner),
            "platform": factories.platform_key(),
        }
        self.webhook = factories.webhook(self.owner, headers={"X-A": "1"}, retry_schedule=[1, 2])
        self.emails = factories.confirmed_emails(self.owner)
        self.event = publish(self.owner, "user.created", factories.example("user.created"))
        self.delivery = Delivery.objects.get(subscription=self.webhook)
        Attempt.objects.create(
            delivery=self.delivery,
            number=1,
            started_at=timezone.now(),
            trigger="scheduled",
            duration_ms=1.5,
            outcome="failed",
            timings={
                "dns_ms": 1.0,
                "connect_ms": None,
                "tls_ms": None,
                "first_byte_ms": None,
                "total_ms": 1.5,
            },
        )
        self.replay = factories.replay(self.webhook)
        self.spare = ApiKey.objects.issue(kind="application", name="spare", application=self.owner)[0]

    def id_in(self, path: str) -> Any:
        rows = {
            "events": self.event,
            "subscriptions": self.webhook,
            "deliveries": self.delivery,
            "replays": self.replay,
        }
        return str(rows.get(path.split("/")[2], self.spare).pk)

    def key_for(self, operation: Any) -> str:
        needs = operation.definition.raw["description"]
        return self.keys["platform" if "platform key" in needs else "application"]

    def body_of(self, path: str, method: str) -> Any:
        event = {
            "application_id": str(self.owner.id),
            "type": "user.created",
            "payload": factories.example("user.created"),
        }
        return {
            ("/v1/events", "post"): event,
            ("/v1/events/batch", "post"): {"events": [event, event]},
            ("/v1/events/preview", "post"): event,
            ("/v1/subscriptions/preview", "post"): {"event_types": ["*"], "filter": {"/role": ["admin"]}},
            ("/v1/subscriptions", "post"): {
                "channel": "email",
                "recipients": ["ann@example.org"],
                "event_types": ["*"],
            },
            ("/v1/subscriptions/{id}/replays", "post"): {"since": "2026-10-25T00:00:00Z", "only": "all"},
            ("/v1/applications", "post"): {"name": "New"},
        }.get((path, method), {})
