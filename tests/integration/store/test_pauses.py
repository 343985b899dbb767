"""A transaction that pauses after its statements, so that other work of the process gets its turn."""

from __future__ import annotations

import asyncio

import pytest

from sendoff.store.engine.batch import execute
from tests.support.app_fixture import open_app

PAUSE = 123.0


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of this length that were asked for; they take no time."""
    asked: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds == PAUSE:
            asked.append(seconds)
        else:
            await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    return asked


async def test_it_pauses_after_each_statement_on_postgres(postgres_url: str, pauses: list[float]) -> None:
    async with open_app(postgres_url) as app:
        async with app.context.database.write(pause=PAUSE) as tx:
            assert (await execute(tx, "SELECT 1")).scalar() == 1
            assert (await execute(tx, "SELECT 2")).scalar() == 2
        async with app.context.database.write() as tx:
            await execute(tx, "SELECT 3")
        assert pauses == [PAUSE, PAUSE]


async def test_it_does_not_pause_on_sqlite(sqlite_url: str, pauses: list[float]) -> None:
    """All other writers would wait."""
    async with open_app(sqlite_url) as app, app.context.database.write(pause=PAUSE) as tx:
        await execute(tx, "SELECT 1")
        assert pauses == []
