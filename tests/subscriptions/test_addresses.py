import ipaddress
import socket
import time
from datetime import timedelta
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscriptions import addresses
from subscriptions.addresses import AddressRefused, allowed_addresses, check_url, is_allowed, is_public

# The registries of special-purpose addresses (IANA, RFC 6890 and its followers), multicast, and what wraps IPv4.
SPECIAL = {
    "this network": ["0.0.0.0", "0.1.2.3", "0.255.255.255"],
    "private use": ["10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"],
    "shared by carriers": ["100.64.0.0", "100.100.100.200", "100.127.255.255"],
    "loopback": ["127.0.0.1", "127.255.255.255", "::1"],
    "link local": ["169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::1", "febf::1"],
    "protocol assignments": ["192.0.0.0", "192.0.0.8", "192.0.0.170", "192.0.0.192", "192.0.0.255", "2001:100::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.255", "2001:db8::1", "3fff::1", "3fff:fff::1"],
    "AS112 and AMT": ["192.31.196.1", "192.175.48.1", "192.52.193.1", "2001:3::1", "2001:4:112::1", "2620:4f:8000::1"],
    "6to4 relays": ["192.88.99.1"],
    "benchmarking": ["198.18.0.0", "198.19.255.255", "2001:2::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved and broadcast": ["240.0.0.1", "255.255.255.254", "255.255.255.255"],
    "a cloud's own host": ["168.63.129.16"],
    "unspecified": ["::"],
    "discard only": ["100::1", "100:0:0:1::1"],
    "segment routing": ["5f00::1"],
    "unique local": ["fc00::1", "fd00:ec2::254", "fdff::1"],
    "site local": ["fec0::1", "feff::1"],
    "ORCHID": ["2001:10::1", "2001:20::1", "2001:30::1"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "6to4": ["2002:7f00:1::1", "2002:808:808::1"],
    "compatible": ["::127.0.0.1", "::8.8.8.8"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"],
    "translated": ["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe"],
    "NAT64 of a network's own": ["64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff::1"],
    "not given out": ["4000::1", "8000::1", "e000::1", "::2"],
}  # fmt: skip

# Every line of the two registries (IANA, iana-ipv4-special-registry and iana-ipv6-special-registry), and multicast.
REGISTRIES = [
    "0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/31", "192.0.2.0/24",
    "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.88.99.2/32", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
    "::1/128", "::/128", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128",
    "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28", "2001:20::/28",
    "2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7",
    "fe80::/10", "ff00::/8",
]  # fmt: skip
JUDGED_BY_WHAT_THEY_WRAP = {"::ffff:0:0/96": "::ffff:", "64:ff9b::/96": "64:ff9b::"}

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "168.63.129.15", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0",
    "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111",
    "2001:200::1", "2001:4860:4860::8888", "2a00:1450::1", "2003::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_else_is_allowed(settings):
    settings.WEBHOOK_ALLOWED_NETWORKS = []


@pytest.fixture
def leads_to(monkeypatch):
    """Make names lead to these addresses from now on."""

    def lead(*found):
        answers = [ipaddress.ip_address(address) for address in found]
        monkeypatch.setattr(addresses, "resolve", lambda host, port, patience: answers)

    return lead


def allow(settings, *networks):
    settings.WEBHOOK_ALLOWED_NETWORKS = [ipaddress.ip_network(network) for network in networks]


def url_of(address):
    return f"https://[{address}]/" if ":" in address else f"https://{address}/"


@pytest.mark.parametrize(
    "address", [pytest.param(one, id=f"{kind}: {one}") for kind, many in SPECIAL.items() for one in many]
)
def test_an_address_of_a_special_purpose_is_refused(address):
    assert not is_allowed(ipaddress.ip_address(address))
    with pytest.raises(AddressRefused, match="not public"):
        check_url(url_of(address))


@pytest.mark.parametrize("network", REGISTRIES)
def test_a_network_of_a_special_purpose_is_refused_from_end_to_end(network):
    range_ = ipaddress.ip_network(network)

    for address in (range_[0], range_[range_.num_addresses // 2], range_[-1]):
        assert not is_allowed(address)


@pytest.mark.parametrize("network", [one for one in REGISTRIES if ":" not in one])
@pytest.mark.parametrize("prefix", JUDGED_BY_WHAT_THEY_WRAP.values())
def test_a_network_of_a_special_purpose_is_refused_in_what_wraps_ipv4(network, prefix):
    range_ = ipaddress.ip_network(network)

    for address in (range_[0], range_[-1]):
        assert not is_allowed(ipaddress.ip_address(f"{prefix}{address}"))


@pytest.mark.parametrize(
    "port",
    [
        21, 22, 23, 25, 53, 110, 143, 389, 465, 587, 993, 2049, 5060, 6667, 10080, 445, 1433, 2375, 2379, 3306, 3389,
        5432, 5672, 6379, 6443, 9092, 9200, 11211, 27017,
    ],
)  # fmt: skip
def test_a_port_where_another_protocol_is_spoken_is_refused_by_number(port):
    with pytest.raises(AddressRefused, match=f"Port {port} "):
        check_url(f"https://8.8.8.8:{port}/")


@pytest.mark.parametrize("port", [80, 443, 444, 3000, 5000, 8000, 8080, 8443, 9443, 49152, 65535])
def test_any_other_port_is_let_through(port):
    check_url(f"https://8.8.8.8:{port}/")


def test_in_an_allowed_network_every_port_is(settings):
    allow(settings, "10.0.0.0/8")

    check_url("http://10.1.2.3:25/")


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_let_through(address):
    assert is_allowed(ipaddress.ip_address(address))
    check_url(url_of(address))


ipv4 = st.ip_addresses(v=4) | st.sampled_from(
    [ipaddress.ip_address(one) for many in SPECIAL.values() for one in many if ":" not in one]
)
WRAPPERS = {
    "mapped": lambda v4: int(v4) | 0xFFFF << 32,
    "compatible": lambda v4: int(v4),
    "translated": lambda v4: int(v4) | 0xFFFF << 48,
    "NAT64": lambda v4: int(v4) | 0x64FF9B << 96,
    "NAT64 of a network's own": lambda v4: int(v4) | 0x64FF9B0001 << 80,
    "6to4": lambda v4: 0x2002 << 112 | int(v4) << 80,
    "Teredo": lambda v4: 0x20010000 << 96 | (int(v4) ^ 0xFFFFFFFF),
    "Teredo's server": lambda v4: 0x20010000 << 96 | int(v4) << 64,
}


@given(ipv4, st.sampled_from(sorted(WRAPPERS)))
def test_an_ipv4_address_that_is_not_public_is_refused_in_any_wrapper(v4, wrapper):
    wrapped = ipaddress.IPv6Address(WRAPPERS[wrapper](v4))

    assert is_public(v4) or not is_allowed(wrapped)


@given(ipv4)
def test_nothing_is_public_that_python_knows_to_be_private(v4):
    assert v4.is_global or not is_public(v4)


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_outside_of_global_unicast_is_public_only_through_nat64_or_mapped(v6):
    wraps = v6.ipv4_mapped or v6 in ipaddress.ip_network("64:ff9b::/96")

    assert v6 in ipaddress.ip_network("2000::/3") or wraps or not is_public(v6)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7F.0.0.0x1", "0177.0.0.1",
        "017700000001", "127.0.0.1.", "0x7f.1.", "0", "0x0", "0300.0250.0.1", "3232235521", "%31%32%37.0.0.1",
        "0177.1", "127.0x0.00.1", "0000000177.0.0.1", "127.0.0.1%2e", "999", "0xA9FEA9FE", "025177524776",
        "10.1", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0000:0:0:0:0:0:0:0001]",
        "[0:0:0:0:0:ffff:127.0.0.1]", "[::]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    ],
)  # fmt: skip
def test_a_private_address_is_recognised_in_any_spelling(host):
    with pytest.raises(AddressRefused):
        check_url(f"https://{host}/webhooks")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://user@example.com/", "credentials"),
        ("https://user:secret@example.com/", "credentials"),
        ("https://@example.com/", "credentials"),
        ("https://example.com@127.0.0.1/", "credentials"),
        ("https://127.0.0.1:80@example.com/", "credentials"),
        ("https://a:b@c@127.0.0.1/", "credentials"),
        ("https://example.com%40127.0.0.1/", "network interface"),
        ("https://127.0.0.1%2f.example.com/", "network interface"),
        ("https://[::ffff:127.0.0.1%25lo]/", "network interface"),
        ("https://example.com%00.evil.example/", "no URL"),
        ("https://[::1].example.com/", "no URL"),
        ("https://[127.0.0.1]/", "no URL"),
        ("https://example.com:443:80/", "no URL"),
        ("https://example.com:+443/", "no URL"),
        ("https://example.com:\uff14\uff14\uff13/", "no URL"),
        ("https://\uff45xample.com/", "no URL"),
        ("https://\u2177.example/", "no URL"),
        ("https://exa\u00admple.com/", "control characters"),
        ("https://exa\u200dmple.com/", "control characters"),
        ("https://xn--/", "neither a name nor an address"),
        ("https://.example.com/", "neither a name nor an address"),
        ("https://./", "neither a name nor an address"),
        ("https://4294967297/", "ends like an address"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://example.com#@127.0.0.1/", "fragment"),
        ("https://example.com\\@127.0.0.1/", "backslashes"),
        ("https:\\\\example.com/", "backslashes"),
        ("https://example.com/a b", "white space"),
        (" https://example.com/", "white space"),
        ("https://example.com/\n", "white space"),
        ("https://exa\tmple.com/", "white space"),
        ("https://example.com/\r\nX: y", "white space"),
        ("https://example.com/\x00", "control characters"),
        ("https://example\u200b.com/", "control characters"),
        ("https://example.com/\u2028", "control characters"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "no URL"),
        ("https://example.com:-1/", "no URL"),
        ("https://example.com:http/", "no URL"),
        ("https:///webhooks", "host"),
        ("https://", "host"),
        ("https:example.com", "host"),
        ("//example.com/", "host"),
        ("example.com", "host"),
        ("", "host"),
        ("ftp://example.com/", "host"),
        ("file:///etc/passwd", "host"),
        ("gopher://127.0.0.1:6379/", "host"),
        ("javascript:alert(1)", "host"),
        ("https://exa mple.com/", "white space"),
        ("https://example..com/", "neither a name nor an address"),
        ("https://example.com../", "neither a name nor an address"),
        ("https://-example.com/", "neither a name nor an address"),
        (f"https://{'a' * 64}.com/", "neither a name nor an address"),
        (f"https://{'a.' * 127}com/", "neither a name nor an address"),
        ("https://1.2.3.4.5/", "ends like an address"),
        ("https://256.1.1.1/", "ends like an address"),
        ("https://example.1/", "ends like an address"),
        ("https://0x7f.0.0.0.1/", "ends like an address"),
        ("https://[::1/", "no URL"),
        ("https://[2606:4700::1111%25eth0]/", "network interface"),
        ("https://\uff11\uff12\uff17.0.0.1/", "no URL"),
        ("https://127\u30020\u30020\u30021/", "no URL"),
        ("https://\u2460\u2461.example/", "no URL"),
        ("https://example.com/" + "a" * 2048, "2048"),
    ],
)
def test_a_url_of_a_wrong_form_is_refused_in_a_sentence(url, says):
    with pytest.raises(AddressRefused, match=says) as refused:
        check_url(url)

    assert str(refused.value).endswith(".")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/",
        "HTTPS://Example.COM:8443/Webhooks?token=a%20b&c=d",
        "https://example.com./webhooks",
        "https://my_service.example.com/webhooks",
        "https://bücher.example/grüße",
        "https://xn--bcher-kva.example/",
        "https://日本語.jp/",
        "https://1.example.com/",
        "https://example.com/" + "a" * (2048 - 20),
    ],
)
def test_a_url_of_the_right_form_is_let_through(url, leads_to):
    leads_to("8.8.8.8", "2606:4700::1111")

    check_url(url)


def test_a_name_with_one_private_address_among_public_ones_is_refused(leads_to):
    leads_to("8.8.8.8", "2606:4700::1111", "10.0.0.7")

    with pytest.raises(AddressRefused) as refused:
        check_url("https://internal.example/")

    assert "internal.example" in str(refused.value)
    assert "10.0.0.7" not in str(refused.value)  # what our network's DNS knows is not for whoever asks


def test_a_name_that_changes_after_it_was_saved_is_refused_at_the_connect(leads_to):
    leads_to("8.8.8.8")
    check_url("https://changing.example/")

    leads_to("127.0.0.1")

    with pytest.raises(AddressRefused):
        allowed_addresses("https", "changing.example", 443, timedelta(seconds=1))


def test_every_address_of_a_name_is_there_to_be_tried(leads_to):
    leads_to("2606:4700::1111", "8.8.8.8")

    found = allowed_addresses("https", "example.com", 443, timedelta(seconds=1))

    assert [str(address) for address in found] == ["2606:4700::1111", "8.8.8.8"]


def test_a_name_that_leads_nowhere_yet_is_accepted_for_https_only(monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(addresses, "resolve", unknown)

    check_url("https://soon.example/")
    check_url("https://soon.example:8443/")
    for port in (22, 25, 5432):
        with pytest.raises(AddressRefused, match=f"Port {port} "):
            check_url(f"https://soon.example:{port}/")
    with pytest.raises(AddressRefused, match="use https"):
        check_url("http://soon.example/")


def test_allowed_networks_are_let_through_and_nothing_beyond(settings):
    allow(settings, "127.0.0.0/8", "10.1.0.0/16", "fd00::/8")

    for url in ("http://127.0.0.1:8000/", "https://10.1.2.3/", "http://[fd00::1]/", "http://2130706433/"):
        check_url(url)
    for url in ("https://10.2.0.1/", "https://192.168.0.1/", "https://[fe80::1]/", "https://[::1]/"):
        with pytest.raises(AddressRefused):
            check_url(url)


def test_an_allowed_ipv4_address_is_allowed_when_it_is_written_as_ipv6_but_in_no_other_wrapper(settings):
    allow(settings, "127.0.0.0/8")

    assert is_allowed(ipaddress.ip_address("::ffff:127.0.0.1"))
    for wrapped in ("::127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::1"):
        assert not is_allowed(ipaddress.ip_address(wrapped))


def test_plain_http_goes_to_allowed_networks_only(settings, leads_to):
    allow(settings, "127.0.0.0/8")

    leads_to("127.0.0.1", "127.0.0.2")
    check_url("http://local.example/")

    for mixed in (["8.8.8.8"], ["127.0.0.1", "8.8.8.8"]):
        leads_to(*mixed)
        with pytest.raises(AddressRefused, match="use https"):
            check_url("http://local.example/")


def test_localhost_is_found_and_refused():
    with pytest.raises(AddressRefused):
        check_url("https://localhost/")


def test_a_look_up_that_hangs_ends_in_time(monkeypatch):
    never = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(60) or [])
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        allowed_addresses("https", "slow.example", 443, timedelta(milliseconds=50))

    assert time.monotonic() - began < 30
    never.set()


def test_hanging_look_ups_are_not_piled_up(monkeypatch):
    never = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(60) or [])
    addresses.forget_lookups()
    for _ in range(addresses.MOST_LOOKUPS):
        with pytest.raises(TimeoutError):
            addresses.resolve("slow.example", 443, timedelta(0))

    with pytest.raises(TimeoutError, match="waiting"):
        addresses.resolve("slow.example", 443, timedelta(seconds=5))

    never.set()
    addresses.forget_lookups()
