"""Redacts credentials from logs and error texts: in URLs, headers, mappings and free text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

HIDDEN = "[redacted]"

_SENSITIVE = re.compile(
    r"authorization|cookie|passw|secret|token|credential|api[-_]?key|private[-_]?key|^key$|signature",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(
    r"""
    \b(?P<kind> od_live_ (?=[A-Za-z0-9_-]{5}) | whsec_ | whsk_ ) [A-Za-z0-9+/=_-]+
                                # our keys beyond the four characters that are shown, and secrets of receivers
    | (?<![0-9A-Za-z_-]) (?P<token> eyJ ) [A-Za-z0-9_-]+ \. eyJ [A-Za-z0-9_-]* \. [A-Za-z0-9_-]+   # access tokens
    | (?P<bare> (?<![0-9A-Za-z]) [0-9a-f]{64} (?![0-9A-Za-z]) )  # secrets without a mark of their own, signatures
    | (?P<scheme> \b(?:Bearer|Basic)\s+ ) [A-Za-z0-9+/=._~-]+
    | (?P<front> :// ) [^\s/?\#@]* @                            # what stands before a URL's host
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redact_url(url: str) -> str:
    """The URL without user, password and fragment, and with the names but not the values of its query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        query = "&".join(_name_only(pair) for pair in parts.query.split("&")) if parts.query else ""
        return parts._replace(netloc=host, query=query, fragment="").geturl()
    except ValueError:
        return "[unreadable URL]"


def redact_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers, with the values of those hidden whose names speak of credentials, keys or signatures."""
    return [(name, HIDDEN if _SENSITIVE.search(name) else redact_text(value)) for name, value in headers]


def redact_mapping(mapping: Mapping[str, object]) -> dict[str, object]:
    """A copy with the values of sensitive keys hidden, at any depth, and credentials removed from all texts."""
    return {key: HIDDEN if _SENSITIVE.search(key) else _redact(value) for key, value in mapping.items()}


def redact_text(text: str) -> str:
    """The text with API keys, access tokens, signing secrets, `Authorization` values and URLs' user parts cut out."""
    return _CREDENTIALS.sub(_hide, text)


def _redact(value: object) -> object:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return redact_mapping({str(key): inner for key, inner in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact(inner) for inner in value]
    return value


def _hide(match: re.Match[str]) -> str:
    if match["front"]:
        return match["front"]
    return (match["kind"] or match["token"] or match["scheme"] or "") + HIDDEN


def _name_only(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    # A bare query may be the credential itself.
    return f"{name}={HIDDEN}" if equals else HIDDEN
