"""The doorbell: hears what is rung for, outlives nonsense, and knows when it is deaf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest

from sendoff.delivery import backlog
from sendoff.delivery.admission import most_at_once
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.ids import new_id
from sendoff.publishing.publish import NewEvent
from sendoff.queue import BULK, DUE, DUE_IN_BULK, RedisQueue, connect
from tests.support.house import House, open_house
from tests.support.polling import eventually
from tests.support.receiver import Receiver
from tests.support.tasks import end
from worker.doorbell import Doorbell


@asynccontextmanager
async def listening(house: House) -> AsyncIterator[Doorbell]:
    dispatcher = Dispatcher(house.context)
    doorbell = Doorbell(house.context, dispatcher, DUE)
    task = asyncio.create_task(doorbell.listen())
    yield doorbell
    await end(task)
    await dispatcher.drain(1)


async def test_what_is_rung_for_is_delivered(postgres_url: str, valkey_url: str, receiver: Receiver) -> None:
    async with open_house(postgres_url, redis_url=valkey_url) as house:
        house.context = replace(house.context, queue=RedisQueue(connect(house.context.settings)))
        await house.register(receiver.url("/hook"))
        receiver.forget()
        async with listening(house):
            await house.publish()
            await receiver.wait_for(1, "/hook")
        await house.context.queue.close()  # type: ignore[attr-defined]


async def test_what_is_held_is_taken_up_by_whoever_hears_of_it(
    postgres_url: str, valkey_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "BACKLOG_POLL_SECONDS", 3600.0)
    async with open_house(postgres_url, redis_url=valkey_url, endpoint_max_in_flight=1) as house:
        queue = RedisQueue(connect(house.context.settings))
        await house.register(receiver.url("/hook"))
        receiver.forget()
        async with listening(house):
            [first] = await house.publish()
            queue.enqueue_deliveries(first.delivery_ids)
            await receiver.wait_for(1, "/hook")  # by now the worker has looked for itself what is held
            await house.publish(*[NewEvent("upload.completed", b"{}")] * (most_at_once(1) + 2))
            queue.enqueue_backlog(house.queue.holders)
            await receiver.wait_for(1 + 2, "/hook")
        await queue.close()


async def test_nonsense_on_the_list_ends_nothing(postgres_url: str, valkey_url: str, receiver: Receiver) -> None:
    async with open_house(postgres_url, redis_url=valkey_url) as house:
        await house.register(receiver.url("/hook"))
        receiver.forget()
        async with listening(house) as doorbell:
            await house.context.redis.rpush(DUE, "no id")
            await eventually(lambda: doorbell.failures, what=lambda: "the nonsense heard")
            [accepted] = await house.publish()
            await house.context.redis.rpush(DUE, *accepted.delivery_ids)
            await receiver.wait_for(1, "/hook")
            await eventually(lambda: not doorbell.failures, what=lambda: "the failure forgotten")


async def test_without_redis_it_is_deaf(postgres_url: str) -> None:
    async with open_house(postgres_url, redis_url="redis://127.0.0.1:1") as house, listening(house) as doorbell:
        assert not doorbell.is_deaf
        await eventually(lambda: doorbell.is_deaf, what=lambda: "a deaf doorbell")


class _BusyDispatcher:
    """Has room for all, and does not come back from the claim of a bulk."""

    def __init__(self) -> None:
        self.submitted: list[Sequence[str]] = []

    async def wait_for_capacity(self) -> int:
        return 1_000

    async def submit(self, delivery_ids: Sequence[str]) -> None:
        self.submitted.append(delivery_ids)
        if len(delivery_ids) > 1:
            await asyncio.Event().wait()


async def test_a_single_delivery_does_not_wait_for_a_bulk(postgres_url: str, valkey_url: str) -> None:
    async with open_house(postgres_url, redis_url=valkey_url) as house:
        dispatcher, queue = _BusyDispatcher(), RedisQueue(connect(house.context.settings))
        doorbells = [Doorbell(house.context, cast(Dispatcher, dispatcher), key) for key in (DUE, DUE_IN_BULK)]
        hearing = [asyncio.create_task(doorbell.listen()) for doorbell in doorbells]
        bulk = [new_id() for _ in range(BULK + 1)]
        queue.enqueue_deliveries(bulk)
        await eventually(lambda: dispatcher.submitted == [bulk], what=lambda: "the bulk")
        queue.enqueue_deliveries(["single"])
        await eventually(lambda: dispatcher.submitted == [bulk, ["single"]], what=lambda: "the single one")
        for task in hearing:
            await end(task)
        await queue.close()
