"""Events and the types that are registered for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlmodel import col, select

from sendoff.store.batch import rows_from, rows_parameter
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
    await (await tx.connection()).execute(text(statement), {"rows": rows_parameter(rows)})


async def find(tx: Transaction, event_id: str) -> Event | None:
    return await tx.get(Event, event_id)


async def find_many(tx: Transaction, ids: Iterable[str]) -> dict[str, Event]:
    """Those of the events that exist, by id."""
    query = select(Event).where(col(Event.id).in_(set(ids)))
    return {event.id: event for event in (await tx.scalars(query)).all()}


async def find_type(tx: Transaction, name: str) -> EventType | None:
    return await tx.get(EventType, name)


async def list_types(tx: Transaction) -> list[EventType]:
    """The registered types beyond the built-in ones, by name."""
    return list((await tx.scalars(select(EventType).order_by(col(EventType.name)))).all())
