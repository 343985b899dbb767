"""The worker's watch over the wall clock: times are repaired at the start, and when the clock was set back."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from sendoff.clock import SystemClock
from tests.support.polling import eventually
from worker import clock_watch
from worker.clock_watch import watch_clock


class SetClock(SystemClock):
    """The machine's clock, whose wall time is ahead of the true one. It counts how often it was looked at."""

    ahead_seconds = 0
    looks = 0

    def now(self) -> datetime:
        self.looks += 1
        return super().now() + timedelta(seconds=self.ahead_seconds)


async def test_times_are_repaired_at_the_start_and_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SetClock()
    repaired: list[int] = []

    async def repair(_context: object) -> None:
        repaired.append(clock.ahead_seconds)
        if len(repaired) == 2:
            raise OSError("the database is away")

    monkeypatch.setattr(clock_watch, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(clock_watch, "repair_future_times", repair)
    watching = asyncio.create_task(watch_clock(SimpleNamespace(clock=clock)))  # type: ignore[arg-type]
    for ahead, expected in ((0, [0]), (3600, [0]), (0, [0, 0, 0]), (-5, [0, 0, 0, -5])):
        clock.ahead_seconds, looks = ahead, clock.looks
        await eventually(lambda looks=looks: clock.looks > looks + 2, what="two looks at the clock")  # type: ignore[misc]
        assert repaired == expected
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
