"""The schema that the migrations make is the one that the tables describe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlmodel import SQLModel

from sendoff.errors import WrongSchema
from sendoff.store.engine.database import Database, newest_revision
from tests.support.processes import ROOT


async def test_the_migrations_make_what_the_tables_describe(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), SQLModel.metadata))

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
