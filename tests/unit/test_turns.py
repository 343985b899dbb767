"""Turns by name: a number of each at once, the others in line."""

from __future__ import annotations

import asyncio

from sendoff.turns import Turns


async def test_a_name_has_its_turns_and_the_others_wait_in_line() -> None:
    turns, order, gate = Turns(2), list[str](), asyncio.Event()

    async def work(label: str, name: str) -> None:
        async with turns.taken(name):
            order.append(label)
            await gate.wait()

    tasks = [asyncio.create_task(work(label, label[0])) for label in ("a1", "a2", "a3", "a4", "b1")]
    await asyncio.sleep(0)
    assert order == ["a1", "a2", "b1"]
    assert (turns.count("a"), turns.count("b"), turns.count("c")) == (4, 1, 0)
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["a1", "a2", "b1", "a3", "a4"]


async def test_one_that_leaves_the_line_keeps_nobody_waiting() -> None:
    turns, gate = Turns(1), asyncio.Event()

    async def work() -> None:
        async with turns.taken("a"):
            await gate.wait()

    first, second, third = (asyncio.create_task(work()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    gate.set()
    await asyncio.gather(first, third)
    assert second.cancelled()
    assert turns.count("a") == 0
