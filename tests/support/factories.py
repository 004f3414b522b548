"""Rows that tests start from, made as the product makes them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import ApiKey, Application
from deliveries.lifecycle import confirm_recipient, create_subscription
from deliveries.models import Notice, Replay
from deliveries.replaying import plan, start
from events.event_types import EVENT_TYPES
from subscriptions.models import Subscription


def application(name: str = "Green Homes") -> Application:
    return Application.objects.create(name=name, contacts=["owner@greenhomes.example"])


@pytest.fixture
def owner() -> Application:
    return application()


def platform_key() -> str:
    return ApiKey.objects.issue(kind=ApiKey.Kind.PLATFORM, name="platform")[1]


def application_key(owner: Application, scopes: Sequence[str] = ("read", "write")) -> str:
    return ApiKey.objects.issue(
        kind=ApiKey.Kind.APPLICATION, name="production", application=owner, scopes=scopes
    )[1]


def webhook(
    owner: Application, url: str = "http://127.0.0.1:9/", types: Sequence[str] = ("*",), **fields: Any
) -> Subscription:
    subscription = Subscription(
        application=owner, channel="webhook", url=url, event_types=list(types), **fields
    )
    create_subscription(subscription, [], timezone.now())
    return subscription


def emails(
    owner: Application,
    recipients: Sequence[str] = ("ann@example.org",),
    types: Sequence[str] = ("*",),
    **fields: Any,
) -> Subscription:
    """An email subscription whose recipients have not confirmed yet."""
    subscription = Subscription(application=owner, channel="email", event_types=list(types), **fields)
    create_subscription(subscription, recipients, timezone.now())
    return subscription


def confirmed_emails(owner: Application, recipients: Sequence[str] = ("ann@example.org",)) -> Subscription:
    subscription = emails(owner, recipients)
    for recipient in subscription.recipients.all():
        confirm_recipient(recipient, timezone.now())
    return subscription


def falling_back(
    owner: Application,
    email: str = "ann@example.org",
    url: str = "http://127.0.0.1:9/",
    types: Sequence[str] = ("*",),
    **fields: Any,
) -> Subscription:
    """A webhook subscription whose first failed attempt is the last, and a person who has confirmed."""
    subscription = Subscription(
        application=owner,
        channel="webhook",
        url=url,
        event_types=["*"],
        fallback_types=list(types),
        **{"retry_schedule": []} | fields,
    )
    create_subscription(subscription, [email], timezone.now())
    confirm_recipient(subscription.recipients.get(), timezone.now())
    Notice.objects.all().delete()
    return subscription


def replay(subscription: Subscription, only: str = "all") -> Replay:
    """A running one, of the last hour."""
    now = timezone.now()
    return start(plan(subscription, since=now - timedelta(hours=1), until=now, only=only, now=now))


def example(event_type: str) -> Any:
    return EVENT_TYPES[event_type].example
