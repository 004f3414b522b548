"""Changes of one subscription: what is inside a field is replaced with it, and two at once are one after the other."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import AuditEntry
from deliveries import lifecycle
from deliveries.models import Replay
from events.models import Event
from openvolt_events.api import subscriptions
from subscriptions.models import Recipient, SigningSecret, Subscription
from tests.support import factories
from tests.support.api import Api, problem_of
from tests.support.locks import somebody_waits_for_a_lock
from tests.support.running import wait_for

FALLBACK = {"recipient": "ann@example.org", "event_types": ["user.created"], "late_after_seconds": 3600}
HIDDEN = "(not shown)"


@pytest.fixture
def webhook(owner) -> Subscription:
    return factories.webhook(owner)


@pytest.mark.django_db
@pytest.mark.parametrize("fallback", [{}, {"event_types": ["*"]}, {"late_after_seconds": 60}])
def test_a_fallback_without_a_recipient_is_no_change_of_one_that_has(api: Api, webhook, fallback) -> None:
    path = f"/v1/subscriptions/{webhook.id}"
    before = api.patch(path, {"fallback": FALLBACK}).json()["fallback"]
    assert before["recipient"]["email"] == "ann@example.org"

    refused = api.patch(path, {"fallback": fallback})

    [error] = problem_of(refused, 422)["errors"]
    assert (error["pointer"], error["code"]) == ("/fallback/recipient", "required")
    assert api.get(path).json()["fallback"] == before


class Beside:
    """A call that comes while another is at some place, and there goes on as far as it can."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.came: list[Any] = []
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        try:
            self.came.append(self.call())
        finally:
            connection.close()

    def come(self) -> None:
        self.thread.start()
        wait_for(lambda: somebody_waits_for_a_lock() or not self.thread.is_alive(), 60)

    @property
    def answer(self) -> Any:
        self.thread.join(60)
        return self.came[0]

    def come_before(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        """When the other call is about to do this, for the first time."""
        act, once = getattr(module, name), iter([self.come])

        def stand_and_act(*args: Any, **options: Any) -> Any:
            next(once, lambda: None)()
            return act(*args, **options)

        monkeypatch.setattr(module, name, stand_and_act)


def change_beside(monkeypatch, owner, id, first: dict, second: dict) -> Subscription:
    path, key = f"/v1/subscriptions/{id}", factories.application_key(owner)
    beside = Beside(lambda: Api(key).patch(path, second))
    beside.come_before(monkeypatch, subscriptions, "change_subscription")
    answer = Api(key).patch(path, first)

    assert (answer.status_code, beside.answer.status_code) == (200, 200)
    return Subscription.objects.get(pk=id)


KEEPING = {"headers": {"x-a": HIDDEN, "x-b": "1"}}
RENEWING = {"headers": {"x-a": "new"}}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("first", "second", "headers"),
    [(KEEPING, RENEWING, {"x-a": "new"}), (RENEWING, KEEPING, {"x-a": "new", "x-b": "1"})],
    ids=["new value second", "new value first"],
)
def test_a_value_that_is_kept_is_the_one_that_is_there_when_it_is_kept(
    monkeypatch, owner, webhook, first, second, headers
) -> None:
    lifecycle.change_subscription(webhook, {"headers": {"x-a": "old"}}, None, timezone.now())

    assert change_beside(monkeypatch, owner, webhook.id, first, second).headers == headers


@pytest.mark.django_db(transaction=True)
def test_an_order_that_was_not_sent_stays_as_another_change_has_made_it(monkeypatch, owner, webhook) -> None:
    changed = change_beside(
        monkeypatch, owner, webhook.id, {"ordered": True}, {"ordered": True, "ordering_key": "/_id"}
    )

    assert (changed.ordered, changed.ordering_key) == (True, "/_id")


@pytest.mark.django_db(transaction=True)
def test_what_another_change_took_away_can_not_be_kept_any_more(monkeypatch, owner, webhook) -> None:
    lifecycle.change_subscription(webhook, {"headers": {"x-a": "old"}}, None, timezone.now())
    path, key = f"/v1/subscriptions/{webhook.id}", factories.application_key(owner)
    beside = Beside(lambda: Api(key).patch(path, KEEPING))
    beside.come_before(monkeypatch, subscriptions, "change_subscription")

    assert Api(key).patch(path, {"headers": {}}).status_code == 200

    [error] = problem_of(beside.answer, 422)["errors"]
    assert (error["pointer"], error["code"]) == ("/headers/x-a", "header")
    assert Subscription.objects.get().headers == {}


def state() -> dict[str, Any]:
    """All that a call could have changed of a subscription."""
    return {
        "subscription": Subscription.objects.values().get(),
        "recipients": [*Recipient.objects.order_by("id").values()],
        "secrets": SigningSecret.objects.count(),
        "replays": Replay.objects.count(),
        "events": Event.objects.count(),
        "audit": [*AuditEntry.objects.order_by("id").values_list("action", flat=True)],
    }


SINCE = "2020-01-01T00:00:00Z"
CALLS: dict[str, Callable[[Api, str], Any]] = {
    "change": lambda api, path: api.patch(path, {"description": "Production"}),
    "recipients": lambda api, path: api.patch(path, {"fallback": FALLBACK}),
    "delete": lambda api, path: api.delete(path),
    "pause": lambda api, path: api.post(f"{path}/pause"),
    "resume": lambda api, path: api.post(f"{path}/resume"),
    "rotate": lambda api, path: api.post(f"{path}/rotate-secret", {}),
    "test": lambda api, path: api.post(f"{path}/test", {}),
    "replay": lambda api, path: api.post(f"{path}/replays", {"since": SINCE, "only": "all"}),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_comes_while_a_subscription_is_deleted_finds_none_and_changes_nothing(
    monkeypatch, owner, webhook, call
) -> None:
    api, path = Api(factories.application_key(owner)), f"/v1/subscriptions/{webhook.id}"
    other = Api(factories.application_key(owner))
    beside = Beside(lambda: call(other, path))
    beside.come_before(monkeypatch, lifecycle, "record")

    assert api.delete(path).status_code == 204

    problem_of(beside.answer, 404)
    seen = state()
    assert seen["subscription"]["deleted_at"] is not None
    assert seen["subscription"]["status"] == "active"
    assert seen["subscription"]["description"] == ""
    assert (seen["recipients"], seen["secrets"], seen["replays"], seen["events"]) == ([], 1, 0, 0)
    assert seen["audit"] == ["subscription.deleted"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["change", "pause", "resume"])
def test_an_act_that_was_done_before_a_deletion_is_answered_as_done(monkeypatch, owner, webhook, act) -> None:
    key, path = factories.application_key(owner), f"/v1/subscriptions/{webhook.id}"
    name = {"change": "change_subscription"}.get(act, act)
    done, deletion = getattr(subscriptions, name), Beside(lambda: Api(key).delete(path))

    def act_and_let_it_be_deleted(*args: Any) -> Any:
        result = done(*args)
        deletion.come()
        return result

    monkeypatch.setattr(subscriptions, name, act_and_let_it_be_deleted)

    answer = CALLS[act](Api(key), path)

    assert answer.status_code == 200
    assert answer.json()["status"] == ("paused" if act == "pause" else "active")
    assert deletion.answer.status_code == 204
