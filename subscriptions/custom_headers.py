"""Headers that a subscription's owner wants with every webhook: their own, never ours, never the connection's."""

import re
from collections.abc import Mapping

from django.conf import settings

LONGEST_NAME = 100
LONGEST_VALUE = 4096

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
VISIBLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")

OURS = {"accept-encoding", "content-encoding", "content-length", "content-type", "host", "user-agent"}
OF_THE_CONNECTION = {"connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
RESERVED_PREFIXES = ("webhook-", "openvolt-", "proxy-")


class HeaderRefused(ValueError):
    """The text is a sentence for the owner of the subscription. `name` is the header's; empty: all of them."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def check_headers(headers: Mapping[str, str]) -> None:
    """Whether these can go with every webhook; raises `HeaderRefused`. Values are never named: they may be secret."""
    if len(headers) > settings.MAX_HEADERS:
        raise HeaderRefused("", f"There are {len(headers)} headers; use at most {settings.MAX_HEADERS}.")
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
    if not TOKEN.fullmatch(name):
        raise HeaderRefused(name, f"{name!r} is no header name; use letters, digits and hyphens.")
    lower = name.lower()
    if lower in OURS | OF_THE_CONNECTION or lower.startswith(RESERVED_PREFIXES):
        raise HeaderRefused(name, f"The header {name!r} is set by the service; choose another name.")


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
