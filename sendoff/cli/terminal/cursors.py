"""Cursors of lists, as the API writes them; the plain id of the last row is taken as well."""

from __future__ import annotations

import base64
import binascii

import typer

from sendoff.ids import is_event_id, is_uuid


def encode_cursor(identifier: str) -> str:
    """The cursor that continues a list below the row `identifier`."""
    return base64.urlsafe_b64encode(identifier.encode()).decode().rstrip("=")


def decode_cursor(given: str | None) -> str | None:
    """The id that a cursor stands for. Raises BadParameter for what is neither a cursor nor an id."""
    if given is None or is_uuid(given) or is_event_id(given):
        return given
    try:
        padded = given + "=" * (-len(given) % 4)
        identifier = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        identifier = ""
    if not (is_uuid(identifier) or is_event_id(identifier)):
        raise typer.BadParameter(
            f"{given!r} is not a cursor; use the `next_cursor` of the page before", param_hint="--before"
        )
    return identifier
