"""The hot statements' way to PostgreSQL: its driver itself, one statement per transaction and round trip.

A round trip through SQLAlchemy's session costs a few times the driver's own, and a transaction of one statement needs
no BEGIN and no COMMIT (docs/decisions/0011). Everything that isn't hot goes through `Database.read` and `.write`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

import asyncpg

from sendoff.store.engine.failures import is_about_a_former_primary, unavailable
from sendoff.store.engine.postgres_connections import Connector, PostgresConnection

_SETTINGS = {
    # The statements take arrays, whose length a plan must not depend on, and each is written for its indexes: they
    # must not be planned again, nor scan a table that was small when the plan was made.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
_BEGIN = "; ".join(["BEGIN", *(f"SET LOCAL {name} = {value}" for name, value in _SETTINGS.items())])
_IDLE_SECONDS = 60.0  # a connection that was not needed for so long is closed when another one is given back
_PLAN_SECONDS = 10  # in the first minutes of an installation, plans are made for tables that are about to grow


class Direct:
    """Runs single statements, each of them a transaction of its own. Connects when the first one comes.

    Keeps its connections itself: single statements leave nothing behind in a session, and the driver's pool, which
    resets sessions, costs twice as much as a statement (62 of 86 µs).
    """

    def __init__(self, connector: Connector, *, connections: int) -> None:
        self._connector = connector
        self._places = asyncio.Semaphore(connections)
        self._in_use: set[PostgresConnection] = set()
        self._idle: deque[tuple[PostgresConnection, float]] = deque()
        """Connections and since when they are idle, the one used last at the end."""
        self._closed = False

    @cached_property
    def aside(self) -> Direct:
        """One more connection, for short statements that are not to wait for long ones."""
        return Direct(self._connector, connections=1)

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows that the statement returns, committed. Raises errors.Unavailable if the server does not answer.

        Ids come as the driver's UUID objects and are taken as strings.
        """
        connection: PostgresConnection | None = None
        try:
            async with self._places:
                connection = self._take_idle() or await self._connect()
                return await self._fetch(connection, statement, arguments)
        except Exception as error:
            if is_about_a_former_primary(error):
                self._connector.forget()
            refusal = unavailable(error)
            if refusal is None:
                raise
            refusal.was_asked = connection is not None
            raise refusal from error

    async def _fetch(
        self, connection: PostgresConnection, statement: str, arguments: Sequence[Any]
    ) -> list[asyncpg.Record]:
        self._in_use.add(connection)
        try:
            if self._connector.names_statements:
                rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            else:
                rows = await _fetch_in_transaction(connection, statement, arguments)
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

    async def _connect(self) -> PostgresConnection:
        connection = await self._connector.connect(max_cached_statement_lifetime=_PLAN_SECONDS)
        try:
            if self._connector.names_statements:
                # Not when connecting: a pooler refuses what it does not know there, and most know nothing of planners.
                await connection.execute("; ".join(f"SET {name} = {value}" for name, value in _SETTINGS.items()))
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _take_idle(self) -> PostgresConnection | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.is_closed():
                continue
            if not self._connector.is_spent(connection):
                return connection
            connection.terminate()
        return None

    def _give_back(self, connection: PostgresConnection) -> None:
        self._in_use.discard(connection)
        if self._closed:  # while this one was being made
            connection.terminate()
            return
        now = time.monotonic()
        self._idle.append((connection, now))
        if now - self._idle[0][1] > _IDLE_SECONDS:
            self._idle.popleft()[0].terminate()

    async def close(self) -> None:
        """Close the connections at once, including those in use."""
        self._closed = True
        if "aside" in vars(self):
            await self.aside.close()
        for connection in [*self._in_use, *(connection for connection, _ in self._idle)]:
            connection.terminate()
        self._idle.clear()


async def _fetch_in_transaction(connection: Any, statement: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
    """Behind a pooler: the transaction keeps one server, with the planner's settings for it alone."""
    await connection.execute(_BEGIN)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        await connection.execute("COMMIT")
    except asyncpg.PostgresError:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    return rows


def columns_of(rows: Sequence[Any], names: Sequence[str]) -> list[list[Any]]:
    """The rows' attributes by column, as `unnest` takes them; of no rows, empty columns."""
    if not rows:
        return [[] for _ in names]
    return [shortened(list(column)) for column in zip(*map(attrgetter(*names), rows), strict=True)]


def shortened(column: list[Any]) -> list[Any]:
    """The column, or an empty one instead of nothing but None.

    `unnest` fills it up beside a complete column, and the driver takes 0.3 µs for each None.
    """
    return column if any(value is not None for value in column) else []


def joined(rows: Iterable[Any], name: str) -> str:
    """An attribute of the rows for SQL's `string_to_array(…, ',')`, which costs the driver a fifth of an array.

    For ids, states and names, which have no comma and are never None.
    """
    return ",".join([getattr(row, name) for row in rows])
