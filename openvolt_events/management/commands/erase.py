"""Forgets one customer of an application."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.audit import acting
from accounts.models import Application
from deliveries.erasing import LONGEST, SHORTEST, erase, in_filters, mentions
from openvolt_events.actors import by_command


def refuse_what_can_not_be_found(customer: str) -> None:
    if len(customer) < SHORTEST:
        raise CommandError(
            f"--customer {customer!r} is too short: it would be found where nobody is meant. "
            f"Give {SHORTEST} characters at least."
        )
    if len(customer) > LONGEST:
        raise CommandError(f"--customer has {len(customer)} characters; give {LONGEST} at most.")
    try:
        customer.encode()
    except UnicodeEncodeError as error:
        raise CommandError(
            f"--customer is not UTF-8: its character {error.start + 1} can't be read. Payloads have only what is."
        ) from None


class Command(BaseCommand):
    help = (
        "Blanks the payloads of the application's events that mention the customer, and what was sent and came back in "
        "attempts to tell of them; cancels what is still to be sent of them. The rows stay, and the ledger with them. "
        "This can't be undone. It reaches no backups and nothing that receivers have got. For what names the customer "
        "by another id (meter_data.received has their meters' alone), run it for that id, too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--application", type=UUID, required=True, help="its id")
        parser.add_argument(
            "--customer", required=True, help="the customer's id, or whatever else payloads name them by"
        )
        parser.add_argument("--dry-run", action="store_true", help="say how many events mention the customer")

    def handle(self, *args: Any, **options: Any) -> None:
        application = Application.objects.filter(pk=options["application"]).first()
        if application is None:
            raise CommandError(f"There is no application {options['application']}.")
        customer = options["customer"].strip()
        refuse_what_can_not_be_found(customer)
        if options["dry_run"]:
            count = mentions(application, customer).count()
            self.stdout.write(f"{count} events mention the customer. Nothing was changed.")
            return
        with acting(by_command("erase")):
            erased = erase(application, customer, timezone.now())
        self.stdout.write(
            f"Blanked {erased.events} events and {erased.attempts} attempts; "
            f"cancelled {erased.cancelled} deliveries. Attempts that were under way may be written yet: run this again "
            "in some minutes."
        )
        for one in in_filters(application, customer):
            self.stdout.write(
                f"The filter of the subscription {one.id} names the customer: have its owner change it."
            )
