"""The webhook channel: one signed POST to a checked address, within one deadline (decision 4)."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from django.conf import settings
from requests import PreparedRequest, RequestException
from requests.adapters import HTTPAdapter
from standardwebhooks import Webhook
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError, InvalidHeader

from deliveries.channels import RESPONSE_LIMIT, Notification, Report, Timings, WebhookTarget
from deliveries.channels.connections import Exchange, Phase, adapter
from deliveries.channels.failures import explain, is_stale
from subscriptions.addresses import parse
from subscriptions.custom_headers import check_header

HIDDEN = "(not shown)"
HEADERS_LIMIT = 16 * 1024  # characters of an answer's headers that are kept
PLACE = re.compile(
    r"(?P<scheme>https?://)([^/?#@]*@)?(?P<host>[a-z0-9._-]{1,253}|\[[0-9a-f:.]+\])(?P<port>:[0-9]+)?(?P<rest>([/?#].*)?)$",
    re.IGNORECASE | re.ASCII,
)
WHOLE_NUMBER = re.compile(r"[0-9]+")
MOST_SECONDS = 10**9  # a Retry-After beyond is cut to this: `timedelta` has an end
LATER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
REDIRECTS = range(300, 400)


@dataclass
class Answer:
    """What came back so far; the deadline may end it anywhere."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    truncated: bool = False

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def get_ready() -> None:
    """What takes a process a while when it is made, and belongs to no attempt."""
    adapter(settings.WEBHOOK_CA_BUNDLE)


def send(notification: Notification, target: WebhookTarget, now: datetime) -> Report:
    """Make one attempt. Whatever goes wrong out there is a failed report, never an exception."""
    connections, answer, error = adapter(settings.WEBHOOK_CA_BUNDLE), Answer(), ""
    with Exchange(settings.WEBHOOK_TIMEOUT) as exchange:
        body = notification.body()
        ours = headers_of(notification, target.secrets, body, now)
        own = {name: value for name, value in target.headers.items() if name.lower() not in ours}
        try:
            request = request_of(target.url, own, ours, body)
            read(post(request, connections, exchange), answer)
            exchange.remaining()  # an answer that the deadline cut short can look complete
        except (RequestException, HTTPError, OSError, ValueError) as failure:
            error = explain(failure, exchange)
    return Report(
        succeeded=answer.succeeded and not error,
        error=error or refusal(answer),
        permanent=answer.status == HTTPStatus.GONE,
        gone=answer.status == HTTPStatus.GONE,
        retry_after=retry_after(answer, now),
        status_code=answer.status,
        remote_ip=exchange.remote_ip,
        request_headers=ours | dict.fromkeys(own, HIDDEN),
        response_headers=answer.headers,
        response_body=answer.body.decode(errors="replace").replace("\0", ""),
        response_truncated=answer.truncated,
        timings=timings(exchange),
    )


def headers_of(
    notification: Notification, secrets: tuple[str, ...], body: bytes, now: datetime
) -> dict[str, str]:
    """The headers of the contract's section 4, and those that HTTP needs."""
    delivery_id, moment = str(notification.delivery_id), now.astimezone(UTC)
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "accept-encoding": "identity",
        "user-agent": settings.USER_AGENT,
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(
            signer(one).sign(delivery_id, moment, body.decode()) for one in secrets
        ),
        "openvolt-event-id": str(notification.event_id),
        "openvolt-sequence": str(notification.sequence),
        "openvolt-attempt": str(notification.attempt),
        "openvolt-trigger": notification.trigger,
    }
    if not notification.sequence:
        del headers["openvolt-sequence"]
    return headers


@lru_cache(maxsize=4096)
def signer(secret: str) -> Webhook:
    return Webhook(secret)


def request_of(url: str, own: dict[str, str], ours: dict[str, str], body: bytes) -> PreparedRequest:
    """Built directly: `requests.Session` would add what the environment says. Raises `HeaderRefused`."""
    for name, value in own.items():
        check_header(name, value)
    request = PreparedRequest()
    request.method, request.url, request.body = "POST", normalised(url), body
    request.headers = own | ours  # type: ignore[assignment]  # a plain one does, and costs less
    return request


@lru_cache(maxsize=4096)
def normalised(url: str) -> str:
    """The URL in ASCII. Raises `AddressRefused` for one that no longer has the form of a webhook's."""
    parts = parse(url)
    return parts.url if parts.path else parts._replace(path="/").url


def post(request: PreparedRequest, connections: HTTPAdapter, exchange: Exchange) -> Any:
    """Send, and return urllib3's answer once its headers are there.

    A receiver may close a connection that was kept just when it is used again: then a new one is tried, once.
    """
    try:
        return connections.send(request, timeout=exchange.remaining())
    except (RequestException, HTTPError, OSError) as failure:
        if not is_stale(failure, exchange):
            raise
    exchange.start_afresh()
    return connections.send(request, timeout=exchange.remaining())


def read(raw: Any, answer: Answer) -> None:
    """Read an answer up to its limit. Only a connection whose answer was read whole is used again."""
    answer.status = raw.status
    answer.headers, headers_cut = kept(raw.headers)
    whole = False
    try:
        check_length(raw.headers)
        whole = read_body(raw, answer)
    finally:
        answer.truncated = headers_cut or len(answer.body) > RESPONSE_LIMIT
        answer.body = answer.body[:RESPONSE_LIMIT]
        if not whole:
            raw.close()
        raw.release_conn()


def check_length(headers: HTTPHeaderDict) -> None:
    """Raises `InvalidHeader`, as urllib3 does of two that differ: it takes others that are wrong for none."""
    lengths = {length.strip() for line in headers.getlist("content-length") for length in line.split(",")}
    if lengths and not (len(lengths) == 1 and WHOLE_NUMBER.fullmatch(lengths.pop())):
        raise InvalidHeader("Content-Length")


def read_body(raw: Any, answer: Answer) -> bool:
    """Returns whether the body came to its end within the limit."""
    while not raw.isclosed():
        room = RESPONSE_LIMIT + 1 - len(answer.body)
        if not room:
            return False
        answer.body += raw.read1(room, decode_content=False)
    return True


def kept(headers: HTTPHeaderDict) -> tuple[dict[str, str], bool]:
    """The headers to keep, without what a database refuses, and whether some were left out for their size."""
    room = HEADERS_LIMIT
    found: dict[str, str] = {}
    for name, value in headers.itermerged():
        room -= len(name) + len(value)
        if room < 0:
            return found, True
        found[name.lower().replace("\0", "")] = value.replace("\0", "")
    return found, False


def refusal(answer: Answer) -> str:
    """Why an answer that came whole is no success; empty if it is one."""
    if answer.succeeded:
        return ""
    said = f"The receiver answered {answer.status} {phrase(answer.status)}".rstrip()
    if answer.status not in REDIRECTS:
        return f"{said}."
    place = place_of(answer.headers.get("location", ""))
    pointing = f" and points to {place}" if place else ""
    return f"{said}{pointing}; redirects are not followed, so the subscription's URL must be the final one."


def place_of(location: str) -> str:
    """Scheme and host alone: the rest may be about people, and the sentence stays when an attempt is blanked."""
    found = PLACE.match(location)
    if not found:
        return ""
    place = f"{found['scheme']}{found['host']}{found['port'] or ''}".lower()
    return f"{place}/…" if found["rest"].strip("/") else f"{place}/"


def phrase(status: int | None) -> str:
    """The standard's words for it; those of the receiver are anybody's."""
    try:
        return HTTPStatus(status or 0).phrase
    except ValueError:
        return ""


def retry_after(answer: Answer, now: datetime) -> timedelta | None:
    """The receiver's wish, in seconds or as a date (RFC 9110, section 10.2.3); None if there is none to read."""
    wish = answer.headers.get("retry-after", "").strip()
    if answer.status not in LATER or not wish:
        return None
    if WHOLE_NUMBER.fullmatch(wish):
        return timedelta(seconds=min(int(wish[:20]), MOST_SECONDS))
    try:
        date = parsedate_to_datetime(wish)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(date.replace(tzinfo=date.tzinfo or UTC) - now, timedelta(0))


def timings(exchange: Exchange) -> Timings:
    took = {phase: round(seconds * 1000, 1) for phase, seconds in exchange.took.items()}
    return Timings(
        dns_ms=took.get(Phase.DNS),
        connect_ms=took.get(Phase.CONNECT),
        tls_ms=took.get(Phase.TLS),
        first_byte_ms=took.get(Phase.FIRST_BYTE),
        total_ms=round((exchange.phase_began - exchange.began) * 1000, 1),
    )
