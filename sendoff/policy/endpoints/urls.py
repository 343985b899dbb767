"""The grammar of an endpoint's URL: one spelling for each place, and none that two parsers read differently.

Deliberately narrower than RFC 3986 and than what browsers accept. The text is taken apart here and nothing
else looks at it afterwards, so what was checked is what is dialed.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote

import idna

from sendoff.errors import UnsafeUrl

LONGEST_URL = 2_048
"""Characters. Many servers refuse longer request targets."""

LONGEST_HOST = 253
"""Characters of a host name, which is the limit of the DNS."""

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<path>/[^?]*)?(?P<query>\?.*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>.*))?")
# Underscores are not in RFC 1123, but such names resolve, and receivers have certificates for them.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH_SAFE = "/?:@!$&'()*+,;=-._~%[]"

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class SplitUrl:
    """The parts of a URL in canonical spelling; `address` is set when the host is an IP literal."""

    scheme: str
    host: str
    port: int
    path: str
    address: IPv4Address | IPv6Address | None


def split_url(url: str) -> SplitUrl:
    """Take `url` apart; raises UnsafeUrl, whose `reason` is stable, for what is not plainly a web address."""
    _refuse_characters(url)
    match = _URL.fullmatch(url)
    if match is None:
        raise UnsafeUrl("url must be written out in full, like https://example.com/hooks.", reason="malformed")
    scheme = match["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise UnsafeUrl("url must start with https://.", reason="not_https")
    host, port = _split_authority(match["authority"])
    name, address = _read_host(host)
    path = quote((match["path"] or "/") + (match["query"] or ""), safe=_PATH_SAFE)
    return SplitUrl(scheme, name, DEFAULT_PORTS[scheme] if port is None else _read_port(port), path, address)


def _refuse_characters(url: str) -> None:
    if len(url) > LONGEST_URL:
        raise UnsafeUrl(f"url is longer than {LONGEST_URL} characters; use a shorter one.", reason="too_long")
    plain = url.isascii() and url.isprintable() and " " not in url
    for character in "" if plain else url:
        category = unicodedata.category(character)
        if category in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            raise UnsafeUrl(
                "url holds a control or invisible character; leave it out, or percent-encode it in the path.",
                reason="control_character",
            )
        if category == "Zs":
            raise UnsafeUrl("url holds a space; write it without, or as %20 in the path.", reason="whitespace")
    if "\\" in url:
        raise UnsafeUrl("url holds a backslash; use / between its parts.", reason="backslash")
    if "#" in url:
        raise UnsafeUrl("url holds a fragment (#…), which is never sent; leave it out.", reason="fragment")


def _split_authority(authority: str) -> tuple[str, str | None]:
    if "@" in authority:
        raise UnsafeUrl(
            "url must not hold a user name or password (…@host); authenticate us by the signature.",
            reason="userinfo",
        )
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (authority.count(":") > 1 and not authority.startswith("[")):
        raise UnsafeUrl("url holds a host that cannot be read; write one like example.com.", reason="bad_host")
    if match["host"] in {"", ".", "[]"}:
        raise UnsafeUrl("url names no host; write it like https://example.com/hooks.", reason="no_host")
    return match["host"], match["port"]


def _read_port(text: str) -> int:
    # At most five digits, ASCII ones, no sign and no leading zero: int() alone is far more generous.
    if re.fullmatch(r"[1-9][0-9]{0,4}", text) is None or int(text) > 65_535:
        raise UnsafeUrl("url has an invalid port; use a number from 1 to 65535 or leave it out.", reason="bad_port")
    return int(text)


def _read_host(host: str) -> tuple[str, IPv4Address | IPv6Address | None]:
    if "%" in host and host.startswith("["):
        raise UnsafeUrl("url holds an IPv6 zone (%…); leave it out.", reason="zone_id")
    if "%" in host:
        raise UnsafeUrl("url holds a percent-encoded host; write the host itself.", reason="percent_encoded_host")
    if host.startswith("["):
        return _read_ipv6(host[1:-1])
    name = _canonical_name(host)
    # As in the URL Standard: a host that ends in a number is an IPv4 address, or an attempt to write one.
    _, dot, last = name.rpartition(".")
    if _NUMBER.fullmatch(last):
        return _read_ipv4(host)
    # RFC 1123, 2.1: the last part of a domain is alphabetic, so that it cannot be taken for an address.
    if dot and last[0] in "0123456789":
        raise UnsafeUrl(
            "url holds a host name whose last part begins with a digit, as no domain's does; correct it.",
            reason="ambiguous_host",
        )
    return name, None


def _read_ipv6(text: str) -> tuple[str, IPv6Address]:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise UnsafeUrl("url has an invalid IPv6 address in brackets; correct it.", reason="bad_host") from None
    return address.compressed, address


def _read_ipv4(text: str) -> tuple[str, IPv4Address]:
    try:
        address = IPv4Address(text)
    except AddressValueError:
        raise UnsafeUrl(
            "url holds an IPv4 address in a short, decimal, octal or hexadecimal spelling; "
            "write four decimal numbers, or better a host name.",
            reason="ambiguous_host",
        ) from None
    return str(address), address


def _canonical_name(host: str) -> str:
    labels = [_canonical_label(label) for label in host.removesuffix(".").split(".")]
    name = ".".join(labels)
    if len(name) > LONGEST_HOST:
        raise UnsafeUrl(f"url holds a host name longer than {LONGEST_HOST} characters.", reason="bad_host")
    return name


def _canonical_label(label: str) -> str:
    if not label.isascii():
        _refuse_lookalikes(label)
        try:
            # IDNA 2008 without the UTS 46 mapping: a name is taken as it is written or not at all.
            label = idna.alabel(label.lower()).decode("ascii")
        except idna.IDNAError:
            raise UnsafeUrl(
                "url holds a host name that is not valid in IDNA 2008; write it in its xn-- form.",
                reason="bad_host",
            ) from None
    label = label.lower()
    if _LABEL.fullmatch(label) is None:
        raise UnsafeUrl(
            "url holds a host name with an empty, too long or badly spelled part; "
            "parts consist of letters, digits, underscores and inner hyphens.",
            reason="bad_host",
        )
    return label


def _refuse_lookalikes(label: str) -> None:
    for character in label:
        if character.isascii():
            continue
        if unicodedata.numeric(character, None) is not None:
            raise UnsafeUrl("url holds digits that are not 0 to 9; write those.", reason="non_ascii_digits")
        plain = unicodedata.normalize("NFKC", character)
        if any(part.isascii() or part == "\u3002" for part in plain):
            raise UnsafeUrl("url holds a look-alike of an ASCII character; write that.", reason="ambiguous_host")
