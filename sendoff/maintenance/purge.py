"""Purge: remove what is past its retention, in batches of milliseconds, so that other writers hardly wait."""

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
from sendoff.store.queries import audit, endpoints, idempotency, page_sessions
from sendoff.store.queries.installation import retention

_log = structlog.get_logger(__name__)

AT_ONCE = 500
"""Rows removed in one transaction. On SQLite, all other writers wait for it: some milliseconds."""


COUNTED_AT_MOST = 100_000
"""Rows of one kind that are counted; more would be read for a number that nobody needs exactly."""


class _Remove(Protocol):
    async def __call__(self, tx: Transaction, *, until: datetime, limit: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Removed:
    """The number of removed rows by kind: delivered deliveries, dead letters with their deliveries, and others."""

    delivered: int
    dead_letters: int
    events: int
    replay_rows: int
    idempotency_records: int
    audit_entries: int = 0
    page_sessions: int = 0
    """Sessions of the pages that ended, and links to them."""


async def purge_expired(context: Context) -> Removed:
    """Remove what is past its retention. Open deliveries stay, however old. Safe to run in two processes at once.

    Delivered deliveries are removed RETENTION_DAYS after they arrived, dead ones DEAD_LETTER_RETENTION_DAYS after they
    died, with their attempts and dead letters; an event is removed with the last of its deliveries, and an audit entry
    after AUDIT_RETENTION_DAYS.
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
        audit_entries=await _purge_audit(context, until=now - timedelta(days=context.settings.audit_retention_days)),
        page_sessions=await _in_batches(context, page_sessions.remove_expired, until=now),
    )
    async with context.database.write() as tx:
        await endpoints.forget_ended_secrets(tx, now=now, limit=AT_ONCE)
    if any(asdict(removed).values()):
        _log.info("removed_expired", **asdict(removed))
    return removed


@dataclass(frozen=True, slots=True)
class Expired:
    """What a purge would remove now; each number ends at COUNTED_AT_MOST, and then means that many or more."""

    delivered: int
    dead_letters: int
    events: int


async def count_expired(context: Context) -> Expired:
    """What is past its retention, without removing it."""
    now = context.clock.now()
    finished = now - timedelta(days=context.settings.retention_days)
    dead = now - timedelta(days=context.settings.dead_letter_retention_days)
    async with context.database.read() as tx:
        return Expired(*await retention.count_expired(tx, finished=finished, dead=dead, limit=COUNTED_AT_MOST))


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


async def _purge_audit(context: Context, *, until: datetime) -> int:
    async with context.database.write() as tx:
        await audit.advance_horizon(tx, until=until)
    return await _in_batches(context, audit.remove_old, until=until)
