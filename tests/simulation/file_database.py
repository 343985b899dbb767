"""SQLite in a file, as the product opens it, without threads: locks, snapshots and a time for each statement."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiosqlite
from sqlalchemy import event

from sendoff.store.engine.database import Database
from sendoff.store.engine.write_turns import WriteTurns
from tests.simulation.loop import SimulatedLoop


class FileDatabases:
    """One database after another, each a copy of the file."""

    def __init__(self, file: Path) -> None:
        self._template = file

    @contextmanager
    def copy(self, _loop: SimulatedLoop) -> Iterator[FileStorage]:
        """A database of its own for the length of the block."""
        file = self._template.with_name("installation.db")
        shutil.copyfile(self._template, file)
        with (
            patch("aiosqlite.core.Connection", _Connection),
            patch("sqlite3.connect", partial(sqlite3.connect, factory=_RollsBack)),
            patch("sendoff.store.engine.database._SQLITE_BUSY_TIMEOUT_MS", 0),  # turns give out the lock
        ):
            storage = FileStorage(file)
            try:
                yield storage
            finally:
                storage.eye.close()
                for leftover in file.parent.glob(f"{file.name}*"):
                    leftover.unlink()


class FileStorage:
    """The database of one installation."""

    def __init__(self, file: Path) -> None:
        self._url = f"sqlite+aiosqlite:///{file}"
        self._turns = WriteTurns()
        """The write lock of the file, which all processes share."""
        self._connections: dict[Database, list[aiosqlite.Connection]] = {}
        self.eye = sqlite3.connect(file)

    def look(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """What the statement finds among what is committed."""
        return self.eye.execute(statement, parameters).fetchall()

    def open(self) -> Database:
        """The way of one process to it."""
        opened = Database.open(self._url, pool_size=30)
        opened.embedded.write_turns = self._turns
        connections = self._connections[opened] = []
        event.listen(opened._engine.sync_engine, "connect", lambda made, _: connections.append(made.driver_connection))
        return opened

    def close(self, opened: Database) -> None:
        """Close a dead process's connections, as the operating system does."""
        for connection in self._connections.pop(opened):
            if connection._connection is not None:
                connection._connection.close()
                connection._connection = None
        if opened.embedded._connection is not None:
            opened.embedded._connection.close()


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


class _Connection(aiosqlite.Connection):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tx = _Calls()  # type: ignore[assignment]
        self._thread = _NoThread()  # type: ignore[assignment]
