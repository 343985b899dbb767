"""Where messages come from: the URL of `sendoff consume --from`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlsplit

from sendoff.errors import Invalid, unknown_name

EXAMPLES = "amqp://HOST?queue=NAME, nats://HOST?stream=NAME or kafka://HOST?topic=NAME"
_FIELD = "from"
_SASL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class Broker(StrEnum):
    """The message brokers that events are taken from."""

    RABBITMQ = "rabbitmq"
    NATS = "nats"
    KAFKA = "kafka"


@dataclass(frozen=True, slots=True)
class _Scheme:
    broker: Broker
    port: int
    place: str
    """The parameter that names the queue, stream or topic."""
    more: tuple[str, ...]
    """The parameters that may be left out."""
    tls: bool = False


_RABBITMQ, _NATS = ("dead_letter",), ("consumer", "subject", "dead_letter")
_KAFKA = ("group", "sasl", "dead_letter")
_SCHEMES = {
    "amqp": _Scheme(Broker.RABBITMQ, 5672, "queue", _RABBITMQ),
    "amqps": _Scheme(Broker.RABBITMQ, 5671, "queue", _RABBITMQ, tls=True),
    "nats": _Scheme(Broker.NATS, 4222, "stream", _NATS),
    "nats+tls": _Scheme(Broker.NATS, 4222, "stream", _NATS, tls=True),
    "kafka": _Scheme(Broker.KAFKA, 9092, "topic", _KAFKA),
    "kafka+tls": _Scheme(Broker.KAFKA, 9093, "topic", _KAFKA, tls=True),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A queue, stream or topic of a broker."""

    broker: Broker
    place: str
    """The name of the queue, stream or topic."""
    servers: tuple[str, ...]
    """Each `host:port`."""
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    virtual_host: str = "/"
    options: Mapping[str, str] = field(default_factory=dict)
    """What the broker's own parameters say, such as `group`."""

    @property
    def name(self) -> str:
        """What logs, errors and rejected messages call it: without servers and credentials, which may change."""
        return f"{self.broker}:{self.place}"

    @property
    def dead_letter(self) -> str | None:
        """The queue, subject or topic that rejected messages are copied to."""
        return self.options.get("dead_letter")


def parse_source(url: str) -> Source:
    """The source that a URL names. Raises Invalid, which says what is wrong with it and never repeats credentials."""
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES.get(parts.scheme)
    except ValueError:
        scheme = None
    if scheme is None:
        raise Invalid(f"The source must be {EXAMPLES}.", field=_FIELD)
    options = _options(parts.query, scheme)
    place = options.pop(scheme.place, "")
    if not place:
        raise Invalid(f"The source lacks `?{scheme.place}=NAME`; add the {scheme.place} to take.", field=_FIELD)
    credentials, _, hosts = parts.netloc.rpartition("@")
    servers = tuple(_server(one, scheme.port) for one in hosts.split(","))
    if scheme.broker is Broker.RABBITMQ and len(servers) > 1:
        raise Invalid("amqp:// takes one server; name a balancer or the cluster's common address.", field=_FIELD)
    username, has_password, password = credentials.partition(":")
    return Source(
        scheme.broker,
        place,
        servers,
        scheme.tls,
        username=unquote(username) or None,
        password=unquote(password) if has_password else None,
        virtual_host=unquote(parts.path.removeprefix("/")) or "/",
        options=options,
    )


def _options(query: str, scheme: _Scheme) -> dict[str, str]:
    known = (scheme.place, *scheme.more)
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise unknown_name(name, known, kind="parameter of the source")
        if name in options:
            raise Invalid(f"The source has `{name}` twice; give it once.", field=_FIELD)
        if value:
            options[name] = value
    if options.get("sasl", _SASL[0]) not in _SASL:
        raise Invalid(f"`sasl` must be one of {', '.join(_SASL)}.", field=_FIELD)
    return options


def _server(text: str, port: int) -> str:
    try:
        parts = urlsplit(f"//{text}")
        host, given = parts.hostname, parts.port
    except ValueError:
        host, given = None, None
    if not host:
        raise Invalid("The source names no server; write HOST, HOST:PORT or [IPV6]:PORT after ://.", field=_FIELD)
    return f"[{host}]:{given or port}" if ":" in host else f"{host}:{given or port}"
