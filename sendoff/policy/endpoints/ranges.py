"""Classification of IP addresses: explicit ranges in an explicit order, each with its own name.

Not `ipaddress.is_global`: it answers True for multicast, for `::127.0.0.1`, for the NAT64 and 6to4 spellings
of loopback and metadata addresses, for `fec0::1` and `5f00::1`.

Sources: the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and its successors); for the metadata
addresses the manuals of the clouds. IPv6 is an allow list: only 2000::/3 holds public unicast addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

Address = IPv4Address | IPv6Address

# First match wins, so narrow ranges with specific names come before wide ones.
_IPV4 = """
metadata         169.254.169.254/32
metadata         169.254.170.2/32
metadata         169.254.170.23/32
metadata         169.254.42.42/32
metadata         100.100.100.200/32
metadata         192.0.0.192/32
metadata         168.63.129.16/32
this_network     0.0.0.0/8
private          10.0.0.0/8
cgnat            100.64.0.0/10
loopback         127.0.0.0/8
link_local       169.254.0.0/16
private          172.16.0.0/12
ietf_protocol    192.0.0.0/24
documentation    192.0.2.0/24
as112            192.31.196.0/24
amt              192.52.193.0/24
6to4_relay       192.88.99.0/24
private          192.168.0.0/16
as112            192.175.48.0/24
benchmarking     198.18.0.0/15
documentation    198.51.100.0/24
documentation    203.0.113.0/24
multicast        224.0.0.0/4
broadcast        255.255.255.255/32
reserved         240.0.0.0/4
"""

_IPV6 = """
metadata         fd00:ec2::254/128
metadata         fd00:ec2::23/128
metadata         fd20:ce::254/128
metadata         fd00:42::42/128
unspecified      ::/128
loopback         ::1/128
ipv4_mapped      ::ffff:0:0/96
ipv4_compatible  ::/96
ipv4_translated  ::ffff:0:0:0/96
nat64            64:ff9b::/96
nat64            64:ff9b:1::/48
discard          100::/64
dummy            100:0:0:1::/64
srv6             5f00::/16
unique_local     fc00::/7
link_local       fe80::/10
site_local       fec0::/10
multicast        ff00::/8
teredo           2001::/32
benchmarking     2001:2::/48
ietf_protocol    2001::/23
documentation    2001:db8::/32
6to4             2002::/16
as112            2620:4f:8000::/48
documentation    3fff::/20
reserved         ::/3
reserved         4000::/2
reserved         8000::/1
"""


def _rules(table: str) -> tuple[tuple[int, int, str], ...]:
    pairs = (line.split() for line in table.strip().splitlines())
    networks = ((name, ip_network(cidr)) for name, cidr in pairs)
    return tuple((int(net.network_address), int(net.broadcast_address), name) for name, net in networks)


_RULES = {4: _rules(_IPV4), 6: _rules(_IPV6)}

# RFC 5214: an interface identifier of 0000:5efe or 0200:5efe carries an IPv4 address below any prefix at all.
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def classify(address: Address) -> str | None:
    """The name of the reason why nothing is sent to `address`; None for a public unicast address.

    Every form of IPv6 address that embeds an IPv4 address is refused by the name of the form, regardless of the
    embedded address: no receiver needs one, and the IPv4 address itself can be used instead.
    """
    value = int(address)
    for first, last, name in _RULES[address.version]:
        if first <= value <= last:
            return name
    if address.version == 6 and (value >> 32) & 0xFFFF_FFFF in _ISATAP:
        return "isatap"
    return None
