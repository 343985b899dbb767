"""SQLite without threads, and the database as one process sees it: away at times, and closed to those that are dead."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any
from unittest.mock import patch

import aiosqlite

from sendoff.errors import Unavailable
from sendoff.store.engine.database import Database, Transaction
from sendoff.store.engine.sqlite_driver import Embedded
from tests.simulation.loop import SimulatedLoop


class ProcessDied(BaseException):
    """The process does not live any more; nothing of the product may catch it."""


class DatabaseSeenBy:
    """The installation's database for one process, which `may_go_on` lets through or stops."""

    def __init__(self, database: Database, may_go_on: Callable[[], None], pause: Callable[[], Awaitable[None]]) -> None:
        """`may_go_on` raises when the process does not get through; `pause` waits while it stands still."""
        self._database = database
        self._may_go_on = may_go_on
        self._pause = pause

    @property
    def is_sqlite(self) -> bool:
        return True

    @property
    def direct(self) -> None:
        return None

    @property
    def embedded(self) -> DatabaseSeenBy:
        return self

    @asynccontextmanager
    async def _transaction(self, opened: Any) -> AsyncIterator[Transaction]:
        await self._pause()
        self._may_go_on()
        async with opened as tx:
            yield tx
            self._may_go_on()  # before the commit
        await self._pause()

    def transaction(self, *, within: float | None = None) -> Any:
        return self._transaction(self._database.write(within=within))

    def look(self) -> Any:
        return self._transaction(self._database.look())

    def snapshot(self, *, within: float | None = None) -> Any:
        return self._transaction(self._database.read(within=within))

    async def hot_write(self, work: Any) -> Any:
        await self._pause()
        self._may_go_on()
        result = await self._database.embedded.write(work)
        await self._pause()
        self._may_go_on()  # committed, and the process does not hear of it
        return result

    async def hot_read(self, work: Any) -> Any:
        self._may_go_on()
        return await self._database.embedded.read(work)

    def write(self, work: Any = None, *, within: float | None = None) -> Any:
        """A transaction, or one hot transaction of `work`: the product has a class for each."""
        return self.transaction(within=within) if work is None else self.hot_write(work)

    def read(self, work: Any = None, *, within: float | None = None) -> Any:
        return self.snapshot(within=within) if work is None else self.hot_read(work)


def away() -> None:
    """What a process hears while the database is away."""
    raise Unavailable("The database cannot be reached.")


class _Calls:
    """Stands for the driver's queue of calls to its thread."""

    def put_nowait(self, call: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        future, function = call
        if future is None:
            function()
            return
        loop = future.get_loop()
        assert isinstance(loop, SimulatedLoop)
        loop.answer(future, function)


class _RollsBack(sqlite3.Connection):
    def close(self) -> None:
        """Close it for certain: a statement that is still referred to would keep it, and its lock."""
        with suppress(sqlite3.ProgrammingError):  # it is closed
            if self.in_transaction:
                self.execute("ROLLBACK")
        super().close()


class _NoThread:
    daemon = False

    def start(self) -> None:
        """Nothing to start."""


OPENED: ContextVar[list[aiosqlite.Connection]] = ContextVar("opened")
"""Where a process keeps the connections that it opens."""


class _Connection(aiosqlite.Connection):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        OPENED.get().append(self)
        self._tx = _Calls()  # type: ignore[assignment]
        self._thread = _NoThread()  # type: ignore[assignment]


@contextmanager
def without_threads() -> Iterator[None]:
    """Within the block, SQLite's driver works in the event loop, and waits for no lock: turns give them out."""
    with (
        patch("aiosqlite.core.Connection", _Connection),
        patch("sqlite3.connect", partial(sqlite3.connect, factory=_RollsBack)),
        patch("sendoff.store.engine.database._SQLITE_BUSY_TIMEOUT_MS", 0),
    ):
        yield


def close_all(connections: Iterable[aiosqlite.Connection], embedded: Embedded) -> None:
    """Close a dead process's connections, as the operating system does."""
    for connection in connections:
        if connection._connection is not None:
            connection._connection.close()
            connection._connection = None
    if embedded._connection is not None:
        embedded._connection.close()
