"""Alembic's entry: runs the revisions against the URL that `sendoff.store.engine.database.migrate` hands over."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from alembic import context
from sqlalchemy import JSON, Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from sendoff.store import tables  # noqa: F401 - fills the metadata

# Any number will do, as long as nothing else in the database takes the same advisory lock.
_MIGRATION_LOCK = 7_236_433_263
_LOCK_POLL_SECONDS = 0.2


def _render_json(kind: str, item: object, _context: object) -> str | Literal[False]:
    return "types.Json" if kind == "type" and isinstance(item, JSON) else False


def _lock(connection: Connection) -> None:
    """Wait until no other process migrates; the lock ends with the connection.

    It is asked for again and again, because a transaction that waited for it would itself be waited for by the
    process that has it: making an index concurrently waits for every older transaction.
    """
    taken = text("SELECT pg_try_advisory_lock(:lock)")
    while not connection.execute(taken, {"lock": _MIGRATION_LOCK}).scalar_one():
        connection.rollback()
        time.sleep(_LOCK_POLL_SECONDS)
    connection.commit()


def _run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        _lock(connection)
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


async def _main() -> None:
    engine = create_async_engine(context.config.attributes["database_url"], poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_main())
