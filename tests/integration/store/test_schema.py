"""The schema that the migrations make is the one that the tables describe."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlmodel import SQLModel

from sendoff.errors import WrongSchema
from sendoff.store.engine.database import Database, migrate
from sendoff.store.engine.revisions import RUNS_ON, newest_revision
from sendoff.store.migrations.plan import all_steps, pending_revisions, plan
from tests.support.polling import eventually_blocking
from tests.support.postgres import PostgresServer
from tests.support.processes import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:.*expression-based index")
"""SQLite cannot tell what such an index is, so it is compared on PostgreSQL alone."""


def _comparing(connection: Connection) -> MigrationContext:
    """Compares what the dialect has: some indexes are of one kind of database alone."""

    def applies(item: Any, *_: object) -> bool:
        condition = getattr(item, "_ddl_if", None)
        return condition is None or condition.dialect == connection.dialect.name

    return MigrationContext.configure(connection, opts={"include_object": applies})


async def test_the_migrations_make_what_the_tables_describe(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(_comparing(connection), SQLModel.metadata))

    database = Database.open(database_url)
    async with database.read() as tx:
        found = await (await tx.connection()).run_sync(differences)
    await database.close()
    assert found == []


def test_the_newest_revision_is_the_one_that_migrations_lead_to() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "sendoff" / "store" / "migrations"))
    assert newest_revision() == ScriptDirectory.from_config(config).get_current_head()


async def test_a_process_refuses_a_database_without_the_schema(tmp_path: Path) -> None:
    database = Database.open(f"sqlite+aiosqlite:///{tmp_path}/empty.db")
    with pytest.raises(WrongSchema, match="run `sendoff migrate`"):
        await database.check_schema()
    await database.close()


def test_migrating_from_several_processes_at_once_is_safe(empty_postgres_url: str) -> None:
    command = [
        sys.executable,
        "-c",
        f"from sendoff.store.engine.database import migrate; migrate({empty_postgres_url!r})",
    ]
    started = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=60) for process in started] == [0, 0, 0, 0]


_MANY_UPLOADS = """
    SET session_replication_role = replica;  -- without the organization
    INSERT INTO uploads (id, user_id, organization_id, original_filename, storage_path, file_size_bytes, status,
        valid_row_count, invalid_row_count, credits_required, credits_charged, credits_refunded, source,
        skip_mobile_lookup, exceeded_daily_limit, created_at, updated_at, phone_column, processed_rows,
        processing_attempts)
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '', '', 77,
        CASE WHEN n % 3 = 0 THEN 'failed' ELSE 'completed' END, 0, 0, 0, 0, 0, 'api', false, false, now(), now(), '',
        0, 0
    FROM generate_series(1, 12000) AS n
"""


async def test_the_code_runs_on_the_oldest_schema_that_it_says_it_does(tmp_path: Path) -> None:
    """Every table and column that the code needs is there."""
    url = f"sqlite+aiosqlite:///{tmp_path}/old.db"
    await asyncio.to_thread(migrate, url, revision=RUNS_ON)

    def missing(connection: Connection) -> list[object]:
        found = compare_metadata(_comparing(connection), SQLModel.metadata)
        added = [change for change in found if change[0] in ("add_table", "add_column")]
        # It is looked for on newer schemas alone.
        return [change for change in added if change[0] != "add_table" or change[1].name != "schema_compatibility"]

    database = Database.open(url)
    async with database.read() as tx:
        assert await (await tx.connection()).run_sync(missing) == []
    remark = await database.check_schema()
    assert (remark is None) is (newest_revision() == RUNS_ON)
    await database.close()


def test_a_migration_waits_for_a_lock_in_turns_and_lets_others_work_between(
    postgres_server: PostgresServer, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: revision 0009, a transaction that has read deliveries and stays open.

    What this proves: the renaming in 0010 gives way, so that others reach the table, and is done once the lock is free.
    """
    migrate(empty_postgres_url, revision="0009")
    name = urlsplit(empty_postgres_url).path.removeprefix("/")
    work = f"from sendoff.store.engine.database import migrate; migrate({empty_postgres_url!r})"
    with postgres_server.hold("LOCK TABLE deliveries IN ACCESS SHARE MODE", database=name):
        migrating = subprocess.Popen([sys.executable, "-c", work])
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        eventually_blocking(
            lambda: postgres_server.execute(waiting, database=name) == "1", within=30, what="the migration waits"
        )
        # Would wait behind it for as long as the transaction is open.
        postgres_server.execute("SET lock_timeout = '10s'; SELECT count(*) FROM deliveries", database=name)
        assert migrating.poll() is None
    assert migrating.wait(timeout=60) == 0
    assert pending_revisions(empty_postgres_url) == []


def test_the_plan_shows_what_is_left_with_its_locks(empty_postgres_url: str, tmp_path: Path) -> None:
    migrate(empty_postgres_url, revision="0009")
    steps = plan(empty_postgres_url)
    assert [step.revision for step in steps] == sorted(step.revision for step in steps)
    assert {step.revision for step in steps} == set(pending_revisions(empty_postgres_url))
    by_statement = {step.statement: step for step in steps}
    renaming = by_statement["ALTER TABLE deliveries RENAME COLUMN lease TO lease_token"]
    assert (renaming.lock, renaming.stops_writers) == ("ACCESS EXCLUSIVE", True)
    [index] = [step for text, step in by_statement.items() if "INDEX CONCURRENTLY ix_deliveries_due_at" in text]
    assert (index.lock, index.stops_writers) == ("SHARE UPDATE EXCLUSIVE", False)
    migrate(empty_postgres_url)
    assert plan(empty_postgres_url) == []
    assert plan(f"sqlite+aiosqlite:///{tmp_path}/new.db")[0].lock == "the whole file"


def test_no_revision_from_now_on_makes_writers_of_a_large_table_wait_for_longer_than_a_moment() -> None:
    """Indexes are made concurrently; `stops_writers` is left to changes of the catalogue."""
    for step in all_steps(since="0009"):
        if step.stops_writers:
            assert step.lock == "ACCESS EXCLUSIVE", step
            assert re.match(r"(ALTER TABLE|DROP)", step.statement), step
            assert "USING" not in step.statement, step


def test_rows_are_changed_in_batches(empty_postgres_url: str, postgres_server: PostgresServer) -> None:
    migrate(empty_postgres_url, revision="0011")
    name = urlsplit(empty_postgres_url).path.removeprefix("/")
    postgres_server.execute(_MANY_UPLOADS, database=name)
    migrate(empty_postgres_url)
    measured = "SELECT count(*) FROM uploads WHERE stored_bytes = CASE WHEN status = 'failed' THEN 0 ELSE 77 END"
    assert postgres_server.execute(measured, database=name) == "12000"
