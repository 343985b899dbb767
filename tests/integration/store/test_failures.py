"""Statements that PostgreSQL refuses temporarily are Unavailable; those that it always refuses are not."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from sendoff.errors import Unavailable
from sendoff.store.engine.database import Database
from tests.support.databases import PostgresDatabase
from tests.support.postgres import PostgresServer

PASSING = [
    ("default_transaction_read_only = on", "DELETE FROM audit_log WHERE false"),
    ("statement_timeout = 10", "SELECT pg_sleep(60)"),
]


@pytest.mark.parametrize(("setting", "statement"), PASSING, ids=["read only", "statement timeout"])
async def test_a_refusal_that_passes_is_unavailable(
    postgres_server: PostgresServer, empty_postgres_url: str, setting: str, statement: str
) -> None:
    by_hand = PostgresDatabase(postgres_server, empty_postgres_url)
    by_hand.query("CREATE TABLE audit_log ()")
    by_hand.query(f'ALTER DATABASE "{by_hand.name}" SET {setting}')
    database = Database.open(empty_postgres_url)
    try:
        assert database.direct is not None
        with pytest.raises(Unavailable):
            await database.direct.fetch(statement)
        with pytest.raises(Unavailable):
            async with database.write() as tx:
                await tx.execute(text(statement))
    finally:
        await database.close()


async def test_a_lock_that_is_not_let_go_is_unavailable(postgres_server: PostgresServer, postgres_url: str) -> None:
    name = PostgresDatabase(postgres_server, postgres_url).name
    postgres_server.execute(f'ALTER DATABASE "{name}" SET lock_timeout = 10')
    database = Database.open(postgres_url)
    try:
        with postgres_server.hold("LOCK TABLE deliveries", database=name), pytest.raises(Unavailable):
            async with database.read() as tx:
                await tx.execute(text("SELECT 1 FROM deliveries"))
    finally:
        await database.close()


async def test_clients_learn_nothing_of_a_damaged_file_that_only_operators_can_restore(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_text("These are notes and not a database." * 40)
    database = Database.open(f"sqlite+aiosqlite:///{file}")
    try:
        with pytest.raises(Unavailable) as caught:
            async with database.read() as tx:
                await tx.execute(text("SELECT 1 FROM deliveries"))
    finally:
        await database.close()
    assert caught.value.message == "The database cannot be used; try again later."
    assert "SENDOFF_DATABASE_URL or restore a backup" in str(caught.value)


async def test_a_statement_that_is_wrong_is_our_fault(empty_postgres_url: str) -> None:
    database = Database.open(empty_postgres_url)
    try:
        assert database.direct is not None
        with pytest.raises(asyncpg.UndefinedTableError):
            await database.direct.fetch("SELECT 1 FROM nothing")
        with pytest.raises(ProgrammingError):
            async with database.read() as tx:
                await tx.execute(text("SELECT 1 FROM nothing"))
    finally:
        await database.close()
