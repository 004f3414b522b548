"""Everything from outside is hostile: whatever comes in, the answer is a problem document, and nothing is stored."""

import io
import json

import pytest
from django.conf import settings
from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client

from tests.support import factories
from tests.support.api import calls, path_of, pointers_of, problem_of, rows_stored

pytestmark = pytest.mark.django_db

LONE = b'"\\ud800"'
DEEP = 100_000
EMAIL = {"channel": "email", "recipients": ["ann@example.org"], "event_types": ["*"]}


@pytest.fixture(autouse=True)
def nothing_is_stored(owner, api, platform):
    before = rows_stored()
    yield
    assert rows_stored() == before


def event(owner, payload):
    """The body of a publish, with this text for its payload."""
    return b'{"application_id":"%s","type":"user.created","payload":%s}' % (str(owner.id).encode(), payload)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": [{"c": 1, "c": 1}]}}',
        b'{"a": "\x00"}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b"[" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        b"[" * 300 + b"]" * 300,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b"\x1f\x8b\x08\x00",
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-be"),
        '{"a": 1}'.encode("utf-32"),
        '{"a": "é"}'.encode("latin-1"),
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xc0\xaf"}',
        b'{"a": "\\ud8"}',
        b'{"a": 01}',
        b'{"a": 1e}',
        b'{"a": .5}',
        b'{"a": 1} // a comment',
        b'{"a": 1}\x00',
    ],
    ids=lambda body: repr(body[:20]),
)
@pytest.mark.parametrize(
    "path", ["events", "events/batch", "events/preview", "applications", "subscriptions/preview"]
)
def test_a_body_that_is_no_json_or_says_two_things_is_400(platform, api, path, body):
    caller = platform if path in ("events", "events/batch", "applications") else api

    response = caller.post(f"/v1/{path}", body)

    document = problem_of(response, 400)
    assert document["errors"][0]["code"] == "json"
    assert "sys." not in document["detail"]


def test_a_body_that_is_nested_as_deep_as_python_itself_may_go_is_never_a_500(owner, platform, api):
    for depth in (*range(190, 210), *range(850, 1000, 10)):
        nest = b"[" * depth + b"]" * depth
        batch = platform.post(
            "/v1/events/batch", b'{"events":[' + event(owner, nest) + b"]}", idempotency_key="deep"
        )
        answers = [
            platform.post("/v1/events", event(owner, nest)),
            batch,
            api.post("/v1/subscriptions", b'{"channel":' + nest + b"}"),
            api.post("/v1/api-keys", b'{"scopes":[' + nest + b"]}"),
        ]
        assert {answer.status_code for answer in answers} <= {400, 422}


def test_a_payload_nested_too_deeply_is_pointed_at(owner, platform):
    response = platform.post("/v1/events", event(owner, b'{"_id":"x","a":' + b"[" * 110 + b"]" * 110 + b"}"))

    assert pointers_of(response) == ["/payload/a" + "/0" * 100]
    assert "MAX_PAYLOAD_DEPTH" in response.json()["detail"]


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        (b'{"_id":"\\u0000"}', "/payload/_id"),
        (b'{"_id":"x","a\\u0000":1}', "/payload"),
        (b'{"_id":' + LONE + b"}", "/payload/_id"),
        (b'{"_id":"x",' + LONE + b":1}", "/payload"),
        (b'{"_id":"x","n":' + b"9" * 400 + b"}", "/payload/n"),
        (b'{"_id":"x","n":1e400}', "/payload/n"),
        (b'{"_id":"' + b"x" * 2 * 1024 * 1024 + b'"}', "/payload"),
        (b"null", "/payload"),
        (b"[]", "/payload"),
        (b"5", "/payload"),
        (b'"text"', "/payload"),
        (b"{}", "/payload/_id"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else value,
)
def test_a_payload_that_cannot_be_told_is_422_with_its_place(owner, platform, payload, pointer):
    assert pointers_of(platform.post("/v1/events", event(owner, payload))) == [pointer]


@pytest.mark.parametrize("body", [b"null", b"[]", b"5", b'"text"', b"true", b"[{}]"])
@pytest.mark.parametrize(("method", "route"), [call for call in calls() if call[0] in ("POST", "PATCH")])
def test_a_body_that_is_no_object_is_refused_by_every_call(owner, api, platform, method, route, body):
    caller = platform if api.call(method, path_of(route), body).status_code == 403 else api

    response = caller.call(method, path_of(route), body)

    assert response.status_code in (404, 422)  # 404: an id that is none comes first
    assert problem_of(response, response.status_code)


@pytest.mark.parametrize(
    "body",
    [
        b'{"application_id":%s,"type":"user.created","payload":{}}' % LONE,
        b'{"application_id":"\\u0000","type":"user.created","payload":{}}',
        b'{"application_id":' + b"9" * 4000 + b',"type":"user.created","payload":{}}',
        b'{"application_id":-1,"type":"user.created","payload":{}}',
        b'{"application_id":1e400,"type":"user.created","payload":{}}',
        b'{"application_id":{},"type":%s,"payload":{},"occurred_at":%s}' % (LONE, LONE),
        b'{"application_id":[],"type":"\\u0000","payload":{},"occurred_at":"\\u0000"}',
        b"{%s:1}" % LONE,
        b'{"\\u0000":1}',
        b'{"":1}',
        b'{"' + b"a" * 1_000_000 + b'":1}',
        b"{" + b",".join(b'"%d":1' % number for number in range(50_000)) + b"}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_whatever_an_event_holds_the_answer_is_a_document_that_can_be_read(platform, body):
    response = platform.post("/v1/events", body)

    assert len(problem_of(response, 422)["errors"]) <= 100
    json.loads(response.content.decode())


@pytest.mark.parametrize(
    "name", [b'"a\\u0000b"', LONE, b"5", b"{}", b"[]", b"true", b"null", b"1e400", b'""']
)
def test_a_name_or_a_description_that_is_no_text_is_422_with_its_place(api, platform, name):
    new = b'{"channel":"webhook","url":"https://93.184.216.34/","event_types":["*"],"description":%s}'
    empty_is_fine = name == b'""'

    assert pointers_of(platform.post("/v1/applications", b'{"name":%s}' % name)) == ["/name"]
    if not empty_is_fine:
        assert pointers_of(api.post("/v1/api-keys", b'{"name":%s}' % name)) == ["/name"]
        assert pointers_of(api.post("/v1/subscriptions", new % name)) == ["/description"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metadata", b'{"a":%s}' % LONE),
        ("metadata", b"{%s:1}" % LONE),
        ("metadata", b'{"a":1e400}'),
        ("metadata", b'{"a":"\\u0000"}'),
        ("metadata", b'{"a":' + b"[" * 150 + b"]" * 150 + b"}"),
        ("headers", b"{%s:%s}" % (LONE, LONE)),
        ("headers", b'{"a":{"b":1}}'),
        ("headers", b'{"a\\r\\nb":"1"}'),
        ("filter", LONE),
        ("filter", b"{%s:[1]}" % LONE),
        ("filter", b'{"/a":[%s]}' % LONE),
        ("filter", b'{"/a":["\\u0000"]}'),
        ("filter", b'{"/\\u0000":["a"]}'),
        ("filter", b'{"/a":[1e400]}'),
        ("filter", b'{"/a":[' + b"9" * 4000 + b"]}"),
        ("filter", b'{"/a":[[[]]]}'),
        ("filter", b'{"a":["b"]}'),
        ("filter", b'{"/a~2":["b"]}'),
        ("filter", b'{"/' + b"a" * 100_000 + b'":["b"]}'),
        ("filter", b'{"' + b"/a" * 50_000 + b'":["b"]}'),
        ("event_types", b"[%s]" % LONE),
        ("event_types", b"[[[]]]"),
        ("retry_schedule", b"[1e400]"),
        ("retry_schedule", b"[%s]" % (b"9" * 4000)),
        ("retry_schedule", b'["5"]'),
        ("url", LONE),
        ("url", b'"https://\\u0000/"'),
        ("channel", LONE),
        ("channel", b"[]"),
    ],
)
def test_whatever_a_field_of_a_subscription_holds_it_is_422_with_its_place(api, field, value):
    whole = {
        "channel": b'"webhook"',
        "url": b'"https://93.184.216.34/"',
        "event_types": b'["*"]',
        field: value,
    }
    body = b"{" + b",".join(b'"%s":%s' % (name.encode(), text) for name, text in whole.items()) + b"}"

    pointers = pointers_of(api.post("/v1/subscriptions", body))

    assert all(pointer.startswith(f"/{field}") for pointer in pointers)
    if field in ("filter", "event_types"):
        wanted = {"event_types": b'["*"]', field: value}
        pairs = b",".join(b'"%s":%s' % (name.encode(), text) for name, text in wanted.items())
        assert pointers_of(api.post("/v1/subscriptions/preview", b"{%s}" % pairs)) == pointers


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("since", LONE),
        ("since", b'"\\u0000"'),
        ("since", b"1e400"),
        ("since", b"9" * 4000),
        ("since", b'"0000-00-00T00:00:00Z"'),
        ("since", b'"2026-01-01T00:00:00+99:99"'),
        ("until", b'"999999999-01-01T00:00:00Z"'),
        ("types", b"[%s]" % LONE),
        ("types", b"[[[]]]"),
        ("types", b"5"),
        ("only", LONE),
        ("only", b"[]"),
        ("dry_run", b'"perhaps"'),
        ("dry_run", b"[]"),
        ("url", LONE),
        ("url", b'"https://\\u0000/"'),
        ("url", b'"https://10.0.0.5/"'),
    ],
)
def test_whatever_a_field_of_a_replay_holds_it_is_422_with_its_place(owner, api, field, value):
    fields = {"since": b'"2026-01-01T00:00:00Z"', "only": b'"missed"', field: value}
    body = b"{" + b",".join(b'"%s":%s' % (name.encode(), text) for name, text in fields.items()) + b"}"

    with transaction.atomic():
        subscription = factories.webhook(owner)
        pointers = pointers_of(api.post(f"/v1/subscriptions/{subscription.id}/replays", body))
        transaction.set_rollback(True)

    assert all(pointer.startswith(f"/{field}") for pointer in pointers)


@pytest.mark.parametrize(
    "type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_body_of_another_content_type_is_415_and_says_which_is_read(platform, type):
    response = platform.post("/v1/events", b"a=b", content_type=type)

    assert "send application/json" in problem_of(response, 415)["detail"]


@pytest.mark.parametrize("type", ["application/jsonp", "application/json-seq", "text/json", ""])
def test_a_content_type_that_only_looks_like_json_is_415(platform, type):
    assert problem_of(platform.post("/v1/events", b"{}", content_type=type), 415)


@pytest.mark.parametrize("type", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
def test_json_is_json_however_its_name_is_written(platform, type):
    assert problem_of(platform.post("/v1/events", b"{}", content_type=type), 422)


class Unread(io.RawIOBase):
    """A body that must not be read."""

    def readable(self):
        return True

    def read(self, size=-1):
        raise AssertionError("the body was read")

    readinto = readline = read


def raw(path, key, **environ):
    """The answer to a request that no client library would send."""
    base = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "HTTP_X_API_KEY": key,
        "CONTENT_TYPE": "application/json",
        "wsgi.input": Unread(),
    }
    return Client(raise_request_exception=False).request(**base | environ)


def test_a_body_that_is_too_large_is_413_before_it_is_read(platform):
    response = raw("/v1/events", platform.key, CONTENT_LENGTH=str(settings.MAX_BODY_BYTES + 1))

    assert "MAX_BODY_BYTES" in problem_of(response, 413)["detail"]


def test_a_body_in_chunks_is_411_instead_of_being_taken_for_an_empty_one(owner, api):
    with transaction.atomic():
        subscription = factories.webhook(owner)
        path = f"/v1/subscriptions/{subscription.id}/pause"

        response = raw(path, api.key, HTTP_TRANSFER_ENCODING="chunked")

        assert "Content-Length" in problem_of(response, 411)["detail"]
        subscription.refresh_from_db()
        assert subscription.status == "active"
        transaction.set_rollback(True)


@pytest.mark.parametrize("length", ["abc", "", "1e3"])
def test_a_length_that_is_no_number_is_no_body(platform, length):
    assert problem_of(raw("/v1/events", platform.key, CONTENT_LENGTH=length), 422)


def test_a_body_that_breaks_off_is_400(platform):
    halves = {"CONTENT_LENGTH": "100", "wsgi.input": io.BytesIO(b'{"type":')}

    assert pointers_of(raw("/v1/events", platform.key, **halves), 400) == [""]


def test_a_list_that_is_far_too_long_is_counted_and_not_looked_through(owner, api, platform):
    many = [5] * 200_000

    assert pointers_of(api.post("/v1/subscriptions", {**EMAIL, "recipients": many})) == ["/recipients"]
    assert pointers_of(api.post("/v1/subscriptions", {**EMAIL, "event_types": many})) == ["/event_types"]
    assert pointers_of(api.post("/v1/api-keys", {"scopes": many})) == ["/scopes"]
    assert pointers_of(platform.post("/v1/events/batch", {"events": many})) == ["/events"]
    assert pointers_of(platform.post("/v1/applications", {"name": "x", "contacts": many})) == ["/contacts"]


@pytest.mark.parametrize(("method", "route"), [call for call in calls() if call[0] == "GET"])
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("colour=blue", "/colour"),
        ("a/b~c=1", "/a~1b~0c"),
        ("%00=1", "/\0"),
        ("%FF=%FF", "/\ufffd"),
        ("=1", "/"),
    ],
)
def test_an_unknown_query_parameter_is_refused_by_every_call(api, platform, method, route, query, pointer):
    caller = platform if route == "applications" else api

    assert pointers_of(caller.get(f"{path_of(route)}?{query}")) == [pointer]


@pytest.mark.parametrize(
    "value", ["%00", "a%00b", "%FF", "%ED%A0%80", "%F0%9F%98%80", "'; DROP TABLE events; --"]
)
def test_a_strange_value_in_a_query_is_422_and_names_the_parameter(api, value):
    for path in (
        "events?type",
        "events?occurred_after",
        "deliveries?event_id",
        "deliveries?status",
        "events?cursor",
    ):
        assert pointers_of(api.get(f"/v1/{path}={value}")) == ["/" + path.partition("?")[2]]


def test_too_many_query_parameters_are_400(api):
    query = "&".join(f"p{number}=1" for number in range(2000))

    assert problem_of(api.get(f"/v1/events?{query}"), 400)


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/events/",
        "/v1/events/5",
        "/v1/events/%00",
        "/v1/events/019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4/nothing",
        "/v1/event-types/meter.melted",
        "/v1/event-types/%00",
        "/v1/event-types/%ED%A0%80",
        "/v1/%FF",
        "/v1/..%2fadmin",
        "/v1/" + "a" * 5000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404(api, method, path):
    response = api.call(method, path)

    expected = 405 if method == "POST" and "event-types/" in path else 404
    assert problem_of(response, expected)
    assert len(response.content) < 1000


@pytest.mark.parametrize("route", sorted({route for _, route in calls()}))
def test_a_method_that_a_path_does_not_have_is_405_and_says_which_it_has(api, platform, route):
    known = {method for method, other in calls() if other == route}

    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - known:
        answers = [caller.call(method, path_of(route)) for caller in (api, platform)]
        refused = [answer for answer in answers if answer.status_code != 403]
        assert refused
        for answer in refused:
            assert problem_of(answer, 405)
            assert set(answer.headers["Allow"].split(", ")) - {"HEAD"} == known


def test_a_method_that_a_path_does_not_have_is_405_whatever_the_query(api):
    assert problem_of(api.call("TRACE", "/v1/events?cursor=&colour=blue"), 405)


def test_a_host_that_is_not_ours_is_400(api):
    assert problem_of(api.get("/v1/events", host="evil.example"), 400)


def test_a_fault_of_our_own_is_a_500_that_tells_nothing_about_it(api, monkeypatch):
    def break_down(*_):
        raise RuntimeError("secret inside")

    monkeypatch.setattr("openvolt_events.api.views.OfApplication.get_queryset", break_down)

    response = api.get("/v1/events")

    assert problem_of(response, 500)
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/events"), ("POST", "/v1/events"), ("GET", "/v1/event-types"), ("GET", "/v1/application")],
)
def test_a_database_that_is_away_is_503_and_says_when_to_try_again(api, monkeypatch, method, path):
    def away(*_):
        raise OperationalError("connection refused: host=db.internal")

    monkeypatch.setattr(BaseDatabaseWrapper, "cursor", away)

    response = api.call(method, path, {})

    monkeypatch.undo()
    assert "try again" in problem_of(response, 503)["detail"]
    assert response.headers["Retry-After"] == "5"
    assert "db.internal" not in response.content.decode()


def test_a_database_that_goes_away_between_key_and_answer_is_503(api, monkeypatch):
    def away(*_):
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr("openvolt_events.api.views.OfApplication.get_queryset", away)

    assert problem_of(api.get("/v1/events"), 503)


def test_hostile_text_that_was_accepted_is_answered_as_it_came(api):
    text = '<script>alert(1)</script>\u2028\U0001f600"\\'

    with transaction.atomic():
        response = api.post("/v1/api-keys", {"name": text})
        transaction.set_rollback(True)

    assert response.json()["name"] == text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
