"""What a restored database knows, to be compared with what the log says happened after it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlmodel import col, select

from sendoff.store.engine.batch import execute, ids_parameter, rows_from
from sendoff.store.engine.database import Transaction
from sendoff.store.tables import Attempt, AuditEntry, Event


async def find_newest_moment(tx: Transaction) -> datetime | None:
    """When the last thing happened that the database knows: an event, an attempt, or a change that is audited."""
    accepted = select(Event.created_at).order_by(col(Event.id).desc()).limit(1)
    attempted = select(Attempt.started_at).order_by(col(Attempt.started_at).desc()).limit(1)
    audited = select(AuditEntry.at).order_by(col(AuditEntry.id).desc()).limit(1)
    moments = [await tx.scalar(newest) for newest in (accepted, attempted, audited)]
    return max((moment for moment in moments if moment is not None), default=None)


async def find_known_events(tx: Transaction, event_ids: Collection[str]) -> set[str]:
    """Those of the events that the database knows."""
    return set(await tx.scalars(select(Event.id).where(col(Event.id).in_(event_ids))))


async def find_states(tx: Transaction, delivery_ids: Collection[str]) -> dict[str, str]:
    """The states of those of the deliveries that the database knows."""
    source = rows_from(tx, "ids", {"id": "uuid"})
    statement = f"SELECT d.id, d.state FROM deliveries d JOIN {source} AS wanted ON wanted.id = d.id"
    rows = await execute(tx, statement, ids=ids_parameter(delivery_ids))
    return {str(row.id): row.state for row in rows}


async def find_audited(tx: Transaction, *, since: datetime) -> list[AuditEntry]:
    """The audit entries since then."""
    query = select(AuditEntry).where(col(AuditEntry.at) >= since).order_by(col(AuditEntry.id))
    return list(await tx.scalars(query))
