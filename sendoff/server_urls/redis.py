"""The setting `REDIS_URL`, taken apart: one server on TCP, with TLS or on a Unix socket, or one that others know.

redis://user:password@host:6379/0            rediss://… the same with TLS
unix://:password@/path/to/socket?db=0
redis+sentinel://user:password@s1:26379,s2:26379/mymaster/0      rediss+sentinel://… the same with TLS
redis+cluster://user:password@n1:6379,n2:6379                    rediss+cluster://… the same with TLS
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from sendoff.server_urls.database import is_loopback

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
KEY_TAG = "{sendoff}"
"""What all keys in a cluster end in: its hash tag puts them on one node. Another one loses what is queued."""

TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_VERIFICATION = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}
_REDIS_PORT, _SENTINEL_PORT = 6379, 26379
_UNREADABLE = "holds a host or a port that cannot be read; percent-encode what is special in user name and password"


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is and how to log in. `service` names the master that the Sentinels at `hosts` know.

    In a cluster, `hosts` are nodes that know all others.
    """

    hosts: list[tuple[str, int]] = field(default_factory=list)
    path: str | None = None
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    service: str | None = None
    is_cluster: bool = False
    options: dict[str, str] = field(default_factory=dict, repr=False)
    """Files for TLS, and the user name and password of the Sentinels themselves."""

    @property
    def key_tag(self) -> str:
        """What the names of all keys end in."""
        return KEY_TAG if self.is_cluster else ""

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it is reached through a socket or the loopback interface."""
        return all(is_loopback(host) for host, _ in self.hosts)


def parse_redis_url(url: str) -> RedisAddress:
    """Raises ValueError, with a sentence that repeats no password, for a URL that cannot be used."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    if parts.scheme not in SCHEMES or "://" not in url:
        raise ValueError(f"must start with {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = options.pop("db", None)
    tls, is_sentinel = parts.scheme.startswith("rediss"), parts.scheme.endswith("+sentinel")
    is_cluster = parts.scheme.endswith("+cluster")
    _check_options(options, tls=tls, is_sentinel=is_sentinel)
    user, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    service, in_path = (None, parts.path.removeprefix("/"))
    if parts.scheme == "unix":
        in_path = ""
    if is_sentinel:
        service, _, in_path = in_path.partition("/")
        if not service:
            raise ValueError("must name the master behind the hosts: redis+sentinel://HOST:26379,HOST:26379/MASTER/0")
    default_port = _SENTINEL_PORT if is_sentinel else _REDIS_PORT
    are_several = is_sentinel or is_cluster
    read = RedisAddress(
        hosts=[] if parts.scheme == "unix" else _read_hosts(hosts, default_port, are_several=are_several),
        path=_socket(parts) if parts.scheme == "unix" else None,
        database=_read_database(database if database is not None else in_path),
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=tls,
        service=service,
        is_cluster=is_cluster,
        options={name: value for name, value in options.items() if name not in _VERIFICATION},
    )
    if is_cluster and read.database != 0:
        raise ValueError("must end in the database /0, or in none: a cluster has no others")
    return read


def _socket(parts: SplitResult) -> str:
    if not parts.path.startswith("/") or parts.path == "/":
        raise ValueError("must name the socket's path from the root: unix:///run/valkey.sock")
    return unquote(parts.path)


def _read_hosts(hosts: str, default_port: int, *, are_several: bool) -> list[tuple[str, int]]:
    found = []
    for host in hosts.split(",") if are_several else [hosts]:
        name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        name = name if colon else host
        if (colon and not (port.isdecimal() and 0 < int(port) < 65_536)) or "," in name or "@" in name:
            raise ValueError(_UNREADABLE)
        if ":" in name and not (name.startswith("[") and name.endswith("]")):
            raise ValueError(_UNREADABLE)
        found.append((name.strip("[]") or "localhost", int(port) if colon else default_port))
    return found


def _read_database(written: str) -> int:
    if written and not written.isdecimal():
        raise ValueError("must end in the number of the database, such as /0")
    return int(written or 0)


def _check_options(options: dict[str, str], *, tls: bool, is_sentinel: bool) -> None:
    known = ("db", *(TLS_OPTIONS if tls else ()), *(_SENTINEL_OPTIONS if is_sentinel else ()))
    for name, value in options.items():
        if tls and name in _VERIFICATION:
            if value.lower() != _VERIFICATION[name]:
                raise ValueError(
                    f"must not turn off the check of the server's certificate with `{name}`; "
                    "name the authority that signed it with `ssl_ca_certs=FILE`"
                )
        elif name not in known:
            raise ValueError(f"must not hold the option `{name[:40]}`; known are {', '.join(known)}")
        elif name in TLS_OPTIONS and not os.access(value, os.R_OK):
            raise ValueError(f"names a file for `{name}` that cannot be read; give the path of a file in PEM")
