"""Who may call what: keys, their kinds, scopes and ends; and how an application keeps its own."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
import time_machine
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.keys import PREFIX_LENGTH, new_key
from accounts.models import ApiKey
from deliveries.models import Delivery
from events.models import Event
from tests.support import factories
from tests.support.api import READING, Api, calls, path_of, pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db

OF_THE_PLATFORM = {
    ("POST", "events"),
    ("POST", "events/batch"),
    ("GET", "applications"),
    ("POST", "applications"),
}
OF_ANYONE = {("GET", "openapi.json")}
OF_BOTH = {("GET", "event-types"), ("GET", "event-types/<str:name>"), ("POST", "events/preview")}
PREVIEWS = {("POST", "events/preview"), ("POST", "subscriptions/preview")}  # which store nothing
GUARDED = sorted(set(calls()) - OF_ANYONE)
NAMES = [f"{method} {route}" for method, route in GUARDED]


def own_row(api):
    return ApiKey.objects.get(prefix=api.key[:PREFIX_LENGTH])


def test_a_key_is_taken_from_x_api_key_and_from_a_bearer_token(owner):
    key = factories.application_key(owner)

    assert Api(key).get("/v1/application").status_code == 200
    assert Api().get("/v1/application", authorization=f"Bearer {key}").status_code == 200
    assert Api().get("/v1/application", authorization=f"bearer  {key} ").status_code == 200
    assert Api().get("/v1/application", x_api_key=f" {key}").status_code == 200


def test_the_same_key_in_both_headers_is_one_key(api):
    assert api.get("/v1/application", authorization=f"Bearer {api.key}").status_code == 200
    assert api.get("/v1/application", authorization="Basic YTpi").status_code == 200


def test_two_keys_at_once_are_401_however_good_each_is_and_neither_is_repeated(owner, api):
    other = factories.application_key(owner)

    for second in (other, "nonsense"):
        for one, two in ((api.key, second), (second, api.key)):
            response = Api(one).get("/v1/application", authorization=f"Bearer {two}")

            detail = problem_of(response, 401)["detail"]
            assert "one in x-api-key and another" in detail
            assert one not in response.content.decode()
            assert two not in response.content.decode()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_api_key": ""},
        {"x_api_key": "ovk_unknown"},
        {"x_api_key": "schlüssel\0"},
        {"x_api_key": "x" * 10_000},
        {"authorization": "Bearer"},
        {"authorization": "Bearer ovk_unknown"},
        {"authorization": "Basic dXNlcjpwYXNzd29yZA=="},
    ],
)
def test_without_a_known_key_the_answer_is_401_and_says_how_to_send_one(headers):
    response = Api().get("/v1/application", **headers)

    assert problem_of(response, 401)
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="openvolt-events"'


@pytest.mark.parametrize("field", ["expires_at", "revoked_at"])
def test_an_expired_or_revoked_key_is_401(api, field):
    ApiKey.objects.update(**{field: timezone.now()})

    assert "expired or revoked" in problem_of(api.get("/v1/application"), 401)["detail"]


def refused_without_a_look_up(key):
    """Why the key is refused, after a look that its row was not looked for."""
    with CaptureQueriesContext(connection) as captured:
        response = Api(key).get("/v1/application")
    assert not [query for query in captured if "accounts_apikey" in query["sql"]]
    return problem_of(response, 401)["detail"]


def test_a_mistyped_key_is_refused_without_asking_the_database_and_not_repeated(api):
    mistyped = api.key[:-1] + ("a" if api.key[-1] != "a" else "b")

    detail = refused_without_a_look_up(mistyped)

    assert "Copy it again" in detail
    assert mistyped not in detail


def test_a_made_up_key_with_a_right_checksum_is_unknown():
    detail = problem_of(Api(new_key("live")).get("/v1/application"), 401)["detail"]

    assert "unknown" in detail


def test_a_key_of_a_service_for_tests_opens_nothing_here_and_is_told_so(owner, settings):
    settings.API_KEY_MODE = "test"
    key = factories.application_key(owner)
    assert key.startswith("ovk_test_")
    assert Api(key).get("/v1/application").status_code == 200

    settings.API_KEY_MODE = "live"

    assert refused_without_a_look_up(key) == "This is a test key; this service takes live keys only."


def test_the_use_of_a_key_is_noted_to_the_minute(api):
    with time_machine.travel("2026-11-03T10:00:00Z", tick=False) as now:
        api.get("/v1/application")
        now.shift(59)
        api.get("/v1/application")
        first = own_row(api).last_used_at
        now.shift(2)
        api.get("/v1/application")

    assert first == datetime(2026, 11, 3, 10, 0, 0, tzinfo=UTC)
    assert own_row(api).last_used_at == datetime(2026, 11, 3, 10, 1, 1, tzinfo=UTC)


def test_a_key_makes_no_key_that_may_do_more_than_itself(owner, api):
    writer = Api(factories.application_key(owner, ["write"]))
    before = rows_stored()

    refused = writer.post("/v1/api-keys", {"scopes": ["read", "write"]})
    rotation = writer.post(f"/v1/api-keys/{own_row(api).id}/rotate")

    assert "the scope read" in problem_of(refused, 403)["detail"]
    assert "the scope read" in problem_of(rotation, 403)["detail"]
    assert rows_stored() == before
    assert writer.post("/v1/api-keys").json()["scopes"] == ["write"]
    assert writer.post(f"/v1/api-keys/{own_row(writer).id}/rotate").json()["scopes"] == ["write"]


def test_no_key_is_ever_in_a_log_line(owner, api, caplog, capfd):
    caplog.set_level("DEBUG")
    made = api.post("/v1/api-keys", {"name": "CI"}).json()["api_key"]
    rotated = api.post(f"/v1/api-keys/{own_row(Api(made)).id}/rotate").json()["api_key"]
    mistyped, unknown = made[:-1] + "!", new_key("live")
    for key in (made, mistyped, unknown, new_key("test")):
        problem_of(Api(key).get("/v1/application"), 401)
    Api(rotated).post("/v1/subscriptions", {"channel": "webhook", "url": f"https://{rotated}"})
    with monkeypatched_failure():
        assert Api(rotated).get("/v1/application").status_code == 500

    written = caplog.text + "".join(capfd.readouterr())
    assert "Internal Server Error" in written
    for key in (api.key, made, rotated, mistyped, unknown):
        assert key not in written


@contextmanager
def monkeypatched_failure():
    """A fault inside of a call, whose traceback is logged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openvolt_events.api.applications.application_of", lambda request: 1 // 0)
        yield


@pytest.mark.parametrize(("method", "route"), GUARDED, ids=NAMES)
def test_no_call_is_answered_without_a_key(method, route):
    response = Api().call(method, path_of(route), {})

    assert problem_of(response, 401)
    assert "x-api-key" in response.json()["detail"]


@pytest.mark.parametrize(("method", "route"), sorted(set(GUARDED) - OF_BOTH))
def test_a_key_of_the_other_kind_is_403_and_the_detail_says_which_is_needed(api, method, route):
    platform = Api(factories.platform_key())
    wrong, right, needed = (
        (api, platform, "a platform key")
        if (method, route) in OF_THE_PLATFORM
        else (platform, api, "an application key")
    )

    response = wrong.call(method, path_of(route), {})

    assert f"needs {needed}" in problem_of(response, 403)["detail"]
    assert right.call(method, path_of(route), {}).status_code not in (401, 403)


@pytest.mark.parametrize(("method", "route"), sorted(OF_BOTH))
def test_some_calls_are_for_keys_of_both_kinds(api, method, route):
    for one in (api, Api(factories.platform_key())):
        assert one.call(method, path_of(route), {} if method == "POST" else None).status_code not in (
            401,
            403,
        )


@pytest.mark.parametrize(("method", "route"), sorted(set(GUARDED) - OF_BOTH - OF_THE_PLATFORM))
def test_a_key_may_do_what_its_scope_says_and_nothing_else(owner, method, route):
    reads = (method == "GET" and not route.endswith("/secret")) or (method, route) in PREVIEWS
    needed = "read" if reads else "write"
    keys = {scope: Api(factories.application_key(owner, [scope])) for scope in ("read", "write")}
    allowed, refused = keys.pop(needed), keys.popitem()[1]

    response = refused.call(method, path_of(route), {})

    assert f"scope '{needed}'" in problem_of(response, 403)["detail"]
    assert allowed.call(method, path_of(route), {}).status_code not in (401, 403)


def test_a_key_is_made_with_name_scopes_and_end_and_works_at_once(owner, api):
    end = (timezone.now() + timedelta(days=1)).isoformat()

    response = api.post("/v1/api-keys", {"name": "CI", "scopes": ["read"], "expires_at": end})

    answer = response.json()
    row = ApiKey.objects.get(id=answer["id"])
    assert response.status_code == 201
    assert (row.application, row.kind, row.name, row.scopes) == (owner, "application", "CI", ["read"])
    assert answer["api_key"].startswith(answer["prefix"])
    assert answer["expires_at"][:19] == end[:19]
    assert Api(answer["api_key"]).get("/v1/application").json()["id"] == str(owner.id)


def test_a_key_reads_and_writes_for_ever_unless_told_otherwise(api):
    answer = api.post("/v1/api-keys").json()

    assert (answer["name"], answer["scopes"], answer["expires_at"]) == ("", ["read", "write"], None)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["admin"]}, "/scopes/0"),
        ({"scopes": "read"}, "/scopes"),
        ({"name": "x" * 201}, "/name"),
        ({"name": "a\0b"}, "/name"),
        ({"name": "CI\n"}, "/name"),
        ({"name": "C\x1b[2JI"}, "/name"),
        ({"name": "CI\x7f"}, "/name"),
        ({"name": "CI\x9b"}, "/name"),
        ({"name": 5}, "/name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "tomorrow"}, "/expires_at"),
        ({"kind": "platform"}, "/kind"),
        ({"application_id": "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"}, "/application_id"),
    ],
)
def test_a_key_that_breaks_a_rule_is_refused_with_the_place_and_not_made(api, body, pointer):
    before = rows_stored()

    assert pointers_of(api.post("/v1/api-keys", body)) == [pointer]
    assert rows_stored() == before


def test_a_scope_that_is_named_twice_is_had_once(api):
    answer = api.post("/v1/api-keys", {"scopes": ["read", "read"]}).json()

    assert answer["scopes"] == ["read"]
    assert ApiKey.objects.get(id=answer["id"]).scopes == ["read"]


def test_a_character_that_a_name_cannot_have_is_named(api):
    [error] = problem_of(api.post("/v1/api-keys", {"name": "C\x1b[2JI"}), 422)["errors"]

    assert error["code"] == "control"
    assert "U+001B" in error["detail"]
    assert api.post("/v1/api-keys", {"name": "Zoë's CI \U0001f600"}).json()["name"] == "Zoë's CI \U0001f600"


def test_a_key_is_shown_when_it_is_made_and_never_again(owner, api):
    made = api.post("/v1/api-keys", {"name": "CI"}).json()
    rotated = api.post(f"/v1/api-keys/{made['id']}/rotate", {"overlap_seconds": 60}).json()
    keys = [api.key, made["api_key"], rotated["api_key"]]
    digests = list(ApiKey.objects.values_list("digest", flat=True))
    event = Event.objects.get()

    for path in ("api-keys", "application", "events", f"events/{event.id}", "deliveries", "subscriptions"):
        response = api.get(f"/v1/{path}")

        assert response.status_code == 200
        assert not [secret for secret in keys + digests if secret in response.content.decode()]


def test_a_rotation_makes_a_key_like_the_old_one_and_ends_that_one(owner, api):
    old = api.post("/v1/api-keys", {"name": "CI", "scopes": ["read"]}).json()

    response = api.post(f"/v1/api-keys/{old['id']}/rotate")

    new = response.json()
    assert response.status_code == 200
    assert (new["name"], new["scopes"], new["expires_at"]) == ("CI", ["read"], None)
    assert new["id"] != old["id"]
    assert Api(new["api_key"]).get("/v1/application").status_code == 200
    assert problem_of(Api(old["api_key"]).get("/v1/application"), 401)


def test_a_rotated_key_lives_on_for_its_overlap(api):
    old = api.post("/v1/api-keys").json()

    api.post(f"/v1/api-keys/{old['id']}/rotate", {"overlap_seconds": 3600})

    end = ApiKey.objects.get(id=old["id"]).expires_at
    assert end
    left = end - timezone.now()
    assert timedelta(minutes=59) < left <= timedelta(minutes=60)
    assert Api(old["api_key"]).get("/v1/application").status_code == 200
    ApiKey.objects.filter(id=old["id"]).update(expires_at=timezone.now())
    assert problem_of(Api(old["api_key"]).get("/v1/application"), 401)


def test_an_overlap_never_prolongs_a_key(api):
    end = timezone.now() + timedelta(minutes=1)
    old = api.post("/v1/api-keys", {"expires_at": end.isoformat()}).json()

    new = api.post(f"/v1/api-keys/{old['id']}/rotate", {"overlap_seconds": 3600}).json()

    assert ApiKey.objects.get(id=old["id"]).expires_at == end
    assert new["expires_at"] == old["expires_at"]


def test_a_rotation_tells_the_application_which_key_was_replaced_and_never_the_key(owner, api):
    factories.webhook(owner, types=["api_keys.rotated"])
    old = api.post("/v1/api-keys", {"name": "CI"}).json()

    new = api.post(f"/v1/api-keys/{old['id']}/rotate", {"overlap_seconds": 60}).json()

    event = Event.objects.get()
    assert (event.application, event.type) == (owner, "api_keys.rotated")
    assert Delivery.objects.get().event == event
    payload = event.payload_json
    assert (payload["api_key_id"], payload["prefix"], payload["name"]) == (old["id"], old["prefix"], "CI")
    assert payload["old_key_expires_at"] > payload["rotated_at"]
    assert "production" in payload["rotated_by"]
    assert old["api_key"] not in event.payload
    assert new["api_key"] not in event.payload
    assert (payload["new_api_key_id"], payload["new_prefix"]) == (new["id"], new["prefix"])


def test_a_key_can_replace_itself(api):
    new = api.post(f"/v1/api-keys/{own_row(api).id}/rotate").json()

    assert problem_of(api.get("/v1/application"), 401)
    assert Api(new["api_key"]).get("/v1/application").status_code == 200


def test_a_revoked_key_is_refused_at_once_and_no_longer_listed(api):
    made = api.post("/v1/api-keys").json()

    response = api.delete(f"/v1/api-keys/{made['id']}")

    assert (response.status_code, response.content) == (204, b"")
    assert problem_of(Api(made["api_key"]).get("/v1/application"), 401)
    assert [key["id"] for key in api.get("/v1/api-keys").json()["data"]] == [str(own_row(api).id)]
    assert problem_of(api.delete(f"/v1/api-keys/{made['id']}"), 404)
    assert problem_of(api.post(f"/v1/api-keys/{made['id']}/rotate"), 404)


def test_the_twenty_first_key_is_one_too_many_until_one_is_revoked(owner, api):
    while ApiKey.objects.count() < settings.MAX_API_KEYS:
        last = api.post("/v1/api-keys").json()

    refused = api.post("/v1/api-keys")
    api.delete(f"/v1/api-keys/{last['id']}")
    accepted = api.post("/v1/api-keys")

    assert "20" in (detail := problem_of(refused, 409)["detail"])
    assert "MAX_API_KEYS" in detail
    assert accepted.status_code == 201


def test_an_application_with_all_its_keys_can_still_rotate_each_of_them(owner, api):
    while ApiKey.objects.count() < settings.MAX_API_KEYS:
        api.post("/v1/api-keys")
    ids = [key["id"] for key in api.get("/v1/api-keys").json()["data"]]

    for id in ids:
        assert api.post(f"/v1/api-keys/{id}/rotate", {"overlap_seconds": 60}).status_code == 200

    assert "MAX_API_KEYS" in problem_of(api.post("/v1/api-keys"), 409)["detail"]


def test_keys_in_their_overlap_cannot_be_heaped_up_and_a_rotation_without_one_is_always_possible(api):
    key = api.post("/v1/api-keys").json()

    while (
        answer := api.post(f"/v1/api-keys/{key['id']}/rotate", {"overlap_seconds": 60})
    ).status_code == 200:
        key = answer.json()

    assert "MAX_ROTATING_API_KEYS" in problem_of(answer, 409)["detail"]
    assert ApiKey.objects.valid(timezone.now()).count() == 2 * settings.MAX_API_KEYS
    assert Api(key["api_key"]).get("/v1/application").status_code == 200  # a refused rotation ends nothing
    assert api.post(f"/v1/api-keys/{key['id']}/rotate", {"overlap_seconds": 0}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_two_at_once_cannot_both_take_the_last_place(owner, api):
    while ApiKey.objects.count() < settings.MAX_API_KEYS - 1:
        factories.application_key(owner)

    answers = at_once(lambda: Api(api.key).post("/v1/api-keys"))

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert ApiKey.objects.count() == settings.MAX_API_KEYS


@pytest.mark.django_db(transaction=True)
def test_two_at_once_cannot_both_replace_the_same_key(owner, api):
    old = api.post("/v1/api-keys").json()

    answers = at_once(lambda: Api(api.key).post(f"/v1/api-keys/{old['id']}/rotate"))

    assert 200 in (statuses := sorted(answer.status_code for answer in answers))
    assert statuses[1] in (404, 409)  # whether the loser looked for the key before or after it had ended
    assert Event.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_six_who_rotate_a_key_at_once_one_gets_the_new_one(owner, api):
    old = api.post("/v1/api-keys").json()

    answers = at_once(
        lambda: Api(api.key).post(f"/v1/api-keys/{old['id']}/rotate", {"overlap_seconds": 60}), 6
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    assert Event.objects.count() == 1


def test_a_key_that_was_replaced_is_not_replaced_again_and_the_answer_says_what_to_do(api):
    old = api.post("/v1/api-keys").json()
    new = api.post(f"/v1/api-keys/{old['id']}/rotate", {"overlap_seconds": 60}).json()
    before = rows_stored()

    again = api.post(f"/v1/api-keys/{old['id']}/rotate", {"overlap_seconds": 3600})

    detail = problem_of(again, 409)["detail"]
    assert "rotate the new one" in detail
    assert "POST /v1/api-keys" in detail
    assert rows_stored() == before
    assert new["expires_at"] is None
    assert api.post(f"/v1/api-keys/{new['id']}/rotate", {"overlap_seconds": 3600}).status_code == 200


def at_once(call, threads=2):
    """What this answers to threads that call it in the same moment."""
    together = Barrier(threads)

    def one(_):
        together.wait(timeout=30)
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def test_keys_are_listed_newest_first_with_when_they_were_used(owner, api):
    made = api.post("/v1/api-keys", {"name": "CI"}).json()
    Api(made["api_key"]).get("/v1/application")

    newest, first = api.get("/v1/api-keys").json()["data"]

    assert (newest["id"], first["id"]) == (made["id"], str(own_row(api).id))
    assert made["last_used_at"] is None
    assert newest["last_used_at"] is not None
    assert set(newest) == {"id", "name", "prefix", "scopes", "created_at", "last_used_at", "expires_at"}


def test_the_platform_creates_an_application_with_a_first_key_that_is_shown_once():
    platform = Api(factories.platform_key())

    response = platform.post(
        "/v1/applications", {"name": "Green Homes", "contacts": ["ops@greenhomes.example"]}
    )

    answer = response.json()
    first = Api(answer["api_key"])
    assert response.status_code == 201
    assert first.get("/v1/application").json() == {
        "id": answer["id"],
        "name": "Green Homes",
        "contacts": ["ops@greenhomes.example"],
        "created_at": answer["created_at"],
    }
    [key] = first.get("/v1/api-keys").json()["data"]
    assert key["scopes"] == ["read", "write"]
    assert answer["api_key"] not in platform.get("/v1/applications").content.decode()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": " "}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": "Green\r\nHomes"}, "/name"),
        ({"name": "\x1b"}, "/name"),
        ({"name": "Green\x00Homes"}, "/name"),
        ({"name": "x", "contacts": ["me"]}, "/contacts/0"),
        ({"name": "x", "contacts": ["a@example.org"] * 51}, "/contacts"),
        ({"name": "x", "plan": "gold"}, "/plan"),
    ],
)
def test_an_application_that_breaks_a_rule_is_refused_with_the_place_and_not_created(body, pointer):
    platform = Api(factories.platform_key())
    before = rows_stored()

    assert pointers_of(platform.post("/v1/applications", body)) == [pointer]
    assert rows_stored() == before


def test_the_number_of_queries_of_the_lists_of_keys_and_applications_does_not_grow_with_their_rows(
    owner, api, django_assert_num_queries
):
    platform = Api(factories.platform_key())
    for number in range(10):
        factories.application_key(owner)
        factories.application(f"Application {number}")
    api.get("/v1/api-keys")  # notes the use of the key, once a minute
    platform.get("/v1/applications")

    with django_assert_num_queries(2 + READING):
        assert len(api.get("/v1/api-keys").json()["data"]) == 11
    with django_assert_num_queries(2 + READING):
        assert len(platform.get("/v1/applications").json()["data"]) == 11
