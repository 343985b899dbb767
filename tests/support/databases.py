"""The database of an installation, accessed from outside the product: plain SQL, and locks that block it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tests.support.postgres import PostgresServer

Row = tuple[str, ...]

_PATIENCE_SECONDS = 30.0


class LiveDatabase(Protocol):
    """A database with the schema, used by processes at the same time."""

    @property
    def url(self) -> str:
        """As the setting `DATABASE_URL` takes it."""

    def query(self, statement: str) -> list[Row]:
        """The rows that a statement gives, every value as text."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the table of deliveries within the block, so that writers wait."""
        yield


class SqliteFile:
    """A SQLite database in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def url(self) -> str:
        return f"sqlite+aiosqlite:///{self.path}"

    def query(self, statement: str) -> list[Row]:
        with closing(self._connect()) as connection:
            return [tuple(str(value) for value in row) for row in connection.execute(statement)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.rollback()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_PATIENCE_SECONDS, isolation_level=None)


class PostgresDatabase:
    """A database of a PostgreSQL server."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.server = server
        self.url = url
        self.name = urlsplit(url).path.removeprefix("/")

    def query(self, statement: str) -> list[Row]:
        output = self.server.execute(statement, database=self.name)
        return [tuple(line.split("|")) for line in output.splitlines()]

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.server.hold("LOCK TABLE deliveries IN EXCLUSIVE MODE", database=self.name):
            yield
