"""The audit log: entries are added, read, and removed when their retention has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, select

from sendoff.store.engine.batch import execute
from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import newest_first
from sendoff.store.tables import AuditEntry, AuditHorizon


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are meant; None is any. `since` is inclusive, `until` exclusive."""

    organization_id: str | None = None
    actor: str | None = None
    action: str | None = None
    target_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def page(tx: Transaction, chosen: AuditFilter, *, limit: int, before: str | None = None) -> list[AuditEntry]:
    """Entries, newest first, at most `limit`, older than the id `before`."""
    query = select(AuditEntry)
    for name in ("organization_id", "actor", "action", "target_id"):
        value = getattr(chosen, name)
        if value is not None:
            query = query.where(col(getattr(AuditEntry, name)) == value)
    if chosen.since is not None:
        query = query.where(col(AuditEntry.at) >= chosen.since)
    if chosen.until is not None:
        query = query.where(col(AuditEntry.at) < chosen.until)
    query = newest_first(query, col(AuditEntry.id), limit=limit, before=before)
    return list((await tx.scalars(query)).all())


async def changes_since(
    tx: Transaction, organization_id: str, endpoint_ids: Sequence[str], *, since: datetime
) -> list[AuditEntry]:
    """The audit entries of these endpoints of the organization after `since`, oldest first."""
    if not endpoint_ids:
        return []
    query = (
        select(AuditEntry)
        .where(
            col(AuditEntry.organization_id) == organization_id,
            col(AuditEntry.target_type) == "endpoint",
            col(AuditEntry.target_id).in_(endpoint_ids),
            col(AuditEntry.at) > since,
        )
        .order_by(col(AuditEntry.id))
    )
    return list((await tx.scalars(query)).all())


async def advance_horizon(tx: Transaction, *, until: datetime) -> None:
    """Allow the removal of entries from before `until`; the horizon never goes back."""
    horizon = await tx.get(AuditHorizon, 1, with_for_update=True)
    if horizon is None:
        tx.add(AuditHorizon(until=until))
    elif horizon.until < until:
        horizon.until = until


async def remove_old(tx: Transaction, *, until: datetime, limit: int) -> int:
    """Remove the oldest entries from before `until`, at most `limit`, and count them. The horizon must allow it."""
    result = await execute(
        tx,
        """
        DELETE FROM audit_entries WHERE at < :until
            AND id IN (SELECT a.id FROM audit_entries a ORDER BY a.id LIMIT :limit)
        """,
        until=until,
        limit=limit,
    )
    return result.rowcount
