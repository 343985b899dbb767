"""Alembic's entry: runs the revisions against the URL that `sendoff.store.engine.database.migrate` hands over.

Processes go on working meanwhile. Each revision is a transaction of its own, which waits for a lock for less than a
second, while everybody else waits behind it; then it gives way and is tried again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from alembic import context
from sqlalchemy import JSON, Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from sendoff.errors import Unavailable
from sendoff.store import tables  # noqa: F401 - fills the metadata
from sendoff.store.engine.database import create_postgres_engine
from sendoff.store.engine.postgres_connections import Connector
from sendoff.store.engine.revisions import RUNS_BESIDE

# Any number will do, as long as nothing else in the database takes the same advisory lock.
_MIGRATION_LOCK = 7_236_433_263
_LOCK_POLL_SECONDS = 0.2

_LOCK_TIMEOUT = "800ms"
_TRIES, _PAUSE_SECONDS = 60, 2.0
_WAITED_TOO_LONG = ("55P03", "40P01")  # `lock_timeout`, and two transactions that waited for each other

_LOCK_UNTIL_THE_TRANSACTION_ENDS = text("SELECT pg_try_advisory_xact_lock(:lock)")
_STAY = text("SET LOCAL idle_in_transaction_session_timeout = 0")
_FORGET = text("DELETE FROM schema_compatibility")
_SAY = text("INSERT INTO schema_compatibility (id, runs_beside) VALUES (1, :runs_beside)")


def _render_json(kind: str, item: object, _context: object) -> str | Literal[False]:
    return "types.Json" if kind == "type" and isinstance(item, JSON) else False


def _wait_for_other_migrations(connection: Connection) -> None:
    """Return with a lock that ends with the connection's transaction, also behind a pooler of transactions.

    It is asked for again and again, because a transaction that waited for it would itself be waited for by the
    process that has it: making an index concurrently waits for every older transaction.
    """
    while not connection.execute(_LOCK_UNTIL_THE_TRANSACTION_ENDS, {"lock": _MIGRATION_LOCK}).scalar_one():
        connection.rollback()
        time.sleep(_LOCK_POLL_SECONDS)
    connection.execute(_STAY)


def _run_with_patience(connection: Connection) -> None:
    """Run what is left to run. A revision that ran into another's lock is rolled back, and begins again."""
    for left in reversed(range(_TRIES)):
        try:
            _run(connection)
        except DBAPIError as error:
            connection.rollback()
            if getattr(error.orig, "sqlstate", None) not in _WAITED_TOO_LONG:
                raise
            if left == 0:
                raise Unavailable(
                    f"Another transaction held a lock in each of {_TRIES} tries; end it (pg_stat_activity shows those "
                    "that are open for long) and run `sendoff migrate` again, which goes on where it stopped."
                ) from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        user_module_prefix="types.",
        render_item=_render_json,
        transaction_per_migration=True,  # indexes that are made concurrently end the transaction before them
    )
    with context.begin_transaction():
        context.run_migrations()


def _say_what_runs_beside(connection: Connection) -> None:
    connection.execute(_FORGET)
    connection.execute(_SAY, {"runs_beside": RUNS_BESIDE})


def _bound_waiting(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")


async def _open_engine(url: str) -> AsyncEngine:
    if url.startswith("sqlite"):
        return create_async_engine(url, poolclass=NullPool)
    connector = Connector(url, prepared_statements="auto", longest_life=86_400, command_seconds=None)
    await connector.look_for_pooler()
    engine = create_postgres_engine(connector, poolclass=NullPool)
    event.listen(engine.sync_engine, "begin", _bound_waiting)
    return engine


async def _main() -> None:
    engine = await _open_engine(context.config.attributes["database_url"])
    async with engine.connect() as lock, engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            await lock.run_sync(_wait_for_other_migrations)
        await connection.run_sync(_run_with_patience)
        await connection.commit()
        if context.config.attributes.get("to_head", False):
            await connection.run_sync(_say_what_runs_beside)
            await connection.commit()
    await engine.dispose()


def _print() -> None:
    """The SQL of the revisions, for `sendoff migrate --plan`."""
    context.configure(dialect_name="postgresql", literal_binds=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _print()
else:
    asyncio.run(_main())
