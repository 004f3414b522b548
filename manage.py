#!/usr/bin/env python3
"""Django's commands; a wrong setting or a database that can't be reached is one line, not a traceback."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import OperationalError, connection


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "openvolt_events.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Wrong setting: {error}")
    except OperationalError as error:
        if connection.connection is not None:  # connected, so it is not about DATABASE_URL
            raise
        sys.exit(f"The database of DATABASE_URL can't be used: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
