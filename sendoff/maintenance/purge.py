"""Retention: what is past its time is removed, in batches so small that nobody else has to wait for them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from sendoff.context import Context
from sendoff.idempotency import LIFETIME
from sendoff.maintenance.throttle import pause_after
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import endpoints, idempotency, retention

_log = structlog.get_logger(__name__)

AT_ONCE = 500
"""Rows that lead a transaction: milliseconds of it, also where all writers share one lock."""


class _Remove(Protocol):
    async def __call__(self, tx: Transaction, *, until: datetime, limit: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Removed:
    """How many were removed: deliveries that had been delivered, dead letters with theirs, and so on."""

    delivered: int
    dead_letters: int
    events: int
    replay_rows: int
    idempotency_records: int


async def purge_expired(context: Context) -> Removed:
    """Remove all that is past its time by now. What is still to be delivered stays, however old.

    Delivered deliveries leave RETENTION_DAYS after they arrived, dead ones DEAD_LETTER_RETENTION_DAYS after they died,
    with their attempts and dead letters; an event leaves with the last of its deliveries. Safe to run twice at once.
    """
    now = context.clock.now()
    finished = now - timedelta(days=context.settings.retention_days)
    dead = now - timedelta(days=context.settings.dead_letter_retention_days)
    removed = Removed(
        delivered=await _in_batches(context, retention.remove_delivered, until=finished),
        dead_letters=await _in_batches(context, retention.remove_dead_letters, until=dead),
        events=await _in_batches(context, retention.remove_events, until=finished),
        replay_rows=await _in_batches(context, retention.remove_replays, until=finished),
        idempotency_records=await _in_batches(context, idempotency.remove_old, until=now - LIFETIME),
    )
    await _forget_secrets(context, now)
    if any(asdict(removed).values()):
        _log.info("removed_expired", **asdict(removed))
    return removed


async def _in_batches(context: Context, remove: _Remove, *, until: datetime) -> int:
    total = 0
    while True:
        started = context.clock.monotonic()
        async with context.database.write() as tx:
            removed = await remove(tx, until=until, limit=AT_ONCE)
        if removed == 0:
            return total
        total += removed
        await asyncio.sleep(pause_after(context.clock.monotonic() - started))


async def _forget_secrets(context: Context, now: datetime) -> None:
    async with context.database.write() as tx:
        await endpoints.forget_ended_secrets(tx, now=now, limit=AT_ONCE)
