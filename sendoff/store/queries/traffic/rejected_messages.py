"""Messages of brokers that were rejected."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import col, select

from sendoff.store.engine.batch import execute, insert_or_ignore
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import newest_first
from sendoff.store.tables import RejectedMessage


async def insert_if_new(tx: Transaction, rows: Sequence[RejectedMessage]) -> None:
    """Insert the messages, except those that were rejected before."""
    await tx.execute(insert_or_ignore(tx, RejectedMessage), [row.model_dump() for row in rows])


async def list_rejected(
    tx: Transaction, *, source: str | None, limit: int, before: str | None
) -> list[RejectedMessage]:
    """Rejected messages, newest first, at most `limit`, older than the id `before`."""
    query = select(RejectedMessage)
    if source is not None:
        query = query.where(col(RejectedMessage.source) == source)
    query = newest_first(query, col(RejectedMessage.id), limit=limit, before=before)
    return list((await tx.scalars(query)).all())


async def find(tx: Transaction, message_id: str) -> RejectedMessage | None:
    """One rejected message."""
    return await tx.get(RejectedMessage, message_id)


async def remove_old(tx: Transaction, *, until: datetime, limit: int) -> int:
    """Remove messages that were rejected before `until`, at most `limit`, and return their number."""
    result = await execute(
        tx,
        """
        DELETE FROM rejected_messages WHERE id IN (
            SELECT r.id FROM rejected_messages r WHERE r.rejected_at < :until ORDER BY r.rejected_at LIMIT :limit
        )
        """,
        until=until,
        limit=limit,
    )
    return result.rowcount
