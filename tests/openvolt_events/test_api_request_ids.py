"""Each request has a name, which the caller, every answer and every log line share."""

import io
import logging
from ipaddress import ip_network
from uuid import UUID

import pytest
import structlog
from django.db import OperationalError
from django.test import Client
from structlog.stdlib import ProcessorFormatter

from accounts.keys import PREFIX_LENGTH
from openvolt_events.middleware import StandardError
from tests.support.api import Api, calls, path_of, problem_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def log(monkeypatch):
    """What the process writes to its log, as it writes it."""
    [handler] = [one for one in logging.getLogger().handlers if isinstance(one.formatter, ProcessorFormatter)]
    written = io.StringIO()
    monkeypatch.setattr(handler, "stream", written)
    monkeypatch.setattr(StandardError, "info", lambda _, line: written.write(f"{line}\n"))
    return written


@pytest.mark.parametrize("id", ["a", "import-7.1_b", "0318df2f-7b9c-4b2e-bf8d-113919ab1e78", "x" * 128])
def test_an_answer_has_the_id_that_its_request_had(api, id):
    assert api.get("/v1/events", x_request_id=id).headers["X-Request-Id"] == id


@pytest.mark.parametrize(
    "id",
    ["", " ", "a b", "x" * 129, "schlüssel", "a\nb", "a\r\nSet-Cookie: b=c", "<script>", "a;b", '"', "\0"],
)
def test_an_id_that_cannot_stand_in_a_log_is_replaced(api, id):
    made = api.get("/v1/events", x_request_id=id).headers["X-Request-Id"]

    assert str(UUID(made)) == made


def test_requests_without_an_id_get_different_ones(api):
    made = {api.get("/v1/events").headers["X-Request-Id"] for _ in range(3)}

    assert len({UUID(id) for id in made}) == 3


@pytest.mark.parametrize(("method", "route"), list(calls()))
def test_every_call_answers_with_an_id(api, method, route):
    answers = [caller.call(method, path_of(route), {}, x_request_id="mine") for caller in (api, Api())]

    assert [answer.headers["X-Request-Id"] for answer in answers] == ["mine", "mine"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/nothing", 404),
        ("/nothing", 404),
        ("/healthz", 200),
        ("/readyz", 503),
        ("/docs/", 200),
        ("/admin/", 302),
        ("/admin/login/", 200),
        ("/recipients/nobody", 404),
    ],
)
def test_whatever_is_asked_for_the_answer_has_an_id(path, status):
    response = Client().get(path, headers={"x-request-id": "mine"})

    assert (response.status_code, response.headers["X-Request-Id"]) == (status, "mine")


def test_a_host_that_is_not_ours_is_answered_with_an_id(api):
    assert api.get("/v1/events", host="evil.example", x_request_id="mine").headers["X-Request-Id"] == "mine"


def test_a_fault_of_our_own_is_found_in_the_log_by_its_id(api, log, monkeypatch):
    def break_down(*_):
        raise RuntimeError("inside")

    monkeypatch.setattr("openvolt_events.api.views.OfApplication.get_queryset", break_down)

    response = api.get("/v1/events", x_request_id="import-7")

    assert problem_of(response, 500)
    assert response.headers["X-Request-Id"] == "import-7"
    first_line = log.getvalue().partition("\n")[0]
    assert "/v1/events" in first_line
    assert "request_id=import-7" in first_line
    assert "RuntimeError: inside" in log.getvalue()


def test_a_database_that_is_away_is_found_in_the_log_by_the_id(api, log, monkeypatch):
    def away(*_):
        raise OperationalError("server closed the connection")

    monkeypatch.setattr("openvolt_events.api.views.OfApplication.get_queryset", away)

    response = api.get("/v1/events", x_request_id="import-7")

    assert problem_of(response, 503)
    assert response.headers["X-Request-Id"] == "import-7"
    lines = log.getvalue().splitlines()
    assert "the database can't be reached" in lines[0]
    assert all("request_id=import-7" in line for line in lines)


def test_what_is_logged_after_a_request_has_none_of_its_id(api, log):
    api.get("/v1/events", x_request_id="import-7")

    structlog.get_logger("tests").warning("afterwards")

    of_the_request, afterwards = log.getvalue().splitlines()
    assert "import-7" in of_the_request
    assert "afterwards" in afterwards
    assert "import-7" not in afterwards


@pytest.mark.parametrize(
    ("method", "path", "status", "route"),
    [
        ("GET", "/v1/events?limit=7", 200, "v1/events"),
        ("POST", "/v1/subscriptions", 422, "v1/subscriptions"),
        ("GET", "/v1/events/0318df2f-7b9c-4b2e-bf8d-113919ab1e78", 404, "v1/events/<id:id>"),
    ],
)
def test_each_request_is_one_line_with_what_it_was_and_what_came_of_it(api, log, method, path, status, route):
    response = api.call(method, path, x_request_id="import-7")

    [line] = log.getvalue().splitlines()
    said = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
    assert (response.status_code, response.headers["X-Request-Id"]) == (status, "import-7")
    assert (said["request_id"], said["method"], said["status"], said["route"]) == (
        "import-7",
        method,
        str(status),
        route,
    )
    assert said["key"] == api.key[:PREFIX_LENGTH]
    assert said["client"] == "127.0.0.1"
    assert float(said["duration_ms"]) >= 0


def test_who_comes_without_a_key_and_to_a_path_that_is_not_there_has_a_line_too(log):
    Api().get("/v1/nothing-of-ours")
    Api().get("/v1/events")

    nowhere, keyless = log.getvalue().splitlines()
    assert "status=404" in nowhere
    assert "nothing-of-ours" not in nowhere
    assert "status=401" in keyless
    assert "key=" not in keyless


@pytest.mark.parametrize(
    ("proxies", "client"), [([], "127.0.0.1"), ([ip_network("127.0.0.0/8")], "198.51.100.7")]
)
def test_the_line_says_who_has_asked_as_far_as_our_proxies_are_believed(log, settings, proxies, client):
    settings.TRUSTED_PROXIES = proxies

    Api().get("/v1/events", x_forwarded_for="192.0.2.1, 198.51.100.7")

    assert f"client={client} " in log.getvalue()


def test_no_link_of_an_email_and_no_query_is_in_the_line(log):
    answer = Client().get("/recipients/unsubscribe/secret-of-ann?who=ann")

    assert answer.status_code in (200, 404)
    assert f"status={answer.status_code}" in log.getvalue()
    assert "secret-of-ann" not in log.getvalue()
    assert "ann" not in log.getvalue()


@pytest.mark.parametrize("path", ["/static/favicon.svg", "/healthz"])
def test_what_machines_ask_for_all_the_time_fills_no_log(log, path):
    assert Client().get(path).status_code == 200
    assert log.getvalue() == ""
