"""Headers that a subscription's owner wants with every webhook: their own, never ours, never the connection's.

A name is allowed by its form: with a prefix (`x-team`, `acme-token`), or one of a few words. Of those with a prefix,
what has a meaning for HTTP, for a proxy or for us is refused. What a server's variables would mix up with another
(`content_length`) has no such form.
"""

import re
from collections.abc import Mapping

from django.conf import settings

LONGEST_NAME = 100
LONGEST_VALUE = 4096

WORDS = ("authorization", "apikey", "baggage", "secret", "tenant", "token", "traceparent", "tracestate")
NAME = re.compile(
    "(?:[0-9A-Za-z]+(?:-[0-9A-Za-z]+)+|"
    + "|".join("".join(f"[{letter.upper()}{letter}]" for letter in word) for word in WORDS)
    + ")"
)
VISIBLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")

OURS = ("openvolt-", "webhook-")
OF_HTTP = (
    "accept-", "access-control-", "cache-", "content-", "cross-origin-", "http2-", "if-", "odata-", "origin-",
    "proxy-", "repeatability-", "sec-", "surrogate-", "transfer-", "want-",
)  # fmt: skip
OF_PROXIES = (
    "forwarded-", "remote-", "x-accel-", "x-envoy-", "x-forwarded-", "x-http-method", "x-middleware-", "x-original-",
    "x-remote-", "x-rewrite-",
)  # fmt: skip
RESERVED_PREFIXES = (*OURS, *OF_HTTP, *OF_PROXIES)

# With a hyphen and no prefix of those above: IANA's registry of HTTP field names, and what proxies say of a client.
RESERVED = {
    "a-im", "alt-svc", "alt-used", "authentication-control", "authentication-info", "c-ext", "c-man", "c-opt",
    "c-pep", "c-pep-info", "caldav-timezones", "capsule-protocol", "cdn-cache-control", "cdn-loop",
    "clear-site-data", "client-cert", "client-cert-chain", "cmcd-object", "cmcd-request", "cmcd-session",
    "cmcd-status", "cmsd-dynamic", "cmsd-static", "default-style", "delta-base", "derived-from", "detached-jws",
    "dictionary-id", "differential-id", "dpop-nonce", "early-data", "ediint-features", "idempotency-key",
    "include-referred-token-binding-id", "keep-alive", "last-event-id", "last-modified", "link-template",
    "lock-token", "max-forwards", "memento-datetime", "method-check", "method-check-expires", "mime-version",
    "no-vary-search", "optional-www-authenticate", "ordering-type", "oslc-core-version", "pep-info",
    "permissions-policy", "pics-label", "ping-from", "ping-to", "preference-applied", "protocol-info",
    "protocol-query", "protocol-request", "public-key-pins", "public-key-pins-report-only", "redirect-ref",
    "referer-root", "referrer-policy", "replay-nonce", "reporting-endpoints", "repr-digest", "retry-after",
    "schedule-reply", "schedule-tag", "security-scheme", "server-timing", "set-cookie", "set-cookie2", "set-txn",
    "signature-input", "status-uri", "strict-transport-security", "timing-allow-origin", "use-as-dictionary",
    "user-agent", "variant-vary", "www-authenticate", "x-content-type-options", "x-frame-options",
    "cf-connecting-ip", "client-ip", "fastly-client-ip", "true-client-ip", "x-client-ip", "x-cluster-client-ip",
    "x-host", "x-method-override", "x-real-ip", "x-scheme", "x-sendfile", "x-url-scheme",
}  # fmt: skip


class HeaderRefused(ValueError):
    """The text is a sentence for the owner of the subscription. `name` is the header's; None: all of them."""

    def __init__(self, name: str | None, message: str) -> None:
        super().__init__(message)
        self.name = name


def check_headers(headers: Mapping[str, str]) -> None:
    """Whether these can go with every webhook; raises `HeaderRefused`. Values are never named: they may be secret."""
    if len(headers) > settings.MAX_HEADERS:
        raise HeaderRefused(None, f"There are {len(headers)} headers; use at most {settings.MAX_HEADERS}.")
    seen: set[str] = set()
    for name, value in headers.items():
        check_header(name, value)
        if name.lower() in seen:
            raise HeaderRefused(name, f"The header {name!r} is there twice, whatever its case; use it once.")
        seen.add(name.lower())


def check_header(name: str, value: str) -> None:
    """Whether this one can. The sender asks it again: nothing else keeps a stored header within its line."""
    check_name(name)
    check_value(name, value)


def check_name(name: str) -> None:
    if len(name) > LONGEST_NAME:
        raise HeaderRefused(name, f"A header's name has {len(name)} characters; use at most {LONGEST_NAME}.")
    if not NAME.fullmatch(name):
        raise HeaderRefused(
            name,
            f"{name!r} is no name of a header of your own; use letters and digits with hyphens between them, like "
            f"x-team or acme-token, or one of {', '.join(WORDS)}.",
        )
    lower = name.lower()
    if lower in RESERVED or lower.startswith(RESERVED_PREFIXES):
        raise HeaderRefused(
            name,
            f"The header {name!r} means something in HTTP, or is set by the service; choose another name.",
        )


def check_value(name: str, value: str) -> None:
    if len(value) > LONGEST_VALUE:
        raise HeaderRefused(
            name, f"The value of {name!r} has {len(value)} characters; use at most {LONGEST_VALUE}."
        )
    if not VISIBLE.fullmatch(value):
        raise HeaderRefused(
            name,
            f"The value of {name!r} is empty, has space around it, or characters that are not visible ASCII; "
            "encode it.",
        )
