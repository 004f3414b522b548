"""Every setting of the service, read from the environment (twelve-factor), top to bottom.

A wrong value raises `ImproperlyConfigured` with the variable's name, its value (unless secret) and the mend;
`manage.py` and `make run` print it as one line. docs/settings.md explains each variable for operators.
"""

import os
import re
import ssl
from base64 import b64decode
from datetime import timedelta
from email.policy import default as headers
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import dj_database_url
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn

from openvolt_events import __version__

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"

T = TypeVar("T")


def env(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def env_bool(name: str, default: bool) -> bool:
    value = env(name, str(default)).lower()
    if value not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ImproperlyConfigured(f"{name} is {value!r}; set it to 1 or 0.")
    return value in {"1", "true", "yes", "on"}


def env_number(name: str, default: float, minimum: float, maximum: float) -> float:
    text = env(name, str(default))
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not minimum <= number <= maximum:
        raise ImproperlyConfigured(
            f"{name} is {text!r}; set it to a number from {minimum:.9g} to {maximum:.9g}."
        )
    return number


def env_whole_number(name: str, default: int, minimum: int, maximum: int) -> int:
    number = env_number(name, default, minimum, maximum)
    if not number.is_integer():
        raise ImproperlyConfigured(
            f"{name} is {env(name)!r}; set it to a whole number from {minimum} to {maximum}."
        )
    return int(number)


def env_list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in env(name, default).split(",") if item.strip()]


def env_secret(name: str, when_debugging: str) -> str:
    """A value that production must be given, and that a debugging laptop may make do without."""
    if value := env(name, when_debugging if DEBUG else ""):
        return value
    raise ImproperlyConfigured(f"{name} is not set; production needs it (DEBUG=1 works without).")


def env_choice(name: str, default: str, choices: set[str]) -> str:
    value = env(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}; set it to one of {', '.join(sorted(choices))}.")
    return value


def is_origin(url: str) -> bool:
    """Whether it is a scheme and a host, perhaps a port, and nothing more."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises if it is none
    except ValueError:  # half a pair of brackets, too
        return False
    return bool(parts.hostname and re.fullmatch(r"https?://[^\s/?#@\\]+", url))


# Essentials

DEBUG = env_bool("DEBUG", False)
SECRET_KEY = env_secret("SECRET_KEY", "insecure-for-debugging-only")
ENCRYPTION_KEYS = [
    key.strip()
    for key in env_secret("ENCRYPTION_KEYS", "aW5zZWN1cmUtZm9yLWRlYnVnZ2luZy1vbmx5LTMyYiE=").split(",")
    if key.strip()
]
try:
    MultiFernet([Fernet(key) for key in ENCRYPTION_KEYS])  # wants one at least
except ValueError:
    raise ImproperlyConfigured(
        "ENCRYPTION_KEYS has an entry that is no key, or none at all; set it to 32 random bytes in URL-safe base64, "
        "as `python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'` prints them."
    ) from None
API_KEY_MODE = env_choice("API_KEY_MODE", "live", {"live", "test"})
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
HOST_NAME = re.compile(r"\*|\[[0-9a-f:.]+\]|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.IGNORECASE)
if not ALLOWED_HOSTS or not all(map(HOST_NAME.fullmatch, ALLOWED_HOSTS)):
    raise ImproperlyConfigured(
        f"ALLOWED_HOSTS is {env('ALLOWED_HOSTS')!r}; set it to names of hosts with commas between them, without "
        "scheme, port and path, like events.example.com."
    )
PUBLIC_URL = env("PUBLIC_URL", "http://localhost:8000").rstrip("/")
if not is_origin(PUBLIC_URL):
    raise ImproperlyConfigured(
        f"PUBLIC_URL is {PUBLIC_URL!r}; set it to scheme and host, without a path, like https://events.example."
    )

# Database: PostgreSQL is the only engine

try:
    DATABASES = {
        "default": dj_database_url.parse(
            env_secret("DATABASE_URL", "postgres:///openvolt_events"),
            conn_max_age=600,
            conn_health_checks=True,
        )
    }
except (ValueError, KeyError):  # an unknown scheme, a port that is no number
    raise ImproperlyConfigured(
        "DATABASE_URL can't be read; set it like postgres://user:password@host:5432/name."
    ) from None
if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql" or not DATABASES["default"]["NAME"]:
    raise ImproperlyConfigured(
        "DATABASE_URL names no PostgreSQL database; set it to postgres://user:password@host:5432/name."
    )
OPTIONS_OF_DJANGO = {"assume_role", "server_side_binding"}
NUMBERS_OF_LIBPQ = {"connect_timeout", "tcp_user_timeout"} | {
    f"keepalives{what}" for what in ("", "_idle", "_interval", "_count")
}
NOWHERE = "/nonexistent/of-openvolt"  # no directory of a Unix socket


def fault_of_options(options: dict[str, Any]) -> str:
    """What is wrong with the options of libpq, in its words: it looks at most of them before it finds no server."""
    for name in NUMBERS_OF_LIBPQ & options.keys():
        if not re.fullmatch(r"-?[0-9]{1,9}", str(options[name])):
            return f"invalid {name} value: {str(options[name])!r}"
    try:
        anywhere = make_conninfo("", **options | {"host": NOWHERE, "hostaddr": None, "port": None})
    except ProgrammingError as error:
        return " ".join(str(error).split())
    said = PGconn.connect_start(anywhere.encode()).get_error_message()
    return "" if NOWHERE in said else " ".join(said.split())


if _fault := fault_of_options(
    {
        name: value
        for name, value in DATABASES["default"].get("OPTIONS", {}).items()
        if name not in OPTIONS_OF_DJANGO
    }
):
    raise ImproperlyConfigured(
        f"DATABASE_URL can't be used: {_fault}; correct or leave out what follows the question mark."
    )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# A database that went silent is noticed in seconds, not when TCP gives up. Pruning of partitions is off: PostgreSQL 18
# crashes when a row that was locked meanwhile is checked again in a plan that prunes as it runs (decision 11).
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    **DATABASES["default"].get("OPTIONS", {}),
}
DATABASES["default"]["OPTIONS"]["options"] = " ".join(
    [DATABASES["default"]["OPTIONS"].get("options", ""), "-c enable_partition_pruning=off"]
).strip()

# Applications

INSTALLED_APPS = [
    "openvolt_events.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "openvolt_events",
    "axes",
    "accounts",
    "events",
    "subscriptions",
    "deliveries",  # before django_q, whose qcluster command it extends
    "django_q",
    "anymail",
    "django_filters",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "openvolt_events.middleware.RequestIdMiddleware",  # outermost: every answer and every log line has the id
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "openvolt_events.middleware.HeadMiddleware",
    "openvolt_events.middleware.ContentSecurityPolicyMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "openvolt_events.actors.ActorMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "openvolt_events.urls"
WSGI_APPLICATION = "openvolt_events.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = True
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_TZ = True

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True

# Sending

USER_AGENT = f"Openvolt-Events/{__version__}"
WEBHOOK_TIMEOUT = timedelta(seconds=env_number("WEBHOOK_TIMEOUT", 15, 0.1, 300))
WEBHOOK_CA_BUNDLE = env("WEBHOOK_CA_BUNDLE")
if WEBHOOK_CA_BUNDLE:
    try:
        ssl.create_default_context(cafile=WEBHOOK_CA_BUNDLE)
    except OSError as error:  # ssl.SSLError is one, too
        raise ImproperlyConfigured(
            f"WEBHOOK_CA_BUNDLE is {WEBHOOK_CA_BUNDLE!r} ({error.strerror or error}); "
            "set it to a file of certificates in PEM."
        ) from None
try:
    WEBHOOK_ALLOWED_NETWORKS = [ip_network(cidr) for cidr in env_list("WEBHOOK_ALLOWED_NETWORKS")]
except ValueError as error:
    raise ImproperlyConfigured(
        f"WEBHOOK_ALLOWED_NETWORKS: {error}; set it like 127.0.0.0/8,::1/128."
    ) from None


MAX_RETRY_STEPS = 20
LONGEST_RETRIES = timedelta(days=14)


def retry_schedule(text: str) -> list[timedelta]:
    try:
        steps = [timedelta(seconds=float(step)) for step in text.split(",")]
    except (ValueError, OverflowError):
        steps = []
    if (
        not steps
        or len(steps) > MAX_RETRY_STEPS
        or min(steps) < timedelta(0)
        or sum(steps, timedelta()) > LONGEST_RETRIES
    ):
        raise ImproperlyConfigured(
            f"RETRY_SCHEDULE is {text!r}; set it to at most 20 waits in seconds, 14 days in all, like 5,300,1800."
        )
    return steps


RETRY_SCHEDULE = retry_schedule(env("RETRY_SCHEDULE", "5,300,1800,7200,18000,36000,50400,72000,86400"))
EMAIL_RETRY_SCHEDULE = retry_schedule("60,600,3600,21600,86400")

# Email


def smtp_settings(parts: SplitResult) -> dict[str, object] | None:
    """None for what says more, or less, than this: a password cut off by its own `#` would make its name the host."""
    tls = re.fullmatch(r"(?:tls=(?:(1|true|yes|on)|0|false|no|off))?", parts.query, re.IGNORECASE)
    if not parts.hostname or not tls or parts.path not in {"", "/"} or parts.fragment:
        return None
    implicit_tls = parts.scheme in {"smtp+ssl", "smtps"}
    return {
        "EMAIL_BACKEND": "deliveries.channels.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if implicit_tls else 587 if parts.scheme == "smtp+tls" else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": not implicit_tls and (parts.scheme == "smtp+tls" or tls[1] is not None),
        "EMAIL_USE_SSL": implicit_tls,
    }


def email_settings(url: str) -> dict[str, object]:
    """Django's and Anymail's settings for an EMAIL_URL: smtp://, file:, console: or anymail+PROVIDER://TOKEN@."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if parts.scheme in {"smtp", "smtp+tls", "smtp+ssl", "smtps"} and (found := smtp_settings(parts)):
        return found
    if parts.scheme == "file" and parts.path:
        return {
            "EMAIL_BACKEND": "deliveries.channels.eml.EmailBackend",
            "EMAIL_FILE_PATH": directory_of_emails(unquote(parts.path)),
        }
    if parts.scheme == "console":
        return {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
    if parts.scheme == "memory":
        return {"EMAIL_BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
    if parts.scheme.startswith("anymail+") and parts.username:
        return anymail_settings(parts.scheme.removeprefix("anymail+"), unquote(parts.username), query)
    raise ImproperlyConfigured(
        "EMAIL_URL can't be read; set it like smtp://user:password@host:587?tls=1, file:var/mail, console: "
        "or anymail+postmark://TOKEN@, a password's special characters percent-encoded."
    )


def directory_of_emails(path: str) -> str:
    """Made if it is not there: emails that can't be written would seem to be sent later."""
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"EMAIL_URL names the directory {path!r}, which can't be made ({error.strerror}); set it to one that can."
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(
            f"EMAIL_URL names the directory {path!r}, which can't be written to; set it to one that can."
        )
    return path


ANYMAIL_TOKENS = {
    "brevo": "BREVO_API_KEY",
    "mailersend": "MAILERSEND_API_TOKEN",
    "mailgun": "MAILGUN_API_KEY",
    "mailjet": "MAILJET_API_KEY",
    "postmark": "POSTMARK_SERVER_TOKEN",
    "resend": "RESEND_API_KEY",
    "sendgrid": "SENDGRID_API_KEY",
    "sparkpost": "SPARKPOST_API_KEY",
}


def anymail_settings(provider: str, token: str, query: dict[str, str]) -> dict[str, object]:
    if provider not in ANYMAIL_TOKENS:
        raise ImproperlyConfigured(
            f"EMAIL_URL names the provider {provider!r}; set it to one of {', '.join(ANYMAIL_TOKENS)}."
        )
    extra = {f"{provider}_{name}".upper(): value for name, value in query.items()}
    return {
        "EMAIL_BACKEND": f"anymail.backends.{provider}.EmailBackend",
        "ANYMAIL": {
            ANYMAIL_TOKENS[provider]: token,
            "REQUESTS_TIMEOUT": (5, 20),
            "IGNORE_UNSUPPORTED_FEATURES": provider == "mailersend",  # it takes no metadata
            **extra,
        },
    }


def email_backend_provider(backend: str) -> str:
    """Empty for a backend that is not one of Anymail's."""
    return backend.split(".")[2] if backend.startswith("anymail.") else ""


try:
    globals().update(email_settings(env("EMAIL_URL", "console:")))
except ValueError:  # urlsplit: a port that is no number
    raise ImproperlyConfigured(
        "EMAIL_URL has a port that is no number; set it like smtp://host:587."
    ) from None
EMAIL_TIMEOUT = 30
EMAIL_ANSWER_TIMEOUT = 60  # from then on, when the email is sent and the server is to say that it has it


WEBHOOK_PROVIDERS = {*ANYMAIL_TOKENS, "amazon_ses"}
WEBHOOK_SIGNING_KEYS = {
    "mailersend": "MAILERSEND_SIGNING_SECRET",
    "mailgun": "MAILGUN_WEBHOOK_SIGNING_KEY",
    "sendgrid": "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY",
}
SIGNED_ALWAYS = {"mailersend", "mailgun"}  # Anymail takes nothing of theirs without a key


def is_public_key(key: str) -> bool:
    try:
        load_der_public_key(b64decode(key, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def signing_keys(text: str, signers: list[str]) -> dict[str, str]:
    """The key of each of the providers that sign: `mailgun=KEY,sendgrid=KEY`, or the one KEY where one of them does."""
    if not re.match(r"[a-z_]+=[^=]", text):  # base64 ends with = or ==
        if text and len(signers) > 1:
            raise ImproperlyConfigured(
                f"EMAIL_WEBHOOK_SIGNING_KEY is one key, and {' and '.join(signers)} sign with one each; "
                f"set it like {','.join(f'{name}=KEY' for name in signers)}."
            )
        return dict.fromkeys(signers, text) if text else {}
    pairs = [pair.strip().partition("=")[::2] for pair in text.split(",")]
    keys = dict(pairs)
    if len(keys) < len(pairs) or not keys.keys() <= WEBHOOK_SIGNING_KEYS.keys() or not all(keys.values()):
        raise ImproperlyConfigured(
            "EMAIL_WEBHOOK_SIGNING_KEY can't be read; set it to one key, or with a comma to each provider's like "
            f"mailgun=KEY, of {', '.join(WEBHOOK_SIGNING_KEYS)}, each once."
        )
    return {name: key for name, key in keys.items() if name in signers}


def email_webhook_settings(
    secret: str, providers: list[str], key: str
) -> tuple[list[str], dict[str, object]]:
    """Whose tracking webhooks are taken, and Anymail's settings for them. Without a secret: nobody's."""
    if not secret:
        return [], {}
    pairs = [pair.strip() for pair in secret.split(",")]
    if not all(re.fullmatch(r"[!-+\--9;-~]+:[!-+\--~]{16,}", pair) for pair in pairs):
        raise ImproperlyConfigured(
            "EMAIL_WEBHOOK_SECRET can't be read; set it to user:password, the password of 16 characters or more, as "
            "`python3 -c 'import secrets; print(secrets.token_urlsafe(24))'` prints one. "
            "While it changes: both, with a comma."
        )
    if unknown := [name for name in providers if name not in WEBHOOK_PROVIDERS]:
        known = ", ".join(sorted(WEBHOOK_PROVIDERS))
        raise ImproperlyConfigured(
            f"EMAIL_WEBHOOK_PROVIDERS names {unknown[0]!r}; set it to some of {known}."
        )
    if not providers:
        raise ImproperlyConfigured(
            "EMAIL_WEBHOOK_SECRET is set, and EMAIL_URL names no provider; "
            "say in EMAIL_WEBHOOK_PROVIDERS whose webhooks come, or unset it."
        )
    keys = signing_keys(key, [name for name in providers if name in WEBHOOK_SIGNING_KEYS])
    if unsigned := SIGNED_ALWAYS.intersection(providers) - keys.keys():
        raise ImproperlyConfigured(
            f"EMAIL_WEBHOOK_SIGNING_KEY is not set for {min(unsigned)}, "
            "whose webhooks are taken with its signing key alone."
        )
    if "sendgrid" in keys and not is_public_key(keys["sendgrid"]):
        raise ImproperlyConfigured(
            "EMAIL_WEBHOOK_SIGNING_KEY can't be read; set it to the verification key as SendGrid shows it."
        )
    if not all(re.fullmatch(r"[!-~]+", one) for one in keys.values()):
        raise ImproperlyConfigured(
            "EMAIL_WEBHOOK_SIGNING_KEY can't be read; set it to the signing key as the provider shows it."
        )
    return providers, {
        "WEBHOOK_SECRET": pairs,
        **{WEBHOOK_SIGNING_KEYS[name]: key for name, key in keys.items()},
    }


EMAIL_WEBHOOK_PROVIDERS, _of_webhooks = email_webhook_settings(
    env("EMAIL_WEBHOOK_SECRET"),
    env_list(
        "EMAIL_WEBHOOK_PROVIDERS",
        email_backend_provider(globals()["EMAIL_BACKEND"]),
    ),
    env("EMAIL_WEBHOOK_SIGNING_KEY"),
)
ANYMAIL = {**globals().get("ANYMAIL", {}), **_of_webhooks}
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL", "Openvolt Events <events@openvolt.example>")


def is_sender(text: str) -> bool:
    """Whether it is one address, perhaps with a name before it."""
    if not text.isprintable():
        return False
    try:
        header = headers.header_factory("From", text)
        [address] = header.addresses
        validate_email(address.addr_spec)
    except (ValueError, ValidationError):  # none, or several
        return False
    return not header.defects


if not is_sender(DEFAULT_FROM_EMAIL):
    raise ImproperlyConfigured(
        f"DEFAULT_FROM_EMAIL is {DEFAULT_FROM_EMAIL!r}; set it to one address, like Events <events@example.com>."
    )

# Jobs: django-q2 wakes the drains; PostgreSQL is the queue and the clock (docs/architecture.md)

WORKERS = env_whole_number("WORKERS", 2, 1, 64)
DRAINS = {"webhook": WORKERS, "email": WORKERS}


def broker_settings(url: str) -> dict[str, Any]:
    """django-q2's settings for a Q_BROKER_URL: redis:// or rediss://; without one, its queue is in PostgreSQL."""
    if not url:
        return {"broker_class": "deliveries.broker.ClockBroker", "orm": "default"}
    parts = urlsplit(url)
    database = parts.path.removeprefix("/") or "0"
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("neither redis:// nor rediss:// with a host, or more than that")
    if not database.isdecimal():
        raise ValueError("the path is no database's number")
    return {
        "broker_class": "deliveries.redis_broker.RedisClockBroker",
        "redis": {
            "host": parts.hostname,
            "port": parts.port or 6379,
            "db": int(database),
            "username": unquote(parts.username or "") or None,
            "password": unquote(parts.password or "") or None,
            "ssl": parts.scheme == "rediss",
        },
    }


try:
    Q_BROKER = broker_settings(env("Q_BROKER_URL"))
except ValueError:  # of urlsplit and int, too
    raise ImproperlyConfigured(
        "Q_BROKER_URL can't be read; set it like redis://:password@host:6379/0, "
        "or unset it to keep the queue in PostgreSQL."
    ) from None
# A drain, its last attempt, a database that was away; of emails the last notice before it, too
LONGEST_TASK = 120 + int(WEBHOOK_TIMEOUT.total_seconds()) + 2 * EMAIL_ANSWER_TIMEOUT
Q_CLUSTER: dict[str, Any] = {
    "name": "openvolt",
    **Q_BROKER,
    "workers": sum(DRAINS.values()) + 1,  # one that is free for everything else
    "queue_limit": sum(DRAINS.values()) + 1,  # a task's retry clock starts when it is prefetched
    "bulk": 1,
    "poll": 0,  # the clock itself waits
    "timeout": LONGEST_TASK,
    "retry": 3 * LONGEST_TASK,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "recycle": 5000,
}

# Growth: events and what belongs to them are forgotten after so long (deliveries/retention.py)

RETENTION_DAYS = env_whole_number("RETENTION_DAYS", 90, 1, 36_500)

# After how many hours people are told again of what nobody handles, weekends apart (deliveries/reminding.py); 0: never

HANDLING_REMINDER = timedelta(hours=env_number("HANDLING_REMINDER_HOURS", 24, 0, 1000))

# Limits of the public API (contract, section 5)

MAX_PAYLOAD_BYTES = env_whole_number("MAX_PAYLOAD_BYTES", 1024 * 1024, 16 * 1024, 4 * 1024 * 1024)
MAX_PAYLOAD_DEPTH = 100
MAX_BODY_BYTES = 6 * MAX_PAYLOAD_BYTES + 64 * 1024  # a payload all in \uXXXX, and what is around it
MAX_BATCH_BYTES = 32 * 1024 * 1024  # more than MAX_BODY_BYTES can be
MAX_BODY_VALUES = 1_000_000  # to read so many takes a second; a payload has no room for more
MAX_BATCH_EVENTS = 1000
MAX_SUBSCRIPTIONS = env_whole_number("MAX_SUBSCRIPTIONS", 100, 1, 10_000)
MAX_RECIPIENTS = env_whole_number("MAX_RECIPIENTS", 50, 1, 1000)
MAX_HEADERS = env_whole_number("MAX_HEADERS", 20, 1, 100)
MAX_SECRETS = 5  # of a subscription at a time: each adds a signature to every webhook
MAX_API_KEYS = env_whole_number("MAX_API_KEYS", 20, 1, 1000)
MAX_ROTATING_API_KEYS = 2 * MAX_API_KEYS  # each may have the one it replaces beside it
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# Requests in ten seconds (accounts/throttling.py), all web servers together

RATE_LIMIT_PLATFORM = env_whole_number("RATE_LIMIT_PLATFORM", 20_000, 1, 1_000_000)
RATE_LIMIT_APPLICATION = env_whole_number("RATE_LIMIT_APPLICATION", 5_000, 1, 1_000_000)
RATE_LIMIT_ADDRESS = env_whole_number("RATE_LIMIT_ADDRESS", 200, 1, 1_000_000)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["openvolt_events.api.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["openvolt_events.api.authentication.HasApplicationKey"],
    "DEFAULT_PARSER_CLASSES": ["openvolt_events.api.json.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["openvolt_events.api.json.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "openvolt_events.api.json.AlwaysJSON",
    "DEFAULT_METADATA_CLASS": None,
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "openvolt_events.api.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Openvolt Events",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "DESCRIPTION": "Tells applications what changes on the Openvolt platform, by signed webhook and by email.",
    "SERVERS": [{"url": "/"}, {"url": PUBLIC_URL}],  # the first one is where the document came from
    "SCHEMA_PATH_PREFIX": "/v1",
    "SCHEMA_PATH_PREFIX_TRIM": False,
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "string", "format": "uuid"}},
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "DISABLE_ERRORS_AND_WARNINGS": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "GET_LIB_DOC_EXCLUDES": "openvolt_events.api.schema.whose_words_are_not_for_readers",
    "PREPROCESSING_HOOKS": ["openvolt_events.api.schema.only_api"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "openvolt_events.api.schema.close_requests",
        "openvolt_events.api.schema.describe_problems",
        "openvolt_events.api.schema.describe_headers",
        "openvolt_events.api.schema.describe_notifications",
        "openvolt_events.api.examples.show_examples",
        "openvolt_events.api.samples.show_samples",
    ],
    "ENUM_NAME_OVERRIDES": {
        "EventTypeName": "openvolt_events.api.schema.EVENT_TYPE_CHOICES",
        "DeliveryStatus": "deliveries.models.Delivery.Status",
        "Trigger": "deliveries.models.Trigger",
        "Outcome": "deliveries.models.Attempt.Outcome",
        "MailEventKind": "deliveries.models.MailEvent.Kind",
        "SubscriptionStatus": "subscriptions.models.Subscription.Status",
        "RecipientStatus": "subscriptions.models.Recipient.Status",
        "Channel": "subscriptions.models.Channel",
        "Scope": "accounts.models.Scope",
    },
}

# Security

SECURE_HTTPS = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE_HTTPS else None
SECURE_SSL_REDIRECT = SECURE_HTTPS
SECURE_REDIRECT_EXEMPT = [
    r"^(healthz|readyz|metrics)$",  # asked by machines next to the web server
    r"^v1/",  # refuses by itself: a redirect would hide that a key went over the wire in the clear
]
SILENCED_SYSTEM_CHECKS = ["security.W021"]  # browsers' preload lists are for the domain's owner to enter
try:
    TRUSTED_PROXIES = [ip_network(cidr) for cidr in env_list("TRUSTED_PROXIES")]
except ValueError as error:
    raise ImproperlyConfigured(f"TRUSTED_PROXIES: {error}; set it like 10.0.0.0/8,::1/128.") from None
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_AGE = 12 * 60 * 60  # a working day
CSRF_COOKIE_HTTPONLY = True  # forms carry the token
if SECURE_HTTPS:  # a browser takes these names only from this host, by https, for every path
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
LOGIN_REDIRECT_URL = "/admin/"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_VERBOSE = False  # nothing to say at each start
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # docs/decisions/0013
AXES_HANDLER = "openvolt_events.signing_in.AddressesToo"
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "openvolt_events.signing_in.origin"
AXES_LOCKOUT_TEMPLATE = "admin/locked_out.html"
AXES_DISABLE_ACCESS_LOG = (
    True  # of successes, kept for ever; failures are kept until they don't count any more
)
AXES_ENABLE_ADMIN = False
AXES_SENSITIVE_PARAMETERS = ["username"]  # in logs; people type passwords there
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

READ_TIMEOUT = timedelta(seconds=env_number("READ_TIMEOUT", 20, 1, 300))
METRICS_TOKEN = env("METRICS_TOKEN")
if METRICS_TOKEN and not re.fullmatch(r"[!-~]{20,}", METRICS_TOKEN):
    raise ImproperlyConfigured(
        "METRICS_TOKEN is too short, or has characters that a header can't carry; set it to 20 or more letters and "
        "digits, as `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'` prints them."
    )

# Logs: one line an event, for people or for machines

LOG_FORMAT = env_choice("LOG_FORMAT", "console", {"console", "json"})
_log_fields: list[Any] = [
    structlog.contextvars.merge_contextvars,  # the request's id
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper("iso"),
]
_log_renderers: list[Any] = (
    [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if LOG_FORMAT == "json"
    else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
)
LOG_LINE = [*_log_fields, *_log_renderers]  # of each request, past `logging`, which takes five times as long
_log_fields = [structlog.stdlib.add_logger_name, *_log_fields]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structlog": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": _log_fields,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_log_renderers,
            ],
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structlog"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "axes": {"level": "WARNING"},
        "django-q": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},  # each 4xx is the caller's, and has said so
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # a 400, too, with a traceback for each
        "django.security.DisallowedModelAdminLookup": {"level": "CRITICAL"},  # so is this
        "django.security.DisallowedModelAdminToField": {"level": "CRITICAL"},
        "urllib3": {"level": "ERROR"},  # warns about receivers' malformed answers, with whole URLs
    },
}
structlog.configure(
    processors=[*_log_fields, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
)
