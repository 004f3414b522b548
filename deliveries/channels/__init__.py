"""The seam between telling and deciding.

A channel tries once and reports what happened and whether trying again can help.
When to try again, what the delivery's status becomes, and what is kept, is decided in `deliveries.settling`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

RESPONSE_LIMIT = 16 * 1024  # bytes of an answer that are read and kept (contract, section 6)


def event_timestamp(moment: datetime) -> str:
    """An aware datetime as the notification writes it: UTC, milliseconds, Z (contract, section 4)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Handling:
    """Who handles what a notification tells of, since when; and what came of it, once that is done.

    `by` is empty if none of those who were told has done it.
    """

    by: str
    since: datetime
    done_at: datetime | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """What is told: one event to one subscription (contract, section 4). `payload` is JSON text as published.

    `sequence` numbers what a subscription is told, without a gap; 0 for what has no number: it was never
    claimed, or goes elsewhere (a replay to another URL). `customer` is what emails call whom the payload names by an
    id alone; empty when that is not known.
    """

    delivery_id: UUID
    subscription_id: UUID
    event_id: UUID
    event_type: str
    occurred_at: datetime
    payload: str
    sequence: int = 0
    attempt: int = 1
    trigger: str = "scheduled"
    test: bool = False
    handling: Handling | None = None
    customer: str = ""

    def body(self) -> bytes:
        """The JSON document with exactly five keys; the payload's text goes in untouched."""
        return (
            f'{{"subscription_id":"{self.subscription_id}","event_id":{json.dumps(self.event_type)},'
            f'"event_timestamp":"{event_timestamp(self.occurred_at)}","delivery_id":"{self.delivery_id}",'
            f'"payload":{self.payload}}}'
        ).encode()


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where a webhook goes. `secrets` are all signing secrets that are valid now (`whsec_…`), newest first."""

    url: str
    secrets: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmailTarget:
    """The one person whom an email goes to, and how that person reads times and words.

    `purpose` is what the application's people call the subscription.
    """

    email: str
    recipient_id: UUID
    application_name: str
    timezone: str = "UTC"
    language: str = "en"
    reply_to: str = ""
    purpose: str = ""


@dataclass(
    slots=True
)  # not frozen, nor is the report: one is made for each attempt, which takes twice as long
class Timings:
    """Milliseconds that each phase of one attempt took; None where there was no such phase.

    On a connection that was kept there is neither look-up nor connect nor TLS, and with plain http no TLS. A failed
    attempt has the phases up to the one in which it ended, and how long it was in that. `total_ms` is what the attempt
    took, to its last byte; of an email, from when it was written.
    """

    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None


@dataclass(slots=True)
class Report:
    """What one attempt of a channel came to.

    `error` is empty on success and otherwise one plain sentence for a person. `permanent` says that no
    further attempt can help. `gone` says that the receiver asked never to be told again (HTTP 410).
    `no_such_address` says that no email will ever arrive at this address, `perhaps_no_such_address` that the mail
    server refused it in words that may mean that.
    `retry_after` is the receiver's wish, unbounded; `None` when it named none.
    """

    succeeded: bool
    error: str = ""
    permanent: bool = False
    gone: bool = False
    no_such_address: bool = False
    perhaps_no_such_address: bool = False
    retry_after: timedelta | None = None
    status_code: int | None = None
    remote_ip: str | None = None
    request_headers: dict[str, str] = field(default_factory=dict)
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""
    response_truncated: bool = False
    timings: Timings = field(default_factory=Timings)
