"""Events and the types that are registered for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, select

from sendoff.store.batch import execute, ids_parameter, read_moment, rows_from, rows_parameter
from sendoff.store.database import Transaction
from sendoff.store.tables import Event, EventType


async def insert_many(tx: Transaction, events: Sequence[Event]) -> None:
    """Insert new events."""
    columns = {
        "id": "text",
        "organization_id": "uuid",
        "type": "text",
        "data": "text",
        "occurred_at": "timestamptz",
        "created_at": "timestamptz",
        "request_id": "text",
    }
    names = ", ".join(columns)
    statement = f"INSERT INTO events ({names}) SELECT {names} FROM {rows_from(tx, 'rows', columns)} AS r"
    rows = [{name: getattr(event, name) for name in columns} for event in events]
    await execute(tx, statement, rows=rows_parameter(rows))


@dataclass(frozen=True, slots=True)
class EventContent:
    """What is sent of an event."""

    id: str
    organization_id: str
    type: str
    data: str
    occurred_at: datetime


async def find_contents(tx: Transaction, ids: Iterable[str]) -> dict[str, EventContent]:
    """Those of the events that exist, by id."""
    result = await execute(
        tx,
        f"""
        SELECT e.id, e.organization_id, e.type, e.data, e.occurred_at
        FROM events e JOIN {rows_from(tx, "ids", {"id": "text"})} AS r ON r.id = e.id
        """,
        ids=ids_parameter(set(ids)),
    )
    return {
        row.id: EventContent(row.id, str(row.organization_id), row.type, row.data, read_moment(row.occurred_at))
        for row in result
    }


async def find(tx: Transaction, event_id: str) -> Event | None:
    return await tx.get(Event, event_id)


async def find_type(tx: Transaction, name: str) -> EventType | None:
    return await tx.get(EventType, name)


async def list_types(tx: Transaction) -> list[EventType]:
    """The registered types beyond the built-in ones, by name."""
    return list((await tx.scalars(select(EventType).order_by(col(EventType.name)))).all())
