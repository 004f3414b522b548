"""Addresses that emails may go to: mailboxes at names of the internet's. Whether it is an address, Django says."""

import re
from collections.abc import Iterable
from unicodedata import normalize

from accounts.visible_text import HIDDEN

LONGEST_LOCAL_PART = 64  # RFC 5321, section 4.5.3.1.1
INVISIBLE = re.compile(rf"{HIDDEN.pattern}|[\s\u200c\u200d]")  # no joiner belongs in an address, either


class EmailRefused(ValueError):
    """The text is a sentence for whoever wrote the address: what is refused, and the mend."""


def check_email_address(address: str) -> None:
    """Raises `EmailRefused`. Names in any language pass, as long as one sees what they are."""
    local, _, domain = address.rpartition("@")
    if INVISIBLE.search(address):
        raise EmailRefused("The address has invisible characters in it; type it anew.")
    if len(local) > LONGEST_LOCAL_PART:
        raise EmailRefused(
            f"The address has {len(local)} characters before the @; at most {LONGEST_LOCAL_PART} are allowed."
        )
    if local.lstrip('"').startswith(("-", "|")):
        raise EmailRefused("The address begins with - or |, which mail servers may take for a command.")
    check_domain(normalize("NFKC", domain).lower())


def tidy(address: str) -> str:
    """As it was written, but for a domain in another language, which has more spellings than programs need."""
    local, at, domain = address.rpartition("@")
    return address if domain.isascii() else local + at + normalize("NFKC", domain).lower()


def same_for_all(address: str) -> str:
    """To compare addresses by: in lower case, the domain as the DNS knows it."""
    local, at, domain = address.lower().rpartition("@")
    try:
        return local + at + domain.encode("idna").decode("ascii")
    except UnicodeError:
        return address.lower()


def spellings(addresses: Iterable[str]) -> set[str]:
    """In lower case, how tidy ones may have been written."""
    return {spelling for address in addresses for spelling in both(same_for_all(address))}


def both(address: str) -> tuple[str, str]:
    local, at, domain = address.rpartition("@")
    try:
        return address, local + at + domain.encode("ascii").decode("idna")
    except UnicodeError:
        return address, address


def check_domain(domain: str) -> None:
    labels = domain.split(".")
    if domain.startswith("[") or labels[-1].isdecimal():
        raise EmailRefused(
            "The address has a number where a domain should be; use a domain, like example.com."
        )
    if len(labels) < 2 or labels[-1] == "localhost":
        raise EmailRefused(f"{domain!r} is no domain of the internet; use one like example.com.")
