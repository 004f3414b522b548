"""The address guard: where webhooks may go.

A URL comes from outside, and its name may lead into our own network, today or only at the next look. So addresses are
judged when a subscription is saved, and again at every connect, which then goes to the address that was judged.
"""

import os
import re
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from threading import BoundedSemaphore, Thread

from django.conf import settings
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

Address = IPv4Address | IPv6Address

LONGEST_URL = 2048
LONGEST_NAME = 253
DEFAULT_PORTS = {"http": 80, "https": 443}
LOOKUP_PATIENCE = timedelta(seconds=3)
MOST_LOOKUPS = 64  # at a time; a resolver that hangs keeps its thread

# Where protocols other than HTTP are at home, whose servers might take a webhook for commands (Fetch, "port blocking"),
# and where databases, caches, brokers and machines are run, which somebody left open to the internet by mistake.
PORTS_OF_OTHERS = frozenset(
    [1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109,
     110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 445, 465, 512, 513, 514, 515, 526,
     530, 531, 532, 540, 548, 554, 556, 563, 587, 593, 601, 636, 873, 989, 990, 993, 995, 1433, 1434, 1521, 1719,
     1720, 1723, 1883, 2049, 2181, 2222, 2375, 2376, 2379, 2380, 3260, 3268, 3269, 3306, 3389, 3659, 4045, 4190,
     4222, 4369, 5060, 5061, 5432, 5433, 5671, 5672, 5900, 5984, 5985, 5986, 6000, 6379, 6380, 6432, 6443, 6566,
     6665, 6666, 6667, 6668, 6669, 6679, 6697, 7199, 8086, 8500, 8883, 9042, 9092, 9093, 9100, 9160, 9200, 9300,
     10080, 10250, 10255, 11211, 15672, 25672, 26257, 26379, 27017, 27018, 27019, 28015, 33060, 61613, 61616]
)  # fmt: skip

LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
USERINFO = re.compile(r"[^/?#]*//[^/?#]*@")

# IANA's registries of special-purpose addresses, and multicast. Whatever in them is reachable is no webhook receiver.
SPECIAL_V4 = [
    ip_network(cidr)
    for cidr in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # in no registry: what answers there is Azure's own host, to the machines in it
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
]
UNICAST_V6 = IPv6Network(
    "2000::/3"
)  # all that IANA has given out; anything beyond is local, a wrapper or unused
SPECIAL_V6 = [
    ip_network(cidr)
    for cidr in (
        "2001::/23",  # Teredo, ORCHID, benchmarking …
        "2001:db8::/32",
        "2002::/16",  # 6to4: wraps an IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]
NAT64 = IPv6Network("64:ff9b::/96")  # how a network without IPv4 reaches public IPv4 addresses (RFC 6052)
LOW_32_BITS = 0xFFFF_FFFF


class AddressRefused(ValueError):
    """The text is a sentence for the owner of the subscription: what is refused, and the mend."""


def check_url(url: str) -> None:
    """Whether a webhook may be sent there, as far as it can be said now; raises `AddressRefused` if not.

    A name that can't be looked up now passes (https only): it is looked up again at every connect.
    """
    parts = parse(url)
    if NO_ESCAPE.search(url):  # it would be called as if it were one: %zz as %25zz
        raise AddressRefused("The URL has a % that begins no escape like %2F; write it %25.")
    host, scheme = str(parts.host), str(parts.scheme)
    port = parts.port or DEFAULT_PORTS[scheme]
    try:
        allowed_addresses(scheme, host, port, LOOKUP_PATIENCE)
    except OSError:
        check_port(port)
        if scheme == "http":
            raise AddressRefused(
                f"The name {host!r} can't be looked up now, and plain http needs that; use https."
            ) from None


def allowed_addresses(scheme: str, host: str, port: int, patience: timedelta) -> list[Address]:
    """The addresses of a host, all of them checked, for whoever connects now.

    Raises `AddressRefused` when one of them is not allowed, `TimeoutError` when the look-up takes longer than
    `patience`, and `OSError` when it fails.
    """
    named = literal(host)
    addresses = [named] if named else resolve(host, port, patience)
    for address in addresses:
        check_address(scheme, host, port, address)
    return addresses


def check_address(scheme: str, host: str, port: int, address: Address) -> None:
    """What a name leads to inside a network is not told: the answer goes to whoever typed the name."""
    if not is_allowed(address):
        raise AddressRefused(
            f"The host {host!r} is at, or leads to, an address that is not public; "
            "use a host whose every address is public."
        )
    if is_in_allowed_networks(address):
        return
    check_port(port)
    if scheme == "http":
        raise AddressRefused(f"Plain http is not allowed to the host {host!r}; use https.")


def check_port(port: int) -> None:
    if port in PORTS_OF_OTHERS:
        raise AddressRefused(f"Port {port} is kept for another protocol than HTTP; use 443 or another port.")


def is_allowed(address: Address) -> bool:
    """Whether a webhook may go to this address: it is public, or in WEBHOOK_ALLOWED_NETWORKS."""
    return is_in_allowed_networks(address) or is_public(address)


def is_in_allowed_networks(address: Address) -> bool:
    """An IPv4 address that is written as an IPv6 one (`::ffff:…`) counts as itself."""
    return any(
        address in network or mapped(address) in network for network in settings.WEBHOOK_ALLOWED_NETWORKS
    )


def is_public(address: Address) -> bool:
    """Whether the address is one of the internet's. `ipaddress.is_global` lets too much through.

    Addresses that wrap an IPv4 address are judged by it where that is how they are routed, and refused elsewhere.
    """
    address = mapped(address)
    if isinstance(address, IPv6Address) and address in NAT64:
        address = IPv4Address(int(address) & LOW_32_BITS)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL_V4)
    return address in UNICAST_V6 and not any(address in network for network in SPECIAL_V6)


def mapped(address: Address) -> Address:
    """The IPv4 address in an IPv4-mapped one; any other as it is."""
    wrapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return wrapped or address


def parse(url: str) -> Url:
    """The parts of a URL that has the form of a webhook's, normalised, international names encoded."""
    if len(url) > LONGEST_URL:
        raise AddressRefused(f"The URL has {len(url)} characters; use at most {LONGEST_URL}.")
    if not url.isprintable() or re.search(r"[\s\\]", url):
        raise AddressRefused("The URL has white space, control characters or backslashes in it; encode them.")
    if USERINFO.match(url):
        raise AddressRefused("The URL has credentials in it; use the subscription's headers for them.")
    if "#" in url:
        raise AddressRefused(
            "The URL has a fragment, which is never sent; leave out everything from the # on."
        )
    try:
        parts = parse_url(url)
    except LocationParseError:
        raise AddressRefused(f"{url!r} is no URL; write it like https://example.com/webhooks.") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.host:
        raise AddressRefused(
            f"{url!r} is no https URL with a host; write it like https://example.com/webhooks."
        )
    if parts.port == 0:
        raise AddressRefused("The URL names port 0; use one from 1 to 65535.")
    check_host(parts.host)
    return parts


def check_host(host: str) -> None:
    if "%" in host:
        raise AddressRefused(
            f"The host {host!r} names a network interface; leave out everything from the % on."
        )
    if literal(host):
        return
    labels = host.removesuffix(".").split(".")
    if NUMBER.fullmatch(labels[-1]):
        raise AddressRefused(
            f"The host {host!r} ends like an address but is none; write the address in full."
        )
    if len(host) > LONGEST_NAME or not all(LABEL.fullmatch(label) for label in labels):
        raise AddressRefused(f"The host {host!r} is neither a name nor an address; correct it.")


def literal(host: str) -> Address | None:
    """The address that a host is, in any spelling that some resolver understands; None for a name."""
    bare = host.removeprefix("[").removesuffix("]").removesuffix(".")
    try:
        return ip_address(bare)
    except ValueError:
        pass
    if not all(NUMBER.fullmatch(part) for part in bare.split(".")):
        return None
    try:
        return IPv4Address(socket.inet_aton(bare))  # one to four parts, decimal, octal or hexadecimal
    except OSError:
        return None


def resolve(host: str, port: int, patience: timedelta) -> list[Address]:
    """Every address of a name, in the order to try them. `getaddrinfo` may hang, so it gets a thread of its own."""
    places = lookups
    if not places.acquire(blocking=False):
        raise TimeoutError(f"{MOST_LOOKUPS} look-ups of names are waiting for an answer already")
    answer: Future[Sequence[str]] = Future()
    Thread(target=look_up, args=(host, port, answer, places), name="look-up", daemon=True).start()
    addresses = answer.result(timeout=max(patience.total_seconds(), 0))
    return list(dict.fromkeys(ip_address(address) for address in addresses))


def look_up(host: str, port: int, answer: "Future[Sequence[str]]", places: BoundedSemaphore) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        answer.set_result([str(address[0]) for *_, address in found])
    except Exception as error:
        answer.set_exception(error)
    finally:
        places.release()


lookups = BoundedSemaphore(MOST_LOOKUPS)


def forget_lookups() -> None:
    global lookups
    lookups = BoundedSemaphore(MOST_LOOKUPS)


os.register_at_fork(after_in_child=forget_lookups)
