"""The way to the database: one engine, transactions to read and to write in, and the schema's revision."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
from sqlalchemy import TextClause, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_object_session, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from sendoff.errors import BadSettings, Unavailable, WrongSchema
from sendoff.store.engine.failures import is_about_a_former_primary, unavailable
from sendoff.store.engine.postgres_connections import COMMAND_SECONDS, Connector, PreparedStatements
from sendoff.store.engine.postgres_driver import Direct
from sendoff.store.engine.revisions import MIGRATIONS, judge_schema, newest_revision
from sendoff.store.engine.sqlite_driver import Embedded
from sendoff.turns import Turns

if TYPE_CHECKING:
    from alembic.config import Config

Transaction = AsyncSession
"""A transaction under way; the functions of this package take it first."""

ANSWER_SECONDS = 4.0
"""Seconds that a publishing request waits for the database, its authentication and its place in line included, before
the answer is 503. Callers are promised five: the rest is for the process that has to answer hundreds at once. Longer
holds callers up when the database is cut off; shorter refuses what a busy one would still have taken."""

_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_UNDEFINED_TABLE = "42P01"
_SQLITE_BUSY_TIMEOUT_MS = 15_000
READS_OF_ONE = 4
"""Reads of one organization that take connections of a process at once, of its 20. Some cost as much as there is
history that does not match; with 20, those of one organization keep everybody else from authenticating."""

_DIRECT_CONNECTIONS = 4  # an API process accepts two groups and two single events at once; a worker claims and records
_ENGINE_OPTIONS: dict[str, Any] = {
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
    # Or an error's text, which is logged, would hold the values that the statement was to write.
    "hide_parameters": True,
}
_AFTER_COMMIT = "after_commit"
PAUSE = "pause"
"""The key in a transaction's `info` of how long it pauses after a statement."""
_SELECT_REVISION = text("SELECT version_num FROM alembic_version")
_WRITE_NOTHING_NEW = text("UPDATE schema_compatibility SET runs_beside = runs_beside")
_LEAST_FREE_BYTES = 1_048_576
"""Bytes that SQLite's disk must have free for the process to be ready: those of a few hundred events, or of one large
transaction. Less, and events are refused by a process that says it is ready."""
_SELECT_RUNS_BESIDE = text("SELECT runs_beside FROM schema_compatibility")


class Database:
    """A database, SQLite or PostgreSQL.

    Failures to reach it, as opposed to errors in a statement, are raised as errors.Unavailable.
    """

    def __init__(self, engine: AsyncEngine, hot: Direct | Embedded, connector: Connector | None = None) -> None:
        self._engine = engine
        self._hot = hot
        # Made once: each of these copies of the engine costs as much as a query.
        self._writing = engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        self._reading = engine.execution_options(sqlite_begin="BEGIN")
        self._looking = self._reading if self.is_sqlite else engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connector = connector
        self._reads = Turns(READS_OF_ONE)

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
    def open(
        cls,
        url: str,
        *,
        pool_size: int = 10,
        prepared_statements: PreparedStatements = "auto",
        connection_seconds: float = 1_800,
        command_seconds: float | None = COMMAND_SECONDS,
    ) -> Database:
        """Make ready to connect; the first transaction does. `url` as in the setting `DATABASE_URL`."""
        if url.startswith("sqlite"):
            engine = _create_sqlite_engine(url, pool_size)
            return cls(engine, Embedded(engine.url, engine.dialect, _prepare_sqlite_connection))
        connector = Connector(
            url,
            prepared_statements=prepared_statements,
            longest_life=connection_seconds,
            command_seconds=command_seconds,
        )
        engine = create_postgres_engine(connector, pool_size=pool_size, max_overflow=pool_size, pool_timeout=10)
        return cls(engine, Direct(connector, connections=_DIRECT_CONNECTIONS), connector)

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def write(self, *, within: float | None = None, pause: float = 0) -> AsyncIterator[Transaction]:
        """One transaction, committed at the end of the block, rolled back if it raises.

        `within`: the longest that it may take, in seconds, waiting for a connection included. `pause`: seconds of pause
        after each statement that `execute` runs, in which other work of the process gets its turn; none on SQLite,
        where all other writers would wait for them.
        """
        turn = self._hot.write_turns.taken(hot=False) if isinstance(self._hot, Embedded) else nullcontext()
        async with turn, self._session(self._writing, within) as tx:
            if pause and not self.is_sqlite:
                tx.info[PAUSE] = pause
            yield tx
            await tx.commit()
            for follow in tx.info.pop(_AFTER_COMMIT, ()):
                follow()

    @asynccontextmanager
    async def read(self, *, within: float | None = None, owner: str | None = None) -> AsyncIterator[Transaction]:
        """One transaction that reads a single snapshot of the database and takes no locks; `within` as for `write`.

        `owner`: the organization that asks for what may take long; at most READS_OF_ONE of it are under way. Not to be
        nested.
        """
        turn = nullcontext() if owner is None else self._reads.taken(owner)
        async with turn, self._session(self._reading, within) as tx:
            yield tx

    @asynccontextmanager
    async def look(self) -> AsyncIterator[Transaction]:
        """Read with single statements, each on a snapshot of its own: saves PostgreSQL two round trips.

        For what is asked every second, even when nothing happens.
        """
        # A pooler of transactions needs one around each statement.
        is_pooled = self._connector is not None and await self._connector.look_for_pooler()
        async with self._session(self._reading if is_pooled else self._looking) as tx:
            yield tx

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine, within: float | None = None) -> AsyncIterator[Transaction]:
        try:
            async with asyncio.timeout(within):
                if self._connector is not None:
                    await self._connector.look_for_pooler()
                async with AsyncSession(engine, expire_on_commit=False, autoflush=False) as tx:
                    yield tx
        except (SQLAlchemyError, OSError, *_DRIVER_ERRORS) as error:
            if self._connector is not None and is_about_a_former_primary(error):
                self._connector.forget()
            refusal = unavailable(error)
            if refusal is None:
                raise
            raise refusal from error

    async def ping(self) -> None:
        """Raise errors.Unavailable unless the database answers and takes writes."""
        async with self.read() as tx:
            if self._connector is None:
                await tx.execute(text("SELECT 1"))
            elif (await tx.execute(text("SELECT current_setting('transaction_read_only')"))).scalar_one() == "on":
                self._connector.forget()
                raise Unavailable("The database is read-only: another server has become the primary, or none has yet.")

    async def server_time(self) -> datetime | None:
        """The time by the server's clock; None on SQLite, which has none of its own."""
        if self.is_sqlite:
            return None
        async with self.look() as tx:
            found: datetime = (await tx.execute(text("SELECT clock_timestamp()"))).scalar_one()
        return found

    async def check_writable(self) -> None:
        """Commit a write that changes nothing. Raises errors.Unavailable if the database does not take it.

        SQLite takes small writes for a while when its disk is full: there the disk must have some bytes free as well.
        """
        if self._engine.url.database and self.is_sqlite:
            _check_free_space(Path(self._engine.url.database).parent)
        async with self.write() as tx:
            await tx.execute(_WRITE_NOTHING_NEW)

    async def revision(self) -> str | None:
        """The schema's revision; None without a schema."""
        return await self._scalar(_SELECT_REVISION)

    async def check_schema(self) -> str | None:
        """None at this version's revision; a sentence at another one that it runs on.

        Raises errors.WrongSchema at one that it does not run on.
        """
        found = await self.revision()
        is_newer = found is not None and found > newest_revision()
        runs, remark = judge_schema(found, await self._scalar(_SELECT_RUNS_BESIDE) if is_newer else None)
        if not runs:
            raise WrongSchema(remark)
        return remark

    async def _scalar(self, statement: TextClause) -> str | None:
        """The statement's value; None also when its table is missing."""
        async with self.read() as tx:
            try:
                value: str | None = (await tx.execute(statement)).scalar_one_or_none()
            except DBAPIError as error:
                if _is_missing_table(error):
                    return None
                raise
        return value

    async def close(self) -> None:
        await self._hot.close()
        await self._engine.dispose()


def _check_free_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        raise Unavailable("The disk of the database is full; free some space.", detail=f"{free:,} bytes are left")


def after_commit(tx: Transaction, follow: Callable[[], None]) -> None:
    """Call `follow` when `Database.write` has committed the transaction, and never if it is rolled back.

    For what tells of a change: log lines and metrics.
    """
    tx.info.setdefault(_AFTER_COMMIT, []).append(follow)


def after_commit_of(row: object, follow: Callable[[], None]) -> None:
    """`after_commit` for the transaction that holds the row; nothing for a row that none holds."""
    tx = async_object_session(row)
    if tx is not None:
        after_commit(tx, follow)


def migrate(url: str, *, revision: str = "head") -> None:
    """Bring the schema to this version's revision, or up to an older one.

    Safe to run again, by several processes at once, and while others work.
    """
    # Only this needs Alembic, whose import costs as much as the rest of a command.
    from alembic.command import upgrade

    if url.startswith("sqlite"):
        _make_sqlite_directory(url)
    config = alembic_config()
    config.attributes["database_url"] = url
    config.attributes["to_head"] = revision == "head"
    upgrade(config, revision)


def alembic_config(**options: Any) -> Config:
    """Alembic's configuration for the migrations of this package."""
    from alembic.config import Config

    config = Config(**options)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))  # `%` interpolates in it
    return config


def create_postgres_engine(connector: Connector, **options: Any) -> AsyncEngine:
    """SQLAlchemy's engine on the connector's connections; `options` are those of its pool."""
    engine = create_async_engine(
        "postgresql+asyncpg://", connect_args={"async_creator_fn": connector.connect}, **_ENGINE_OPTIONS, **options
    )

    def name_no_statements(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        if not connector.names_statements:
            options |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}

    def drop_spent(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if connector.is_spent(record.driver_connection):
            raise DisconnectionError("it was used for long enough")  # the pool opens another

    event.listen(engine.sync_engine, "do_connect", name_no_statements)
    event.listen(engine.sync_engine, "checkout", drop_spent)
    return engine


def _create_sqlite_engine(url: str, pool_size: int) -> AsyncEngine:
    _make_sqlite_directory(url)
    _make_sqlite_file_private(url)
    engine = create_async_engine(
        url,
        connect_args={"timeout": _SQLITE_BUSY_TIMEOUT_MS / 1000},
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        **_ENGINE_OPTIONS,
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite_connection)
    event.listen(engine.sync_engine, "begin", _begin_sqlite_transaction)
    return engine


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
    if database and database != ":memory:":
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
            if path.is_file() and path.stat().st_mode & 0o077:  # a folder, named by mistake, must stay usable
                path.chmod(0o600)


def _is_missing_table(error: DBAPIError) -> bool:
    # PostgreSQL's code is the same in every version of the driver and in every language; SQLite has none.
    return getattr(error.orig, "sqlstate", None) == _UNDEFINED_TABLE or "no such table" in str(error.orig)
