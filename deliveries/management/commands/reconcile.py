from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from deliveries.ledger import BEGINNING, faults, states


class Command(BaseCommand):
    help = (
        "Proves from the tables that every event was told to whom it should be, every delivery is in one state, every "
        "attempt is counted and no sequence number is missing. Names each row that does not add up, and then exits 1."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since",
            type=moment,
            default=BEGINNING,
            metavar="TIME",
            help="only events and deliveries created since this ISO 8601 time (default: all)",
        )

    def handle(self, *args: Any, since: datetime, **options: Any) -> None:
        number = 0
        for fault in faults(since):
            self.stdout.write(str(fault))
            number += 1
        if number:
            raise CommandError(f"{number} {'row does' if number == 1 else 'rows do'} not add up.")
        found = states(since)
        each = ", ".join(f"{found[state]} {state}" for state in sorted(found))
        self.stdout.write(f"Everything adds up. Deliveries: {found.total()}{each and f' ({each})'}.")


def moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no ISO 8601 time; give one like 2026-10-25T00:30:00Z."
        ) from None
    if found.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} has no offset from UTC; end it with Z.")
    return found
