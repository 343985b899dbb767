"""The turns of transactions that write."""

from __future__ import annotations

import asyncio

from sendoff.store.engine.write_turns import WriteTurns


async def test_hot_transactions_alternate_with_others_and_each_kind_keeps_its_order() -> None:
    turns, done = WriteTurns(), list[str]()

    async def write(name: str, *, hot: bool) -> None:
        async with turns.taken(hot=hot):
            done.append(name)
            await asyncio.sleep(0)

    names = [("upload1", False), ("upload2", False), ("upload3", False), ("publish1", True), ("publish2", True)]
    await asyncio.gather(*(write(name, hot=hot) for name, hot in names))
    assert done == ["upload1", "publish1", "upload2", "publish2", "upload3"]


async def test_a_turn_is_passed_on_by_writers_that_fail_or_are_cancelled() -> None:
    turns, done = WriteTurns(), list[int]()

    async def write(number: int) -> None:
        async with turns.taken(hot=False):
            await asyncio.sleep(0)
            done.append(number)
            if number == 1:
                raise ValueError

    tasks = [asyncio.create_task(write(number)) for number in range(6)]
    await asyncio.sleep(0)
    tasks[2].cancel()  # it waits
    while len(done) < 3:
        await asyncio.sleep(0)
        if tasks[3].done() and not tasks[4].done():
            tasks[4].cancel()  # it has just been given its turn
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [False, False, True, False, True, False]
    async with asyncio.timeout(10), turns.taken(hot=True):
        assert done == [0, 1, 3, 5]
