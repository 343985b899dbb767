"""Migrations of rows: what an older version wrote is there afterwards, in the columns of this one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Row, bindparam, text

from sendoff.ids import new_id
from sendoff.store.engine.database import Database
from sendoff.store.engine.types import UtcDateTime
from tests.support.processes import ROOT

NOW = datetime(2026, 4, 24, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=20)
STATES = {  # as revision 0009 had them: the time is a due time or, in flight, the lease's end
    "pending": (NOW, None),
    "held": (NOW, None),
    "in_flight": (LATER, new_id()),
    "delivered": (None, None),
    "dead": (None, None),
}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/migrated.db"
    return str(request.getfixturevalue("empty_postgres_url"))


def config_for(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "sendoff" / "store" / "migrations"))
    config.attributes["database_url"] = url
    return config


INSERT_OLD = """
    INSERT INTO deliveries (id, event_id, endpoint_id, organization_id, state, attempt_count, next_attempt_at, lease,
        created_at) VALUES (:id, :event_id, :endpoint_id, :organization_id, :state, 0, :at, :lease, :created_at)
"""


async def write(url: str, statement: str, rows: Sequence[dict[str, Any]] = ()) -> None:
    database = Database.open(url)
    async with database.write() as tx:
        connection = await tx.connection()
        typed = [bindparam(name, type_=UtcDateTime) for name in ("at", "created_at") if rows]
        await connection.execute(text(statement).bindparams(*typed), list(rows) or None)
    await database.close()


async def read(url: str, statement: str) -> dict[str, Row[Any]]:
    """The rows by their first column."""
    database = Database.open(url)
    async with database.read() as tx:
        found = (await tx.execute(text(statement))).all()
    await database.close()
    return {str(row[0]): row for row in found}


def old_delivery(state: str) -> dict[str, Any]:
    at, lease = STATES[state]
    ids = {name: new_id() for name in ("id", "endpoint_id", "organization_id")}
    return ids | {"event_id": f"evt_{state}", "state": state, "at": at, "lease": lease, "created_at": NOW}


def plain(value: object) -> object:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def test_due_times_and_leases_move_to_columns_of_their_own(empty_url: str) -> None:
    """There and back again: each state's time ends up where it is looked for."""
    config = config_for(empty_url)
    command.upgrade(config, "0009")
    asyncio.run(write(empty_url, INSERT_OLD, [old_delivery(state) for state in STATES]))
    command.upgrade(config, "0011")
    rows = asyncio.run(read(empty_url, "SELECT state, due_at, leased_until, lease_token FROM deliveries"))
    assert rows.keys() == STATES.keys()
    for state, (at, lease) in STATES.items():
        in_flight = state == "in_flight"
        assert plain(rows[state].due_at) == (None if in_flight else at)
        assert plain(rows[state].leased_until) == (at if in_flight else None)
        assert (str(rows[state].lease_token) if lease else rows[state].lease_token) == lease
    command.downgrade(config, "0009")
    back = asyncio.run(read(empty_url, "SELECT state, next_attempt_at, lease FROM deliveries"))
    assert {state: plain(row.next_attempt_at) for state, row in back.items()} == {
        state: at for state, (at, _) in STATES.items()
    }


def test_an_interrupted_build_of_an_index_is_made_again(empty_url: str) -> None:
    """PostgreSQL leaves an invalid index behind when making one concurrently fails; the next run replaces it."""
    config = config_for(empty_url)
    command.upgrade(config, "0010")
    asyncio.run(write(empty_url, "CREATE INDEX ix_deliveries_due_at ON deliveries (state)"))
    command.upgrade(config, "head")
    if empty_url.startswith("sqlite"):
        found = asyncio.run(read(empty_url, "SELECT name, sql AS indexdef FROM sqlite_master WHERE type = 'index'"))
    else:
        found = asyncio.run(read(empty_url, "SELECT indexname, indexdef FROM pg_indexes"))
    assert "due_at" in str(found["ix_deliveries_due_at"].indexdef).split("ON", 1)[1]
    assert "ix_deliveries_leased_until" in found
    assert "ix_deliveries_due" not in found
