"""The headers that an endpoint's owner adds to its requests: which names and values there may be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sendoff.wire.http.message import OWN_HEADERS

MOST_HEADERS = 20
"""Headers of one endpoint. Each travels with every request."""

MOST_BYTES = 4_096
"""Bytes of names and values together. Receivers take 8 KiB of headers as a rule, signatures among them."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RESERVED = OWN_HEADERS | {"user-agent", "traceparent", "tracestate"}
_RESERVED_PREFIX = "content-"


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The same headers. Raises ValueError, which names the header and never its value."""
    if len(headers) > MOST_HEADERS:
        raise ValueError(f"Holds {len(headers)} headers; at most {MOST_HEADERS} are possible")
    seen: set[str] = set()
    for name, value in headers.items():
        _check(name, value)
        if name.lower() in seen:
            raise ValueError(f"The header `{name}` is there twice in different spellings; leave one out")
        seen.add(name.lower())
    size = sum(len(name) + len(value) for name, value in headers.items())
    if size > MOST_BYTES:
        raise ValueError(f"The headers take {size:,} bytes together; at most {MOST_BYTES:,} are possible")
    return dict(headers)


def _check(name: str, value: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name[:100]!r} is not a header's name; use letters, digits and hyphens")
    if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIX):
        raise ValueError(f"The header `{name}` cannot be chosen: every request has its own; leave it out")
    if _CONTROL.search(value):
        raise ValueError(f"The value of `{name}` holds a control character; leave it out")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"The value of `{name}` holds a character beyond ISO 8859-1; encode it") from None
