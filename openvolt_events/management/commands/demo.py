"""`manage.py demo`: play a day of the platform against a running service, and account for every event."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import requests
from django.conf import settings
from django.core.management.base import BaseCommand

from openvolt_events import env_files
from openvolt_events.demo.client import NotRunning, Refused
from openvolt_events.demo.performance import Demo
from openvolt_events.demo.screen import complaints, screen_for, table

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C has ended


class Command(BaseCommand):
    help = "Plays a day of the platform against a running `make run`, and accounts for every event."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=20, help="how long the day is played (20)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            perform(timedelta(seconds=options["seconds"]))
        except NotRunning as error:
            sys.exit(f"{error} Start the service with `make run`, then try again.")
        except (Refused, requests.RequestException) as error:
            sys.exit(f"The demo can't go on: {error}")
        except KeyboardInterrupt:
            print("Stopped before the end; nothing is accounted for.", file=sys.stderr)
            sys.exit(INTERRUPTED)


def perform(lasting: timedelta) -> None:
    """Play, and print the account. Raises SystemExit when it does not balance."""
    values = env_files.read(settings.VAR_DIR / "demo.env") | dict(os.environ)
    url, key = (value(values, name) for name in ("OPENVOLT_URL", "OPENVOLT_PLATFORM_KEY"))
    screen = screen_for(sys.stdout)
    demo = Demo(url, key, settings.VAR_DIR / "mail", screen)
    accounts = demo.perform(lasting)
    screen.say(f"\n{table(accounts)}\n")
    if any(account.problems for account in accounts):
        screen.say(complaints(accounts))
        sys.exit("Not everything is accounted for: see the lines above.")
    told = sum(account.published for account in accounts)
    screen.say(f"Everything is accounted for: {len(demo.events)} events, {told} notifications.")
    screen.say(f"The application stays for a look around: {url}/admin/")


def value(values: Mapping[str, str], name: str) -> str:
    if not values.get(name):
        raise NotRunning(f"{name} is neither in {settings.VAR_DIR / 'demo.env'} nor in the environment.")
    return values[name]
