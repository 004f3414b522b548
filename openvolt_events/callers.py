"""Where a request comes from."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "unknown"  # a Unix socket has no addresses


def client_address(request: HttpRequest) -> str:
    """The address of the client: the nearest one that is none of our proxies (TRUSTED_PROXIES).

    Each proxy appends to `X-Forwarded-For` who it was asked by, so that the header is read from its end, and only as
    far as our own proxies wrote it: what stands before is the client's to invent.
    """
    address = parsed(str(request.META.get("REMOTE_ADDR", "")))
    hops = request.headers.get("x-forwarded-for", "").split(",") if settings.TRUSTED_PROXIES else []
    while is_ours(address) and hops and (nearer := parsed(hops.pop())):
        address = nearer
    return str(address) if address else UNKNOWN


def is_ours(address: IPv4Address | IPv6Address | None) -> bool:
    """Who comes through a Unix socket is on this machine."""
    return address is None or any(address in network for network in settings.TRUSTED_PROXIES)


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def neighbourhood(address: str) -> str:
    """What one customer of a provider has to themselves: an IPv4 address, or an IPv6 network of 64 bits."""
    found = parsed(address)
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else address
