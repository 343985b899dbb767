"""The audit log is append-only for every client of the database."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sendoff.audit import Actor, write_audit
from sendoff.ids import new_id
from sendoff.store.engine.database import Database
from sendoff.store.queries import audit
from sendoff.store.queries.audit import AuditFilter

AT = datetime(2026, 4, 24, tzinfo=UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with one entry."""
    opened = Database.open(database_url)
    async with opened.write() as tx:
        write_audit(tx, Actor("ada"), "thing.change", target=("thing", "1"), now=AT, after={"secret": "x", "size": 1})
    yield opened
    await opened.close()


async def entries(database: Database) -> list[tuple[str, object]]:
    async with database.read() as tx:
        return [(entry.actor, entry.after) for entry in await audit.page(tx, AuditFilter(), limit=10)]


CHANGES = [
    "UPDATE audit_entries SET actor = 'eve'",
    "DELETE FROM audit_entries",
    "DELETE FROM audit_entries WHERE actor = 'ada'",
]


@pytest.mark.parametrize("statement", CHANGES)
async def test_an_entry_can_be_neither_changed_nor_removed(database: Database, statement: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        async with database.write() as tx:
            await tx.execute(text(statement))
    assert await entries(database) == [("ada", {"secret": "[redacted]", "size": 1})]


async def test_the_table_cannot_be_emptied_at_once(postgres_url: str) -> None:
    database = Database.open(postgres_url)
    with pytest.raises(DBAPIError, match="append-only"):
        async with database.write() as tx:
            await tx.execute(text("TRUNCATE audit_entries"))
    await database.close()


def test_an_entry_cannot_be_replaced_by_one_of_the_same_id(sqlite_url: str) -> None:
    identifier = new_id()
    insert = (
        "INSERT OR REPLACE INTO audit_entries (id, at, actor, action, target_type, target_id) "
        "VALUES (?, '2026-04-24 00:00:00', ?, 'a', 't', '1')"
    )
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite+aiosqlite:///"))) as connection:
        connection.execute(insert, (identifier, "ada"))
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(insert, (identifier, "eve"))
        assert connection.execute("SELECT actor FROM audit_entries").fetchall() == [("ada",)]


async def test_entries_before_the_horizon_are_removed_and_no_others(database: Database) -> None:
    later = AT + timedelta(days=1)
    async with database.write() as tx:
        write_audit(tx, Actor("bob"), "thing.change", target=("thing", "1"), now=later, after={"size": 2})
        await audit.advance_horizon(tx, until=later)
    async with database.write() as tx:
        await audit.advance_horizon(tx, until=AT)  # it does not go back
    with pytest.raises(DBAPIError, match="append-only"):
        async with database.write() as tx:
            await tx.execute(text("DELETE FROM audit_entries"))
    async with database.write() as tx:
        assert await audit.remove_old(tx, until=later, limit=10) == 1
    assert [actor for actor, _ in await entries(database)] == ["bob"]


async def test_an_entry_holds_only_what_changed_and_is_bounded(database: Database) -> None:
    before = {"name": "a", "kept": [1] * 1_000, "text": "x"}
    after = {"name": "b", "kept": [1] * 1_000, "text": "y" * 100_000}
    async with database.write() as tx:
        write_audit(tx, Actor("bob"), "thing.change", target=("thing", "1"), now=AT, before=before, after=after)
    async with database.read() as tx:
        [entry] = await audit.page(tx, AuditFilter(actor="bob"), limit=10)
    assert entry.before == {"name": "a", "text": "x"}
    assert entry.after is not None
    assert entry.after["name"] == "b"
    assert "too large" in entry.after["text"]


async def write_and_fail(database: Database) -> None:
    async with database.write() as tx:
        write_audit(tx, Actor("eve"), "thing.change", target=("thing", "2"), now=AT)
        await tx.flush()
        raise RuntimeError("no")


async def test_entries_of_a_failed_transaction_are_not_in_the_audit_log(database: Database) -> None:
    with pytest.raises(RuntimeError, match="no"):
        await write_and_fail(database)
    assert [actor for actor, _ in await entries(database)] == ["ada"]
