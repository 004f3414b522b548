"""Nothing is connected to that is neither public nor allowed, by the word of a listener at all those addresses."""

from ipaddress import ip_address, ip_network

import pytest

from tests.subscriptions.test_addresses import PUBLIC, REGISTRIES, SPECIAL
from tests.support import everywhere

CORPUS = [address for many in SPECIAL.values() for address in many] + [
    str(network[place])
    for network in map(ip_network, REGISTRIES)
    for place in (0, network.num_addresses // 2, -1)
]
SPELLINGS = [
    "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.", "0xA9FEA9FE", "10.1", "0",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "user@10.0.0.7", "8.8.8.8@10.0.0.7", "8.8.8.8#@10.0.0.7", "8.8.8.8\\@10.0.0.7", "localhost",
]  # fmt: skip
NAMES = {
    "mixed.example": ["8.8.8.8", "10.0.0.7"],
    "mixed-reversed.example": ["10.0.0.7", "8.8.8.8"],
    "inner.example": ["192.168.0.1"],
    "wrapped.example": ["::ffff:169.254.169.254"],
}
# Of each kind, what can be connected to at all: the listener is there.
REACHABLE = {
    "10.255.255.255", "100.100.100.200", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "198.51.100.1",
    "192.0.0.192", "168.63.129.16", "::1", "fc00::1", "fd00:ec2::254", "2001:db8::1", "2002:7f00:1::1",
    "64:ff9b::a9fe:a9fe", "fec0::1", "4000::1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def namespace():
    if not everywhere.is_possible():
        pytest.skip(
            "No network namespace can be made here (Linux, root, iproute2), in which all addresses are ours."
        )


def urls(hosts):
    return [f"https://{host}:{everywhere.PORT}/" for host in hosts]


def literal(addresses):
    return urls(f"[{one}]" if ":" in one else one for one in addresses)


def test_nothing_that_is_neither_public_nor_allowed_is_ever_connected_to():
    sent_to = [*literal(CORPUS), *urls(SPELLINGS), *urls(NAMES)]

    assert everywhere.reached(sent_to, NAMES, WEBHOOK_ALLOWED_NETWORKS="") == set()


def test_what_is_public_is_connected_to_there():
    found = everywhere.reached(literal(PUBLIC), {}, WEBHOOK_ALLOWED_NETWORKS="")

    assert {unmapped(one) for one in found} == {unmapped(one) for one in PUBLIC}


def unmapped(address):
    """An IPv4 address is the same in the clothes of IPv6."""
    found = ip_address(address)
    return getattr(found, "ipv4_mapped", None) or found


def test_the_listener_stands_at_the_addresses_that_are_refused():
    assert set(CORPUS) >= REACHABLE

    found = everywhere.reached(literal(CORPUS), {}, WEBHOOK_ALLOWED_NETWORKS="0.0.0.0/0,::/0")

    assert found >= REACHABLE
