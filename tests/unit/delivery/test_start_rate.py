"""The start rate limiter, on a clock that only the test moves: which attempts start at once, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sendoff.delivery import start_rate
from sendoff.delivery.start_rate import FEW_ENDPOINTS, FEW_MORE, STARTS_PER_SECOND, StartRateLimiter
from tests.support.polling import eventually


class Starts:
    """Requests starts in a given order, and records which endpoints got one."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.limiter = StartRateLimiter(lambda: self.now, more=FEW_MORE)
        self.made: list[str] = []
        self.waiting: list[asyncio.Task[None]] = []

    async def ask(self, *endpoint_ids: str) -> None:
        for endpoint_id in endpoint_ids:
            self.waiting.append(asyncio.create_task(self._wait(endpoint_id)))
        await self.run_until_idle()

    async def run_until_idle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)

    async def _wait(self, endpoint_id: str) -> None:
        await self.limiter.wait(endpoint_id)
        self.made.append(endpoint_id)


@pytest.fixture
async def starts() -> AsyncIterator[Starts]:
    """All that may start in the same moment has started."""
    starts = Starts()
    while len(starts.made) == len(starts.waiting):
        await starts.ask("first")
    starts.waiting.pop().cancel()
    starts.made.clear()
    yield starts
    await starts.end()


async def test_only_a_few_start_at_the_same_time() -> None:
    starts = Starts()
    await starts.ask(*["a"] * STARTS_PER_SECOND)
    assert 0 < len(starts.made) < STARTS_PER_SECOND / 10
    await starts.end()


async def test_the_others_start_as_time_passes(starts: Starts) -> None:
    await starts.ask(*["a"] * 8)
    assert starts.made == []
    for wanted in (5, 8):
        starts.now += 1.0
        await eventually(lambda wanted=wanted: len(starts.made) >= wanted, what="the next starts")  # type: ignore[misc]


async def test_the_more_endpoints_owe_an_answer_the_fewer_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_rate, "_TICK_SECONDS", 0.0)
    enough = FEW_ENDPOINTS + FEW_MORE * 3
    few, one = [str(number) for number in range(FEW_ENDPOINTS - 1)], ["hung"] * enough
    many = [str(number) for number in range(enough)]
    undisturbed = await starts_in_a_tenth_of_a_second(under_way=["hung"])
    assert await starts_in_a_tenth_of_a_second(under_way=few) == undisturbed
    assert await starts_in_a_tenth_of_a_second(under_way=one) == undisturbed
    assert 0 < await starts_in_a_tenth_of_a_second(under_way=many) < undisturbed / 3


async def starts_in_a_tenth_of_a_second(*, under_way: list[str]) -> int:
    starts = Starts()
    for endpoint_id in under_way:
        starts.now += 1.0
        await starts.ask(endpoint_id)
    await starts.ask(*["next"] * STARTS_PER_SECOND)
    for _ in range(10):
        starts.now += 0.01
        await starts.run_until_idle()
    await starts.end()
    return len(starts.made) - len(under_way)


async def test_an_answer_gives_its_start_to_the_next(starts: Starts) -> None:
    await starts.ask("a", "b")
    starts.limiter.release("first", answered=True)
    await starts.run_until_idle()
    assert len(starts.made) == 1


async def test_endpoints_are_served_round_robin(starts: Starts) -> None:
    await starts.ask("crowd", "crowd", "crowd", "other", "other", "newcomer")
    for _ in range(6):
        starts.limiter.release("first", answered=True)
        await starts.run_until_idle()
    assert starts.made == ["crowd", "other", "newcomer", "crowd", "other", "crowd"]


async def test_attempts_of_fast_endpoints_never_wait(starts: Starts) -> None:
    await starts.ask("a", "b", "a", "b")
    starts.limiter.admit_all("b")
    await starts.run_until_idle()
    assert starts.made == ["b", "b"]


async def test_a_cancelled_attempt_does_not_use_up_a_start(starts: Starts) -> None:
    await starts.ask("a", "b")
    starts.waiting[-1].cancel()
    await starts.run_until_idle()
    starts.limiter.release("first", answered=True)
    await starts.run_until_idle()
    assert starts.made == ["a"]
