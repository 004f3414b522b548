"""`make bench` begins here: an environment without anybody's settings, and a PostgreSQL that ends with it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import django
from cryptography.fernet import Fernet

from openvolt_events.postgres import EmbeddedPostgres, PostgresError

REPOSITORY = Path(__file__).resolve().parent.parent.parent
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")  # other settings would be measured, too
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C has ended


def main() -> int:
    os.chdir(REPOSITORY)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with TemporaryDirectory(prefix="openvolt-bench-") as directory, server(Path(directory)) as postgres:
            choose_environment(postgres)
            django.setup()
            code: int = import_module("openvolt_events.bench.running").run(postgres, Path(directory))
            return code
    except PostgresError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped before the end.", file=sys.stderr)
        return INTERRUPTED


@contextmanager
def server(directory: Path) -> Iterator[EmbeddedPostgres]:
    """With PostgreSQL's own settings: what it has committed is on the disk."""
    postgres = EmbeddedPostgres(directory)
    try:
        postgres.start()
        yield postgres
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second one must not end the clearing up
        postgres.stop()


def choose_environment(postgres: EmbeddedPostgres) -> None:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(
        {
            **kept,
            "DJANGO_SETTINGS_MODULE": "openvolt_events.settings",
            "DATABASE_URL": postgres.url(),
            "SECRET_KEY": "of the benchmark, which signs nothing that lasts",
            "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            "EMAIL_URL": "console:",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
    )


if __name__ == "__main__":
    sys.exit(main())
