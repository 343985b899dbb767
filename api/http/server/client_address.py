"""Whose request it is, behind proxies that are trusted to say so and without believing anybody else.

A client writes any `X-Forwarded-For` it likes, and a proxy appends the address it was called from. So the list is read
from its end, past the addresses of trusted proxies; the first other address is the client's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

Network = IPv4Network | IPv6Network

_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks whose `X-Forwarded-For`, `Forwarded` and `X-Forwarded-Proto` headers are believed."""

    networks: Sequence[Network] = ()

    def resolve(self, scope: Scope) -> Scope:
        """The scope with the client and the scheme that a trusted proxy reports; unchanged for any other peer."""
        peer = scope.get("client")
        if not self.networks or peer is None or not is_within(peer[0], self.networks):
            return scope
        hops, scheme = _reported(scope)
        client = next((hop for hop in reversed(hops) if not is_within(hop, self.networks)), None)
        changed = dict(scope)
        if client is not None:
            changed["client"] = (client, 0)
        if scheme is not None:
            changed["scheme"] = scheme
        return changed


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether one of the networks contains the address; text that is not an address is in none."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


def client_network(address: str) -> str:
    """What limits count an address as: an IPv4 address itself, an IPv6 address's /64, which one customer has."""
    parsed = _parse(address)
    if parsed is None:
        return "unknown"
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)


def network_of(scope: Scope) -> str:
    """What limits count the client of a request as; all that have no address, as on a Unix socket, are one."""
    return client_network((scope.get("client") or ("", 0))[0])


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(parsed, IPv6Address) and parsed.ipv4_mapped) or parsed


def _reported(scope: Scope) -> tuple[list[str], str | None]:
    """The addresses that proxies list, nearest last, and the scheme.

    Proxies overwrite one of the two kinds of header and pass the other one through, so where both come and disagree,
    one of them is the client's invention and neither is used.
    """
    for_header = _values(scope, b"x-forwarded-for")
    forwarded = [_pairs(element) for element in _values(scope, b"forwarded")]
    listed = [_without_port(value) for value in for_header]
    described = [_without_port(pairs["for"]) for pairs in forwarded if pairs.get("for")]
    if listed and described and listed != described:
        return [], None
    protocols = _values(scope, b"x-forwarded-proto") or [pairs["proto"] for pairs in forwarded if "proto" in pairs]
    scheme = protocols[-1].lower() if protocols and protocols[-1].lower() in _SCHEMES else None
    return listed or described, scheme


def _values(scope: Scope, name: bytes) -> list[str]:
    """The elements of a header that is a list, over all of its lines."""
    lines: Iterator[str] = (value.decode("latin-1") for key, value in scope["headers"] if key == name)
    return [part.strip() for line in lines for part in line.split(",") if part.strip()]


def _pairs(element: str) -> dict[str, str]:
    """One element of a `Forwarded` header (RFC 7239), such as `for="[2001:db8::1]:4711";proto=https`."""
    pairs = (pair.partition("=") for pair in element.split(";"))
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _without_port(node: str) -> str:
    if node.startswith("["):
        return node[1:].partition("]")[0]
    return node.partition(":")[0] if node.count(":") == 1 else node
