"""Makes partitions of a history that has none, while processes read and write it.

The tables become the first partition as they are. What takes long, reading them, locks nobody out; what locks everybody
out changes the catalogue alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from sendoff.errors import Invalid, Unavailable
from sendoff.ids import created_at
from sendoff.policy.partitions import MADE_AHEAD, Partition, first_boundary, suffix_before, suffix_from
from sendoff.store.engine.batch import execute
from sendoff.store.engine.database import Database, Transaction
from sendoff.store.migrations.plan import Step, described
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

_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '500ms'"
_LOCKING_TIMEOUT = "SET LOCAL statement_timeout = '800ms'"
_NO_TIMEOUT = "SET LOCAL statement_timeout = 0"
_TRIES, _PAUSE_SECONDS = 60, 2.0

_GRANTS = """
    SELECT format('GRANT %s ON %I TO %s', a.privilege_type, c.relname,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS statement
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
    WHERE c.oid = to_regclass(:name) AND a.grantee <> c.relowner
"""
_OWNER = "SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = to_regclass(:name)"
_BOUND = """
    SELECT substring(pg_get_constraintdef(oid) FROM '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}')
    FROM pg_constraint WHERE conrelid = to_regclass('deliveries') AND conname = 'deliveries_before'
"""


async def plan_conversion(url: str, *, now: datetime) -> list[Step]:
    """The statements of `convert` with their locks; none if the history has partitions. Raises Invalid for SQLite."""
    database = _open(url)
    try:
        async with database.read() as tx:
            found = await _transactions(tx, now=now)
    finally:
        await database.close()
    return described("partition", [statement for statements in found for statement in statements])


async def convert(url: str, *, now: datetime) -> bool:
    """Make partitions; False if there are some already.

    Safe to repeat after an interruption. Raises Invalid for SQLite, and Unavailable when others hold locks throughout.
    """
    database = _open(url)
    try:
        async with database.read() as tx:
            transactions = await _transactions(tx, now=now)
        for statements in transactions:
            await _run_patiently(database, statements)
    finally:
        await database.close()
    return bool(transactions)


async def abandon_conversion(tx: Transaction, *, now: datetime) -> bool:
    """Take the bound off tables whose conversion was interrupted, before they refuse rows; whether there was one."""
    bound = (await execute(tx, _BOUND)).scalar_one_or_none()
    if bound is None or now < datetime.fromtimestamp(created_at(bound), UTC) - MADE_AHEAD:
        return False
    await run(tx, [_LOCK_TIMEOUT, *(f"ALTER TABLE {table} DROP CONSTRAINT {table}_before" for table in HISTORY)])
    return True


def _open(url: str) -> Database:
    if url.startswith("sqlite"):
        raise Invalid("SQLite has no partitions; `sendoff retention run` removes row by row there.", field="partition")
    return Database.open(url, pool_size=1, command_seconds=None)


async def _transactions(tx: Transaction, *, now: datetime) -> list[list[str]]:
    """What is to be done, by transactions; nothing if it has been done."""
    if await read_partitions(tx):
        return []
    boundary = first_boundary(now)
    bounds = [
        [
            f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_before",
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_before CHECK ({key} < {key_at(table, boundary)}) NOT VALID",
        ]
        for table, key in HISTORY.items()
    ]
    reading = [[f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_before"] for table in HISTORY]
    return [*bounds, *reading, await _swap(tx, boundary)]


async def _swap(tx: Transaction, boundary: datetime) -> list[str]:
    """The transaction in which each table becomes a partition of a new one that has its name."""
    old = Partition(suffix_before(boundary), None, boundary)
    new = Partition(suffix_from(boundary), boundary, None)
    making: list[str] = []
    moving: list[str] = []
    for table, key in HISTORY.items():
        indexes = await read_indexes(tx, table)
        making += make_partition(table, new.suffix, like=table, indexes=indexes)
        owner = (await execute(tx, _OWNER, name=table)).scalar_one()
        grants = [row.statement for row in await execute(tx, _GRANTS, name=table)]
        primary_key = next(index for index in indexes if index.is_primary_key)
        columns = primary_key.definition[primary_key.definition.index("(") :]
        moving += [
            f"ALTER TABLE {table} RENAME TO {named(table, old)}",
            *(f"ALTER INDEX {index.name} RENAME TO {index.name}_{old.suffix}" for index in indexes),
            f"CREATE TABLE {table} (LIKE {named(table, old)} INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS)"
            f" PARTITION BY RANGE ({key})",
            f"ALTER TABLE {table} OWNER TO {owner}",
            f"ALTER TABLE {table} ADD CONSTRAINT {primary_key.name} PRIMARY KEY {columns}",
            *grants,
            attach(table, old),
            attach(table, new),
        ]
    return [*making, _LOCKING_TIMEOUT, LOCK_ALL, _NO_TIMEOUT, *moving]


async def _run_patiently(database: Database, statements: Sequence[str]) -> None:
    """One transaction, which waits for a lock for less than a second, gives way, and is tried again."""
    for left in reversed(range(_TRIES)):
        try:
            async with database.write() as tx:
                if not await read_partitions(tx):  # another process may have been faster
                    await run(tx, [_LOCK_TIMEOUT, *statements])
        except Unavailable:
            if left == 0:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
