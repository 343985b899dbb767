"""The hot transactions' way to SQLite: the driver itself, a whole transaction in one visit to a thread of its own.

Through SQLAlchemy each statement is a visit of its own, which costs more than the statement (docs/decisions/0011).
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from sqlalchemy.engine import URL, Dialect

from sendoff.store.engine.failures import unavailable
from sendoff.store.engine.types import time_text
from sendoff.store.engine.write_turns import WriteTurns

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]
"""A function that runs within a transaction and must not end it."""


class Embedded:
    """One connection to a SQLite database, opened when it is first needed."""

    def __init__(self, url: URL, dialect: Dialect, prepare: Callable[[sqlite3.Connection], None]) -> None:
        """`prepare`: sets up a new connection."""
        (self._file,), _ = dialect.create_connect_args(url)
        self._arguments = url, dialect, prepare
        self._prepare = prepare
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self.write_turns = WriteTurns()
        """Taken for each transaction of this process that writes."""
        self._connection: sqlite3.Connection | None = None

    @cached_property
    def aside(self) -> Embedded:
        """Another connection and thread, for short reads that are not to wait for the writes of this one."""
        return Embedded(*self._arguments)

    async def write(self, work: Work[Result]) -> Result:
        """Do it in a transaction that holds the write lock, and commit. Raises errors.Unavailable."""
        async with self.write_turns.taken(hot=True):
            return await self._visit(work, "BEGIN IMMEDIATE")

    async def read(self, work: Work[Result]) -> Result:
        """Run it in a transaction that reads a single snapshot and takes no locks. Raises errors.Unavailable."""
        return await self._visit(work, "BEGIN")

    async def close(self) -> None:
        """Close the connection once running statements have ended."""
        if "aside" in vars(self):
            await self.aside.close()
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    async def _visit(self, work: Work[Result], begin: str) -> Result:
        given_up = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work, begin, given_up)
        except asyncio.CancelledError:
            given_up.set()  # the thread goes on, but commits nothing
            raise
        except (sqlite3.Error, OSError) as error:
            refusal = unavailable(error)
            if refusal is None:
                raise
            raise refusal from error

    def _transact(self, work: Work[Result], begin: str, given_up: threading.Event) -> Result:
        connection = self._open()
        connection.execute(begin)
        try:
            result = work(connection)
            connection.execute("ROLLBACK" if given_up.is_set() else "COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self._file)
            connection.row_factory = sqlite3.Row
            self._prepare(connection)
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def as_sqlite_has_it(value: object) -> object:
    """The value as a parameter: SQLite has no type for moments (`types.UtcDateTime`)."""
    return time_text(value) if isinstance(value, datetime) else value
