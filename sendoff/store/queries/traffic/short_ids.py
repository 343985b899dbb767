"""Rows by the beginning or the end of their id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, cast, select
from sqlmodel import col

from sendoff.store.engine.database import Transaction
from sendoff.store.tables import ApiKey, AuditEntry, DeadLetter, Delivery, Endpoint, Event, Organization, Replay

NEWEST = 100_000
"""Rows among which the end of an id is looked for. They take some 50 ms; no index could find an end among more."""

_MOST = 4
_LOWEST, _HIGHEST = "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(frozen=True, slots=True)
class IdentifiedTable:
    """A table of things that have an `id`."""

    noun: str
    table: Any
    is_event: bool = False


KINDS = (
    IdentifiedTable("delivery", Delivery),
    IdentifiedTable("dead letter", DeadLetter),
    IdentifiedTable("endpoint", Endpoint),
    IdentifiedTable("alert endpoint", Endpoint),
    IdentifiedTable("event", Event, is_event=True),
    IdentifiedTable("organization", Organization),
    IdentifiedTable("key", ApiKey),
    IdentifiedTable("replay", Replay),
    IdentifiedTable("audit entry", AuditEntry),
)


async def find(tx: Transaction, kind: IdentifiedTable, text: str) -> list[str]:
    """A few of the ids that begin with `text`, or end with it among the newest, in lower case without wildcards."""
    column = col(kind.table.id)
    newest = select(column).order_by(column.desc()).limit(NEWEST).subquery()
    found: dict[str, None] = {}
    bounds = _bounds(kind, text)
    if bounds is not None:
        beginning = select(column).where(column >= bounds[0], column <= bounds[1]).limit(_MOST)
        found |= dict.fromkeys(map(str, (await tx.scalars(beginning)).all()))
    if not text.startswith("evt_"):
        end = select(newest.c.id).where(cast(newest.c.id, String).like(f"%{text}")).limit(_MOST)
        found |= dict.fromkeys(map(str, (await tx.scalars(end)).all()))
    return list(found)


def _bounds(kind: IdentifiedTable, text: str) -> tuple[str, str] | None:
    """The lowest and the highest id that begin with `text`; None if none can."""
    if kind.is_event:
        whole = f"evt_{text.removeprefix('evt_')}"
        return whole.ljust(28, "0"), whole.ljust(28, "f")
    if len(text) > len(_LOWEST) or any((one == "-") != (at == "-") for one, at in zip(text, _LOWEST, strict=False)):
        return None
    return text + _LOWEST[len(text) :], text + _HIGHEST[len(text) :]
