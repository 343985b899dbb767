"""The queue and its consumers: arq jobs that carry ids, taken as a worker has capacity, whatever stands in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import orjson
import pytest
from arq.constants import job_key_prefix
from arq.jobs import deserialize_job, serialize_job
from arq.worker import func

from sendoff.context import Context
from sendoff.delivery import backlog
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.errors import Unavailable
from sendoff.ids import new_id
from sendoff.policy.delivery.admission import most_due
from sendoff.publishing.publish import NewEvent
from sendoff.queue import (
    BULK,
    BULK_DELIVERIES,
    DELIVERIES,
    IDS_PER_JOB,
    MAX_QUEUED_JOBS,
    REPLAYS,
    RedisQueue,
    connect,
)
from tests.support.app_fixture import AppFixture, open_app
from tests.support.polling import eventually
from tests.support.receiver import Receiver
from tests.support.tasks import end
from worker import consumer
from worker.consumer import ConsumerSupervisor, QueueConsumer
from worker.host import FUNCTIONS


@dataclass
class Host:
    """As much of a worker as jobs need."""

    context: Context
    dispatcher: Dispatcher


def supervisor_of(host: Host, queue: str) -> ConsumerSupervisor:
    context = {"host": host, "bulk": queue == BULK_DELIVERIES}
    return ConsumerSupervisor(
        lambda: QueueConsumer(host.context, queue, FUNCTIONS[queue], job_context=context, max_jobs=10, together=True)
    )


@asynccontextmanager
async def consuming(
    context: Context, dispatcher: Dispatcher, *queues: str
) -> AsyncIterator[Sequence[ConsumerSupervisor]]:
    host = Host(context, dispatcher)
    supervisors = [supervisor_of(host, queue) for queue in queues or (DELIVERIES,)]
    tasks = [asyncio.create_task(supervisor.run()) for supervisor in supervisors]
    yield supervisors
    for task in tasks:
        await end(task)


@asynccontextmanager
async def delivering(app: AppFixture) -> AsyncIterator[ConsumerSupervisor]:
    dispatcher = Dispatcher(app.context)
    async with consuming(app.context, dispatcher) as [supervisor]:
        yield supervisor
    await dispatcher.drain(1)


@asynccontextmanager
async def queue_of(app: AppFixture) -> AsyncIterator[RedisQueue]:
    queue = RedisQueue(connect(app.context.settings))
    yield queue
    await queue.close()


async def put(app: AppFixture, job: bytes, queue: str = DELIVERIES) -> None:
    """Put a job into a queue, whatever is in it."""
    job_id = new_id()
    await app.context.redis.set(job_key_prefix + job_id, job)
    await app.context.redis.zadd(queue, {job_id: 1})


async def test_a_published_event_is_an_arq_job_and_is_delivered(
    postgres_url: str, valkey_url: str, receiver: Receiver
) -> None:
    async with open_app(postgres_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        app.context = replace(app.context, queue=queue)
        await app.register(receiver.url("/hook"))
        receiver.forget()
        [accepted] = await app.publish()
        redis = app.context.redis
        await eventually(lambda: redis.zcard(DELIVERIES), what="a job in the queue")
        [job_id] = await redis.zrange(DELIVERIES, 0, -1)
        job = deserialize_job((await redis.get(job_key_prefix + job_id.decode())), deserializer=orjson.loads)
        assert (job.function, list(job.args)) == ("deliver", [accepted.delivery_ids])
        async with delivering(app):
            await receiver.wait_for(1, "/hook")
            await eventually(lambda: no_job_is_left(app), what="no job left in Redis")


async def test_jobs_that_come_alone_are_taken_by_waits_that_were_sent_ahead(
    postgres_url: str, valkey_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "_LISTEN_SECONDS", 0.3)
    async with open_app(postgres_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        app.context = replace(app.context, queue=queue)
        await app.register(receiver.url("/hook"))
        receiver.forget()
        async with delivering(app):
            for number in range(1, 2 * consumer.WAITS_AHEAD + 4):
                await app.publish()
                await receiver.wait_for(number, "/hook")
            await eventually(lambda: no_job_is_left(app), what="no job left in Redis")


async def no_job_is_left(app: AppFixture) -> bool:
    redis = app.context.redis
    return not await redis.zcard(DELIVERIES) and not await redis.keys(job_key_prefix + "*")


async def test_held_deliveries_are_claimed_for_the_endpoints_that_the_queue_names(
    postgres_url: str, valkey_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "SEARCH_SECONDS", 3600.0)
    async with (
        open_app(postgres_url, redis_url=valkey_url, endpoint_max_in_flight=1) as app,
        queue_of(app) as queue,
    ):
        await app.register(receiver.url("/hook"))
        receiver.forget()
        async with delivering(app):
            [first] = await app.publish()
            queue.enqueue_deliveries(first.delivery_ids)
            await receiver.wait_for(1, "/hook")  # the worker's first scan for held deliveries is over
            await app.publish(*[NewEvent("upload.completed", b"{}")] * (most_due(1, slots=1_000) + 2))
            queue.enqueue_backlog(app.queue.backlog)
            await receiver.wait_for(1 + 2, "/hook")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff",
        b"{}",
        serialize_job("deliver", (["no id", "' OR 1=1"],), {}, None, 1, serializer=orjson.dumps),
        serialize_job("deliver", ("no list",), {}, None, 1, serializer=orjson.dumps),
        serialize_job("deliver", (), {"unknown": 1}, None, 1, serializer=orjson.dumps),
        serialize_job("deliver_backlog", ([None, 5, {}, "zzz"],), {}, None, 1, serializer=orjson.dumps),
        serialize_job("no_such_function", ([],), {}, None, 1, serializer=orjson.dumps),
    ],
)
async def test_a_bad_job_or_id_stops_nothing(
    database_url: str, valkey_url: str, receiver: Receiver, nonsense: bytes
) -> None:
    async with open_app(database_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        await app.register(receiver.url("/hook"))
        receiver.forget()
        async with delivering(app) as supervisor:
            await put(app, nonsense)
            await app.context.redis.zadd(DELIVERIES, {"a job without a body": 1})
            [accepted] = await app.publish()
            queue.enqueue_deliveries([*accepted.delivery_ids, "no id"])
            await receiver.wait_for(1, "/hook")
            assert not supervisor.is_unhealthy


async def test_without_redis_a_consumer_is_unhealthy(postgres_url: str) -> None:
    async with (
        open_app(postgres_url, redis_url="redis://127.0.0.1:1") as app,
        delivering(app) as supervisor,
    ):
        assert not supervisor.is_unhealthy
        await eventually(lambda: supervisor.is_unhealthy, what="an unhealthy consumer")


class _BusyDispatcher:
    """Has capacity for everything, and never returns from the claim of more than one."""

    def __init__(self) -> None:
        self.submitted: list[Sequence[str]] = []
        self.endpoint_ids: dict[str, str] = {}

    async def submit(self, delivery_ids: Sequence[str], endpoint_ids: Mapping[str, str], *, is_bulk: bool) -> None:
        self.submitted.append(delivery_ids)
        self.endpoint_ids |= endpoint_ids
        if len(delivery_ids) > 1:
            await asyncio.Event().wait()


async def test_a_single_delivery_does_not_wait_for_a_bulk(postgres_url: str, valkey_url: str) -> None:
    async with open_app(postgres_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        dispatcher = _BusyDispatcher()
        async with consuming(app.context, cast("Dispatcher", dispatcher), DELIVERIES, BULK_DELIVERIES):
            bulk, single = [new_id() for _ in range(BULK + 1)], new_id()
            queue.enqueue_deliveries(bulk)
            await eventually(lambda: dispatcher.submitted == [bulk], what="the bulk")
            queue.enqueue_deliveries([single])
            await eventually(lambda: dispatcher.submitted == [bulk, [single]], what="the single delivery")


async def test_a_delivery_that_comes_alone_names_its_endpoint(postgres_url: str, valkey_url: str) -> None:
    async with open_app(postgres_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        delivery_id, endpoint_id = new_id(), new_id()
        for _ in range(2):
            queue.enqueue_deliveries([delivery_id], endpoint_ids={delivery_id: endpoint_id})
            await eventually(lambda: app.context.redis.zcard(DELIVERIES), what="the job")
        [job_id] = await app.context.redis.zrange(DELIVERIES, 0, -1)
        body = await app.context.redis.get(job_key_prefix + job_id.decode())
        assert body is not None
        assert [*deserialize_job(body, deserializer=orjson.loads).args] == [[delivery_id]], (
            "for whom the name says nothing"
        )
        dispatcher = _BusyDispatcher()
        async with consuming(app.context, cast("Dispatcher", dispatcher), DELIVERIES):
            await eventually(lambda: dispatcher.submitted == [[delivery_id]], what="the delivery")
        assert dispatcher.endpoint_ids == {delivery_id: endpoint_id}


class _FailingDispatcher(_BusyDispatcher):
    async def submit(self, delivery_ids: Sequence[str], endpoint_ids: Mapping[str, str], *, is_bulk: bool) -> None:
        self.submitted.append(delivery_ids)
        raise Unavailable("The database is away.")

    async def wait_for_claims(self, number: int) -> None:
        await eventually(lambda: len(self.submitted) == number, what=f"claim {number}")


async def test_jobs_end_when_the_database_is_away(postgres_url: str, valkey_url: str) -> None:
    async with open_app(postgres_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        dispatcher = _FailingDispatcher()
        async with consuming(app.context, cast("Dispatcher", dispatcher)) as [supervisor]:
            for number in range(1, 4):
                queue.enqueue_deliveries([new_id()])
                await dispatcher.wait_for_claims(number)
            assert not supervisor.is_unhealthy


async def test_ids_that_come_together_share_jobs(postgres_url: str, valkey_url: str) -> None:
    async with open_app(postgres_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        for _ in range(3 * IDS_PER_JOB):
            queue.enqueue_deliveries([new_id()])
        await eventually(lambda: app.context.redis.zcard(DELIVERIES), what="the jobs")
        assert await app.context.redis.zcard(DELIVERIES) == 3


async def test_an_upload_or_replay_that_is_enqueued_again_stays_one_job(postgres_url: str, valkey_url: str) -> None:
    async with open_app(postgres_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        replay_id = new_id()
        for _ in range(3):
            queue.enqueue_replays([replay_id])
            await eventually(lambda: app.context.redis.zcard(REPLAYS), what="the job")
        assert await app.context.redis.zrange(REPLAYS, 0, -1) == [f"run_replay:{replay_id}".encode()]


async def test_a_full_queue_drops_the_newest_jobs_with_their_keys(
    postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MAX_QUEUED_JOBS, DELIVERIES, 2)
    async with open_app(postgres_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        await put(app, b"the oldest")
        for _ in range(3 * IDS_PER_JOB):
            queue.enqueue_deliveries([new_id()])
        await eventually(lambda: is_trimmed(app), what="the bound")
        assert (await app.context.redis.zrange(DELIVERIES, 0, 0, withscores=True))[0][1] == 1


async def is_trimmed(app: AppFixture) -> bool:
    redis = app.context.redis
    return bool(await redis.zcard(DELIVERIES) == 2 == len(await redis.keys(job_key_prefix + "*")))


async def test_a_job_that_takes_long_is_started_once(postgres_url: str, valkey_url: str) -> None:
    started, may_end = 0, asyncio.Event()

    async def work(ctx: dict[Any, Any], *_: Any, **__: Any) -> None:
        nonlocal started
        started += 1
        await may_end.wait()

    async with open_app(postgres_url, redis_url=valkey_url) as app, queue_of(app) as queue:
        functions = [func(work, name="run_replay")]
        consumers = [QueueConsumer(app.context, REPLAYS, functions, job_context={}, max_jobs=10) for _ in range(2)]
        tasks = [asyncio.create_task(consumer.async_run()) for consumer in consumers]
        queue.enqueue_replays([new_id()])
        await eventually(lambda: started == 1, what="the start")
        assert await no_job_of(app, REPLAYS)  # there is nothing that another worker could start
        may_end.set()
        await eventually(lambda: sum(consumer.jobs_complete for consumer in consumers) == 1, what="the end")
        for task, consumer in zip(tasks, consumers, strict=True):
            await end(task)
            await consumer.stop()
        assert [consumer.jobs_failed for consumer in consumers] == [0, 0]


async def no_job_of(app: AppFixture, queue: str) -> bool:
    return not await app.context.redis.zcard(queue) and not await app.context.redis.keys(job_key_prefix + "*")
