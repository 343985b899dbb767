"""What `SENDOFF_SMTP_URL` says, and which e-mail addresses alerts can go to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

_PORTS = {"smtp": 587, "smtps": 465}
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?P<domain>[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)"
)
_LONGEST_ADDRESS = 254


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server, and how to speak to it."""

    host: str
    port: int
    implicit_tls: bool
    """TLS from the first byte."""
    starttls: bool
    """TLS after a greeting in the clear; a server that does not offer it is refused."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_smtp_url(url: str) -> MailServer:
    """The server that the URL names. Raises ValueError with a sentence, which never holds the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(
            "holds a host or a port that cannot be read; percent-encode what is special in user name and password"
        ) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in {"", "/"}:
        raise ValueError("must be written like smtp://user:password@mail.example.com:587 or smtps://…:465")
    starttls = options.pop("starttls", "on")
    if options or starttls not in {"on", "off"}:
        raise ValueError("takes one option, ?starttls=off, which sends mail unencrypted")
    is_encrypted = parts.scheme == "smtps" or starttls == "on"
    if (parts.username is None) is not (parts.password is None):
        raise ValueError("must hold both a user name and a password, or neither")
    if parts.username is not None and not is_encrypted:
        raise ValueError("would send the password unencrypted; leave out ?starttls=off, or the user name and password")
    return MailServer(
        host=parts.hostname,
        port=_PORTS[parts.scheme] if port is None else port,
        implicit_tls=parts.scheme == "smtps",
        starttls=parts.scheme == "smtp" and starttls == "on",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def is_mail_address(text: str) -> bool:
    """Whether the text is one plain e-mail address, without a name, a comment or quotes."""
    return len(text) <= _LONGEST_ADDRESS and _ADDRESS.fullmatch(text) is not None


def domain_of(address: str) -> str:
    """The domain of a plain e-mail address."""
    return address.rpartition("@")[2].lower()
