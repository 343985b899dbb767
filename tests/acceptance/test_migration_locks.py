"""Migrations of large tables, as they run beside processes: what they lock, and for how long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, NamedTuple

import asyncpg
import pytest

from sendoff.store.engine.database import migrate
from tests.support.databases import PostgresDatabase
from tests.support.latency import note
from tests.support.postgres import PostgresServer

ROWS = int(os.environ.get("SENDOFF_TEST_MIGRATED_ROWS", "10000000"))
"""Deliveries and attempts each; events, dead letters and audit entries are a tenth. Three million take four minutes
on two busy cores."""

SHARES = {"deliveries": 1, "attempts": 1, "events": 10, "dead_letters": 10, "audit_entries": 10}
"""The tables that are filled, and which share of ROWS they get."""

LONGEST_LOCK_SECONDS = 1.0
"""A writer that waits longer behind a migration is seen by the clients of the API."""

_SAMPLED_EVERY_SECONDS = 0.01
_BEFORE = "0009"
_STOPS_WRITERS = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")


class Held(NamedTuple):
    """A lock of one transaction on a filled table."""

    table: str
    mode: str
    transaction: str


@pytest.mark.chaos
def test_no_migration_of_large_tables_stops_writers_for_longer_than_a_second(
    postgres_server: PostgresServer, empty_postgres_url: str
) -> None:
    migrate(empty_postgres_url, revision=_BEFORE)
    database = PostgresDatabase(postgres_server, empty_postgres_url)
    for table, share in SHARES.items():
        fill(database, table, max(ROWS // share, 1))
    database.query("VACUUM ANALYZE")
    sampler = LockSampler(postgres_server, database.name)
    held = sampler.during(lambda: migrate(empty_postgres_url))
    longest = sorted(((seconds, *lock[:2]) for lock, seconds in held.items()), reverse=True)
    assert longest, "no lock was seen, so nothing was measured"
    note("migrations", f"{ROWS:,} deliveries and attempts: longest locks {longest[:3]}")
    assert longest[0][0] <= LONGEST_LOCK_SECONDS, longest[:5]


def fill(database: PostgresDatabase, table: str, rows: int) -> None:
    """Rows as an installation has them after a while: nearly all of them finished."""
    columns = database.query(
        "SELECT column_name, data_type FROM information_schema.columns "  # noqa: S608 - the tables named above
        f"WHERE table_name = '{table}' AND is_nullable = 'NO' AND column_default IS NULL"
    )
    values = ", ".join(_value(table, name, kind) for name, kind in columns)
    names = ", ".join(name for name, _ in columns)
    database.query(f"INSERT INTO {table} ({names}) SELECT {values} FROM generate_series(1, {rows}) AS i")  # noqa: S608


def _value(table: str, column: str, kind: str) -> str:
    if (table, column) == ("deliveries", "state"):
        return "CASE i % 1000 WHEN 0 THEN 'pending' WHEN 1 THEN 'in_flight' WHEN 2 THEN 'dead' ELSE 'delivered' END"
    if (table, column) in (("events", "id"), ("deliveries", "event_id"), ("dead_letters", "event_id")):
        return "'evt_' || lpad(to_hex(i), 24, '0')"
    if kind == "uuid":
        number = "i" if column == "id" or column.endswith("delivery_id") else "i % 1000"
        return f"('01900000-0000-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid"
    by_kind = {
        "timestamp with time zone": "now() - i * interval '1 second'",
        "boolean": "false",
        "bytea": "'{}'::bytea",
        "json": "'{}'",
        "jsonb": "'{}'",
    }
    if kind in ("integer", "smallint", "bigint"):
        return "i" if column == "id" else "1"
    return by_kind.get(kind, f"'{column}'")


class LockSampler:
    """Looks at what is locked, again and again, while something runs."""

    def __init__(self, server: PostgresServer, database: str) -> None:
        self._dsn = server.url(database).replace("+asyncpg", "")
        self._seen: dict[Held, tuple[float, float]] = {}

    def during(self, work: Callable[[], object]) -> dict[Held, float]:
        """The seconds for which each lock that stops writers was held."""
        done = Event()
        sampling = Thread(target=lambda: asyncio.run(self._sample(done)))
        sampling.start()
        try:
            work()
        finally:
            done.set()
            sampling.join()
        return {lock: last - first for lock, (first, last) in self._seen.items()}

    async def _sample(self, done: Event) -> None:
        connection: Any = await asyncpg.connect(self._dsn)
        statement = (
            "SELECT c.relname, l.mode, l.virtualtransaction FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
            "WHERE l.granted AND l.mode = ANY($1) AND c.relname = ANY($2)"
        )
        try:
            while not done.is_set():
                rows = await connection.fetch(statement, list(_STOPS_WRITERS), list(SHARES))
                now = asyncio.get_running_loop().time()
                for lock in (Held(*row) for row in rows):
                    first, _ = self._seen.get(lock, (now, now))
                    self._seen[lock] = (first, now)
                await asyncio.sleep(_SAMPLED_EVERY_SECONDS)
        finally:
            await connection.close()
