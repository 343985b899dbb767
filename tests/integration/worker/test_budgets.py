"""Budgets: what a delivery may cost the servers when a hundred come at once. Counted, not timed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sendoff.accounts import organizations
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.publishing.batcher import PublishBatcher
from sendoff.publishing.publish import NewEvent
from sendoff.queue import BULK_DELIVERIES, DELIVERIES, RedisQueue, connect
from tests.integration.worker.test_queue import consuming
from tests.support.exchange import Reply
from tests.support.expenses import count_redis_commands, counted
from tests.support.house import ACTOR, House, open_house
from tests.support.polling import eventually
from tests.support.receiver import Receiver

HUNDRED = 100
STATEMENTS_PER_DELIVERY = 0.1
COMMITS_PER_DELIVERY = 0.1
REDIS_COMMANDS_PER_DELIVERY = 0.2

ENDPOINTS = 10
EVENT = NewEvent("upload.completed", b'{"x":"' + b"y" * 1_000 + b'"}')


async def publisher_of(house: House) -> str:
    minted = await organizations.create_key(
        house.context,
        ACTOR,
        organization_id=house.principal.organization_id,
        email="backend@example.com",
        scopes=["events:write"],
    )
    return f"Bearer {minted.key}"


async def test_a_hundred_deliveries_at_once_keep_their_budgets(
    postgres_url: str, valkey_url: str, receiver: Receiver
) -> None:
    async with open_house(postgres_url, redis_url=valkey_url) as house:
        for number in range(ENDPOINTS):
            await house.register(receiver.url(f"/{number}"))
        bearer = await publisher_of(house)
        queue = RedisQueue(connect(house.context.settings))
        context = replace(house.context, queue=queue)
        dispatcher = Dispatcher(context)
        # Endpoints that are known to answer, and answers that come together: so it takes no more on a slow machine.
        [first] = await house.publish(EVENT)
        await dispatcher.submit(first.delivery_ids)
        await eventually(lambda: dispatcher.is_idle, what="an idle dispatcher")
        receiver.forget()
        for number in range(ENDPOINTS):
            receiver.program(f"/{number}", Reply(held=True))
        redis_before = await count_redis_commands(valkey_url)
        with counted() as spent:
            await PublishBatcher(context).publish(bearer, [EVENT] * (HUNDRED // ENDPOINTS), in_batch=True)
            async with consuming(context, dispatcher, BULK_DELIVERIES):
                await receiver.wait_for(HUNDRED)
                receiver.release()
                await eventually(lambda: dispatcher.is_idle, what="an idle dispatcher")
        await dispatcher.drain(0)
        await queue.close()
        assert spent.statements <= STATEMENTS_PER_DELIVERY * HUNDRED
        assert spent.commits <= COMMITS_PER_DELIVERY * HUNDRED
        commands = await count_redis_commands(valkey_url) - redis_before
        assert 0 < commands <= REDIS_COMMANDS_PER_DELIVERY * HUNDRED


async def test_a_hundred_publishes_at_once_keep_their_budgets(postgres_url: str, receiver: Receiver) -> None:
    async with open_house(postgres_url, endpoint_max_in_flight=HUNDRED) as house:
        await house.register(receiver.url("/hook"))
        bearer = await publisher_of(house)
        acceptance = PublishBatcher(house.context)
        with counted() as spent:
            await asyncio.gather(*[acceptance.publish(bearer, [EVENT]) for _ in range(HUNDRED)])
        assert len(house.queue.deliveries) == HUNDRED
        assert 0 < spent.statements <= STATEMENTS_PER_DELIVERY * HUNDRED


async def test_an_idle_consumer_sends_its_heartbeat_and_waits_for_a_job(postgres_url: str, valkey_url: str) -> None:
    async with open_house(postgres_url, redis_url=valkey_url) as house:
        dispatcher = Dispatcher(house.context)
        before = await count_redis_commands(valkey_url)
        async with consuming(house.context, dispatcher, DELIVERIES):
            await asyncio.sleep(1)  # less than the blocking command may take
        await dispatcher.drain(0)
        assert await count_redis_commands(valkey_url) - before <= 3  # ZCARD and PSETEX for arq's health key, BZPOPMIN
