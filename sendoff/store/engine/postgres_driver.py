"""The hot statements' way to PostgreSQL: its driver itself, one statement per transaction and round trip.

A round trip through SQLAlchemy's session costs a few times the driver's own, and a transaction of one statement needs
no BEGIN and no COMMIT (docs/decisions/0011). Everything that isn't hot goes through `Database.read` and `.write`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import asyncpg
from sqlalchemy.engine import URL, Dialect

from sendoff.store.engine.failures import unavailable

_SETTINGS = {
    # The statements take arrays, whose length a plan must not depend on, and each is written for its indexes: they
    # must not be planned again, nor scan a table that was small when the plan was made.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
_IDLE_SECONDS = 60.0  # a connection that was not needed for so long is closed when another one is given back
_PLAN_SECONDS = 10  # in the first minutes of an installation, plans are made for tables that are about to grow


class Direct:
    """Runs single statements, each of them a transaction of its own. Connects when the first one comes.

    Keeps its connections itself: single statements leave nothing behind in a session, and the driver's pool, which
    resets sessions, costs twice as much as a statement (62 of 86 µs).
    """

    def __init__(self, url: URL, dialect: Dialect, *, connections: int, timeout: float, command_timeout: float) -> None:
        _, options = dialect.create_connect_args(url)
        self._connect = partial(
            asyncpg.connect,
            max_cached_statement_lifetime=_PLAN_SECONDS,
            timeout=timeout,
            command_timeout=command_timeout,
            server_settings=_SETTINGS,
            **options,
        )
        self._places = asyncio.Semaphore(connections)
        self._in_use: set[asyncpg.Connection] = set()
        self._idle: deque[tuple[asyncpg.Connection, float]] = deque()
        """Connections and since when they are idle, the one used last at the end."""

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows that the statement returns, committed. Raises errors.Unavailable if the server does not answer.

        Ids come as the driver's UUID objects and are taken as strings.
        """
        try:
            async with self._places:
                return await self._fetch(statement, arguments)
        except Exception as error:
            refusal = unavailable(error)
            if refusal is None:
                raise
            raise refusal from error

    async def _fetch(self, statement: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
        connection = self._take_idle() or await self._connect()
        self._in_use.add(connection)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        except asyncpg.PostgresError:
            self._give_back(connection)
            raise
        except BaseException:
            # It may be cut off from its server, or still be busy with the statement.
            self._in_use.discard(connection)
            connection.terminate()
            raise
        self._give_back(connection)
        return rows

    def _take_idle(self) -> asyncpg.Connection | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _give_back(self, connection: asyncpg.Connection) -> None:
        self._in_use.discard(connection)
        now = time.monotonic()
        self._idle.append((connection, now))
        if now - self._idle[0][1] > _IDLE_SECONDS:
            self._idle.popleft()[0].terminate()

    async def close(self) -> None:
        """Close the connections at once, including those in use."""
        for connection in [*self._in_use, *(connection for connection, _ in self._idle)]:
            connection.terminate()
        self._idle.clear()


def columns_of(rows: Sequence[Any], names: Sequence[str]) -> list[list[Any]]:
    """The rows' attributes by column, as `unnest` takes them; of no rows, empty columns."""
    if not rows:
        return [[] for _ in names]
    return [list(column) for column in zip(*map(attrgetter(*names), rows), strict=True)]
