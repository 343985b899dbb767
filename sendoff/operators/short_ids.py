"""Shortened ids: the beginning or the end of an id names a row, as long as it names one alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sendoff.errors import Conflict, Invalid, NotFound
from sendoff.ids import is_event_id, is_uuid
from sendoff.store.queries.traffic import short_ids

if TYPE_CHECKING:
    from sendoff.context import Context

SHORTEST = 4
"""Characters. Fewer would name several rows in any list of some length."""

KINDS: Mapping[str, short_ids.IdentifiedTable] = {kind.noun: kind for kind in short_ids.KINDS}
"""What has ids, by the noun that people use."""

_PARTIAL = re.compile(r"(evt_)?[0-9a-f-]*")


def strip_ellipsis(given: str) -> str:
    """What was given without the `…` with which tables show shortened ids."""
    return given.strip().strip("….")


def is_whole(kind: short_ids.IdentifiedTable, text: str) -> bool:
    """Whether this is a whole id of the kind. Raises Invalid for the whole id of something else."""
    if kind.is_event:
        if is_uuid(text):
            raise Invalid(f"{text} is not an event's id, which begins with evt_; it may be a delivery's.")
        return is_event_id(text)
    if is_event_id(text):
        raise Invalid(f"{text} is an event's id, not that of a {kind.noun}; `sendoff events show {text}` shows it.")
    return is_uuid(text)


async def find_id(context: Context, kind: short_ids.IdentifiedTable, text: str) -> str:
    """The whole id that begins or ends with `text`; an end is looked for among the newest rows.

    Raises Invalid for what can be no id, NotFound, and Conflict when several match.
    """
    text = text.lower()
    if not _PARTIAL.fullmatch(text) or len(text.removeprefix("evt_")) < SHORTEST:
        raise Invalid(f"{text!r} is not an id of this kind; give a whole one, or {SHORTEST} characters or more of it.")
    async with context.database.read() as tx:
        found = await short_ids.find(tx, kind, text)
    if not found:
        raise NotFound(f"There is no {kind.noun} whose id begins or ends with {text}; `list --wide` shows whole ids.")
    if len(found) > 1:
        raise Conflict(f"{text} names several: {', '.join(found[:3])}; give more characters.")
    return found[0]
