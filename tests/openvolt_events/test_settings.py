"""The settings as they are read from an environment: what is refused, and that each is documented."""

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SETTINGS = REPOSITORY / "openvolt_events" / "settings.py"
PRODUCTION = {
    "SECRET_KEY": "long-and-random-as-it-is-in-production",
    "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "DATABASE_URL": "postgres://user:hidden@db.example/events",
}
OF_MAKE_RUN = {"PORT"}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch):
    """Read the settings in an environment that has these values and no others."""

    def settings(**values: str) -> dict[str, Any]:
        for name in names_read():
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(SETTINGS))

    return settings


def names_read() -> set[str]:
    calls = [node for node in ast.walk(ast.parse(SETTINGS.read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id.startswith("env")]
    return {str(call.args[0].value) for call in named if isinstance(call.args[0], ast.Constant)}


def names_documented() -> set[str]:
    """Those of tables that say what each means."""
    document = (REPOSITORY / "docs" / "settings.md").read_text()
    tables = re.findall(r"^\| variable \| meaning .*\n(?:\|.*\n)+", document, re.MULTILINE)
    return {name for table in tables for name in re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)}


def test_every_variable_that_is_read_is_documented_and_no_other():
    assert "DATABASE_URL" in names_read()
    assert names_documented() == names_read() | OF_MAKE_RUN


def test_what_production_has_to_give_is_enough(read):
    settings = read(**PRODUCTION)

    assert settings["DEBUG"] is False
    assert settings["ENCRYPTION_KEYS"] == [PRODUCTION["ENCRYPTION_KEYS"]]
    assert settings["WEBHOOK_ALLOWED_NETWORKS"] == []


@pytest.mark.parametrize("name", PRODUCTION)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_production_does_not_start_without_what_it_needs(read, name, value):
    given = {**PRODUCTION, name: value}

    with pytest.raises(ImproperlyConfigured, match=f"^{name} is not set"):
        read(**{name: value for name, value in given.items() if value is not None})


@pytest.mark.parametrize(
    "url", ["https://events.example.com/", "http://localhost:8000", "https://[::1]:8443"]
)
def test_links_start_with_scheme_and_host(read, url):
    assert read(**PRODUCTION, PUBLIC_URL=url)["PUBLIC_URL"] == url.rstrip("/")


@pytest.mark.parametrize(("hosts", "warnings"), [(["*"], ["openvolt.W001"]), (["events.example"], [])])
def test_a_check_before_production_warns_of_a_service_that_answers_to_any_host(settings, hosts, warnings):
    settings.ALLOWED_HOSTS = hosts

    found = run_checks(tags=["security"], include_deployment_checks=True)

    assert [str(one.id) for one in found if str(one.id).startswith("openvolt.")] == warnings


def test_debugging_needs_nothing(read):
    assert read(DEBUG="1")["DEBUG"] is True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "perhaps"),
        ("ENCRYPTION_KEYS", "short"),
        ("ENCRYPTION_KEYS", "schlüssel"),
        ("ENCRYPTION_KEYS", ","),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "mysql://localhost/events"),
        ("DATABASE_URL", "postgres://localhost:port/events"),
        ("DATABASE_URL", "postgres://localhost/"),
        ("DATABASE_URL", "postgres://user:hid[den@localhost/events"),
        ("PUBLIC_URL", "events.example"),
        ("PUBLIC_URL", "ftp://events.example"),
        ("PUBLIC_URL", "https://[::1"),
        ("PUBLIC_URL", "https://a b"),
        ("PUBLIC_URL", "https://events.example/b/"),
        ("PUBLIC_URL", "https://events.example?b"),
        ("PUBLIC_URL", "https://ann:pass@events.example"),
        ("PUBLIC_URL", "https://events.example:port"),
        ("PUBLIC_URL", "HTTPS://events.example"),
        ("RETENTION_DAYS", "1.5"),
        ("RETENTION_DAYS", "0"),
        ("RATE_LIMIT_ADDRESS", "1.5"),
        ("WORKERS", "1.5"),
        ("WEBHOOK_TIMEOUT", "soon"),
        ("WEBHOOK_TIMEOUT", "nan"),
        ("WEBHOOK_TIMEOUT", "0"),
        ("WEBHOOK_TIMEOUT", "301"),
        ("WEBHOOK_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("WEBHOOK_ALLOWED_NETWORKS", "localhost"),
        ("WEBHOOK_CA_BUNDLE", "/nowhere.pem"),
        ("WEBHOOK_CA_BUNDLE", __file__),
        ("WEBHOOK_CA_BUNDLE", str(REPOSITORY)),
        ("RETRY_SCHEDULE", "5,soon"),
        ("RETRY_SCHEDULE", "5,-1"),
        ("RETRY_SCHEDULE", ",".join(["1"] * 21)),
        ("RETRY_SCHEDULE", "1209601"),
        ("RETRY_SCHEDULE", "inf"),
        ("EMAIL_URL", "pigeon://loft"),
        ("EMAIL_URL", "smtp://user:hidden@"),
        ("EMAIL_URL", "smtp://user:hidden@mail.example:port"),
        ("EMAIL_URL", "file:"),
        ("EMAIL_URL", "anymail+pigeon://hidden@"),
        ("EMAIL_URL", "anymail+postmark://"),
        ("WORKERS", "0"),
        ("WORKERS", "65"),
        ("READ_TIMEOUT", "0"),
        ("METRICS_TOKEN", "short"),
        ("METRICS_TOKEN", "of letters that höchstens a header can't carry"),
        ("Q_BROKER_URL", "nonsense"),
        ("Q_BROKER_URL", "amqp://user:hidden@queue.example/"),
        ("Q_BROKER_URL", "redis://"),
        ("Q_BROKER_URL", "redis://:hidden@queue.example:port/"),
        ("Q_BROKER_URL", "redis://:hid#den@queue.example/"),
        ("Q_BROKER_URL", "redis://:hidden@queue.example/events"),
        ("Q_BROKER_URL", "redis://:hidden@queue.example/-1"),
        ("Q_BROKER_URL", "redis://:hidden@queue.example/0?timeout=5"),
        ("Q_BROKER_URL", "redis://:hid[den@queue.example/"),
        ("LOG_FORMAT", "xml"),
        ("RATE_LIMIT_PLATFORM", "0"),
        ("RATE_LIMIT_APPLICATION", "many"),
        ("RATE_LIMIT_ADDRESS", "1e9"),
        ("EMAIL_WEBHOOK_SECRET", "hidden"),
        ("EMAIL_WEBHOOK_SECRET", "user:hidden"),
        ("EMAIL_WEBHOOK_SECRET", "user:hidden long enough"),
        ("EMAIL_WEBHOOK_SECRET", "user:hidden-and-long-enough,"),
        ("EMAIL_WEBHOOK_SECRET", "user:hidden-and-long-enough"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "proxy"),
        ("ALLOWED_HOSTS", "https://a.example/"),
        ("ALLOWED_HOSTS", "a b"),
        ("ALLOWED_HOSTS", "a.example:8000"),
        ("ALLOWED_HOSTS", "a.example,::1"),
        ("ALLOWED_HOSTS", "*.a.example"),
        ("ALLOWED_HOSTS", ","),
        ("DEFAULT_FROM_EMAIL", "foo"),
        ("DEFAULT_FROM_EMAIL", "Events <events@a.example>\nBcc: b@a.example"),
        ("DEFAULT_FROM_EMAIL", "a@a.example, b@a.example"),
        ("DEFAULT_FROM_EMAIL", "Events <events>"),
        ("DEFAULT_FROM_EMAIL", "Events <events@a.example"),
        ("DATABASE_URL", "postgres://user:hidden@db.example/events?sslmode=nope"),
        ("DATABASE_URL", "postgres://user:hidden@db.example/events?sslmod=require"),
        ("DATABASE_URL", "postgres://user:hidden@db.example/events?connect_timeout=soon"),
        ("DATABASE_URL", "postgres://user:hidden@db.example/events?keepalives_idle=99999999999"),
        ("DATABASE_URL", "postgres://user:hidden@db.example/events?target_session_attrs=best"),
        ("DATABASE_URL", "postgres://user:hidden@db.example/events?sslmode=require&sslrootcert=system"),
        ("DATABASE_URL", "postgres://user:hidden@db.example/events?require_auth=hope"),
        ("DATABASE_URL", "postgres://user:hidden@db.example/events?pool=true"),
        ("EMAIL_URL", "smtp://me:hidden@mail.example?tls=maybe"),
        ("EMAIL_URL", "smtp://me:hidden@mail.example?tsl=1"),
        ("EMAIL_URL", "smtp://me:hidden@mail.example?tls=1&tls=0"),
        ("EMAIL_URL", "smtp://me:hidden@mail.example?tls="),
        ("EMAIL_URL", "smtp://me:12#hidden@mail.example"),
        ("EMAIL_URL", "smtp://me:12/hidden@mail.example"),
        ("EMAIL_URL", "smtp://me:hidden@mail.example#tls"),
        ("EMAIL_URL", "file:/proc/nope"),
        ("EMAIL_URL", f"file:{__file__}"),
        ("EMAIL_URL", f"file:{__file__}/mail"),
        ("MAX_PAYLOAD_BYTES", "10"),
        ("MAX_PAYLOAD_BYTES", "4194305"),
        ("MAX_SUBSCRIPTIONS", "0"),
        ("MAX_RECIPIENTS", "many"),
        ("MAX_HEADERS", "1.5"),
        ("MAX_API_KEYS", "0"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_names_it_and_tells_no_secret(read, name, value):
    with pytest.raises(ImproperlyConfigured) as refused:
        read(**{**PRODUCTION, name: value})

    line = str(refused.value)
    assert line.startswith(name)
    assert "\n" not in line
    assert "hid" not in line


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", ("mail.example", 25, "", "", False, False)),
        ("smtp://me:a%40b@mail.example:587?tls=1", ("mail.example", 587, "me", "a@b", True, False)),
        ("smtp+tls://mail.example", ("mail.example", 587, "", "", True, False)),
        ("smtps://mail.example", ("mail.example", 465, "", "", False, True)),
        ("smtp+ssl://mail.example", ("mail.example", 465, "", "", False, True)),
        ("smtps://mail.example?tls=1", ("mail.example", 465, "", "", False, True)),
        ("smtp://mail.example/?tls=off", ("mail.example", 25, "", "", False, False)),
    ],
)
def test_an_email_url_says_all_about_an_smtp_server(read, url, expected):
    settings = read(**PRODUCTION, EMAIL_URL=url)

    names = ("HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    assert tuple(settings[f"EMAIL_{name}"] for name in names) == expected


def test_an_email_url_of_a_provider_carries_what_anymail_wants_to_know(read):
    settings = read(**PRODUCTION, EMAIL_URL="anymail+mailgun://key@?sender_domain=mg.example")

    assert settings["EMAIL_BACKEND"] == "anymail.backends.mailgun.EmailBackend"
    assert settings["ANYMAIL"]["MAILGUN_API_KEY"] == "key"
    assert settings["ANYMAIL"]["MAILGUN_SENDER_DOMAIN"] == "mg.example"


WEBHOOKS = {"EMAIL_WEBHOOK_SECRET": "user:hidden-and-long-enough"}
OF_POSTMARK = {**WEBHOOKS, "EMAIL_URL": "anymail+postmark://token@"}
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7"
    "dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)


def test_whose_webhooks_about_emails_are_taken_and_with_what(read):
    assert read(**PRODUCTION)["EMAIL_WEBHOOK_PROVIDERS"] == []
    assert read(**PRODUCTION, **OF_POSTMARK)["EMAIL_WEBHOOK_PROVIDERS"] == ["postmark"]

    settings = read(
        **PRODUCTION,
        EMAIL_URL="smtp://mail.example",
        EMAIL_WEBHOOK_SECRET="old:hidden-and-long-enough, new:hidden-and-long-enough",
        EMAIL_WEBHOOK_PROVIDERS="amazon_ses, mailgun",
        EMAIL_WEBHOOK_SIGNING_KEY="of-mailgun",
    )

    assert settings["EMAIL_WEBHOOK_PROVIDERS"] == ["amazon_ses", "mailgun"]
    assert settings["ANYMAIL"] == {
        "WEBHOOK_SECRET": ["old:hidden-and-long-enough", "new:hidden-and-long-enough"],
        "MAILGUN_WEBHOOK_SIGNING_KEY": "of-mailgun",
    }


def test_a_key_of_sendgrids_is_taken_as_sendgrid_shows_it(read):
    settings = read(
        **PRODUCTION,
        **WEBHOOKS,
        EMAIL_WEBHOOK_PROVIDERS="sendgrid",
        EMAIL_WEBHOOK_SIGNING_KEY=SENDGRID_KEY,
    )

    assert settings["ANYMAIL"]["SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY"] == SENDGRID_KEY


SENDGRID_AND_MAILGUN = f"sendgrid={SENDGRID_KEY}, mailgun=of-mailgun="


@pytest.mark.parametrize("providers", ["sendgrid,mailgun", "mailgun", "sendgrid"])
def test_each_provider_that_signs_has_its_key_before_and_after_a_move(read, providers):
    settings = read(
        **PRODUCTION,
        **WEBHOOKS,
        EMAIL_WEBHOOK_PROVIDERS=providers,
        EMAIL_WEBHOOK_SIGNING_KEY=SENDGRID_AND_MAILGUN,
    )

    keys = {
        "sendgrid": ("SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY", SENDGRID_KEY),
        "mailgun": ("MAILGUN_WEBHOOK_SIGNING_KEY", "of-mailgun="),
    }
    assert settings["EMAIL_WEBHOOK_PROVIDERS"] == providers.split(",")
    assert settings["ANYMAIL"] == {
        "WEBHOOK_SECRET": ["user:hidden-and-long-enough"],
        **dict(keys[name] for name in providers.split(",")),
    }


def test_without_a_secret_nobodys_webhooks_are_taken_whatever_else_is_set(read):
    settings = read(**PRODUCTION, EMAIL_WEBHOOK_PROVIDERS="mailgun", EMAIL_WEBHOOK_SIGNING_KEY="of-mailgun")

    assert settings["EMAIL_WEBHOOK_PROVIDERS"] == []


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"EMAIL_WEBHOOK_PROVIDERS": "pigeon"}, "EMAIL_WEBHOOK_PROVIDERS names 'pigeon'"),
        ({"EMAIL_WEBHOOK_PROVIDERS": "postmark,pigeon"}, "EMAIL_WEBHOOK_PROVIDERS names 'pigeon'"),
        ({"EMAIL_WEBHOOK_PROVIDERS": "mailgun"}, "EMAIL_WEBHOOK_SIGNING_KEY is not set"),
        ({"EMAIL_WEBHOOK_PROVIDERS": "mailersend"}, "EMAIL_WEBHOOK_SIGNING_KEY is not set"),
        (
            {"EMAIL_WEBHOOK_PROVIDERS": "mailgun", "EMAIL_WEBHOOK_SIGNING_KEY": "hidden schlüssel"},
            "EMAIL_WEBHOOK_SIGNING_KEY can't be read",
        ),
        (
            {"EMAIL_WEBHOOK_PROVIDERS": "sendgrid", "EMAIL_WEBHOOK_SIGNING_KEY": "hidden"},
            "EMAIL_WEBHOOK_SIGNING_KEY can't be read",
        ),
        (
            {"EMAIL_WEBHOOK_PROVIDERS": "sendgrid", "EMAIL_WEBHOOK_SIGNING_KEY": "sendgrid=hidden"},
            "EMAIL_WEBHOOK_SIGNING_KEY can't be read",
        ),
        (
            {"EMAIL_WEBHOOK_PROVIDERS": "mailgun", "EMAIL_WEBHOOK_SIGNING_KEY": "mailgun=hid,mailgun=hid2"},
            "EMAIL_WEBHOOK_SIGNING_KEY can't be read",
        ),
        (
            {"EMAIL_WEBHOOK_PROVIDERS": "mailgun", "EMAIL_WEBHOOK_SIGNING_KEY": "mailgun=hid,pigeon=hid2"},
            "EMAIL_WEBHOOK_SIGNING_KEY can't be read",
        ),
        (
            {"EMAIL_WEBHOOK_PROVIDERS": "mailgun", "EMAIL_WEBHOOK_SIGNING_KEY": "mailgun=hidden,"},
            "EMAIL_WEBHOOK_SIGNING_KEY can't be read",
        ),
        (
            {
                "EMAIL_WEBHOOK_PROVIDERS": "mailgun,mailersend",
                "EMAIL_WEBHOOK_SIGNING_KEY": "mailgun=hidden",
            },
            "EMAIL_WEBHOOK_SIGNING_KEY is not set for mailersend",
        ),
        (
            {"EMAIL_WEBHOOK_PROVIDERS": "sendgrid,mailgun", "EMAIL_WEBHOOK_SIGNING_KEY": "hidden"},
            "EMAIL_WEBHOOK_SIGNING_KEY is one key, and sendgrid and mailgun sign with one each",
        ),
    ],
)
def test_what_is_wrong_about_webhooks_of_emails_is_one_line_that_names_it_and_tells_no_secret(
    read, wrong, line
):
    with pytest.raises(ImproperlyConfigured) as refused:
        read(**{**PRODUCTION, **OF_POSTMARK, **wrong})

    said = str(refused.value)
    assert said.startswith(line)
    assert "\n" not in said
    assert "hid" not in said


def test_a_url_of_redis_says_where_the_queue_of_jobs_is(read):
    settings = read(**PRODUCTION, Q_BROKER_URL="rediss://me:a%40b@queue.example:6380/3")

    redis = settings["Q_CLUSTER"]["redis"]
    assert (redis["host"], redis["port"], redis["db"], redis["ssl"]) == ("queue.example", 6380, 3, True)
    assert (redis["username"], redis["password"]) == ("me", "a@b")


def test_without_a_url_of_redis_the_queue_of_jobs_is_in_postgresql(read):
    queue = read(**PRODUCTION)["Q_CLUSTER"]

    assert (queue["broker_class"], queue["orm"]) == ("deliveries.broker.ClockBroker", "default")
    assert "redis" not in queue


@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "check"],
        ["-m", "gunicorn", "-c", "python:openvolt_events.gunicorn_settings", "--bind=127.0.0.1:0"],
    ],
)
def test_a_process_that_lacks_a_setting_ends_with_one_line_about_it(command):
    given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    done = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, env=given, capture_output=True, text=True, timeout=60
    )

    assert done.returncode != 0
    assert "Wrong setting: SECRET_KEY is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_web_servers_own_lines_have_the_form_of_all_others():
    line = "from gunicorn.config import Config; from openvolt_events.web import Log; Log(Config()).error('Gone: %s', 7)"
    given = (
        os.environ | PRODUCTION | {"LOG_FORMAT": "json", "DJANGO_SETTINGS_MODULE": "openvolt_events.settings"}
    )

    done = subprocess.run(
        [sys.executable, "-c", line], cwd=REPOSITORY, env=given, capture_output=True, text=True, timeout=60
    )

    said = json.loads(done.stderr)
    assert (said["event"], said["level"]) == ("Gone: 7", "error")


@pytest.mark.parametrize(
    "hosts", ["*", "events.example.com", ".example.com,localhost", "[::1],127.0.0.1", "a_b.example"]
)
def test_hosts_are_names_and_addresses(read, hosts):
    assert read(**PRODUCTION, ALLOWED_HOSTS=hosts)["ALLOWED_HOSTS"] == hosts.split(",")


@pytest.mark.parametrize(
    "sender",
    [
        "events@example.com",
        "Events <events@example.com>",
        '"Energie, Müller" <events@example.com>',
        "Ørsted <events@localhost>",
        "Events <events@müller.example>",
    ],
)
def test_emails_come_from_one_address_with_a_name_or_without(read, sender):
    assert read(**PRODUCTION, DEFAULT_FROM_EMAIL=sender)["DEFAULT_FROM_EMAIL"] == sender


def test_options_of_the_database_come_through(read):
    url = (
        f"{PRODUCTION['DATABASE_URL']}?sslmode=verify-full&application_name=events&connect_timeout=3"
        "&host=a.example,b.example&port=5432,5433&target_session_attrs=primary&options=-c%20work_mem%3D8MB"
    )

    options = read(**{**PRODUCTION, "DATABASE_URL": url})["DATABASES"]["default"]["OPTIONS"]

    assert (options["sslmode"], options["application_name"]) == ("verify-full", "events")
    assert (options["host"], options["target_session_attrs"]) == ("a.example,b.example", "primary")


def test_a_directory_of_emails_is_made_when_it_is_not_there(read, tmp_path):
    read(**PRODUCTION, EMAIL_URL=f"file:{tmp_path}/var/mail")

    assert (tmp_path / "var" / "mail").is_dir()
