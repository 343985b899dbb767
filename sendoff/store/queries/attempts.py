"""Attempts as they are recorded: one row each, and what went over the wire at the last one that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, insert
from sqlmodel import col

from sendoff.store.engine.batch import execute, rows_from, rows_parameter
from sendoff.store.engine.database import Transaction
from sendoff.store.tables import LastExchange


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """An attempt to be recorded; the fields are those of the table."""

    delivery_id: str
    number: int
    started_at: datetime
    duration_ms: int
    outcome: str
    response_status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What went over the wire at an attempt; the fields are those of the table."""

    delivery_id: str
    attempt: int
    url: str
    request_headers: Sequence[tuple[str, str]]
    response_status: int | None
    response_headers: Sequence[tuple[str, str]] | None
    response_body: bytes | None
    response_truncated: bool


_COLUMNS = {
    "delivery_id": "uuid",
    "number": "int",
    "started_at": "timestamptz",
    "duration_ms": "int",
    "outcome": "text",
    "response_status": "int",
    "error": "text",
}


_EXCHANGES_AT_ONCE = 20
"""Each holds up to 32 KB of a receiver's making: hundreds of them as parameters of one statement are too much."""


async def insert_many(tx: Transaction, attempts: Sequence[NewAttempt]) -> None:
    """Insert finished attempts; `(delivery_id, number)` must be new."""
    names = ", ".join(_COLUMNS)
    statement = f"INSERT INTO attempts ({names}) SELECT {names} FROM {rows_from(tx, 'rows', _COLUMNS)} AS r"
    await execute(tx, statement, rows=rows_parameter(attempts))


async def keep_last_exchanges(tx: Transaction, exchanges: Sequence[Exchange]) -> None:
    """Keep these, each in the place of its delivery's one before."""
    ids = [exchange.delivery_id for exchange in exchanges]
    await tx.execute(delete(LastExchange).where(col(LastExchange.delivery_id).in_(ids)))
    for start in range(0, len(exchanges), _EXCHANGES_AT_ONCE):
        some = exchanges[start : start + _EXCHANGES_AT_ONCE]
        await tx.execute(insert(LastExchange), [asdict(exchange) for exchange in some])
