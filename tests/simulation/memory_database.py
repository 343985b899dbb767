"""SQLite in memory: one connection for all processes, on which a transaction runs without a step of anything else.

That is what SQLite's one writer and its snapshots come to, at a fraction of the cost of files, locks and threads. It
takes its time before a transaction and after it. A transaction that waits for something else within is an error here.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar
from unittest.mock import patch

from sqlalchemy import Connection, Engine, Executable, IteratorResult, TextClause, create_engine, event
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.pool import StaticPool

from sendoff.store.engine import database
from sendoff.store.engine.database import Database, Transaction
from sendoff.store.engine.sqlite_driver import Embedded, Work
from sendoff.store.engine.write_turns import WriteTurns
from tests.simulation.loop import SimulatedLoop

Result = TypeVar("Result")


class MemoryDatabases:
    """One database after another, each a copy of the file. The engine stays, with the statements that it compiled."""

    def __init__(self, file: Path) -> None:
        self._template = sqlite3.connect(":memory:")
        source = sqlite3.connect(file)
        source.backup(self._template)
        source.close()
        self._connection = sqlite3.connect(":memory:", cached_statements=1_000)
        engine = create_engine(
            "sqlite://", poolclass=StaticPool, creator=lambda: self._connection, **database._ENGINE_OPTIONS
        )
        event.listen(engine, "connect", database._prepare_sqlite_connection)
        event.listen(engine, "begin", self._begin)
        engine.dialect.is_async = True  # its methods are called by those of AsyncSession, one by one
        self._engine = AsyncEngine(engine)

    def _begin(self, connection: Connection) -> None:
        if not self._connection.in_transaction:
            self._connection.execute(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    @contextmanager
    def copy(self, loop: SimulatedLoop) -> Iterator[MemoryStorage]:
        """A database of its own for the length of the block."""
        self._template.backup(self._connection)
        with ExitStack() as patches:
            for module in ("session", "engine"):
                patches.enter_context(patch(f"sqlalchemy.ext.asyncio.{module}.greenlet_spawn", _at_once))
                patches.enter_context(patch(f"sqlalchemy.ext.asyncio.{module}._ensure_sync_result", _as_it_is))
            patches.enter_context(
                patch("sendoff.store.engine.database.AsyncSession", partial(_Transaction, self._connection))
            )
            yield MemoryStorage(self._engine, self._connection, loop)


class MemoryStorage:
    """The database of one installation."""

    def __init__(self, engine: AsyncEngine, connection: sqlite3.Connection, loop: SimulatedLoop) -> None:
        self._engine = engine
        self._connection = connection
        self._loop = loop
        self._turns = WriteTurns()

    def look(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """What the statement finds among what is committed."""
        assert not self._connection.in_transaction, "a transaction waits for something else"
        return self._connection.execute(statement, parameters).fetchall()

    def open(self) -> Database:
        """The way of one process to it."""
        embedded = _Embedded(self._engine.url, self._engine.dialect, database._prepare_sqlite_connection)
        embedded.write_turns = self._turns
        embedded._connection = self._connection
        return _Database(self._engine, embedded, self._loop.latency)

    def close(self, opened: Database) -> None:
        """Roll back what a dead process has begun: nothing, since a transaction ends before anything else goes on."""


class _Database(Database):
    def __init__(self, engine: AsyncEngine, hot: Embedded, latency: Callable[[], float]) -> None:
        super().__init__(engine, hot)
        self._latency = latency

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine, within: float | None = None) -> AsyncIterator[Transaction]:
        await asyncio.sleep(self._latency())
        async with super()._session(engine, within) as tx:
            yield tx
        await asyncio.sleep(self._latency())


class _Embedded(Embedded):
    def _transact(self, work: Work[Result], begin: str, given_up: Event) -> Result:
        assert self._connection is not None
        self._connection.row_factory = sqlite3.Row
        try:
            return super()._transact(work, begin, given_up)
        finally:
            self._connection.row_factory = None


class _Transaction:
    """A transaction of the driver's; SQLAlchemy's session, which costs more than most transactions, when it is needed.

    Statements of SQL text go to the driver without a context and a cursor of SQLAlchemy's.
    """

    def __init__(self, driver: sqlite3.Connection, engine: AsyncEngine, **options: Any) -> None:
        self._driver = driver
        self._engine = engine
        self._options = options
        self._session: AsyncSession | None = None
        self.info: dict[Any, Any] = {}

    async def __aenter__(self) -> _Transaction:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        if self._session is not None:
            await self._session.close()
        if self._driver.in_transaction:
            self._driver.execute("ROLLBACK")

    def __getattr__(self, name: str) -> Any:
        if self._session is None:
            self._session = AsyncSession(self._engine, **self._options)
            self._session.sync_session.info = self.info
        return getattr(self._session, name)

    def get_bind(self) -> Engine:
        return self._engine.sync_engine

    async def commit(self) -> None:
        if self._session is not None:
            await self._session.commit()
        if self._driver.in_transaction:
            self._driver.execute("COMMIT")

    async def connection(self) -> _Transaction:
        if not self._driver.in_transaction:
            self._driver.execute(self._engine.get_execution_options().get("sqlite_begin", "BEGIN"))
        return self

    async def execute(self, statement: Executable, parameters: Any = None, **options: Any) -> Any:
        if not isinstance(statement, TextClause) or parameters is None:
            return await self.__getattr__("execute")(statement, parameters, **options)
        text, processors = _compiled(statement)
        values = {name: process(parameters[name]) for name, process in processors.items()}
        return await self.exec_driver_sql(text, {**parameters, **values})

    async def exec_driver_sql(self, text: str, parameters: Any) -> Any:
        if isinstance(parameters, list):
            return self._driver.executemany(text, parameters)
        try:
            return _Rows(self._driver.execute(text, parameters))
        except sqlite3.Error as error:
            raise DBAPIError.instance(text, parameters, error, sqlite3.Error) from error


class _Rows(IteratorResult[Any]):
    def __init__(self, cursor: sqlite3.Cursor) -> None:
        super().__init__(SimpleResultMetaData([name for name, *_ in cursor.description or ()]), iter(cursor.fetchall()))
        self.rowcount = cursor.rowcount


@lru_cache(maxsize=1_000)
def _compiled(statement: TextClause) -> tuple[str, dict[str, Any]]:
    """Its text with the parameters' names, and what makes the driver's values of those that have a type."""
    compiled = statement.compile(dialect=sqlite_dialect(paramstyle="named"))
    return str(compiled), dict(compiled._bind_processors)


async def _at_once(function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    options.pop("_require_await", None)
    return function(*arguments, **options)


async def _as_it_is(result: Result, _method: object) -> Result:
    return result
