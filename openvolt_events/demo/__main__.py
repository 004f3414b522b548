"""`make demo`: play a day of the platform against a running service, and account for every event."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import requests

from openvolt_events import env_files
from openvolt_events.demo.client import NotRunning, Refused
from openvolt_events.demo.performance import Demo
from openvolt_events.demo.screen import complaints, screen_for

VAR_DIR = Path(__file__).resolve().parent.parent.parent / "var"
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C has ended


def main(arguments: Sequence[str] | None = None) -> None:
    """Raises SystemExit with the reason when the account does not balance, or can't be made."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--var", type=Path, default=VAR_DIR, help="the directory of the running service")
    parser.add_argument("--seconds", type=float, default=20, help="how long the day is played (20)")
    options = parser.parse_args(arguments)
    try:
        perform(options.var, timedelta(seconds=options.seconds))
    except NotRunning as error:
        sys.exit(f"{error} Start the service with `make run`, then try again.")
    except (Refused, requests.RequestException) as error:
        sys.exit(f"The demo can't go on: {error}")
    except KeyboardInterrupt:
        print("Stopped before the end; nothing is accounted for.", file=sys.stderr)
        sys.exit(INTERRUPTED)


def perform(var: Path, lasting: timedelta) -> None:
    """Play, and print the account. Raises SystemExit when it does not balance."""
    values = env_files.read(var / "demo.env") | dict(os.environ)
    url, key = (value(values, name, var) for name in ("OPENVOLT_URL", "OPENVOLT_PLATFORM_KEY"))
    screen = screen_for(sys.stdout)
    demo = Demo(url, key, var / "mail", screen)
    accounts = demo.perform(lasting)
    if any(account.problems for account in accounts):
        screen.say(complaints(accounts))
        sys.exit("Not everything is accounted for: see the lines above.")
    told = sum(account.published for account in accounts)
    screen.say(f"Everything is accounted for: {len(demo.events)} events, {told} notifications.")
    screen.say(f"The application stays for a look around: {url}/admin/")


def value(values: Mapping[str, str], name: str, var: Path) -> str:
    if not values.get(name):
        raise NotRunning(f"{name} is neither in {var / 'demo.env'} nor in the environment.")
    return values[name]


if __name__ == "__main__":
    main()
