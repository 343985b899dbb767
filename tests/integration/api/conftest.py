"""An API for each test, on either database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.api.api_fixture import ApiFixture, open_api


@pytest.fixture
async def api(database_url: str, valkey_url: str) -> AsyncIterator[ApiFixture]:
    """The test runs twice, on SQLite and on PostgreSQL, both with a real Valkey."""
    async with open_api(database_url, valkey_url) as opened:
        yield opened


@pytest.fixture
async def sqlite_api(sqlite_url: str, valkey_url: str) -> AsyncIterator[ApiFixture]:
    """For what no database has a say in."""
    async with open_api(sqlite_url, valkey_url) as opened:
        yield opened
