"""The Dialbird surface as a client sees it who has read its contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.api.api_fixture import open_api
from tests.integration.dialbird.client import DialbirdClient


@pytest.fixture
async def dialbird(database_url: str, valkey_url: str) -> AsyncIterator[DialbirdClient]:
    """The test runs twice, on SQLite and on PostgreSQL, both with a real Valkey."""
    async with open_api(database_url, valkey_url) as api:
        yield await DialbirdClient.of(api)


@pytest.fixture
async def small_dialbird(sqlite_url: str, valkey_url: str) -> AsyncIterator[DialbirdClient]:
    """For what no database has a say in."""
    async with open_api(sqlite_url, valkey_url) as api:
        yield await DialbirdClient.of(api)
