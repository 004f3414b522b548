"""Payload filters of subscriptions, and which of the last events one would have let through."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from accounts.models import AuditEntry
from deliveries.lifecycle import replay, send_test
from deliveries.models import Delivery
from deliveries.publishing import Change, publish, publish_many
from events.models import Event
from subscriptions import previewing
from tests.support import factories
from tests.support.api import Api, pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db

BY_WEBHOOK = {"channel": "webhook", "url": "https://93.184.216.34/hook", "event_types": ["*"]}
BY_EMAIL = {"channel": "email", "recipients": ["ann@example.org"], "event_types": ["*"]}
ADMINS = {"/role": ["admin"]}


def user(owner, **fields):
    return publish(owner, "user.created", {"_id": "u", **fields})


@pytest.mark.parametrize("body", [BY_WEBHOOK, BY_EMAIL], ids=["webhook", "email"])
def test_a_filter_is_created_shown_changed_and_taken_away(api, body):
    created = api.post("/v1/subscriptions", {**body, "filter": ADMINS}).json()
    path = f"/v1/subscriptions/{created['id']}"

    assert created["filter"] == ADMINS
    assert api.patch(path, {"description": "still"}).json()["filter"] == ADMINS
    assert api.patch(path, {"filter": {"/role": ["a", 1, None]}}).json()["filter"] == {
        "/role": ["a", 1, None]
    }
    assert api.patch(path, {"filter": {}}).json()["filter"] == {}
    assert api.get(path).json()["filter"] == {}


def test_a_change_of_a_filter_is_in_the_audit_log(api):
    id = api.post("/v1/subscriptions", BY_WEBHOOK).json()["id"]

    api.patch(f"/v1/subscriptions/{id}", {"filter": ADMINS})

    entry = AuditEntry.objects.get(action="subscription.changed")
    assert (entry.before, entry.after) == ({"filter": {}}, {"filter": ADMINS})


@pytest.mark.parametrize(
    ("filter", "pointers"),
    [
        (None, ["/filter"]),
        ([], ["/filter"]),
        ({f"/{index}": [1] for index in range(11)}, ["/filter"]),
        ({"/a": ["x" * 17000]}, ["/filter"]),
        ({"role": ["x"]}, ["/filter/role"]),
        ({"/a/b": []}, ["/filter/~1a~1b"]),
        ({"/a": "x", "/b": [1, [], {}]}, ["/filter/~1a", "/filter/~1b/1", "/filter/~1b/2"]),
        ({"/a": list(range(101))}, ["/filter/~1a"]),
    ],
    ids=["null", "list", "pointers", "bytes", "no pointer", "empty", "several", "values"],
)
def test_what_is_no_filter_is_pointed_at_and_nothing_is_stored(api, filter, pointers):
    before = rows_stored()

    bodies: dict[str, dict[str, Any]] = {"": BY_WEBHOOK, "/preview": {"event_types": ["*"]}}
    for path, body in bodies.items():
        response = api.post(f"/v1/subscriptions{path}", {**body, "filter": filter})

        assert pointers_of(response) == pointers

    assert rows_stored() == before


def test_only_what_the_filter_lets_through_is_told_and_replayed(owner):
    admins = factories.webhook(owner, filter=ADMINS)
    everybody = factories.webhook(owner)

    admin, developer = user(owner, role="admin"), user(owner, role="developer")

    assert set(admin.deliveries.values_list("subscription", flat=True)) == {admins.id, everybody.id}
    assert set(developer.deliveries.values_list("subscription", flat=True)) == {everybody.id}
    assert [one.subscription for one in replay(developer, None, timezone.now())] == [everybody]
    assert [one.subscription for one in replay(developer, [admins.id], timezone.now())] == [admins]


def test_a_test_is_sent_whatever_the_filter(owner):
    subscription = factories.webhook(owner, filter={"/role": ["nobody"]})

    assert len(send_test(subscription, "user.created", timezone.now())) == 1


def test_a_payload_is_parsed_once_an_event_and_only_for_a_filter_or_an_order(owner, monkeypatch):
    parsed: list[str] = []

    def loads(text: str) -> Any:
        parsed.append(text)
        return json.loads(text)

    for module in ("events.payloads", "events.models"):
        monkeypatch.setattr(f"{module}.json", SimpleNamespace(loads=loads, dumps=json.dumps))
    for _ in range(3):
        factories.webhook(owner)
    user(owner)
    unfiltered = list(parsed)
    for _ in range(3):
        factories.webhook(owner, filter=ADMINS)
    factories.webhook(owner, ordered=True, ordering_key="/_id")
    factories.webhook(owner, ordered=True)

    publish_many([Change(owner, "user.created", {"_id": name}) for name in "ab"], timezone.now())

    assert unfiltered == []
    assert parsed == ['{"_id":"a"}', '{"_id":"b"}']


def test_a_preview_says_which_of_the_last_events_would_have_matched_newest_first(owner, api):
    first, _, third = user(owner, role="admin"), user(owner, role="developer"), user(owner, role="admin")
    publish(owner, "meter.created", factories.example("meter.created"))
    user(factories.application("Another"), role="admin")
    send_test(factories.webhook(owner), "user.created", timezone.now())
    before = rows_stored()

    answer = api.post("/v1/subscriptions/preview", {"event_types": ["user.created"], "filter": ADMINS}).json()

    assert (answer["checked"], answer["matched"]) == (4, 2)
    assert [one["id"] for one in answer["data"]] == [str(third.id), str(first.id)]
    assert answer["oldest_checked_at"] == api.get(f"/v1/events/{first.id}").json()["created_at"]
    assert rows_stored() == before


def test_a_preview_without_a_filter_goes_by_the_types(owner, api):
    user(owner)
    publish(owner, "meter.created", factories.example("meter.created"))

    assert api.post("/v1/subscriptions/preview", {"event_types": ["meter.created"]}).json()["matched"] == 1
    assert api.post("/v1/subscriptions/preview", {"event_types": ["*"]}).json()["matched"] == 2


def test_a_preview_of_nothing_says_so(api):
    answer = api.post("/v1/subscriptions/preview", {"event_types": ["*"]}).json()

    assert answer == {"checked": 0, "matched": 0, "oldest_checked_at": None, "data": []}


def test_a_preview_looks_at_the_last_thousand(owner, api):
    Event.objects.bulk_create(
        Event(application=owner, type="user.created", occurred_at=timezone.now(), payload=f'{{"n":{number}}}')
        for number in range(1005)
    )

    body = {"event_types": ["*"], "filter": {"/n": [3, 4, 5, 1004]}}
    answer = api.post("/v1/subscriptions/preview", body).json()

    assert (answer["checked"], answer["matched"]) == (1000, 2)


def test_a_preview_says_how_many_it_could_look_at(owner, api, monkeypatch):
    monkeypatch.setattr(previewing, "MOST_BYTES", 100)
    for _ in range(5):
        user(owner, role="x" * 20)

    answer = api.post("/v1/subscriptions/preview", {"event_types": ["*"], "filter": {"/_id": ["u"]}}).json()

    assert (answer["checked"], answer["matched"]) == (2, 2)


def test_to_preview_a_subscription_an_application_key_that_reads_is_needed(owner):
    body = {"event_types": ["*"]}

    for scopes, status in [(["read"], 200), (["write"], 403)]:
        key = factories.application_key(owner, scopes)
        assert Api(key).post("/v1/subscriptions/preview", body).status_code == status
    assert problem_of(Api(factories.platform_key()).post("/v1/subscriptions/preview", body), 403)


POOL: list[Any] = [None, True, False, 0, 1, 1.0, -0.0, 1e23, 10**23, 0.1, "", "1", "a", "null"]
VALUES = st.sampled_from(POOL)
PLACES = ["", "/x", "/x/0", "/x/a", "/x/a~1b", "/y", "/_id"]
PAYLOADS = st.fixed_dictionaries(
    {"_id": st.sampled_from(["u", "1"])},
    optional={
        "x": VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.sampled_from(["a", "a/b"]), VALUES),
        "y": VALUES,
    },
)
FILTERS = st.dictionaries(
    st.sampled_from(PLACES), st.lists(VALUES | st.sampled_from(["u"]), min_size=1, max_size=8), max_size=2
)


@examples(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(payloads=st.lists(PAYLOADS, min_size=1, max_size=6), filter=FILTERS)
def test_a_filter_tells_exactly_what_its_preview_says(owner, api, payloads, filter):
    changes = [Change(owner, "user.created", payload) for payload in payloads]
    wanted = {"event_types": ["user.created"], "filter": filter}
    with transaction.atomic():
        old = [one.event.id for one in publish_many(changes, timezone.now())]
        data = api.post("/v1/subscriptions/preview", wanted).json()["data"]
        id = api.post("/v1/subscriptions", {**BY_WEBHOOK, **wanted}).json()["id"]
        new = [one.event.id for one in publish_many(changes, timezone.now())]
        told = set(Delivery.objects.filter(subscription=id).values_list("event", flat=True))
        transaction.set_rollback(True)

    assert [str(id) in {one["id"] for one in data} for id in old] == [id in told for id in new]
