"""The API with its pages, and somebody in front of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.visitor import Visitor


@pytest.fixture
async def api(sqlite_url: str, valkey_url: str) -> AsyncIterator[ApiFixture]:
    async with open_api(sqlite_url, valkey_url) as opened:
        yield opened


@pytest.fixture
async def visitor(api: ApiFixture) -> AsyncIterator[Visitor]:
    """Not logged in."""
    made = Visitor.of(api.asgi)
    yield made
    await made.aclose()


@pytest.fixture
async def operator(api: ApiFixture, visitor: Visitor) -> Visitor:
    """Logged in with the key of the API's fixture, which has every scope."""
    answer = await visitor.log_in(api.key)
    assert answer.status_code == 200, answer.text
    return visitor
