"""Adds a partition after the newest, and drops the oldest with all rows but those that must stay.

Both change the catalogue under a lock that keeps everybody out: for milliseconds, and waited for briefly. So what takes
long is done before and after: what stays is read from the disk, and the files of what went are removed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.exc import DBAPIError, IntegrityError

from sendoff.errors import Unavailable
from sendoff.ids import event_id_at
from sendoff.policy.partitions import Partition, suffix_from, suffix_kept
from sendoff.store.engine.batch import execute
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

MOST_KEPT = 200_000
"""Deliveries that are copied when their partition is dropped, at most. More, and the transaction that copies them lasts
longer, in which an operator who replays one of them waits."""

_LOCK_TRIES, _PAUSE_SECONDS = 5, 0.5
_BRIEFLY = ("SET LOCAL lock_timeout = '200ms'", "SET LOCAL statement_timeout = '400ms'")
_WAIT_FOR_ROWS = "SET LOCAL lock_timeout = '2s'"
_NO_TIMEOUT = "SET LOCAL statement_timeout = 0"
_BY_INDEXES = [f"SET LOCAL enable_{way} = off" for way in ("seqscan", "hashjoin", "mergejoin")]
_DROPPED = "dropped_"
_WAITED_TOO_LONG = ("55P03", "57014", "40P01")  # `lock_timeout`, `statement_timeout`, waiting for each other

# Each part is found by a partial index: a partition may hold millions of rows, of which hardly any stays.
_STAYING = """
    SELECT id FROM {name} WHERE state = 'dead'
    UNION SELECT id FROM {name} WHERE state IN ('pending', 'held', 'in_flight')
    UNION SELECT id FROM {name} WHERE state = 'queued'
    UNION SELECT id FROM {name} WHERE state = 'delivered' AND delivered_at >= :until
    UNION SELECT id FROM {name} WHERE event_id >= :after_events
"""
_EVENTS_OF_LATER = "SELECT event_id FROM {name} WHERE event_id < :after_events"


# What a copy is going to read, so that the copy, whose transaction others may wait for, finds it in memory.
_READ_AHEAD = """
    WITH staying AS MATERIALIZED (SELECT id, event_id FROM {deliveries} WHERE id IN ({staying})),
    their_events AS MATERIALIZED (SELECT event_id FROM staying UNION {events_of_later})
    SELECT
        (SELECT count(a.outcome) FROM {attempts} a WHERE a.delivery_id IN (SELECT id FROM staying)),
        (SELECT sum(length(e.data)) FROM {events} e WHERE e.id IN (SELECT event_id FROM their_events)),
        (SELECT count(*) FROM {deliveries} d WHERE d.event_id IN (SELECT event_id FROM their_events))
"""


@dataclass(frozen=True, slots=True)
class Retired:
    """How many partitions were dropped, and how many of their deliveries stay in the one that replaces them.

    `seconds` is how long the transaction took that did it.
    """

    partitions: int
    kept: int
    seconds: float


class _Busy(Exception):
    """Others hold locks, or changed what was copied."""


class _TooMany(Exception):
    """More deliveries must stay than are copied."""


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
    anywhere. None if others were in the way, or if too many stay; both leave everything as it was. The tables of the
    dropped ones are left behind, and belong to nothing: `remove_dropped` removes them.
    """
    boundary = expired[-1].upper
    assert boundary is not None  # noqa: S101 - the newest partition never expires
    kept = Partition(suffix_kept(boundary), None, boundary)
    try:
        async with database.read() as tx:
            partitions = await read_partitions(tx)
            if partitions[: len(expired)] != list(expired):
                return None
            await run(tx, _BY_INDEXES)
            move = _Move(tx, kept, expired, partitions[len(expired) :], until, event_id_at(boundary))
            await move.check_number()
        await _read_ahead(database, move)
        started = time.monotonic()
        async with database.write() as tx:
            if partitions != await read_partitions(tx):
                return None
            await run(tx, [*_BY_INDEXES, _WAIT_FOR_ROWS])
            move = replace(move, tx=tx)
            await move.make()
            number = await move.copy()
            await _lock_all(tx)
            await move.check()
            for table in HISTORY:
                await run(tx, [statement for one in expired for statement in _detach(table, one)])
                await run(tx, [attach(table, kept)])
        return Retired(len(expired), number, time.monotonic() - started)
    except (_Busy, _TooMany, Unavailable):
        return None


async def _read_ahead(database: Database, move: _Move) -> None:
    """It spares time and nothing else: what is not read within the time of a statement is read by the copy."""
    with suppress(Unavailable):
        async with database.read() as tx:
            await run(tx, _BY_INDEXES)
            await replace(move, tx=tx).read_ahead()


def _detach(table: str, partition: Partition) -> list[str]:
    name = named(table, partition)
    return [
        f"ALTER TABLE {table} DETACH PARTITION {name}",
        f"ALTER TABLE {name} RENAME TO {table}_{_DROPPED}{partition.suffix}",
    ]


async def remove_dropped(database: Database) -> int:
    """Remove the tables that partitions were until they were dropped, one after the other; return their number.

    The files of some gigabytes take the server a second, in which nobody waits for anything.
    """
    async with database.read() as tx:
        rows = await execute(
            tx,
            """
            SELECT relname FROM pg_class
            WHERE relkind = 'r' AND NOT relispartition AND relname ~ :pattern AND pg_table_is_visible(oid)
            """,
            pattern=f"^({'|'.join(HISTORY)})_{_DROPPED}",
        )
        names = [row.relname for row in rows]
    for name in names:
        async with database.write() as tx:
            await run(tx, [f"DROP TABLE IF EXISTS {name}"])
    return len(names)


@dataclass(frozen=True, slots=True)
class _Move:
    """What stays of `expired` partitions goes to `kept`; `later` ones remain as they are.

    What was copied is locked until the transaction ends, so that the copies stay true: deliveries by their rows, their
    attempts and events by the tables of the old partition. Locking those by the row as well would write each page that
    holds one, twice; nothing that happens all the time changes them.
    """

    tx: Transaction
    kept: Partition
    expired: Sequence[Partition]
    later: Sequence[Partition]
    until: datetime
    after_events: str

    async def check_number(self) -> None:
        """Raise _TooMany if more must stay than is copied."""
        if await self._count_staying() > MOST_KEPT:
            raise _TooMany

    async def read_ahead(self) -> None:
        """Read what is going to be copied, without a lock."""
        for one in self.expired:
            names = {table: named(table, one) for table in HISTORY}
            staying = _STAYING.format(name=names["deliveries"])
            statement = _READ_AHEAD.format(**names, staying=staying, events_of_later=self._events_of_later())
            await execute(self.tx, statement, **self._parameters(statement))

    async def make(self) -> None:
        """Make the tables that are going to be the partition."""
        template = self.later[-1]
        for table, key in HISTORY.items():
            indexes = await read_indexes(self.tx, table, suffix=template.suffix)
            check = f", CHECK ({key} < {key_at(table, self.kept.upper)})"
            like = named(table, template)
            await run(self.tx, make_partition(table, self.kept.suffix, like=like, indexes=indexes, check=check))

    async def copy(self) -> int:
        """Copy deliveries with their attempts, and events; return the number of deliveries."""
        columns = {table: await self._columns(table) for table in HISTORY}
        number = 0
        for one in self.expired:
            staying = _STAYING.format(name=named("deliveries", one))
            number += await self._copy("deliveries", one, columns["deliveries"], f"id IN ({staying}) FOR UPDATE")
        # Not before: recording an attempt locks its delivery first, so each would wait for the other.
        old = [named(table, one) for table in ("attempts", "events") for one in self.expired]
        await run(self.tx, [f"LOCK TABLE {', '.join(old)} IN SHARE MODE"])
        events = f"SELECT event_id FROM {named('deliveries', self.kept)} UNION {self._events_of_later()}"
        for one in self.expired:
            deliveries = f"SELECT id FROM {named('deliveries', self.kept)}"
            await self._copy("attempts", one, columns["attempts"], f"delivery_id IN ({deliveries})")
            await self._copy("events", one, columns["events"], f"id IN ({events})")
        await self._count_deliveries_anew()
        return number

    async def check(self) -> None:
        """Raise _Busy if more must stay now than was copied: nobody changes anything from here on."""
        kept = f"SELECT count(*) FROM {named('deliveries', self.kept)}"
        if await self._count_staying() != (await execute(self.tx, kept)).scalar_one():
            raise _Busy
        lacking = " UNION ALL ".join(
            f"SELECT 1 FROM {named('events', one)} e WHERE e.id IN ({self._events_of_later()})"
            f" AND NOT EXISTS (SELECT 1 FROM {named('events', self.kept)} k WHERE k.id = e.id)"
            for one in self.expired
        )
        if (await execute(self.tx, f"{lacking} LIMIT 1", after_events=self.after_events)).first() is not None:
            raise _Busy

    async def _copy(self, table: str, source: Partition, columns: str, condition: str) -> int:
        result = await execute(
            self.tx,
            f"""
            INSERT INTO {named(table, self.kept)} ({columns})
            SELECT {columns} FROM {named(table, source)} WHERE {condition}
            """,
            **self._parameters(condition),
        )
        return result.rowcount

    async def _count_staying(self) -> int:
        staying = " UNION ALL ".join(f"({_STAYING.format(name=named('deliveries', one))})" for one in self.expired)
        statement = f"SELECT count(*) FROM ({staying}) AS staying"
        return int((await execute(self.tx, statement, **self._parameters(statement))).scalar_one())

    async def _count_deliveries_anew(self) -> None:
        """An event's `delivery_count` goes down with each of its deliveries that goes."""
        copied, stay = named("events", self.kept), named("deliveries", self.kept)
        gone = " UNION ALL ".join(
            f"SELECT d.event_id FROM {copied} e JOIN {named('deliveries', one)} d ON d.event_id = e.id"
            f" WHERE NOT EXISTS (SELECT 1 FROM {stay} k WHERE k.id = d.id)"
            for one in self.expired
        )
        await execute(
            self.tx,
            f"""
            UPDATE {copied} AS e SET delivery_count = delivery_count - gone.number
            FROM (SELECT event_id, count(*) AS number FROM ({gone}) AS each GROUP BY event_id) AS gone
            WHERE gone.event_id = e.id
            """,
        )

    def _events_of_later(self) -> str:
        return " UNION ".join(_EVENTS_OF_LATER.format(name=named("deliveries", one)) for one in self.later)

    def _parameters(self, statement: str) -> dict[str, object]:
        known = {"until": self.until, "after_events": self.after_events}
        return {name: value for name, value in known.items() if f":{name}" in statement}

    async def _columns(self, table: str) -> str:
        rows = await execute(
            self.tx,
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped "
            "ORDER BY attnum",
            name=table,
        )
        return ", ".join(row.attname for row in rows)


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
