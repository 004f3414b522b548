"""The demo from the first call to the closing account."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from openvolt_events.demo.account import ARRIVED, TRIED, Account, PublishedEvent, Told, account, wanted
from openvolt_events.demo.client import Client, NotRunning, Refused, publish
from openvolt_events.demo.day import Publish, RotateKey, Step, plan
from openvolt_events.demo.mailbox import Mailbox, confirm
from openvolt_events.demo.receivers import Receipt, Receiver, down, flaky, healthy, slow
from openvolt_events.demo.screen import Screen, Standing, Tally, table

DAYS = (date(2026, 10, 24), date(2026, 10, 25))  # an ordinary day of 48 half hours, and the Sunday of 50
EMAIL_WAIT = timedelta(seconds=20)
FINISH_WAIT = timedelta(seconds=60)
RETRY_SCHEDULE = (5, 300, 1800)  # seconds; the service's own may not suit what the receivers play
REDRAW = timedelta(milliseconds=200)
LOOK_AGAIN = timedelta(seconds=1)

PEOPLE = ("customer.created", "user.created")
CONSENTS = ("hosted_consent.approved", "hosted_consent.revoked")

CHARACTERS = {
    "healthy": "takes all",
    "flaky": "first answers 503 to every other one",
    "slow": "thinks for a second or two",
    "down": "answers 500 to everything",
    "email": "one recipient",
}


class Source(Protocol):
    """Where notifications arrive."""

    def receipts(self) -> list[Receipt]: ...


@dataclass
class Subscriber:
    """One subscription of the demo, and the places where its deliveries may end."""

    name: str
    event_types: Sequence[str]
    source: Source
    ends: Collection[str] = ARRIVED
    subscription_id: str = ""
    deliveries: Sequence[Told] = field(default=())

    def __str__(self) -> str:
        return f"  {self.name:<8} {CHARACTERS[self.name]}"

    def tally(self, events: Sequence[PublishedEvent]) -> Tally:
        accepted = {receipt.webhook_id for receipt in self.source.receipts() if receipt.accepted}
        return Tally(self.name, len(wanted(events, self.event_types)), len(accepted))

    def is_complete(self, events: Sequence[PublishedEvent]) -> bool:
        ended = {told.event_id for told in self.deliveries if told.place in self.ends}
        return all(event.id in ended for event in wanted(events, self.event_types))

    def account(self, events: Sequence[PublishedEvent]) -> Account:
        return account(
            self.name,
            self.subscription_id,
            wanted(events, self.event_types),
            self.deliveries,
            self.source.receipts(),
            self.ends,
        )


class Demo:
    """One run, with an application, receivers and an email address of its own."""

    def __init__(self, url: str, platform_key: str, mail_directory: Path, screen: Screen) -> None:
        self.run = uuid4().hex[:8]
        self.screen = screen
        self.platform = Client(url, platform_key)
        self.application = Client(url, "")
        self.application_id = ""
        self.mailbox = Mailbox(mail_directory, f"customer-success+{self.run}@greenhomes.example")
        self.receivers = {
            "healthy": Receiver(healthy),
            "flaky": Receiver(flaky),
            "slow": Receiver(slow),
            "down": Receiver(down),
        }
        self.subscribers = [
            Subscriber("healthy", ["*"], self.receivers["healthy"]),
            Subscriber("flaky", ["meter_data.received"], self.receivers["flaky"]),
            Subscriber("slow", [*PEOPLE, "meter.created", *CONSENTS], self.receivers["slow"]),
            Subscriber(
                "down", [*CONSENTS, "meter.created", "api_keys.rotated"], self.receivers["down"], TRIED
            ),
            Subscriber("email", [*PEOPLE, *CONSENTS, "meter.created", "api_keys.rotated"], self.mailbox),
        ]
        self.steps = plan(self.run, DAYS)
        self.events: list[PublishedEvent] = []

    def perform(self, lasting: timedelta) -> list[Account]:
        """Play the days in about the time given, show and return the closing account. Raises NotRunning, Refused."""
        with self.stage():
            self.create_application()
            self.subscribe()
            self.confirm_recipient()
            self.play(lasting)
            self.wait_for_completion()
            accounts = [subscriber.account(self.events) for subscriber in self.subscribers]
            self.screen.say(f"\n{table(accounts)}\n")
            return accounts

    @contextmanager
    def stage(self) -> Iterator[None]:
        """The receivers listen; at the end no subscription is left with retries to one that is gone."""
        for receiver in self.receivers.values():
            receiver.start()
        try:
            yield
        finally:
            self.pause_unfinished()
            for receiver in self.receivers.values():
                receiver.stop()

    def create_application(self) -> None:
        name = f"Demo day {self.run}"
        created = self.platform.post("/v1/applications", {"name": name})
        self.application_id = created["id"]
        self.application.use_key(created["api_key"])
        self.screen.say(f"Application: {name} ({self.application_id})")

    def subscribe(self) -> None:
        for subscriber in self.subscribers:
            created = self.application.post("/v1/subscriptions", self.subscription_of(subscriber))
            subscriber.subscription_id = created["id"]
            if receiver := self.receivers.get(subscriber.name):
                receiver.secret = created["secret"]
        self.screen.say("\n".join(["Subscriptions:", *map(str, self.subscribers)]))

    def subscription_of(self, subscriber: Subscriber) -> dict[str, Any]:
        common = {"event_types": list(subscriber.event_types), "description": f"Demo: {subscriber.name}"}
        if receiver := self.receivers.get(subscriber.name):
            return {"channel": "webhook", "url": receiver.url, "retry_schedule": RETRY_SCHEDULE, **common}
        return {"channel": "email", "recipients": [self.mailbox.address], **common}

    def confirm_recipient(self) -> None:
        """Click the link in the recipient's own email; without an email to be found, its deliveries stay held."""
        if not until(lambda: self.mailbox.confirmation_link() is not None, EMAIL_WAIT):
            self.screen.say(
                f"No email has come to {self.mailbox.directory} within {EMAIL_WAIT.seconds} s: EMAIL_URL seems to send"
                " them elsewhere. Nobody confirms the address, so the emails are counted as held."
            )
            return
        confirm(self.mailbox.confirmation_link() or "")
        email = next(subscriber for subscriber in self.subscribers if subscriber.source is self.mailbox)
        recipients = self.application.get(f"/v1/subscriptions/{email.subscription_id}")["recipients"]
        if [recipient["status"] for recipient in recipients] != ["confirmed"]:
            raise Refused(f"The link in the email confirmed nothing: the recipients are {recipients}.")
        self.screen.say(f"Recipient: {self.mailbox.address} has confirmed through the link in the email")

    def play(self, lasting: timedelta) -> None:
        began, pace = time.monotonic(), lasting.total_seconds() / len(self.steps)
        for number, step in enumerate(self.steps):
            self.show_until(step, began + number * pace)
            self.events += self.take(step, number)
            self.show(step)

    def take(self, step: Step, number: int) -> list[PublishedEvent]:
        match step:
            case Publish(changes=changes):
                return publish(self.platform, self.application_id, changes, f"demo-{self.run}-{number}")
            case RotateKey():
                return [self.rotate_key()]

    def rotate_key(self) -> PublishedEvent:
        """Go on with a new key; the event is the service's own."""
        [key] = self.application.get("/v1/api-keys")["data"]
        rotated = self.application.post(f"/v1/api-keys/{key['id']}/rotate", {"overlap_seconds": 0})
        self.application.use_key(rotated["api_key"])
        [event] = self.application.get("/v1/events?type=api_keys.rotated")["data"]
        whole = self.application.get(f"/v1/events/{event['id']}")
        return PublishedEvent(whole["id"], whole["type"], whole["payload"])

    def wait_for_completion(self) -> None:
        """Until every event has arrived, or for the receiver that is down has been tried; else until the deadline."""
        until(self.is_complete, FINISH_WAIT, LOOK_AGAIN)
        self.show(self.steps[-1])

    def is_complete(self) -> bool:
        self.show(self.steps[-1])
        deliveries = self.application.deliveries()
        for subscriber in self.subscribers:
            subscriber.deliveries = deliveries.get(subscriber.subscription_id, [])
        return all(subscriber.is_complete(self.events) for subscriber in self.subscribers)

    def show_until(self, step: Step, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0:
            self.show(step)
            time.sleep(min(left, REDRAW.total_seconds()))

    def show(self, step: Step) -> None:
        total = sum(len(step.changes) if isinstance(step, Publish) else 1 for step in self.steps)
        tallies = [subscriber.tally(self.events) for subscriber in self.subscribers]
        self.screen.show(Standing(step.at, len(self.events), total, tallies))

    def pause_unfinished(self) -> None:
        """Hold what is still to be sent, and say so."""
        try:
            pending = self.application.deliveries() if self.application_id else {}
            for subscriber in self.subscribers:
                waiting = [
                    told for told in pending.get(subscriber.subscription_id, []) if told.status == "pending"
                ]
                if waiting:
                    self.application.post(f"/v1/subscriptions/{subscriber.subscription_id}/pause")
                    self.screen.say(
                        f"Paused the subscription of {subscriber.name!r} (deliveries held: {len(waiting)}), so that"
                        " nothing is retried for days to a receiver that ends with the demo."
                    )
        except (NotRunning, Refused) as error:
            self.screen.say(f"Could not pause what is unfinished: {error}")


def until(condition: Callable[[], bool], patience: timedelta, pause: timedelta = REDRAW) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + patience.total_seconds()
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause.total_seconds())
    return True
