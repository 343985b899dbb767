"""Worker processes and their heartbeats."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete
from sqlmodel import col, select

from sendoff.store.engine.database import Transaction
from sendoff.store.tables import Worker


async def write(tx: Transaction, worker: Worker) -> Worker:
    """Insert the worker, or replace what its last heartbeat said, but not what operators asked of it."""
    known = await tx.get(Worker, worker.id)
    if known is not None:
        worker.drain_requested_at = known.drain_requested_at
    return await tx.merge(worker)


async def lock(tx: Transaction, worker_id: str) -> Worker | None:
    return await tx.get(Worker, worker_id, with_for_update=True)


async def remove(tx: Transaction, worker_id: str) -> None:
    await tx.execute(delete(Worker).where(col(Worker.id) == worker_id))


async def remove_silent(tx: Transaction, *, until: datetime) -> None:
    """Remove workers that were last seen before `until`."""
    await tx.execute(delete(Worker).where(col(Worker.last_seen_at) < until))


async def seen_since(tx: Transaction, since: datetime) -> list[Worker]:
    """The workers that were seen since then, by host and by start."""
    query = select(Worker).where(col(Worker.last_seen_at) >= since)
    return list((await tx.scalars(query.order_by(col(Worker.host), col(Worker.started_at), col(Worker.id)))).all())
