"""How many requests a key, and an address without one, may make, whichever process answers them."""

import http.client
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from socket import AF_INET
from urllib.parse import urlsplit

import pytest
import time_machine
from django.db import OperationalError, connection
from django.test import RequestFactory

from accounts.throttling import WINDOW, forget_request_counts
from openvolt_events.callers import client_address, neighbourhood
from openvolt_events.serve import bound, wait_for_web, web_server
from tests.support import factories
from tests.support.api import Api, problem_of, rows_stored

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 3, 10, 30, 0, tzinfo=UTC)


@pytest.fixture
def clock():
    """Stands at the beginning of a window until the test moves it."""
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def left(response):
    """Quota, requests that remain, and seconds until they are all there again, as the answer says it."""
    policy = re.fullmatch(r'"(\w+)";q=(\d+);w=(\d+)', response.headers["RateLimit-Policy"])
    state = re.fullmatch(r'"(\w+)";r=(\d+);t=(\d+)', response.headers["RateLimit"])
    assert policy
    assert state
    assert policy[1] == state[1]
    assert int(policy[3]) == WINDOW.total_seconds()
    return int(policy[2]), int(state[2]), int(state[3])


def counted():
    with connection.cursor() as cursor:
        cursor.execute("SELECT requests FROM accounts_request_count ORDER BY began_at, caller")
        return [row[0] for row in cursor.fetchall()]


def test_every_answer_to_a_key_says_how_many_requests_are_left(api, clock, settings):
    settings.RATE_LIMIT_APPLICATION = 100

    answers = [api.get("/v1/application")]
    clock.shift(timedelta(seconds=4.2))
    answers += [
        api.get("/v1/events?colour=blue"),
        api.get("/v1/events/019a4c1e-7b60-7d3a-9a51-0c2f6be3a7d4"),
        api.post("/v1/events", {}),
        api.delete("/v1/events"),
    ]

    assert [answer.status_code for answer in answers] == [200, 422, 404, 403, 405]
    assert [left(answer) for answer in answers] == [
        (100, 99, 10),
        (100, 98, 6),
        (100, 97, 6),
        (100, 96, 6),
        (100, 95, 6),
    ]


def test_a_key_that_asks_too_often_is_429_until_the_next_window(owner, api, clock, settings):
    settings.RATE_LIMIT_APPLICATION = 3
    before = [api.get("/v1/events").status_code for _ in range(3)]
    clock.shift(timedelta(seconds=7.5))
    stored = rows_stored()

    refused = api.post("/v1/api-keys", {"name": "one more"})

    assert before == [200, 200, 200]
    document = problem_of(refused, 429)
    assert document["type"] == "urn:openvolt:problem:too-many-requests"
    assert "RATE_LIMIT_APPLICATION" in document["detail"]
    assert refused.headers["Retry-After"] == "3"
    assert left(refused) == (3, 0, 3)
    assert rows_stored() == stored
    clock.shift(timedelta(seconds=int(refused.headers["Retry-After"])))
    assert api.get("/v1/events").status_code == 200


def test_each_key_is_counted_by_itself(owner, api, clock, settings):
    settings.RATE_LIMIT_APPLICATION = 1
    other = Api(factories.application_key(owner))

    answers = [one.get("/v1/application").status_code for one in (api, other, api, other)]

    assert answers == [200, 200, 429, 429]


def test_a_platform_key_has_a_limit_of_its_own(owner, api, clock, settings):
    settings.RATE_LIMIT_PLATFORM, settings.RATE_LIMIT_APPLICATION = 2, 1
    platform = Api(factories.platform_key())
    body = {"application_id": str(owner.id), "type": "user.created", "payload": {"_id": "u1"}}

    answers = [platform.post("/v1/events", body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert "RATE_LIMIT_PLATFORM" in problem_of(answers[-1], 429)["detail"]


def test_a_key_of_the_wrong_kind_is_counted_too(api, clock, settings):
    settings.RATE_LIMIT_APPLICATION = 2

    answers = [api.post("/v1/events", {}).status_code for _ in range(3)]

    assert answers == [403, 403, 429]


@pytest.mark.parametrize("key", ["", "wrong", "ovk_live_guessed"])
def test_who_tries_keys_is_429_by_address_and_valid_keys_from_there_are_not(api, clock, settings, key):
    settings.RATE_LIMIT_ADDRESS = 3
    stranger = Api(key)

    answers = [stranger.get("/v1/events") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert left(answers[0]) == (3, 2, 10)
    document = problem_of(answers[-1], 429)
    assert "127.0.0.1" in document["detail"]
    assert "RATE_LIMIT_ADDRESS" in document["detail"]
    assert answers[-1].headers["Retry-After"] == "10"
    assert api.get("/v1/events").status_code == 200
    clock.shift(WINDOW)
    assert stranger.get("/v1/events").status_code == 401


def test_each_address_is_counted_by_itself(clock, settings):
    settings.RATE_LIMIT_ADDRESS, settings.TRUSTED_PROXIES = 1, proxies("127.0.0.0/8")
    from_where = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]

    answers = [Api().get("/v1/events", x_forwarded_for=address).status_code for address in from_where]

    assert answers == [401, 401, 429, 401, 429, 401]


def test_an_address_cannot_be_made_up(clock, settings):
    settings.RATE_LIMIT_ADDRESS = 1

    answers = [Api().get("/v1/events", x_forwarded_for=f"192.0.2.{n}").status_code for n in range(3)]

    assert answers == [401, 429, 429]


def proxies(*networks):
    return [ip_network(network) for network in networks]


@pytest.mark.parametrize(
    ("connected", "forwarded", "client"),
    [
        ("192.0.2.9", "", "192.0.2.9"),
        ("192.0.2.9", "198.51.100.1", "192.0.2.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "invented, 203.0.113.5, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, invented", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("::ffff:10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("", "198.51.100.1", "198.51.100.1"),
        ("", "", "unknown"),
    ],
)
def test_a_client_is_the_nearest_that_is_none_of_our_proxies(settings, connected, forwarded, client):
    settings.TRUSTED_PROXIES = proxies("10.0.0.0/8")
    request = RequestFactory().get("/", headers={"x-forwarded-for": forwarded}, REMOTE_ADDR=connected)

    assert client_address(request) == client


def test_a_header_is_believed_from_nobody_unless_proxies_are_named(settings):
    settings.TRUSTED_PROXIES = []
    for connected, client in (("127.0.0.1", "127.0.0.1"), ("", "unknown")):
        request = RequestFactory().get("/", headers={"x-forwarded-for": "192.0.2.1"}, REMOTE_ADDR=connected)

        assert client_address(request) == client


def test_a_customer_of_ipv6_has_a_whole_network():
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1") == "2001:db8::/64"
    assert neighbourhood("192.0.2.1") == "192.0.2.1"


def test_a_database_that_cannot_count_is_503(monkeypatch):
    def away(*_):
        raise OperationalError("connection refused")

    monkeypatch.setattr("openvolt_events.api.throttling.count_address", away)

    assert problem_of(Api().get("/v1/events"), 503)


def test_the_schema_is_for_anyone_and_not_counted(clock, settings):
    settings.RATE_LIMIT_ADDRESS = 1

    assert {Api().get("/v1/openapi.json").status_code for _ in range(5)} == {200}
    assert "RateLimit" not in Api().get("/v1/openapi.json").headers


def test_counts_of_windows_that_are_over_are_forgotten(api, clock):
    forget_request_counts(datetime.now(UTC) + timedelta(days=365 * 50))
    for _ in range(3):
        api.get("/v1/application")
        clock.shift(WINDOW)
    api.get("/v1/application")

    forgotten = forget_request_counts(datetime.now(UTC))

    assert forgotten == 2
    assert counted() == [1, 1]


@contextmanager
def web(settings: dict[str, str]) -> Iterator[int]:
    """A web server of its own on the test's database; its port."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    with bound(AF_INET, "127.0.0.1", 0) as listener:
        server = web_server([listener], os.environ | {"DATABASE_URL": url} | settings)
        server.start()
        try:
            wait_for_web(server, listener.getsockname()[1])
            yield listener.getsockname()[1]
        finally:
            server.kill()


def ask(port: int, key: str) -> int:
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        asking.request("GET", "/v1/application", headers={"x-api-key": key})
        return asking.getresponse().status
    finally:
        asking.close()


@pytest.mark.django_db(transaction=True)
def test_two_web_servers_count_together(api):
    with ExitStack() as held:
        ports = [held.enter_context(web({"RATE_LIMIT_APPLICATION": "10"})) for _ in range(2)]
        forget_request_counts(datetime.now(UTC) + 2 * WINDOW)

        answers = [ask(ports[number % 2], api.key) for number in range(30)]

    assert sum(counted()) == 30
    assert answers.count(200) == sum(min(requests, 10) for requests in counted())
    assert answers.count(429) == 30 - answers.count(200)
    assert 429 in answers
