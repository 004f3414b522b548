"""Rotating a subscription's signing secret, again and again."""

from datetime import timedelta

import pytest
from django.utils import timezone

from subscriptions.models import SigningSecret
from tests.support import factories
from tests.support.api import Api, problem_of

pytestmark = pytest.mark.django_db

WEEK = 7 * 86400


def test_a_webhook_never_carries_more_than_five_signatures() -> None:
    owner = factories.application()
    subscription = factories.webhook(owner)
    api = Api(factories.application_key(owner))
    url = f"/v1/subscriptions/{subscription.id}"
    for _ in range(4):
        newest = api.post(f"{url}/rotate-secret", {"overlap_seconds": WEEK}).json()["secret"]

    refused = api.post(f"{url}/rotate-secret", {"overlap_seconds": 60})

    assert "MAX_SECRETS" in problem_of(refused, 409)["detail"]
    assert api.get(f"{url}/secret").json() == {"secret": newest}
    valid = SigningSecret.objects.valid(timezone.now() + timedelta(days=6))
    assert valid.count() == 5  # none of them ends earlier, either


def test_there_is_always_room_for_a_rotation_that_ends_all_others() -> None:
    owner = factories.application()
    subscription = factories.webhook(owner)
    api = Api(factories.application_key(owner))
    url = f"/v1/subscriptions/{subscription.id}/rotate-secret"
    for _ in range(4):
        api.post(url, {"overlap_seconds": WEEK})

    answer = api.post(url, {"overlap_seconds": 0})

    assert answer.status_code == 200
    assert SigningSecret.objects.valid(timezone.now()).count() == 1
    assert api.post(url, {"overlap_seconds": WEEK}).status_code == 200
