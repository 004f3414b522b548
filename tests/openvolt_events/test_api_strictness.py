"""Nothing that was sent is passed over in silence, and nothing is taken for what it is not. The calls are walked."""

import pytest

from accounts.models import ApiKey
from deliveries.publishing import publish
from tests.support import factories
from tests.support.api import Api, calls, path_of, pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db


class World:
    """An application with something behind each id, and both kinds of key."""

    def __init__(self) -> None:
        owner = factories.application()
        subscription = factories.webhook(owner)
        event = publish(owner, "user.created", factories.example("user.created"))
        spare, _ = ApiKey.objects.issue(kind="application", name="spare", application=owner)
        self.ids = {
            "events": event.id,
            "subscriptions": subscription.id,
            "deliveries": event.deliveries.get().id,
            "replays": factories.replay(subscription).id,
            "api-keys": spare.id,
        }
        self.application = Api(factories.application_key(owner))
        self.platform = Api(factories.platform_key())

    def call(self, method, route, body=None, query="", **headers):
        """The call with ids that exist, and with the key that it needs."""
        path = path_of(route, self.ids.get(route.split("/")[0], "019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"))
        answers = (
            caller.call(method, path + query, body, **headers) for caller in (self.application, self.platform)
        )
        return next(answer for answer in answers if answer.status_code != 403)


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(("method", "route"), list(calls()))
def test_every_call_refuses_a_query_parameter_that_it_does_not_know_and_names_it(world, method, route):
    before = rows_stored()

    response = world.call(method, route, {}, "?colour=blue&size=9")

    assert pointers_of(response) == ["/colour", "/size"]
    assert "'colour'" in response.json()["detail"]
    assert rows_stored() == before


@pytest.mark.parametrize(("method", "route"), list(calls()))
def test_every_call_refuses_a_field_that_it_does_not_know_and_names_it(world, method, route):
    before = rows_stored()

    response = world.call(method, route, {"colour": "blue"})

    if response.status_code == 404:
        assert route.split("/")[0] not in world.ids
        return
    assert "/colour" in pointers_of(response)
    assert rows_stored() == before


@pytest.mark.parametrize(("method", "route"), [call for call in calls() if call[0] in ("GET", "DELETE")])
def test_a_call_that_takes_no_body_refuses_one_that_is_no_json(world, method, route):
    assert problem_of(world.call(method, route, b"a=b", content_type="text/plain"), 415)
    assert problem_of(world.call(method, route, b"{"), 400)


@pytest.mark.parametrize("header", ["x_http_method_override", "x_http_method", "x_method_override"])
def test_a_method_is_the_one_of_the_request_line(world, header):
    response = world.call("POST", "subscriptions/<id:id>/pause", {}, **{header: "DELETE"})

    assert response.status_code == 200
    assert world.call("GET", "subscriptions/<id:id>").json()["status"] == "paused"


@pytest.mark.parametrize("format", ["format=xml", "format=json", "_method=DELETE"])
def test_no_query_parameter_changes_what_a_call_is(world, format):
    assert pointers_of(world.call("GET", "events", query=f"?{format}")) == ["/" + format.partition("=")[0]]


@pytest.mark.parametrize(
    "accept", ["application/xml", "text/html,*/*;q=0.1", "image/png", ";;;", "application/json;version=2", ""]
)
def test_whatever_is_accepted_the_answer_is_json(world, accept):
    response = world.call("GET", "events", accept=accept)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["data"]


@pytest.mark.parametrize(
    "type",
    ["application/json; charset=utf-16", "application/json; charset=latin-1", 'application/json; a="b;c"'],
)
def test_json_is_utf_8_whatever_charset_is_said(world, type):
    latin, utf_8 = '{"name":"Zoë"}'.encode("latin-1"), '{"name":"Zoë"}'.encode()

    assert problem_of(world.application.post("/v1/api-keys", latin, content_type=type), 400)
    assert world.application.post("/v1/api-keys", utf_8, content_type=type).json()["name"] == "Zoë"


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP, identity", "nonsense"])
def test_a_compressed_body_is_refused(world, coding):
    response = world.call("POST", "api-keys", b"\x1f\x8b\x08\x00", content_encoding=coding)

    assert "send it as it is" in problem_of(response, 415)["detail"]


def test_a_body_that_says_that_it_is_not_compressed_is_read(world):
    assert world.call("POST", "api-keys", {}, content_encoding="identity").status_code == 201


def test_a_head_request_is_answered_as_a_get_without_its_body(world):
    response = world.call("HEAD", "events")

    assert response.status_code == 200
    assert response.content == b""
    assert response.headers["RateLimit"]
