"""Partitions of the history: made before they are needed, and dropped when they are past their retention."""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from sendoff.context import Context
from sendoff.errors import Unavailable
from sendoff.maintenance.throttle import pause_after
from sendoff.policy.partitions import Partition, RowByRow, expired, length_of, next_boundary, row_by_row
from sendoff.store.partitions.convert import abandon_conversion
from sendoff.store.partitions.layout import may_change, read_partitions
from sendoff.store.partitions.retire import DroppedElsewhere, add_partition, remove_dropped, retire
from sendoff.store.queries.installation import retention

_log = structlog.get_logger(__name__)

_AT_ONCE = 2_000
"""Rows removed in one transaction that belonged to what was dropped."""


async def tend_partitions(context: Context, *, finished: datetime) -> tuple[int, RowByRow]:
    """Make the next partition if it is time, and drop those of which everything was created before `finished`.

    Returns how many were dropped, and what is left to be purged row by row: among others a partition that could not be
    dropped now, or has too much in it that must stay. What another process drops at the moment is not: it leaves with
    its partition.
    """
    if context.database.is_sqlite:
        return 0, RowByRow(None)
    now = context.clock.now()
    async with context.database.write() as tx:
        partitions = await read_partitions(tx)
        if not await may_change(tx):
            if partitions:
                _log.warning("partitions_not_tended")
            return 0, RowByRow(None)
        if not partitions:
            if await abandon_conversion(tx, now=now):
                _log.warning("partitioning_abandoned")
            return 0, RowByRow(None)
    await _make_next(context, partitions[-1], now)
    found = expired(partitions, until=finished)
    elsewhere: list[Partition] = []
    try:
        dropped = await _drop(context, found, finished)
    except DroppedElsewhere:
        dropped, elsewhere = 0, found
    try:
        await remove_dropped(context.database)
    except Unavailable as error:  # the next round tries again; purging goes on meanwhile
        _log.warning("dropped_partitions_not_removed", error=str(error))
    async with context.database.read() as tx:
        left = row_by_row([one for one in await read_partitions(tx) if one not in elsewhere], until=finished)
    if dropped and left.created_until is not None:
        await _remove_what_belonged(context, left.created_until)
    return dropped, left


async def _make_next(context: Context, newest: Partition, now: datetime) -> None:
    boundary = next_boundary(newest, now=now, length=length_of(context.settings.retention_days))
    if boundary is not None and await add_partition(context.database, newest, boundary):
        _log.info("partition_made", begins=boundary.date().isoformat())


async def _drop(context: Context, found: list[Partition], finished: datetime) -> int:
    if not found:
        return 0
    retired = await retire(context.database, found, until=finished)
    if retired is None:
        _log.warning("partitions_not_dropped", partitions=len(found))
        return 0
    seconds = round(retired.seconds, 3)
    _log.info("partitions_dropped", partitions=retired.partitions, deliveries_kept=retired.kept, seconds=seconds)
    return retired.partitions


async def _remove_what_belonged(context: Context, created_until: datetime) -> None:
    removed = 1
    while removed:
        started = context.clock.monotonic()
        async with context.database.write() as tx:
            removed = await retention.remove_what_belongs_to_nothing(tx, created_until=created_until, limit=_AT_ONCE)
        await asyncio.sleep(pause_after(context.clock.monotonic() - started))
