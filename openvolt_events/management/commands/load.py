import time
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.models import ApiKey, Scope
from deliveries.models import Delivery
from openvolt_events.load import account, controls, seconds
from openvolt_events.load.presets import PRESETS, Preset
from openvolt_events.load.publishers import InProcess, OverHTTP, Publisher
from openvolt_events.load.receiver import Receiver
from openvolt_events.load.traffic import Traffic

LONGEST_LIST = 20
STANDARD_INPUT = 0  # without a buffer: its lock would be held at the exit


class Command(BaseCommand):
    help = (
        "Publishes at a rate to endpoints of its own, shows each second, and accounts for every event at the end. "
        "Workers must be running on the same database, and WEBHOOK_ALLOWED_NETWORKS must have 127.0.0.0/8. "
        f"{controls.HELP}loud.rate 50, healthy.failing 1."
    )

    stealth_options = ("typed",)  # lines in place of the standard input

    def add_arguments(self, parser: ArgumentParser) -> None:
        scenarios = "; ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items())
        parser.add_argument("preset", nargs="?", default="steady", choices=PRESETS, help=scenarios)
        parser.add_argument("--seconds", type=int, default=30, help="how long it publishes (30)")
        parser.add_argument(
            "--patience", type=int, default=30, help="seconds for what is then to be done (30)"
        )
        parser.add_argument("--rate", type=float, help="events a second, instead of the preset's")
        parser.add_argument("--failing", type=float, help="share of webhooks answered 500, from 0 to 1")
        parser.add_argument("--latency", type=float, help="seconds before each answer")
        parser.add_argument("--url", help="publish through the HTTP API there; else on the database")

    def handle(self, *args: Any, **options: Any) -> None:
        preset = chosen(options)
        typed = options.get("typed") or open(STANDARD_INPUT, "rb", buffering=0, closefd=False)  # noqa: SIM115
        with (
            Receiver() as receiver,
            publisher(options["url"]) as way,
            Traffic(preset, way, receiver) as traffic,
        ):
            Thread(target=self.listen, args=(traffic, typed), daemon=True).start()
            accounts = self.play(traffic, options["seconds"], options["patience"])
        self.stdout.write(f"\n{account.table(accounts)}")
        wrong = [f"{one.group}: {problem}" for one in accounts for problem in one.problems]
        if wrong:
            raise CommandError("\n".join([*wrong[:LONGEST_LIST], f"Not accounted for: {len(wrong)}."]))
        self.stdout.write("Every event is accounted for.")

    def listen(self, traffic: Traffic, commands: Iterable[bytes]) -> None:
        for line in commands:
            try:
                self.stdout.write(controls.obey(traffic, line.decode(errors="replace")))
            except controls.Misunderstood as error:
                self.stderr.write(str(error))

    def play(self, traffic: Traffic, lasting: int, patience: int) -> list[account.Account]:
        """Ctrl-C ends the publishing; a second one gives up."""
        shown = seconds.Seconds(traffic)
        self.stdout.write(seconds.line(seconds.HEADS))
        try:
            self.show(shown, lasting)
        except KeyboardInterrupt:
            self.stderr.write("Publishing ends; what is due is still waited for.")
        traffic.stop_publishing()
        for _ in range(patience):
            self.show(shown, 1)
            if not is_anything_due(traffic):
                break
        traffic.gather()
        return account.settle_accounts(traffic)

    def show(self, shown: seconds.Seconds, number: int) -> None:
        began = time.monotonic()
        for nth in range(1, number + 1):
            time.sleep(max(began + nth - time.monotonic(), 0))
            for second in shown.next():
                self.stdout.write(seconds.line(second.cells()))


def chosen(options: dict[str, Any]) -> Preset:
    preset = PRESETS[options["preset"]]
    if options["rate"] is not None:
        preset = preset.with_rate(options["rate"])
    conduct = {name: options[name] for name in ("failing", "latency") if options[name] is not None}
    return preset.with_conduct(**conduct)


@contextmanager
def publisher(url: str | None) -> Iterator[Publisher]:
    """With a URL, a platform key is made for it, and revoked at the end."""
    if url is None:
        yield InProcess()
        return
    row, key = ApiKey.objects.issue(
        kind=ApiKey.Kind.PLATFORM, name="manage.py load", scopes=[Scope.READ, Scope.WRITE]
    )
    try:
        yield OverHTTP(url, key)
    finally:
        row.revoke(timezone.now())


def is_anything_due(traffic: Traffic) -> bool:
    """Whether a delivery is under way, due, or to be tried again."""
    subscriptions = [endpoint.subscription.id for endpoint in traffic.endpoints]
    return Delivery.objects.pending().filter(subscription__in=subscriptions).exists()
