"""`make crash`: the parts of a whole service are killed at random, then every event is accounted for.

The form `kills` does so under a load of 20,000 events, the form `backlog` while 200,000 deliveries that are due are
worked off. SEED deals the same blows again: the same parts in the same order, after the same waits.
"""

import argparse
import os
import random
import subprocess
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
class Kills:
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


@dataclass(frozen=True)
class Backlog:
    """So many deliveries are due, of a few `subscriptions` whose receiver takes `latency` seconds for an answer.

    While they are worked off, `rate` fresh events a second are published for their application, and as many for
    others; then `blows` are dealt to `parts` in turn, spread over the whole work. `patience` are seconds for it.
    What is fresh arrives within `prompt` seconds.
    """

    backlog: int
    subscriptions: int
    rate: float
    latency: float
    prompt: float
    blows: int
    patience: float
    parts: tuple[str, ...]


OF_THE_SERVICE = ("a worker that sends", "any worker", "guard", "web", "database")
ALL_OF_IT = (*OF_THE_SERVICE, "supervisor", "everything")
PARTS = {"kills": "tests.support.crash", "backlog": "tests.support.backlog"}
SHORT = {
    "kills": Kills(
        300,
        40,
        8,
        longest_wait=0.5,
        failing=0.05,
        patience=60,
        parts=(*ALL_OF_IT, "receiver"),
    ),
    "backlog": Backlog(
        8_000,
        4,
        rate=5,
        latency=0.1,
        prompt=5,  # other tests keep the machine busy at the same time
        blows=3,
        patience=120,
        parts=OF_THE_SERVICE,
    ),
}
LONG = {
    "kills": Kills(
        20_000,
        200,
        27,
        longest_wait=4,
        failing=0.02,
        patience=420,  # longer than the supervisor takes to find workers that live and do nothing
        parts=(*ALL_OF_IT, "receiver", "stop and start"),
    ),
    "backlog": Backlog(
        200_000,
        4,
        rate=10,
        latency=0.02,
        prompt=2,
        blows=16,
        patience=900,
        parts=(*ALL_OF_IT, "stop and start"),
    ),
}


def main() -> int:
    options = parsed()
    if options.form is None:
        return max(as_one_of_both(form, options) for form in LONG)
    form = (SHORT if options.short else LONG)[options.form]
    if options.events and isinstance(form, Kills):
        form = replace(form, events=options.events)
    if options.backlog and isinstance(form, Backlog):
        form = replace(form, backlog=options.backlog)
    print(f"SEED={options.seed} FORM={options.form} deals the same blows again.", flush=True)
    with new_directory() as directory:
        running = Running(directory / "var", free_port(), SETTINGS)
        try:
            running.wait_until_up()
            use_settings_of(running)
        except BaseException:
            running.end()
            raise
        fought = getattr(import_module(PARTS[options.form]), options.form)
        return int(fought(running, SETTINGS, form, options.seed))


def as_one_of_both(form: str, options: argparse.Namespace) -> int:
    """In a process of its own: each form has a service, and Django's settings are those of one."""
    numbers = {"--seed": options.seed, "--events": options.events, "--backlog": options.backlog}
    given = [word for name, number in numbers.items() if number is not None for word in (name, str(number))]
    short = ["--short"] if options.short else []
    return subprocess.run([sys.executable, "-m", "tests.crash", "--form", form, *short, *given]).returncode


def use_settings_of(running: Running) -> None:
    """From now on Django's settings in this process are the service's: its database, its keys."""
    os.environ.update(choose_environment(SETTINGS, running.var, running.port, EmbeddedPostgres(running.var)))
    del os.environ[OWNER_MARK]  # a new start would end our receiver as one of its leftovers
    import_module("django").setup()


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--form", choices=list(LONG), help="one of them; both, unless said")
    parser.add_argument("--events", type=int, help="how many the form kills publishes at least")
    parser.add_argument("--backlog", type=int, help="how many deliveries the form backlog has due")
    parser.add_argument("--short", action="store_true", help="the forms that make test runs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
