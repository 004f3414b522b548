"""Encrypts again, with the first key, what is encrypted at rest."""

import time
from dataclasses import astuple
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.audit import acting, record
from openvolt_events.actors import by_command
from subscriptions.encryption import EncryptedTextField, Rotation, encrypted_fields, rotate

PASSES = 10
BETWEEN_PASSES = 1  # second


class Command(BaseCommand):
    help = (
        "Encrypts signing secrets and custom headers with the first of ENCRYPTION_KEYS, whichever of them encrypted "
        "them before. Runs beside the service; cut short, it is simply run again. First put the new key in front, keep "
        "the old ones, and restart every process; when this has left nothing, the old ones can go."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        with acting(by_command("rotate_encryption")):
            rotations = [self.rotate(field) for field in encrypted_fields()]
        if unreadable := sum(rotation.unreadable for rotation in rotations):
            raise CommandError(
                f"{unreadable} values were encrypted with a key that ENCRYPTION_KEYS does not have. Add it, after the "
                "first, and run this again."
            )
        if left := sum(rotation.left for rotation in rotations):
            raise CommandError(f"{left} values were in use the whole time. Run this again.")
        self.stdout.write("Everything is encrypted with the first of ENCRYPTION_KEYS.")

    def rotate(self, field: EncryptedTextField) -> Rotation:
        total = rotation = rotate(field)
        for _ in range(PASSES - 1):
            if not rotation.left:
                break
            time.sleep(BETWEEN_PASSES)
            rotation = rotate(field)
            total = Rotation(rotation.column, total.rewritten + rotation.rewritten, *astuple(rotation)[2:])
        self.say(total)
        return total

    def say(self, total: Rotation) -> None:
        counts = {"rewritten": total.rewritten, "unreadable": total.unreadable, "left": total.left}
        self.stdout.write(
            f"{total.column}: {total.rewritten} encrypted again, {total.current} had the first key, "
            f"{total.unreadable} unreadable, {total.left} left"
        )
        record("encryption.rotated", None, after={"column": total.column, **counts})
