"""The way to the database: one engine, transactions to read and to write in, and the schema's revision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sendoff.errors import WrongSchema
from sendoff.settings import BadSettings
from sendoff.store.engine.failures import unavailable
from sendoff.store.engine.postgres_driver import Direct
from sendoff.store.engine.sqlite_driver import Embedded

Transaction = AsyncSession
"""A transaction under way; the functions of this package take it first."""

_UNDEFINED_TABLE = "42P01"
_SQLITE_BUSY_TIMEOUT_MS = 15_000
_POSTGRES_CONNECT_SECONDS = 5.0
_POSTGRES_COMMAND_SECONDS = 60.0  # a server that is cut off says nothing, and TCP alone would believe in it for hours
_DIRECT_CONNECTIONS = 4  # a process claims, records and accepts in one task each
_SELECT_REVISION = text("SELECT version_num FROM alembic_version")
_MIGRATIONS = Path(__file__).parents[1] / "migrations"


class Database:
    """A database, SQLite or PostgreSQL.

    Failures to reach it, as opposed to errors in a statement, are raised as errors.Unavailable.
    """

    def __init__(self, engine: AsyncEngine, hot: Direct | Embedded) -> None:
        self._engine = engine
        self._hot = hot
        # Made once: each of these copies of the engine costs as much as a query.
        self._writing = engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        self._reading = engine.execution_options(sqlite_begin="BEGIN")
        self._looking = self._reading if self.is_sqlite else engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def direct(self) -> Direct | None:
        """The hot statements' way to PostgreSQL; None on SQLite."""
        return self._hot if isinstance(self._hot, Direct) else None

    @property
    def embedded(self) -> Embedded:
        """The hot transactions' way to SQLite. Raises TypeError on PostgreSQL."""
        if not isinstance(self._hot, Embedded):
            raise TypeError("this database is not SQLite")
        return self._hot

    @classmethod
    def open(cls, url: str, *, pool_size: int = 10) -> Database:
        """Make ready to connect; the first transaction does. `url` as in the setting `DATABASE_URL`."""
        engine = _create_engine(url, pool_size)
        return cls(engine, _open_embedded(engine) if url.startswith("sqlite") else _open_direct(engine))

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """One transaction, committed at the end of the block, rolled back if it raises."""
        turn = self._hot.write_turns.taken(hot=False) if isinstance(self._hot, Embedded) else nullcontext()
        async with turn, self._session(self._writing) as tx:
            yield tx
            await tx.commit()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """One transaction that reads a single snapshot of the database and takes no locks."""
        async with self._session(self._reading) as tx:
            yield tx

    @asynccontextmanager
    async def look(self) -> AsyncIterator[Transaction]:
        """Read with single statements, each on a snapshot of its own: saves PostgreSQL two round trips.

        For what is asked every second, even when nothing happens.
        """
        async with self._session(self._looking) as tx:
            yield tx

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine) -> AsyncIterator[Transaction]:
        try:
            async with AsyncSession(engine, expire_on_commit=False, autoflush=False) as tx:
                yield tx
        except (SQLAlchemyError, OSError) as error:
            refusal = unavailable(error)
            if refusal is None:
                raise
            raise refusal from error

    async def ping(self) -> None:
        """Raise errors.Unavailable unless the database answers."""
        async with self.read() as tx:
            await tx.execute(text("SELECT 1"))

    async def check_schema(self) -> None:
        """Raise errors.WrongSchema unless the schema is at this version's revision."""
        expected = newest_revision()
        async with self.read() as tx:
            try:
                found = (await tx.execute(_SELECT_REVISION)).scalar_one_or_none()
            except DBAPIError as error:
                if _is_missing_table(error):
                    found = None
                else:
                    raise
        if found != expected:
            raise WrongSchema(
                f"The database's schema is at revision {found or 'none'}, this version needs {expected}; "
                "run `sendoff migrate`."
            )

    async def close(self) -> None:
        await self._hot.close()
        await self._engine.dispose()


def migrate(url: str) -> None:
    """Bring the schema to this version's revision. Safe to run again and by several processes at once."""
    # Only this needs Alembic, whose import costs as much as the rest of a command.
    from alembic.command import upgrade
    from alembic.config import Config

    _make_sqlite_directory(url)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))  # `%` interpolates in it
    config.attributes["database_url"] = url
    upgrade(config, "head")


def newest_revision() -> str:
    """The schema revision that this version needs: the number that the newest migration's file name begins with."""
    return max(path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]


def _create_engine(url: str, pool_size: int) -> AsyncEngine:
    options: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
        "pool_size": pool_size,
        "max_overflow": pool_size,
        "pool_timeout": 10,
        # Or an error's text, which is logged, would hold the values that the statement was to write.
        "hide_parameters": True,
    }
    if not url.startswith("sqlite"):
        timeouts = {"timeout": _POSTGRES_CONNECT_SECONDS, "command_timeout": _POSTGRES_COMMAND_SECONDS}
        return create_async_engine(url, connect_args=timeouts, **options)
    _make_sqlite_directory(url)
    _make_sqlite_file_private(url)
    engine = create_async_engine(url, connect_args={"timeout": _SQLITE_BUSY_TIMEOUT_MS / 1000}, **options)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite_connection)
    event.listen(engine.sync_engine, "begin", _begin_sqlite_transaction)
    return engine


def _open_direct(engine: AsyncEngine) -> Direct:
    return Direct(
        engine.url,
        engine.dialect,
        connections=_DIRECT_CONNECTIONS,
        timeout=_POSTGRES_CONNECT_SECONDS,
        command_timeout=_POSTGRES_COMMAND_SECONDS,
    )


def _open_embedded(engine: AsyncEngine) -> Embedded:
    return Embedded(engine.url, engine.dialect, _prepare_sqlite_connection)


def _prepare_sqlite_connection(connection: Any, _record: object = None) -> None:
    # The driver must not begin transactions by itself: `BEGIN` alone would take the write lock too late and fail
    # with "database is locked" instead of waiting for it.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA busy_timeout = {_SQLITE_BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin_sqlite_transaction(connection: Any) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _make_sqlite_directory(url: str) -> None:
    database = make_url(url).database
    if url.startswith("sqlite") and database and database != ":memory:":
        folder = Path(database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSettings(f"SENDOFF_DATABASE_URL: the folder {folder} cannot be made: {error.strerror}") from error


def _make_sqlite_file_private(url: str) -> None:
    """Keep other users from reading a database that was made with wider permissions, and what SQLite puts beside it."""
    database = make_url(url).database
    if not database or database == ":memory:":
        return
    for path in (Path(database), Path(f"{database}-wal"), Path(f"{database}-shm")):
        with suppress(OSError):  # it does not exist yet, or is another user's, who decides
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)


def _is_missing_table(error: DBAPIError) -> bool:
    # PostgreSQL's code is the same in every version of the driver and in every language; SQLite has none.
    return getattr(error.orig, "sqlstate", None) == _UNDEFINED_TABLE or "no such table" in str(error.orig)
