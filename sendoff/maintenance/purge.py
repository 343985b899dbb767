"""Purge: remove what is past its retention, in batches of milliseconds, so that other writers hardly wait."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from sendoff.context import Context
from sendoff.idempotency import LIFETIME
from sendoff.maintenance.partitions import tend_partitions
from sendoff.maintenance.throttle import pause_after
from sendoff.policy.partitions import RowByRow, row_by_row
from sendoff.store.engine.database import Transaction
from sendoff.store.partitions.layout import read_partitions
from sendoff.store.queries import audit, endpoints, idempotency, page_sessions
from sendoff.store.queries.installation import retention
from sendoff.store.queries.traffic import rejected_messages

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
    partitions: int = 0
    """Partitions of the history that were dropped, with all that was in them; the others count rows."""
    rejected_messages: int = 0


async def purge_expired(context: Context) -> Removed:
    """Remove what is past its retention. Open deliveries stay, however old. Safe to run in two processes at once.

    Delivered deliveries are removed RETENTION_DAYS after they arrived, dead ones DEAD_LETTER_RETENTION_DAYS after they
    died, with their attempts and dead letters, and so are messages of brokers after they were rejected; an event is
    removed with the last of its deliveries, and an audit entry after AUDIT_RETENTION_DAYS. What lies in partitions
    leaves with the whole partition, somewhat later.
    """
    now = context.clock.now()
    finished = now - timedelta(days=context.settings.retention_days)
    dead = now - timedelta(days=context.settings.dead_letter_retention_days)
    dropped, left = await tend_partitions(context, finished=finished)
    delivered, events = await _remove_finished(context, left, until=finished)
    removed = Removed(
        delivered=delivered,
        dead_letters=await _in_batches(context, retention.remove_dead_letters, until=dead),
        events=events,
        replay_rows=await _in_batches(context, retention.remove_replays, until=finished),
        idempotency_records=await _in_batches(context, idempotency.remove_old, until=now - LIFETIME),
        audit_entries=await _purge_audit(context, until=now - timedelta(days=context.settings.audit_retention_days)),
        page_sessions=await _in_batches(context, page_sessions.remove_expired, until=now),
        partitions=dropped,
        rejected_messages=await _in_batches(context, rejected_messages.remove_old, until=dead),
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
        left = row_by_row(await read_partitions(tx), until=finished)
        counted = await retention.count_expired(
            tx, finished=finished, dead=dead, limit=COUNTED_AT_MOST, created_until=left.created_until
        )
    return Expired(0, counted[1], 0) if left.nothing else Expired(*counted)


async def _remove_finished(context: Context, left: RowByRow, *, until: datetime) -> tuple[int, int]:
    """Remove one by one what lies in no partition that is going to be dropped; the deliveries and events removed."""
    if left.nothing:
        return 0, 0
    deliveries = partial(retention.remove_delivered, created_until=left.created_until)
    events = partial(retention.remove_events, created_until=left.created_until)
    return await _in_batches(context, deliveries, until=until), await _in_batches(context, events, until=until)


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
