"""The database under the benchmark: served, asked whether everything is recorded, and asked what it was asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import asyncpg

from tests.support.postgres import PostgresServer

_COUNT_DELIVERED = "SELECT count(*) FROM deliveries WHERE state = 'delivered'"
# Each condition is that of a partial index: a scan of all rows takes from what is measured.
_COUNT_OPEN = """
    SELECT (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'held', 'in_flight'))
        + (SELECT count(*) FROM deliveries WHERE state = 'queued')
"""

POSTGRES_SETTINGS = {
    # Durable, as in production: a commit is on disk before it is answered.
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "shared_preload_libraries": "pg_stat_statements",
}

_COUNT_STATEMENTS = """
    SELECT coalesce(sum(calls) FILTER (WHERE query !~* '^(begin|start|commit|rollback)'), 0)::bigint,
           coalesce(sum(calls) FILTER (WHERE query ~* '^commit'), 0)::bigint,
           (SELECT sessions FROM pg_stat_database WHERE datname = current_database())
    FROM pg_stat_statements WHERE userid <> 'bench'::regrole
"""
_TOP_STATEMENTS = """
    SELECT calls, total_exec_time, regexp_replace(query, '\\s+', ' ', 'g') AS query
    FROM pg_stat_statements WHERE userid <> 'bench'::regrole ORDER BY total_exec_time DESC LIMIT 12
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """How often the database was asked: statements without BEGIN, COMMIT and ROLLBACK, the COMMITs, new connections."""

    statements: int
    commits: int
    connections: int

    def since(self, before: Asked) -> Asked:
        """What was asked between two readings."""
        return Asked(
            self.statements - before.statements,
            self.commits - before.commits,
            self.connections - before.connections,
        )


class BenchDatabase(Protocol):
    """A database for the time of a run."""

    name: str
    url: str
    pids: list[int]
    observer_pid: int | None
    """A process of the database that serves the benchmark's own questions; its CPU time does not count."""

    async def connect(self) -> None: ...
    async def count_delivered(self) -> int: ...
    async def count_open(self) -> int: ...
    async def asked(self) -> Asked | None: ...
    async def forget_statements(self) -> None: ...
    async def top_statements(self) -> list[str]: ...
    async def disconnect(self) -> None: ...
    def stop(self) -> None: ...


class Postgres:
    """A private PostgreSQL, queried with a separate role so that the benchmark's own queries can be excluded."""

    name = "PostgreSQL"

    def __init__(self, directory: Path, settings: Mapping[str, str] = POSTGRES_SETTINGS) -> None:
        """Start the server below `directory`, which is created unless it exists."""
        self._directory = directory / "postgres"
        self._server = PostgresServer(self._directory, settings=settings)
        self.url = self._server.url("sendoff")
        is_new = not self._directory.exists()
        if is_new:
            self._server.create()
        self._server.start()
        if is_new:
            self._server.create_database("sendoff")
            self._server.execute("CREATE ROLE bench SUPERUSER LOGIN")
            self._server.execute("CREATE EXTENSION pg_stat_statements", database="sendoff")
        self.pids = [int((self._directory / "data" / "postmaster.pid").read_text().split()[0])]
        self.observer_pid: int | None = None
        self._connection: asyncpg.Connection | None = None

    @property
    def log(self) -> Path:
        """What the server says, in its own words."""
        return self._directory / "log"

    def execute(self, statements: str) -> None:
        """Run statements in the database, as the product's role."""
        self._server.execute(statements, database="sendoff")

    async def open_connection(self) -> asyncpg.Connection:
        """One more connection of the benchmark's own role."""
        return await asyncpg.connect(host=str(self._directory), user="bench", database="sendoff")

    async def connect(self) -> None:
        self._connection = await self.open_connection()
        self.observer_pid = await self._ask("SELECT pg_backend_pid()")

    async def count_delivered(self) -> int:
        return await self._ask(_COUNT_DELIVERED)

    async def count_open(self) -> int:
        return await self._ask(_COUNT_OPEN)

    async def count_connections(self) -> int:
        """How many the product has open."""
        return await self._ask("SELECT count(*) FROM pg_stat_activity WHERE usename <> 'bench' AND datname = 'sendoff'")

    async def asked(self) -> Asked | None:
        assert self._connection is not None  # noqa: S101 - connected first
        return Asked(*await self._connection.fetchrow(_COUNT_STATEMENTS))

    async def forget_statements(self) -> None:
        await self._ask("SELECT 1 FROM (SELECT pg_stat_statements_reset()) AS reset")

    async def top_statements(self) -> list[str]:
        assert self._connection is not None  # noqa: S101 - connected first
        rows = await self._connection.fetch(_TOP_STATEMENTS)
        return [f"{row['calls']:>8} × {row['total_exec_time']:>9.1f} ms  {row['query'][:150]}" for row in rows]

    async def disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    def stop(self) -> None:
        self._server.stop()

    async def _ask(self, question: str) -> int:
        assert self._connection is not None  # noqa: S101 - connected first
        return int(await self._connection.fetchval(question))


class Sqlite:
    """A SQLite file; its work is done within the API's and the worker's processes."""

    name = "SQLite"

    def __init__(self, directory: Path) -> None:
        self._path = directory / "sendoff.db"
        self.url = f"sqlite+aiosqlite:///{self._path}"
        self.pids: list[int] = []
        self.observer_pid: int | None = None

    async def connect(self) -> None:
        """A connection per question: one that stays open would keep the write-ahead log from being reset."""

    async def count_delivered(self) -> int:
        return self._ask(_COUNT_DELIVERED)

    async def count_open(self) -> int:
        return self._ask(_COUNT_OPEN)

    async def asked(self) -> Asked | None:
        return None

    async def forget_statements(self) -> None:
        """Nothing is counted."""

    async def top_statements(self) -> list[str]:
        return []

    async def disconnect(self) -> None:
        """Nothing to let go of."""

    def stop(self) -> None:
        """Nothing to end."""

    def _ask(self, question: str) -> int:
        connection = sqlite3.connect(self._path, timeout=15)
        try:
            return int(connection.execute(question).fetchone()[0])
        finally:
            connection.close()
