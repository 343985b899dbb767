"""Which URLs and addresses may be sent to: https and public unicast only, unless the operator says otherwise.

A URL is checked when it is registered and again before each dial (`check_url`); every address that its name
resolves to is checked at connect time (`refusal`). Each refusal has a name that does not change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from sendoff.errors import UnsafeUrl
from sendoff.policy.endpoints.ranges import Address, classify
from sendoff.policy.endpoints.urls import DEFAULT_PORTS, split_url
from sendoff.server_urls.smtp import domain_of, is_mail_address

__all__ = [
    "MAILTO",
    "Address",
    "AddressPolicy",
    "Target",
    "check_again",
    "check_url",
    "classify",
    "find_target",
    "refusal",
]

MAILTO = "mailto"
"""The scheme of a target that is an e-mail address, which is its `path`."""

_LOCAL_SUFFIXES = (
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "localhost6",
    "localdomain4",
    "localdomain6",
    "svc",
)

SERVICE_PORTS = {
    "socks": (1080,),
    "java rmi": (1098, 1099),
    "mssql": (1433, 1434),
    "oracle": (1521, 2483, 2484),
    "h323": (1719, 1720),
    "pptp": (1723,),
    "mqtt": (1883, 8883),
    "nfs": (2049, 4045),
    "zookeeper": (2181, 2888, 3888),
    "docker": (2375, 2376, 2377),
    "etcd": (2379, 2380),
    "squid": (3128,),
    "ldap": (3268, 3269),
    "mysql": (3306,),
    "rdp": (3389,),
    "subversion": (3690,),
    "sieve": (4190,),
    "erlang": (4369,),
    "sip": (5060, 5061),
    "xmpp": (5222, 5269),
    "postgres": (5432, 6432),
    "amqp": (5671, 5672),
    "vnc": tuple(range(5900, 5911)),
    "couchdb": (5984,),
    "winrm": (5985, 5986),
    "x11": tuple(range(6000, 6064)),
    "redis": (6379, 16379, 26379),
    "kubernetes": (6443, 10248, 10249, 10250, 10255, 10256, 10257, 10259),
    "sane": (6566,),
    "irc": (*range(6660, 6670), 6679, 6697),
    "cassandra": (7000, 7001, 7199, 9042, 9160),
    "neo4j": (7687,),
    "ajp": (8009,),
    "consul": (8300, 8301, 8302, 8500, 8501),
    "kafka": (9092, 9093),
    "jetdirect": (9100,),
    "elasticsearch": (9200, 9300),
    "git": (9418,),
    "amanda": (10080,),
    "memcached": (11211,),
    "mongodb": (27017, 27018, 27019),
    "rethinkdb": (28015,),
}
"""Ports of services that an HTTP request could harm. All other ports from 1024 up are open, as are 80 and 443. They are
listed in docs/how-to/send-to-an-endpoint.md."""

_MAIL_PORT = 25

LONGEST_KEPT_URL = 512
"""Characters of a URL whose check is kept: 10,000 of them, with what they consist of, take up to 15 MB. Longer ones,
which are rare, are checked at every delivery."""

_REFUSED_PORTS = {port: service for service, ports in SERVICE_PORTS.items() for port in ports}


@dataclass(frozen=True)
class AddressPolicy:
    """The operator's exceptions from https and public addresses; none by default."""

    allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    allow_http: bool = False
    allow_mail: bool = False
    """Whether `mailto:` URLs are targets: those of alert endpoints alone."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL: `host` in canonical ASCII without brackets, `path` the request-target with its query.

    `address` is set when the host is an IP literal. `authority` is the Host header's value. `origin` is the
    key that pooled connections go by: the host name, never the address behind it.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None = None
    authority: str = field(init=False)
    origin: tuple[str, str, int] = field(init=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        authority = host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"
        object.__setattr__(self, "authority", authority)
        object.__setattr__(self, "origin", (self.scheme, self.host, self.port))


def check_url(url: str, policy: AddressPolicy) -> Target:
    """The address to connect to for `url`; raises UnsafeUrl with a stable `reason` if it is not allowed.

    A literal IP address is checked here; a name that looks public passes, and is checked by what it resolves
    to each time it is dialed.
    """
    if policy.allow_mail and url.lower().startswith(f"{MAILTO}:"):
        return _mail_target(url[len(MAILTO) + 1 :])
    parts = split_url(url)
    if parts.scheme != "https" and not policy.allow_http:
        raise UnsafeUrl("url must start with https://.", reason="not_https")
    _refuse_port(parts.port)
    if parts.address is not None:
        _refuse_literal(parts.address, policy)
    elif _is_local(parts.host) and not policy.allow_networks:
        raise UnsafeUrl(
            "url holds a name of a local network; use a host name that the public internet knows.",
            reason="local_name",
        )
    return Target(parts.scheme, parts.host, parts.port, parts.path, parts.address)


_kept_check = lru_cache(maxsize=10_000)(check_url)


def check_again(url: str, policy: AddressPolicy) -> Target:
    """`check_url` for each request to an endpoint: its results are kept, since it costs more than the signature."""
    return (_kept_check if len(url) <= LONGEST_KEPT_URL else check_url)(url, policy)


def find_target(url: str, policy: AddressPolicy) -> Target | None:
    """Where requests for the URL go; None if it is not permitted any more."""
    try:
        return check_again(url, policy)
    except UnsafeUrl:
        return None


def _mail_target(address: str) -> Target:
    if not is_mail_address(address):
        raise UnsafeUrl("url must hold one plain e-mail address, like mailto:oncall@example.com.", reason="malformed")
    return Target(MAILTO, domain_of(address), _MAIL_PORT, address)


def refusal(address: Address, policy: AddressPolicy) -> str | None:
    """The name of the reason why nothing is sent to `address`, None when it may be.

    A network that the operator allowed is compared with the address as it is spelled: allowing `127.0.0.0/8`
    does not allow `::ffff:127.0.0.1`.
    """
    reason = classify(address)
    if reason is not None and any(address in network for network in policy.allow_networks):
        return None
    return reason


def _refuse_port(port: int) -> None:
    if port in {80, 443}:
        return
    if port < 1024:
        raise UnsafeUrl(
            f"url holds port {port}, which belongs to another service; use 443, 80 or one from 1024 up.",
            reason="refused_port",
        )
    if port in _REFUSED_PORTS:
        raise UnsafeUrl(
            f"url holds port {port}, which belongs to {_REFUSED_PORTS[port]}; use another one, best 443.",
            reason="refused_port",
        )


def _refuse_literal(address: Address, policy: AddressPolicy) -> None:
    reason = refusal(address, policy)
    if reason is not None:
        raise UnsafeUrl(
            f"url holds an address that is not public ({reason}); use one that the public internet reaches.",
            reason=reason,
        )


def _is_local(host: str) -> bool:
    return "." not in host or any(host.endswith("." + suffix) for suffix in _LOCAL_SUFFIXES)
