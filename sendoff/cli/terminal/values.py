"""A field's value as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sendoff.clock import SystemClock

SHORT_ID = 8
"""Characters of an id that a narrow table shows, its last ones: 32 random bits tell those of one list apart."""


def for_people(value: Any) -> str:
    """A field's value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(name))}={for_people(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(for_people, value))
    return printable(_shorten_time(str(value)))


def printable(text: str) -> str:
    """The text with control characters spelled out: what a receiver answered must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def show_age(value: Any) -> str:
    """How long ago a time was, or in how long it will be: `34s`, `12m`, `3h`, `5d`."""
    if value is None:
        return "–"
    seconds = abs((SystemClock().now() - datetime.fromisoformat(value)).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def show_due(value: Any) -> str:
    """In how long something is due; `now` when it is."""
    if value is None:
        return "–"
    return "now" if datetime.fromisoformat(value) <= SystemClock().now() else show_age(value)


def show_host(value: Any) -> str:
    """A URL without its scheme."""
    return "–" if value is None else str(value).partition("://")[2] or str(value)


def shorten_id(identifier: str) -> str:
    """The end of an id, by which it can be named."""
    return f"…{identifier[-SHORT_ID:]}" if len(identifier) > SHORT_ID + 1 else identifier


def _shorten_time(text: str) -> str:
    """An ISO 8601 time without its fraction, in UTC, which the `Z` says."""
    if not text.endswith("+00:00"):
        return text
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%SZ")
    except ValueError:
        return text
