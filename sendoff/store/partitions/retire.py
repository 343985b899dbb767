"""Adds a partition after the newest, and drops the oldest with all rows but those that must stay.

Both change the catalogue under a lock that keeps everybody out, and which is waited for briefly. So what takes long is
done before and after: what stays is copied without a lock, so that under it the copies are only compared once more; and
the files of what went are removed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError

from sendoff.errors import Unavailable
from sendoff.ids import event_id_at
from sendoff.policy.partitions import KEPT, Partition, suffix_from, suffix_kept
from sendoff.store.engine.batch import execute, ids_parameter, rows_from
from sendoff.store.engine.database import Database, Transaction
from sendoff.store.partitions.layout import (
    HISTORY,
    LOCK_ALL,
    attach,
    key_at,
    make_partition,
    named,
    read_indexes,
    read_partitions,
    run,
)

MOST_KEPT = 40_000
"""Deliveries that are copied when their partition is dropped, at most. Nobody publishes or delivers while they are
compared with their copies: 19 µs each on a busy machine, 0.8 s in all."""

_COPIED_AT_ONCE = 2_000
"""Rows of one statement that copies. More, and it may take longer than a statement is waited for, if they are read from
a busy disk; fewer, and what has been copied is passed over more often."""

_LOCK_TRIES, _PAUSE_SECONDS = 5, 0.5
_BRIEFLY = ("SET LOCAL lock_timeout = '200ms'", "SET LOCAL statement_timeout = '400ms'")
_NO_TIMEOUT = "SET LOCAL statement_timeout = 0"
# Without the times that it asks for, a planner takes a third of the rows to be newer, and reads all of them.
_BY_INDEXES = [
    "SET LOCAL plan_cache_mode = force_custom_plan",
    *(f"SET LOCAL enable_{way} = off" for way in ("seqscan", "hashjoin", "mergejoin")),
]
_DROPPED = "dropped_"
_LOCK_NUMBER = 7_203_553_331_905  # of the advisory lock that is held while partitions are dropped
_WAITED_TOO_LONG = ("55P03", "57014", "40P01")  # `lock_timeout`, `statement_timeout`, waiting for each other

# Each part is found by a partial index: a partition may hold millions of rows, of which hardly any stays.
_STAYING = """
    SELECT id FROM {name} WHERE state = 'dead'
    UNION SELECT id FROM {name} WHERE state IN ('pending', 'held', 'in_flight')
    UNION SELECT id FROM {name} WHERE state = 'queued'
    UNION SELECT id FROM {name} WHERE state = 'delivered' AND delivered_at >= :until
    UNION SELECT id FROM {name} WHERE event_id >= :after_events
"""
_STAYS = "(o.state <> 'delivered' OR o.delivered_at >= :until OR o.event_id >= :after_events)"
_EVENTS_OF_LATER = "SELECT event_id FROM {name} WHERE event_id < :after_events"


@dataclass(frozen=True, slots=True)
class Retired:
    """How many partitions were dropped, and how many of their deliveries stay in the one that replaces them.

    `seconds` is how long the transaction took that did it.
    """

    partitions: int
    kept: int
    seconds: float


class DroppedElsewhere(Exception):
    """Another process drops these partitions, or has just done so: their rows are to be left alone until it has."""


class _Busy(Exception):
    """Others hold locks."""


async def add_partition(database: Database, newest: Partition, boundary: datetime) -> bool:
    """End the newest partition at `boundary`, with another one behind it; False if others were in the way."""
    ended, following = replace(newest, upper=boundary), Partition(suffix_from(boundary), boundary, None)
    try:
        if await _has_rows(database, newest):
            await _prove_bounds(database, ended)
        async with database.write() as tx:
            if newest not in await read_partitions(tx):
                return False
            for table in HISTORY:
                like = named(table, newest)
                indexes = await read_indexes(tx, table, suffix=newest.suffix)
                await run(tx, make_partition(table, following.suffix, like=like, indexes=indexes))
            await _lock_all(tx)
            for table in HISTORY:
                detached = f"ALTER TABLE {table} DETACH PARTITION {named(table, newest)}"
                proof = f"ALTER TABLE {named(table, newest)} DROP CONSTRAINT IF EXISTS {table}_bounds"
                await run(tx, [detached, attach(table, ended), proof, attach(table, following)])
    except (_Busy, Unavailable, IntegrityError):  # or a row has an id of a later time: a clock was ahead
        return False
    return True


async def retire(database: Database, expired: Sequence[Partition], *, until: datetime) -> Retired | None:
    """Drop the oldest partitions, and put what must stay of them into one that takes their place.

    What stays: deliveries that are not delivered, or were only after `until`, and events of which any delivery stays
    anywhere. None if locks were in the way, or if too many stay; both leave everything as it was. The tables of the
    dropped ones are left behind, and belong to nothing: `remove_dropped` removes them. Raises DroppedElsewhere.
    """
    boundary = expired[-1].upper
    assert boundary is not None  # noqa: S101 - the newest partition never expires
    kept = Partition(suffix_kept(boundary), None, boundary)
    try:
        async with database.write() as tx:
            if not await _is_alone(tx):
                raise DroppedElsewhere
            partitions = await read_partitions(tx)  # not before: another process may have been dropping them
            if partitions[: len(expired)] != list(expired):
                raise DroppedElsewhere
            move = _Move(tx, kept, expired, partitions[len(expired) :], until, event_id_at(boundary))
            await run(tx, _BY_INDEXES)
            if await move.count_staying() > MOST_KEPT:
                return None
            await move.make()
            await move.copy()
        started = time.monotonic()
        async with database.write() as tx:
            move = replace(move, tx=tx)
            if not await _is_alone(tx) or partitions != await read_partitions(tx) or not await move.is_made():
                raise DroppedElsewhere
            await run(tx, _BY_INDEXES)
            await move.copy()
            if await move.count_kept() > MOST_KEPT:  # more than were counted: copying took minutes
                return None
            await _lock_all(tx)
            await move.copy()
            number = await move.count_kept()
            for table in HISTORY:
                await run(tx, [statement for one in expired for statement in _detach(table, one)])
                await run(tx, [attach(table, kept)])
        return Retired(len(expired), number, time.monotonic() - started)
    except (_Busy, Unavailable):
        return None


async def _is_alone(tx: Transaction) -> bool:
    """Whether no other process changes partitions; none does until the transaction ends."""
    return bool((await execute(tx, f"SELECT pg_try_advisory_xact_lock({_LOCK_NUMBER})")).scalar_one())


def _detach(table: str, partition: Partition) -> list[str]:
    name = named(table, partition)
    return [
        f"ALTER TABLE {table} DETACH PARTITION {name}",
        f"ALTER TABLE {name} RENAME TO {table}_{_DROPPED}{partition.suffix}",
    ]


async def remove_dropped(database: Database) -> int:
    """Remove tables that were partitions, and copies that no partition was made of; return their number.

    One after the other: the files of some gigabytes take the server a second, in which nobody waits for anything.
    """
    async with database.read() as tx:
        rows = await execute(
            tx,
            """
            SELECT relname FROM pg_class
            WHERE relkind = 'r' AND NOT relispartition AND relname ~ :pattern AND pg_table_is_visible(oid)
            """,
            pattern=f"^({'|'.join(HISTORY)})_({_DROPPED}|{KEPT})",
        )
        names = [row.relname for row in rows]
    for name in names:
        async with database.write() as tx:
            if not await _is_alone(tx):
                return 0
            is_free = "SELECT NOT relispartition FROM pg_class WHERE oid = to_regclass(:name)"
            if (await execute(tx, is_free, name=name)).scalar_one_or_none():
                await run(tx, [f"DROP TABLE {name}"])
    return len(names)


@dataclass(frozen=True, slots=True)
class _Move:
    """What stays of `expired` partitions goes to `kept`; `later` ones remain as they are."""

    tx: Transaction
    kept: Partition
    expired: Sequence[Partition]
    later: Sequence[Partition]
    until: datetime
    after_events: str

    async def make(self) -> None:
        """Make the tables that are going to be the partition."""
        template = self.later[-1]
        for table, key in HISTORY.items():
            indexes = await read_indexes(self.tx, table, suffix=template.suffix)
            check = f", CHECK ({key} < {key_at(table, self.kept.upper)})"
            like = named(table, template)
            left_behind = f"DROP TABLE IF EXISTS {named(table, self.kept)}"
            making = make_partition(table, self.kept.suffix, like=like, indexes=indexes, check=check)
            await run(self.tx, [left_behind, *making])

    async def is_made(self) -> bool:
        """Whether all tables are still there: another process may be removing them, one by one, as left behind."""
        found = " AND ".join(f"to_regclass('{named(table, self.kept)}') IS NOT NULL" for table in HISTORY)
        return bool((await execute(self.tx, f"SELECT {found}")).scalar_one())

    async def copy(self) -> None:
        """Make the copies equal to what stays now: at first of everything, later of what has changed since.

        Deliveries are compared one by one, by their primary keys. Attempts change with their delivery alone, and events
        do if one of their deliveries comes or goes.
        """
        changed = await self._remove_outdated()
        for one in self.expired:
            while copied := await self._copy_deliveries(one):
                changed |= copied
        events = sorted(changed)
        for start in range(0, len(events), _COPIED_AT_ONCE):
            await self._copy_events_of_kept(ids_parameter(events[start : start + _COPIED_AT_ONCE]))
        for one in self.expired:
            await self._copy_events_of_later(one)

    async def count_staying(self) -> int:
        staying = " UNION ALL ".join(f"({_STAYING.format(name=named('deliveries', one))})" for one in self.expired)
        return int((await self._execute(f"SELECT count(*) FROM ({staying}) AS staying")).scalar_one())

    async def count_kept(self) -> int:
        return int((await self._execute(f"SELECT count(*) FROM {named('deliveries', self.kept)}")).scalar_one())

    async def _remove_outdated(self) -> set[str]:
        """Remove copies of deliveries that changed or do not stay, with their attempts; the ids of their events."""
        columns = await self._columns("deliveries")
        ours, theirs = (", ".join(f"{of}.{column}" for column in columns) for of in "ko")
        same = " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {named('deliveries', one)} o WHERE o.id = k.id AND {_STAYS}"
            f" AND ROW({ours}) IS NOT DISTINCT FROM ROW({theirs}))"
            for one in self.expired
        )
        result = await self._execute(
            f"""
            WITH removed AS (DELETE FROM {named("deliveries", self.kept)} k WHERE {same} RETURNING k.id, k.event_id),
            attempts AS (
                DELETE FROM {named("attempts", self.kept)} WHERE delivery_id IN (SELECT id FROM removed) RETURNING 1
            )
            SELECT DISTINCT event_id FROM removed
            """
        )
        return {row.event_id for row in result}

    async def _copy_deliveries(self, source: Partition) -> set[str]:
        """Copy some of those that stay and are not copied, with their attempts; the ids of their events."""
        columns, of_attempts = await self._columns("deliveries"), await self._columns("attempts")
        old, kept = named("deliveries", source), named("deliveries", self.kept)
        result = await self._execute(
            f"""
            WITH copied AS (
                INSERT INTO {kept} ({", ".join(columns)})
                SELECT {", ".join(columns)} FROM {old} o WHERE id IN ({_STAYING.format(name=old)})
                    AND NOT EXISTS (SELECT 1 FROM {kept} k WHERE k.id = o.id)
                LIMIT {_COPIED_AT_ONCE}
                RETURNING id, event_id
            ), attempts AS (
                INSERT INTO {named("attempts", self.kept)} ({", ".join(of_attempts)})
                SELECT {", ".join(of_attempts)} FROM {named("attempts", source)}
                WHERE delivery_id IN (SELECT id FROM copied)
                RETURNING 1
            )
            SELECT DISTINCT event_id FROM copied
            """
        )
        return {row.event_id for row in result}

    async def _copy_events_of_kept(self, changed: str) -> None:
        """Copy again those of these events that have a delivery which stays."""
        ids = f"SELECT r.id FROM {rows_from(self.tx, 'changed', {'id': 'text'})} AS r"
        kept, deliveries = named("events", self.kept), named("deliveries", self.kept)
        await self._execute(f"DELETE FROM {kept} WHERE id IN ({ids})", changed=changed)
        staying = f"o.id IN ({ids}) AND EXISTS (SELECT 1 FROM {deliveries} d WHERE d.event_id = o.id)"
        for one in self.expired:
            await self._execute(await self._copying_events(one, staying), changed=changed)

    async def _copy_events_of_later(self, source: Partition) -> None:
        """Copy those that have a delivery in a later partition."""
        old, kept = named("events", source), named("events", self.kept)
        outdated = (
            f"o.id = k.id AND k.id IN ({self._events_of_later()}) AND k.delivery_count <> {self._staying_number()}"
        )
        await self._execute(f"DELETE FROM {kept} k USING {old} o WHERE {outdated}")
        staying = f"o.id IN ({self._events_of_later()}) AND NOT EXISTS (SELECT 1 FROM {kept} k WHERE k.id = o.id)"
        copying = f"{await self._copying_events(source, staying)} LIMIT {_COPIED_AT_ONCE}"
        while (await self._execute(copying)).rowcount:
            pass

    async def _copying_events(self, source: Partition, chosen: str) -> str:
        """The statement that copies events, each with the number of its deliveries that stay."""
        columns = await self._columns("events")
        copied = ", ".join(self._staying_number() if one == "delivery_count" else f"o.{one}" for one in columns)
        kept, old = named("events", self.kept), named("events", source)
        return f"INSERT INTO {kept} ({', '.join(columns)}) SELECT {copied} FROM {old} o WHERE {chosen}"

    def _staying_number(self) -> str:
        """SQL for the number of deliveries of the event `o` without those that go."""
        all_ = " UNION ALL ".join(
            f"SELECT d.id FROM {named('deliveries', one)} d WHERE d.event_id = o.id" for one in self.expired
        )
        staying = f"SELECT 1 FROM {named('deliveries', self.kept)} k WHERE k.id = each.id"
        return f"o.delivery_count - (SELECT count(*) FROM ({all_}) AS each WHERE NOT EXISTS ({staying}))"

    def _events_of_later(self) -> str:
        return " UNION ".join(_EVENTS_OF_LATER.format(name=named("deliveries", one)) for one in self.later)

    async def _execute(self, statement: str, **parameters: object) -> Any:
        known = {"until": self.until, "after_events": self.after_events}
        used = {name: value for name, value in known.items() if f":{name}" in statement}
        return await execute(self.tx, statement, **used, **parameters)

    async def _columns(self, table: str) -> list[str]:
        rows = await execute(
            self.tx,
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped "
            "ORDER BY attnum",
            name=table,
        )
        return [row.attname for row in rows]


async def _lock_all(tx: Transaction) -> None:
    """Keep everybody out until the transaction ends. Who holds a lock for long is let through, and it is tried again.

    Raises _Busy.
    """
    for left in reversed(range(_LOCK_TRIES)):
        try:
            async with tx.begin_nested():
                await run(tx, [*_BRIEFLY, LOCK_ALL, _NO_TIMEOUT])
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _WAITED_TOO_LONG:
                raise
            if left == 0:
                raise _Busy from error
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return


async def _has_rows(database: Database, partition: Partition) -> bool:
    any_row = " OR ".join(f"EXISTS (SELECT 1 FROM {named(table, partition)})" for table in HISTORY)
    async with database.read() as tx:
        return bool((await execute(tx, f"SELECT {any_row}")).scalar_one())


async def _prove_bounds(database: Database, ended: Partition) -> None:
    """Have PostgreSQL read a partition that took rows beyond its end, while others work: attaching it would lock them.

    From the first statement on it takes no rows from beyond its new end, which lies ahead by a day.
    """
    for table, key in HISTORY.items():
        name = named(table, ended)
        within = f"{key} >= {key_at(table, ended.lower)} AND {key} < {key_at(table, ended.upper)}"
        bounded = f"ALTER TABLE {name} ADD CONSTRAINT {table}_bounds CHECK ({within}) NOT VALID"
        async with database.write() as tx:
            await run(tx, [_BRIEFLY[0], f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {table}_bounds", bounded])
        try:
            async with database.write() as tx:
                await run(tx, [_BRIEFLY[0], f"ALTER TABLE {name} VALIDATE CONSTRAINT {table}_bounds"])
        except IntegrityError:
            async with database.write() as tx:
                await run(tx, [_BRIEFLY[0], f"ALTER TABLE {name} DROP CONSTRAINT {table}_bounds"])
            raise
