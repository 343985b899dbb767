"""History, backlogs and waiting retries, written with COPY.

What is seeded is what the product would have written: its own audit finds nothing wrong with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import asyncpg

from bench.scale.rows import COLUMNS, Seed, SeedEndpoint, lines


class Connects(Protocol):
    """A PostgreSQL to seed."""

    async def open_connection(self) -> asyncpg.Connection: ...


async def find_endpoints(database: Connects) -> list[SeedEndpoint]:
    """All endpoints, in the order in which `bench.fixtures` numbers them in their URLs."""
    connection = await database.open_connection()
    try:
        rows = await connection.fetch("SELECT id, organization_id, url FROM endpoints")
    finally:
        await connection.close()
    found = [SeedEndpoint(str(row["id"]), str(row["organization_id"]), row["url"]) for row in rows]
    return sorted(found, key=lambda endpoint: int(endpoint.url.rpartition("/")[2]))


async def seed(database: Connects, rows: Seed) -> None:
    """Write them, then let the database look at them as autovacuum would have by the time they came to be."""
    await asyncio.gather(*(_copy(database, table, lines(rows, table)) for table in COLUMNS))
    connection = await database.open_connection()
    try:
        for table in COLUMNS:
            await connection.execute(f"VACUUM (ANALYZE) {table}")
    finally:
        await connection.close()


async def _copy(database: Connects, table: str, pieces: Iterator[str]) -> None:
    async def encoded() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece.encode()
            await asyncio.sleep(0)

    connection = await database.open_connection()
    try:
        await connection.copy_to_table(table, source=encoded(), columns=COLUMNS[table], format="text")
    finally:
        await connection.close()
