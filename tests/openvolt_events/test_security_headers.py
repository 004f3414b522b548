"""What browsers are told with every page, and what Django itself thinks of the settings for production."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.db import ProgrammingError, connection, transaction
from django.test import Client

from tests.support import factories
from tests.support.api import Api, problem_of

pytestmark = pytest.mark.django_db

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PRODUCTION = {
    "SECRET_KEY": "q8Zr3-long-and-random-aVx7mNcB2kLpW9tYhE5uJd0fGsRzQi4o",
    "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "DATABASE_URL": "postgres://user:password@db.example/events",
    "PUBLIC_URL": "https://events.example.com",
    "ALLOWED_HOSTS": "events.example.com",
}
BY_HTTPS = {"x-forwarded-proto": "https"}
BY_HTTP = {"x-forwarded-proto": "http"}


@pytest.fixture
def https(settings):
    """The service as it is behind a proxy that speaks TLS."""
    settings.SECURE_HTTPS = settings.SECURE_SSL_REDIRECT = True
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.SECURE_HSTS_SECONDS, settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = 31_536_000, True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.PUBLIC_URL = "https://events.example.com"


def test_django_has_nothing_to_say_against_the_settings_of_production():
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "DEBUG"],
        cwd=REPOSITORY,
        env=kept | PRODUCTION,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert "System check identified no issues" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    "path", ["/admin/login/", "/docs/", "/v1/events", "/v1/nothing", "/nothing", "/healthz", "/recipients/x"]
)
def test_every_answer_tells_browsers_to_be_strict(path):
    headers = Client().get(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in ("same-origin", "no-referrer")
    assert headers["cross-origin-opener-policy"] == "same-origin"


def test_a_host_that_is_not_ours_gets_the_same_headers():
    headers = Client().get("/docs/", headers={"host": "evil.example"}).headers

    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_browsers_are_kept_to_https_and_only_over_https(https):
    assert Client().get("/docs/", headers=BY_HTTPS).headers["strict-transport-security"] == (
        "max-age=31536000; includeSubDomains"
    )
    assert "strict-transport-security" not in Client().get("/healthz").headers


def test_pages_asked_for_by_http_are_redirected_and_health_is_not(https):
    page = Client().get("/admin/login/", headers=BY_HTTP)

    assert (page.status_code, page.headers["location"]) == (301, "https://testserver/admin/login/")
    assert Client().get("/healthz").status_code == 200


def test_a_key_that_came_by_http_is_refused_and_not_redirected(https):
    api = Api(factories.application_key(factories.application()))

    document = problem_of(api.get("/v1/application", **BY_HTTP), 403)

    assert "https://events.example.com" in document["detail"]
    assert api.get("/v1/application", **BY_HTTPS).status_code == 200
    assert api.get("/v1/application").status_code == 200  # from within, past the proxy


def test_cookies_are_for_this_service_over_https_alone(https, admin_user):
    client = Client(headers=BY_HTTPS)
    form = client.get("/admin/login/")
    csrf = form.cookies["csrftoken"]
    admin_user.set_password("correct horse battery")
    admin_user.save()

    answer = client.post(
        "/admin/login/", {"username": admin_user.username, "password": "correct horse battery", "next": "/"}
    )

    session = answer.cookies["sessionid"]
    assert (session["secure"], session["httponly"], session["samesite"]) == (True, True, "Lax")
    assert (csrf["secure"], csrf["samesite"]) == (True, "Lax")


def test_answers_of_the_api_are_kept_by_no_cache():
    api = Api(factories.application_key(factories.application()))

    for answer in (api.post("/v1/api-keys", {}), api.get("/v1/events"), Api().get("/v1/events")):
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_reference_is_only_to_look_at(method):
    answer = Client(enforce_csrf_checks=True).generic(method, "/docs/")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.django_db
def test_the_web_server_works_as_a_role_that_can_neither_empty_nor_disarm_the_tables():
    """As docs/security.md says how to make it."""
    owner = factories.application()
    platform, own = Api(factories.platform_key()), Api(factories.application_key(owner))
    factories.webhook(owner)
    page = (REPOSITORY / "docs" / "security.md").read_text()
    [granted] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    body = {
        "type": "user.created",
        "payload": factories.example("user.created"),
        "application_id": str(owner.id),
    }

    with connection.cursor() as cursor:
        cursor.execute(granted.replace(" LOGIN PASSWORD '…'", ""))
        cursor.execute("SET LOCAL ROLE events_web")
        event = platform.post("/v1/events", body).json()["id"]
        found = [
            own.get(f"/v1/events/{event}").status_code,
            own.post(f"/v1/events/{event}/replay").status_code,
            own.post("/v1/api-keys").status_code,
            own.post(
                "/v1/subscriptions",
                {"channel": "webhook", "url": "http://127.0.0.1:9/", "event_types": ["*"]},
            ).status_code,
        ]
        for statement in (
            "TRUNCATE accounts_auditentry",
            "TRUNCATE events_event CASCADE",
            "ALTER TABLE deliveries_attempt DISABLE TRIGGER attempt_is_immutable",
            "DROP TRIGGER audit_is_immutable ON accounts_auditentry",
        ):
            with (
                pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
                transaction.atomic(),
            ):
                cursor.execute(statement)
        cursor.execute("RESET ROLE")

    assert found == [200, 202, 201, 201]
