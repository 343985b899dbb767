"""Addresses: each range with its neighbours, and every spelling of an address that is refused."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.endpoints.addresses import Address, AddressPolicy, classify, refusal

# name, first, last, what lies just below and just above (None: public; "-": there is nothing there)
RANGES = [
    ("this_network", "0.0.0.0", "0.255.255.255", "-", None),
    ("private", "10.0.0.0", "10.255.255.255", None, None),
    ("cgnat", "100.64.0.0", "100.127.255.255", None, None),
    ("loopback", "127.0.0.0", "127.255.255.255", None, None),
    ("link_local", "169.254.0.0", "169.254.255.255", None, None),
    ("private", "172.16.0.0", "172.31.255.255", None, None),
    ("ietf_protocol", "192.0.0.0", "192.0.0.255", None, None),
    ("documentation", "192.0.2.0", "192.0.2.255", None, None),
    ("as112", "192.31.196.0", "192.31.196.255", None, None),
    ("amt", "192.52.193.0", "192.52.193.255", None, None),
    ("6to4_relay", "192.88.99.0", "192.88.99.255", None, None),
    ("private", "192.168.0.0", "192.168.255.255", None, None),
    ("as112", "192.175.48.0", "192.175.48.255", None, None),
    ("benchmarking", "198.18.0.0", "198.19.255.255", None, None),
    ("documentation", "198.51.100.0", "198.51.100.255", None, None),
    ("documentation", "203.0.113.0", "203.0.113.255", None, None),
    ("multicast", "224.0.0.0", "239.255.255.255", None, "reserved"),
    ("reserved", "240.0.0.0", "255.255.255.254", "multicast", "broadcast"),
    ("broadcast", "255.255.255.255", "255.255.255.255", "reserved", "-"),
    ("metadata", "169.254.169.254", "169.254.169.254", "link_local", "link_local"),
    ("metadata", "169.254.170.2", "169.254.170.2", "link_local", "link_local"),
    ("metadata", "169.254.170.23", "169.254.170.23", "link_local", "link_local"),
    ("metadata", "169.254.42.42", "169.254.42.42", "link_local", "link_local"),
    ("metadata", "100.100.100.200", "100.100.100.200", "cgnat", "cgnat"),
    ("metadata", "192.0.0.192", "192.0.0.192", "ietf_protocol", "ietf_protocol"),
    ("metadata", "168.63.129.16", "168.63.129.16", None, None),
    ("unspecified", "::", "::", "-", "loopback"),
    ("loopback", "::1", "::1", "unspecified", "ipv4_compatible"),
    ("ipv4_compatible", "::2", "::ffff:ffff", "loopback", "reserved"),
    ("ipv4_mapped", "::ffff:0.0.0.0", "::ffff:255.255.255.255", "reserved", "reserved"),
    ("ipv4_translated", "::ffff:0:0.0.0.0", "::ffff:0:255.255.255.255", "reserved", "reserved"),
    ("nat64", "64:ff9b::", "64:ff9b::255.255.255.255", "reserved", "reserved"),
    ("nat64", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "reserved", "reserved"),
    ("discard", "100::", "100::ffff:ffff:ffff:ffff", "reserved", "dummy"),
    ("dummy", "100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", "discard", "reserved"),
    ("reserved", "100:0:0:2::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "dummy", None),
    ("teredo", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", None, "ietf_protocol"),
    ("benchmarking", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "ietf_protocol", "ietf_protocol"),
    ("ietf_protocol", "2001:1::", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "teredo", "benchmarking"),
    ("ietf_protocol", "2001:2:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "benchmarking", None),
    ("documentation", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ("6to4", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ("as112", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", None, None),
    ("documentation", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ("reserved", "4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, "srv6"),
    ("srv6", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved", "reserved"),
    ("reserved", "5f01::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "srv6", "unique_local"),
    ("unique_local", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved", "reserved"),
    ("reserved", "fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "unique_local", "link_local"),
    ("link_local", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved", "site_local"),
    ("site_local", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link_local", "multicast"),
    ("multicast", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site_local", "-"),
    ("metadata", "fd00:ec2::254", "fd00:ec2::254", "unique_local", "unique_local"),
    ("metadata", "fd00:ec2::23", "fd00:ec2::23", "unique_local", "unique_local"),
    ("metadata", "fd20:ce::254", "fd20:ce::254", "unique_local", "unique_local"),
    ("metadata", "fd00:42::42", "fd00:42::42", "unique_local", "unique_local"),
]

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]

NOTHING = AddressPolicy()


@pytest.mark.parametrize(("name", "first", "last", "below", "above"), RANGES)
def test_a_range_is_refused_by_its_name_up_to_its_very_neighbours(
    name: str, first: str, last: str, below: str | None, above: str | None
) -> None:
    lowest, highest = ip_address(first), ip_address(last)

    assert classify(lowest) == name
    assert classify(highest) == name
    assert classify(lowest + (int(highest) - int(lowest)) // 2) in {name, "isatap"}
    if below != "-":
        assert classify(lowest - 1) == below
    if above != "-":
        assert classify(highest + 1) == above


@pytest.mark.parametrize("text", PUBLIC)
def test_public_unicast_addresses_are_not_refused(text: str) -> None:
    assert classify(ip_address(text)) is None


@pytest.mark.parametrize("text", ["2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:8.8.8.8"])
def test_an_isatap_address_is_refused_below_a_public_prefix_too(text: str) -> None:
    assert classify(ip_address(text)) == "isatap"


def _mapped(inner: int) -> IPv6Address:
    return IPv6Address(0xFFFF_0000_0000 | inner)


EMBEDDINGS: dict[str, Callable[[int], IPv6Address]] = {
    "ipv4_mapped": _mapped,
    "ipv4_compatible": IPv6Address,
    "ipv4_translated": lambda inner: IPv6Address(0xFFFF_0000_0000_0000 | inner),
    "nat64": lambda inner: IPv6Address((0x0064_FF9B << 96) | inner),
    "nat64 for local use": lambda inner: IPv6Address((0x0064_FF9B_0001 << 80) | inner),
    "6to4": lambda inner: IPv6Address((0x2002 << 112) | (inner << 80) | 1),
    "teredo client": lambda inner: IPv6Address((0x2001_0000 << 96) | (inner ^ 0xFFFF_FFFF)),
    "teredo server": lambda inner: IPv6Address((0x2001_0000 << 96) | (inner << 64)),
    "isatap": lambda inner: IPv6Address((0x2A00_1450 << 96) | (0x5EFE << 32) | inner),
}


@given(st.ip_addresses(v=4), st.sampled_from(sorted(EMBEDDINGS)))
def test_every_address_that_embeds_an_ipv4_address_is_refused(inner: IPv4Address, form: str) -> None:
    assert classify(EMBEDDINGS[form](int(inner))) is not None


@given(st.ip_addresses())
def test_addresses_that_the_standard_library_calls_special_are_not_public(address: Address) -> None:
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    if special or address.is_reserved or address.is_unspecified or not address.is_global:
        assert classify(address) is not None


@given(st.ip_addresses(v=6).filter(lambda address: address not in ip_network("2000::/3")))
def test_no_ipv6_address_outside_of_global_unicast_is_public(address: IPv6Address) -> None:
    assert classify(address) is not None


@given(st.ip_addresses(network="127.0.0.0/8"))
def test_an_allowed_network_lets_its_own_addresses_through_and_not_their_other_spellings(address: IPv4Address) -> None:
    policy = AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),))

    assert refusal(address, NOTHING) == "loopback"
    assert refusal(address, policy) is None
    for form, embed in EMBEDDINGS.items():
        assert refusal(embed(int(address)), policy) is not None, form


def test_an_allowed_network_lets_nothing_else_through() -> None:
    policy = AddressPolicy(allow_networks=(ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")))

    assert refusal(ip_address("10.1.2.3"), policy) is None
    assert refusal(ip_address("fd00:1::5"), policy) is None
    assert refusal(ip_address("10.2.0.0"), policy) == "private"
    assert refusal(ip_address("fd00:2::5"), policy) == "unique_local"
    assert refusal(ip_address("::1"), policy) == "loopback"
    assert refusal(ip_address("8.8.8.8"), policy) is None


def test_a_mapped_spelling_is_let_through_only_by_a_network_that_names_it() -> None:
    policy = AddressPolicy(allow_networks=(ip_network("::ffff:127.0.0.0/104"),))

    assert refusal(ip_address("::ffff:127.0.0.1"), policy) is None
    assert refusal(ip_address("127.0.0.1"), policy) == "loopback"
