"""`make fuzz`: ask a service of its own everything that the schema allows, and what it does not, for minutes."""

import argparse
import os
import secrets
import sys
from importlib import import_module

import django


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options = parser.parse_args()
    os.environ |= {"DJANGO_SETTINGS_MODULE": "openvolt_events.settings", "DEBUG": "1"}
    django.setup()
    fuzzing = import_module("tests.fuzz.service")  # it reads the settings
    with fuzzing.service() as running:
        limits = ["--max-time", str(int(options.minutes * 60)), "--seed", str(options.seed)]
        done = fuzzing.fuzz(running, *limits, "--continue-on-failure", "--request-timeout", "30")
        print(f"SEED={options.seed}")
    return int(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
