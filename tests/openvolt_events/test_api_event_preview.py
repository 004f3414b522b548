"""POST /v1/events/preview: who would be told, asked with either kind of key; nothing is stored."""

import pytest
from django.utils import timezone
from jsonschema import Draft202012Validator

from deliveries.lifecycle import pause
from tests.support import factories
from tests.support.api import Api, pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db

PREVIEW = "/v1/events/preview"
EVENT = {
    "type": "user.created",
    "payload": {"_id": "u", "z": 1.5, "a": None},
    "occurred_at": "2026-11-03T10:30:00Z",
}


@pytest.fixture
def api(owner):
    return Api(factories.application_key(owner, ["read"]))


def test_the_answer_says_who_who_not_and_why_and_shows_the_notification(owner, api):
    told = factories.webhook(owner, description="Told")
    other = factories.webhook(owner, filter={"/a": ["x"]})
    emails = factories.emails(owner)
    before = rows_stored()

    answer = api.post(PREVIEW, EVENT).json()

    by_id = {one.pop("subscription_id"): one for one in answer["subscriptions"]}
    assert by_id[str(told.id)] == {
        "channel": "webhook",
        "description": "Told",
        "verdict": "told",
        "code": None,
        "reason": None,
        "pointer": None,
        "recipients": None,
    }
    assert [by_id[str(other.id)][name] for name in ("verdict", "code", "pointer")] == [
        "not_told",
        "filter",
        "/a",
    ]
    [person] = by_id[str(emails.id)]["recipients"]
    assert (person["email"], person["verdict"], person["code"]) == ("ann@example.org", "held", "unconfirmed")
    assert "confirmed" in person["reason"]
    assert list(answer["notification"]) == [
        "subscription_id",
        "event_id",
        "event_timestamp",
        "delivery_id",
        "payload",
    ]
    assert answer["notification"]["subscription_id"] == str(told.id)
    assert answer["notification"]["event_timestamp"] == "2026-11-03T10:30:00.000Z"
    assert list(answer["notification"]["payload"].items()) == [("_id", "u"), ("z", 1.5), ("a", None)]
    assert rows_stored() == before


def test_a_held_one_says_why(owner, api):
    pause(factories.webhook(owner), timezone.now(), "Maintenance")

    [one] = api.post(PREVIEW, EVENT).json()["subscriptions"]

    assert (one["verdict"], one["code"]) == ("held", "paused")
    assert "Maintenance" in one["reason"]


def test_both_kinds_of_key_get_the_same_answer(owner, api, platform):
    factories.webhook(owner)
    named = {**EVENT, "application_id": str(owner.id)}

    answers = [api.post(PREVIEW, EVENT), api.post(PREVIEW, named), platform.post(PREVIEW, named)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({str(answer.json()["subscriptions"]) for answer in answers}) == 1


def test_a_platform_key_has_to_name_the_application(platform):
    assert pointers_of(platform.post(PREVIEW, EVENT)) == ["/application_id"]


def test_another_application_is_as_one_that_is_not_there(api, platform):
    foreign, nowhere = str(factories.application("Another").id), "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"
    before = rows_stored()

    answers = [api.post(PREVIEW, {**EVENT, "application_id": id}) for id in (foreign, nowhere)]

    assert [pointers_of(answer, 404) for answer in answers] == [["/application_id"]] * 2
    assert answers[0].content.decode().replace(foreign, nowhere) == answers[1].content.decode()
    assert rows_stored() == before


def test_an_application_that_is_not_there_is_refused_to_the_platform_as_by_a_publish(platform):
    nowhere = {**EVENT, "application_id": "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"}

    answers = [platform.post(path, nowhere) for path in (PREVIEW, "/v1/events")]

    assert problem_of(answers[0], 422) == problem_of(answers[1], 422)
    assert pointers_of(answers[0]) == ["/application_id"]


@pytest.mark.parametrize("subscribed", [True, False])
def test_the_answer_is_what_the_schema_says_whether_somebody_would_be_told_or_not(owner, api, subscribed):
    if subscribed:
        factories.webhook(owner)
    document = api.get("/v1/openapi.json").json()
    schema = {"$ref": "#/components/schemas/EventPreviewed", "components": document["components"]}

    answer = api.post(PREVIEW, EVENT).json()

    assert (answer["notification"] is not None) == subscribed
    Draft202012Validator(schema).validate(answer)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "user.melted"},
        {"type": 5},
        {"payload": {}},
        {"payload": {"_id": "a\0"}},
        {"payload": {"_id": "x" * 2**20}},
        {"occurred_at": "yesterday"},
        {"colour": "blue"},
    ],
    ids=["type", "no text", "schema", "nul", "large", "time", "unknown"],
)
def test_what_a_publish_refuses_is_refused_in_the_same_words(owner, api, platform, change):
    body = {**EVENT, "application_id": str(owner.id), **change}
    before = rows_stored()

    previewed, published = platform.post(PREVIEW, body), platform.post("/v1/events", body)

    assert problem_of(previewed, 422) == problem_of(published, 422)
    assert problem_of(api.post(PREVIEW, body), 422) == problem_of(published, 422)
    assert rows_stored() == before


def test_an_application_key_has_to_be_one_that_reads(owner):
    assert problem_of(Api(factories.application_key(owner, ["write"])).post(PREVIEW, EVENT), 403)
    assert problem_of(Api().post(PREVIEW, EVENT), 401)


@pytest.mark.parametrize("count", [1, 20])
def test_a_preview_costs_the_same_number_of_queries_for_any_number_of_subscriptions(
    owner, api, count, django_assert_max_num_queries
):
    for _ in range(count):
        factories.emails(owner)

    with django_assert_max_num_queries(6):
        assert len(api.post(PREVIEW, EVENT).json()["subscriptions"]) == count
