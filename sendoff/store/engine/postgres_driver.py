"""The hot statements' way to PostgreSQL: its driver itself, one statement per transaction and round trip.

A round trip through SQLAlchemy's session costs a few times the driver's own, and a transaction of one statement needs
no BEGIN and no COMMIT (docs/decisions/0011). Everything that isn't hot goes through `Database.read` and `.write`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
_IDLE_SECONDS = 60.0
_PLAN_SECONDS = 10  # in the first minutes of an installation, plans are made for tables that are about to grow


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    def get_reset_query(self) -> str:
        """Nothing: single statements leave nothing behind, and the default costs a round trip after each."""
        return ""


class Direct:
    """Runs single statements, each of them a transaction of its own. Connects when the first one comes."""

    def __init__(self, url: URL, dialect: Dialect, *, connections: int, timeout: float, command_timeout: float) -> None:
        _, options = dialect.create_connect_args(url)
        self._pool = asyncpg.create_pool(
            min_size=0,
            max_size=connections,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            max_cached_statement_lifetime=_PLAN_SECONDS,
            connection_class=_Connection,
            timeout=timeout,
            command_timeout=command_timeout,
            server_settings=_SETTINGS,
            **options,
        )
        self._is_open = False

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows that the statement returns, committed. Raises errors.Unavailable if the server does not answer.

        Ids come as the driver's UUID objects and are taken as strings.
        """
        try:
            return await self._fetch(statement, arguments)
        except Exception as error:
            raise unavailable(error) or error from error

    async def _fetch(self, statement: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
        if not self._is_open:
            await self._pool  # opens no connection yet
            self._is_open = True
        connection = await self._pool.acquire()
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        except (TimeoutError, asyncio.CancelledError):
            # Given back as it is, it would wait for the server to give up: one that is cut off never says that it has.
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)
        return rows

    async def close(self) -> None:
        """Close the connections at once, including those in use."""
        if self._is_open:
            self._pool.terminate()


def columns_of(rows: Sequence[Any], names: Sequence[str]) -> list[list[Any]]:
    """The rows' attributes by column, as `unnest` takes them; of no rows, empty columns."""
    if not rows:
        return [[] for _ in names]
    return [list(column) for column in zip(*map(attrgetter(*names), rows), strict=True)]
