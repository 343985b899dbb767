"""The doorbell: hears what is rung for, outlives nonsense, and knows when it is deaf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sendoff.bell import BULK, DUE, RedisBell, connect
from sendoff.operations.dispatcher import Dispatcher
from sendoff.operations.publish import NewEvent
from tests.support.house import House, open_house
from tests.support.polling import eventually
from tests.support.receiver import Receiver
from tests.support.tasks import end
from worker.doorbell import Doorbell


@asynccontextmanager
async def listening(house: House) -> AsyncIterator[Doorbell]:
    dispatcher = Dispatcher(house.runtime)
    doorbell = Doorbell(house.runtime, dispatcher)
    task = asyncio.create_task(doorbell.listen())
    yield doorbell
    await end(task)
    await dispatcher.drain(1)


async def test_what_is_rung_for_is_delivered(postgres_url: str, valkey_url: str, receiver: Receiver) -> None:
    async with open_house(postgres_url, redis_url=valkey_url) as house:
        house.runtime = replace(house.runtime, bell=RedisBell(connect(house.runtime.settings)))
        await house.register(receiver.url("/hook"))
        receiver.forget()
        async with listening(house):
            await house.publish()
            await receiver.wait_for(1, "/hook")
        await house.runtime.bell.close()  # type: ignore[attr-defined]


async def test_nonsense_on_the_list_ends_nothing(postgres_url: str, valkey_url: str, receiver: Receiver) -> None:
    async with open_house(postgres_url, redis_url=valkey_url) as house:
        await house.register(receiver.url("/hook"))
        receiver.forget()
        async with listening(house) as doorbell:
            await house.runtime.redis.rpush(DUE, "no id")
            await eventually(lambda: doorbell.failures, what=lambda: "the nonsense heard")
            [accepted] = await house.publish()
            await house.runtime.redis.rpush(DUE, *accepted.delivery_ids)
            await receiver.wait_for(1, "/hook")
            await eventually(lambda: not doorbell.failures, what=lambda: "the failure forgotten")


async def test_without_redis_it_is_deaf(postgres_url: str) -> None:
    async with open_house(postgres_url, redis_url="redis://127.0.0.1:1") as house, listening(house) as doorbell:
        assert not doorbell.is_deaf
        await eventually(lambda: doorbell.is_deaf, what=lambda: "a deaf doorbell")


async def test_what_is_rung_for_in_bulk_waits_behind_single_deliveries(
    postgres_url: str, valkey_url: str, receiver: Receiver
) -> None:
    async with open_house(postgres_url, redis_url=valkey_url, worker_max_in_flight=1) as house:
        bell = RedisBell(connect(house.runtime.settings))
        await house.register(receiver.url("/many"))
        bulk = await house.publish(*[NewEvent("upload.completed", b"{}")] * (BULK + 1))
        await house.register(receiver.url("/one"), "upload.failed")
        [single] = await house.publish(NewEvent("upload.failed", b"{}"))
        receiver.forget()
        bell.ring_deliveries(delivery_id for accepted in bulk for delivery_id in accepted.delivery_ids)
        bell.ring_deliveries(single.delivery_ids)
        await bell.close()
        async with listening(house):
            await receiver.wait_for(2)
        assert receiver.requests()[0].path == "/one"
