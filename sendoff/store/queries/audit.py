"""The audit log: append-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, select

from sendoff.store.engine.database import Transaction
from sendoff.store.engine.paging import newest_first
from sendoff.store.tables import AuditEntry


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
    """What was done to these endpoints of the organization after `since`, oldest first."""
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
