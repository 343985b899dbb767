"""The setting `DATABASE_URL`: checked at start, and rewritten to the one form that the database's driver takes.

PostgreSQL's URLs are libpq's, with several hosts if need be: `postgresql://user:password@db1:5432,db2:5432/sendoff`.
"""

from __future__ import annotations

import os
import ssl
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

POSTGRES_OPTIONS = (
    "application_name",
    "host",
    "options",
    "passfile",
    "password",
    "port",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslpassword",
    "sslrootcert",
    "target_session_attrs",
    "user",
)
"""What may stand behind `?` in a PostgreSQL URL, by libpq's names. `ssl` is another spelling of `sslmode`."""

SYSTEM = "system"
"""The value of `sslrootcert` that stands for the system's authorities, as in libpq 16."""

Host = tuple[str, int | None]
"""A server's name or address (without brackets) or the folder of its socket, and its port if that is named."""

_DRIVERS = {
    "postgres://": "postgresql+asyncpg://",
    "postgresql://": "postgresql+asyncpg://",
    "sqlite://": "sqlite+aiosqlite://",
}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSIONS = ("any", "primary", "read-write")  # a server that takes no writes is of no use
_FILES = ("sslcert", "sslcrl", "sslkey", "sslrootcert")
# Where Debian and Alpine, Red Hat, and SUSE keep the authorities that the system trusts, in one file.
_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
_UNREADABLE = "holds a host or a port that cannot be read; percent-encode what is special in user name and password"


def check_database_url(url: str) -> str:
    """The URL with its driver and libpq's names of the options.

    Raises ValueError, with a sentence that repeats no password, for one that cannot be used.
    """
    for written, with_driver in _DRIVERS.items():
        if url.startswith(written):
            url = with_driver + url.removeprefix(written)
    if url.startswith("sqlite+aiosqlite://"):
        return url
    if not url.startswith("postgresql+asyncpg://"):
        raise ValueError("must start with sqlite:// or postgresql://")
    _check_hosts(url)
    options = _read_options(urlsplit(url).query)
    if options.get("sslrootcert") == SYSTEM:
        options.setdefault("sslmode", "verify-full")
    for name, value in options.items():
        _check_option(name, value)
    _check_authority(options)
    return f"{url.partition('?')[0]}?{urlencode(options, safe='/,:')}" if options else url


def driver_url(url: str) -> str:
    """The PostgreSQL URL as asyncpg takes it. As with libpq, `host` among the options wins over that before them."""
    before, _, query = url.removeprefix("postgresql+asyncpg").partition("?")
    options = _read_options(query)
    if options.get("sslrootcert") == SYSTEM:
        options["sslrootcert"] = _system_authorities() or SYSTEM
    if "host" in options:
        authority, slash, database = before.removeprefix("://").partition("/")
        user, at, _ = authority.rpartition("@")
        before = f"://{user}{at}{slash}{database}"
    return f"postgresql{before}" + (f"?{urlencode(options, quote_via=quote, safe='/,:')}" if options else "")


def hosts_of(driver_url: str) -> list[Host]:
    """The servers that the URL names, in its order; none if the environment has to name them."""
    parts = urlsplit(driver_url)
    options = _read_options(parts.query)
    ports: list[int | None] = [int(port) for port in options.get("port", "").split(",") if port]
    named = options.get("host") or parts.netloc.rpartition("@")[2]
    found: list[Host] = []
    for number, written in enumerate(named.split(",") if named else []):
        name = _name_of(written)
        port = written.removeprefix(name).removeprefix(":") or next(iter(ports[number:] or ports[-1:]), None)
        found.append((unquote(name.strip("[]")), None if port is None else int(port)))
    return found


def is_on_this_machine(url: str) -> bool:
    """Whether the database of a checked URL is a file, or reached through a socket or the loopback interface."""
    if url.startswith("sqlite"):
        return True
    parts = urlsplit(driver_url(url))
    named = _read_options(parts.query).get("host") or parts.netloc.rpartition("@")[2] or os.environ.get("PGHOST", "")
    return all(not host or host.startswith("/") or is_loopback(_name_of(host)) for host in named.split(","))


def is_loopback(host: str) -> bool:
    """Whether the host's name or address is this machine's own."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """The host without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and not name.endswith(":") else host


def _check_hosts(url: str) -> None:
    """Each host of a list may have a port; with another port than a number, a password was taken for a host."""
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    for host in hosts.split(",") if hosts else []:
        name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        is_bracketed = name.startswith("[") and name.endswith("]")
        if (colon and not (port.isdecimal() and 0 < int(port) < 65_536)) or (":" in name and not is_bracketed):
            raise ValueError(_UNREADABLE)


def _read_options(query: str) -> dict[str, str]:
    """The options by libpq's names; hosts that are given one by one become libpq's list."""
    options: dict[str, str] = {}
    for written, value in parse_qsl(query, keep_blank_values=True):
        name = "sslmode" if written == "ssl" else written
        is_list = name in ("host", "port") and name in options
        options[name] = f"{options[name]},{value}" if is_list else value
    return options


def _check_option(name: str, value: str) -> None:
    if name not in POSTGRES_OPTIONS:
        raise ValueError(f"must not hold the option `{name[:40]}`; known are {', '.join(POSTGRES_OPTIONS)}")
    for known, values in (("sslmode", _SSL_MODES), ("target_session_attrs", _SESSIONS)):
        if name == known and value not in values:
            raise ValueError(f"must have one of {', '.join(values)} for `{name}`")
    if (name, value) == ("sslrootcert", SYSTEM):
        if _system_authorities() is None:
            raise ValueError(
                "has `sslrootcert=system`, and this system has no file of authorities; install ca-certificates, or "
                "name a file in PEM"
            )
    elif name in _FILES and not _is_readable(value):
        raise ValueError(f"names a file for `{name}` that cannot be read; give the path of a file in PEM")
    if name == "port" and not all(port.isdecimal() and 0 < int(port) < 65_536 for port in value.split(",")):
        raise ValueError("must have numbers from 1 to 65535 for `port`")


def _check_authority(options: dict[str, str]) -> None:
    """`verify-…` needs an authority, which libpq also looks for in the environment and in the home directory.

    With the system's authorities the name must be checked, too: anyone can get a certificate from one of them.
    """
    if options.get("sslrootcert") == SYSTEM and options["sslmode"] != "verify-full":
        raise ValueError("must have `sslmode=verify-full` with `sslrootcert=system`")
    if not options.get("sslmode", "").startswith("verify-") or "sslrootcert" in options:
        return
    if os.environ.get("PGSSLROOTCERT") or _is_readable("~/.postgresql/root.crt"):
        return
    raise ValueError(
        f"must name the authority that signed the server's certificate for `sslmode={options['sslmode']}`: "
        "add `&sslrootcert=FILE`, or `&sslrootcert=system` for the system's authorities"
    )


def _system_authorities() -> str | None:
    """The file of the authorities that this system trusts; SSL_CERT_FILE is honoured."""
    candidates = (ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
    return next((path for path in candidates if path and _is_readable(path)), None)


def _is_readable(path: str) -> bool:
    try:
        return os.access(Path(unquote(path)).expanduser(), os.R_OK)
    except (OSError, RuntimeError, ValueError):
        return False
