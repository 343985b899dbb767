"""Attempts as they are recorded: one row each, and what went over the wire at the last one that failed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, text
from sqlmodel import col

from sendoff.store.batch import rows_from, rows_parameter
from sendoff.store.database import Transaction
from sendoff.store.tables import Attempt, LastExchange


async def insert_many(tx: Transaction, attempts: Sequence[Attempt]) -> None:
    """Insert finished attempts; `(delivery_id, number)` must be new."""
    columns = {
        "delivery_id": "uuid",
        "number": "int",
        "started_at": "timestamptz",
        "duration_ms": "int",
        "outcome": "text",
        "response_status": "int",
        "error": "text",
    }
    names = ", ".join(columns)
    statement = f"INSERT INTO attempts ({names}) SELECT {names} FROM {rows_from(tx, 'rows', columns)} AS r"
    rows = [{name: getattr(attempt, name) for name in columns} for attempt in attempts]
    await (await tx.connection()).execute(text(statement), {"rows": rows_parameter(rows)})


async def keep_last_exchanges(tx: Transaction, exchanges: Sequence[LastExchange]) -> None:
    """Keep these, each in the place of its delivery's one before."""
    ids = [exchange.delivery_id for exchange in exchanges]
    await tx.execute(delete(LastExchange).where(col(LastExchange.delivery_id).in_(ids)))
    await tx.execute(insert(LastExchange), [exchange.model_dump() for exchange in exchanges])
