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
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.exchange import Reply
from tests.support.polling import eventually
from tests.support.query_counter import count_queries, count_redis_commands
from tests.support.receiver import Receiver

HUNDRED = 100
STATEMENTS_PER_DELIVERY = 0.1
COMMITS_PER_DELIVERY = 0.1
REDIS_COMMANDS_PER_DELIVERY = 0.2

ENDPOINTS = 10
EVENT = NewEvent("upload.completed", b'{"x":"' + b"y" * 1_000 + b'"}')


async def publisher_of(app: AppFixture) -> str:
    minted = await organizations.create_key(
        app.context,
        ACTOR,
        organization_id=app.principal.organization_id,
        email="backend@example.com",
        scopes=["events:write"],
    )
    return f"Bearer {minted.key}"


async def test_a_hundred_deliveries_at_once_keep_their_budgets(
    postgres_url: str, valkey_url: str, receiver: Receiver
) -> None:
    async with open_app(postgres_url, redis_url=valkey_url) as app:
        for number in range(ENDPOINTS):
            await app.register(receiver.url(f"/{number}"))
        bearer = await publisher_of(app)
        queue = RedisQueue(connect(app.context.settings))
        context = replace(app.context, queue=queue)
        dispatcher = Dispatcher(context)
        # Endpoints that are known to answer, and answers that come together: so it takes no more on a slow machine.
        [first] = await app.publish(EVENT)
        await dispatcher.submit(first.delivery_ids)
        await eventually(lambda: dispatcher.is_idle, what="an idle dispatcher")
        receiver.forget()
        for number in range(ENDPOINTS):
            receiver.program(f"/{number}", Reply(held=True))
        redis_before = await count_redis_commands(valkey_url)
        with count_queries() as spent:
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
    async with open_app(postgres_url, endpoint_max_in_flight=HUNDRED) as app:
        await app.register(receiver.url("/hook"))
        bearer = await publisher_of(app)
        acceptance = PublishBatcher(app.context)
        with count_queries() as spent:
            await asyncio.gather(*[acceptance.publish(bearer, [EVENT]) for _ in range(HUNDRED)])
        assert len(app.queue.deliveries) == HUNDRED
        assert 0 < spent.statements <= STATEMENTS_PER_DELIVERY * HUNDRED


async def test_an_idle_consumer_sends_its_heartbeat_and_waits_for_a_job(postgres_url: str, valkey_url: str) -> None:
    async with open_app(postgres_url, redis_url=valkey_url) as app:
        dispatcher = Dispatcher(app.context)
        before = await count_redis_commands(valkey_url)
        async with consuming(app.context, dispatcher, DELIVERIES):
            await asyncio.sleep(1)  # less than the blocking command may take
        await dispatcher.drain(0)
        assert await count_redis_commands(valkey_url) - before <= 3  # ZCARD and PSETEX for arq's health key, BZPOPMIN
