"""A world for each test, on either database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.api.world import World, open_world


@pytest.fixture
async def world(database_url: str, valkey_url: str) -> AsyncIterator[World]:
    """The test runs twice, on SQLite and on PostgreSQL, both with a real Valkey."""
    async with open_world(database_url, valkey_url) as opened:
        yield opened


@pytest.fixture
async def small_world(sqlite_url: str, valkey_url: str) -> AsyncIterator[World]:
    """For what no database has a say in."""
    async with open_world(sqlite_url, valkey_url) as opened:
        yield opened
