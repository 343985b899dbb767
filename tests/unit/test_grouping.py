"""What is asked while a call is under way goes into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sendoff.turns import Grouping


class Calls:
    """Doubles what it is asked, once it is released."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.released = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int]:
        self.asked.append(list(numbers))
        await self.released.wait()
        if self.error is not None:
            raise self.error
        return [number * 2 for number in numbers]


async def test_questions_that_come_meanwhile_share_the_next_call_up_to_the_most() -> None:
    calls = Calls()
    grouping = Grouping(calls, at_most=3)
    asking = [asyncio.create_task(grouping.ask(0))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking += [asyncio.create_task(grouping.ask(number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    calls.released.set()
    assert await asyncio.gather(*asking) == [0, 2, 4, 6, 8, 10]
    assert calls.asked == [[0], [1, 2, 3], [4, 5]]


async def test_a_cancelled_caller_is_left_out_and_the_others_are_answered() -> None:
    calls = Calls()
    grouping = Grouping(calls, at_most=10)
    first, second, third = (asyncio.create_task(grouping.ask(number)) for number in range(3))
    await asyncio.sleep(0)
    second.cancel()
    calls.released.set()
    assert list(await asyncio.gather(first, third)) == [0, 4]
    assert all(1 not in asked for asked in calls.asked)


async def test_a_call_that_is_cancelled_leaves_nobody_waiting() -> None:
    async def cancelled(_numbers: Sequence[int]) -> Sequence[int]:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(Grouping(cancelled, at_most=10).ask(1), 10)


async def test_callers_get_what_their_call_raises_and_the_next_call_is_made() -> None:
    calls = Calls()
    grouping = Grouping(calls, at_most=10)
    calls.released.set()
    calls.error = ValueError("broken")
    for outcome in await asyncio.gather(grouping.ask(1), grouping.ask(2), return_exceptions=True):
        assert isinstance(outcome, ValueError)
    calls.error = None
    assert await grouping.ask(3) == 6


@pytest.mark.parametrize("count", [1, 1_000])
async def test_every_question_gets_the_answer_to_its_own(count: int) -> None:
    calls = Calls()
    calls.released.set()
    grouping = Grouping(calls, at_most=7)
    assert list(await asyncio.gather(*map(grouping.ask, range(count)))) == [number * 2 for number in range(count)]
