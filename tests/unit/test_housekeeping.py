"""Regular work of a worker: when it is done."""

from __future__ import annotations

import asyncio

import pytest

from worker import housekeeping
from worker.housekeeping import APART_SECONDS, FIRST_AFTER_SECONDS, repeat


async def test_works_that_are_as_frequent_are_done_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    every, done_at = 60.0, dict[str, list[float]]()
    monkeypatch.setattr(housekeeping, "asyncio", clock := _Clock())

    async def work() -> None:
        times.append(clock.now)
        if len(times) == 3:
            raise asyncio.CancelledError

    for place, name in enumerate(("first", "second", "third")):
        clock.now, times = 1_000.0, done_at.setdefault(name, [])
        with pytest.raises(asyncio.CancelledError):
            await repeat(name, every, work, place=place)
    first, second, third = done_at.values()
    assert first[0] == 1_000.0 + FIRST_AFTER_SECONDS
    assert [later - earlier for earlier, later in zip(first, second, strict=True)] == [APART_SECONDS] * 3
    assert [later - earlier for earlier, later in zip(second, third, strict=True)] == [APART_SECONDS] * 3
    assert first[2] - first[1] == every


class _Clock:
    """In place of asyncio: an event loop whose time passes only in sleep."""

    CancelledError = asyncio.CancelledError

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def get_running_loop(self) -> _Clock:
        return self

    def time(self) -> float:
        return self.now
