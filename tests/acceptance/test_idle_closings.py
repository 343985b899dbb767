"""Receivers that close idle connections just when the next request comes cost no first attempt."""

from __future__ import annotations

import pytest

from bench.idle_closings import WAYS, measure

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("way", WAYS)
async def test_no_first_attempt_fails_when_receivers_close_idle_connections(way: str) -> None:
    closings = await measure(way, idle_seconds=1, rate=50, seconds=15)
    assert closings.failures == {}
    assert closings.sent > 100
    assert closings.reused > 0
