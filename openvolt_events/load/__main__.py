"""`make load`: `manage.py load` against the service that `make run` has started, through its HTTP API."""

import argparse
import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line
from django.db import OperationalError

from openvolt_events import env_files
from openvolt_events.postgres import EmbeddedPostgres
from openvolt_events.serve import OWNER_MARK, choose_environment

VAR_DIR = Path(__file__).resolve().parent.parent.parent / "var"
NOT_RUNNING = "The service is not running. Start it with `make run`, then try again."


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--var", type=Path, default=VAR_DIR)
    options, others = parser.parse_known_args()
    var = options.var.resolve()
    url = env_files.read(var / "demo.env").get("OPENVOLT_URL")
    if not url:
        sys.exit(NOT_RUNNING)
    os.environ.update(choose_environment(os.environ, var, 0, EmbeddedPostgres(var)))
    del os.environ[OWNER_MARK]  # a service that is started again ends what has it
    try:
        execute_from_command_line(["make load", "load", "--url", url, *others])
    except OperationalError:
        sys.exit(NOT_RUNNING)


if __name__ == "__main__":
    main()
