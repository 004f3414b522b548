"""`make crash`: 20,000 events while the parts of a whole service are killed at random, then the account.

SEED deals the same blows again: the same parts in the same order, after the same waits.
"""

import argparse
import os
import random
import sys
from dataclasses import dataclass, replace
from importlib import import_module

from openvolt_events.postgres import EmbeddedPostgres
from openvolt_events.serve import OWNER_MARK, choose_environment
from tests.support.running import Running, free_port, new_directory

SETTINGS = {
    "WEBHOOK_TIMEOUT": "1",  # leases last 10 s longer than that
    "RETRY_SCHEDULE": "1,1,1,2,2,2,4,4,4,8,8,8,8,8,8,8,8,8,8,8",
}


@dataclass(frozen=True)
class Form:
    """While `rate` events a second are published, `blows` are dealt to `parts` in turn, each after a random wait.

    `failing` is the share of webhooks that one receiver of two refuses. `patience` are seconds for what is then due.
    """

    events: int
    rate: float
    blows: int
    longest_wait: float
    failing: float
    patience: float
    parts: tuple[str, ...]


SURE_TO_COME_BACK = (
    "a worker that sends",
    "guard",
    "web",
    "database",
    "receiver",
    "supervisor",
    "everything",
)
SHORT = Form(300, 40, 7, longest_wait=0.5, failing=0.05, patience=60, parts=SURE_TO_COME_BACK)
LONG = Form(
    20_000,
    200,
    27,
    longest_wait=4,
    failing=0.02,
    patience=420,  # longer than the supervisor takes to find workers that live and do nothing
    parts=(*SURE_TO_COME_BACK, "any worker", "stop and start"),
)


def main() -> int:
    form, seed = parsed()
    print(f"SEED={seed} deals the same blows again.", flush=True)
    with new_directory() as directory:
        running = Running(directory / "var", free_port(), SETTINGS)
        try:
            running.wait_until_up()
            use_settings_of(running)
        except BaseException:
            running.end()
            raise
        return import_module("tests.support.crash").battle(running, SETTINGS, form, seed)


def use_settings_of(running: Running) -> None:
    """From now on Django's settings in this process are the service's: its database, its keys."""
    os.environ.update(choose_environment(SETTINGS, running.var, running.port, EmbeddedPostgres(running.var)))
    del os.environ[OWNER_MARK]  # a new start would end our receiver as one of its leftovers
    import_module("django").setup()


def parsed() -> tuple[Form, int]:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--events", type=int, help="how many are published at least")
    parser.add_argument("--short", action="store_true", help="the form that make test runs")
    options = parser.parse_args()
    form = SHORT if options.short else LONG
    return replace(form, events=options.events or form.events), options.seed


if __name__ == "__main__":
    sys.exit(main())
