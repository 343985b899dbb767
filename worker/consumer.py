"""An arq worker that waits for jobs instead of polling for them, and a supervisor that outlives Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from arq.constants import job_key_prefix
from arq.jobs import DeserializationError, deserialize_job_raw
from arq.worker import Function, Worker

from sendoff.queue import connect

if TYPE_CHECKING:
    from sendoff.context import Context

_log = structlog.get_logger(__name__)

HEALTH_CHECK_SECONDS = 5
"""How often a worker renews arq's health key; `arq --check` fails when it has not for a second longer."""

GATHER_SECONDS = 0.01
"""The pause after few jobs: under load, those that arrive meanwhile share the next commands and the next claim. A job
that comes alone does not wait. Without it, 200 deliveries a second cost the worker half as much CPU again."""

_LISTEN_SECONDS = 2.0  # less than a command to Redis may take
_RESTART_SECONDS = (0.1, 0.5, 1.0, 2.0)
_UNHEALTHY_AFTER = 3


class QueueConsumer(Worker):
    """arq's worker for one queue, with a cheaper intake: two commands a job instead of about twenty.

    It blocks on the queue (BZPOPMIN) instead of polling it, and takes a job out of Redis when it starts it. arq's own
    worker keeps a mark, a counter and the job until it ends, to run it again if its process dies; here the sweeper
    does that, from SQL. So no job is started twice, however long it takes.
    """

    def __init__(
        self,
        context: Context,
        queue: str,
        functions: Sequence[Function],
        *,
        job_context: dict[Any, Any],
        max_jobs: int,
        wait_for_capacity: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """`wait_for_capacity` is awaited before jobs are taken; other workers take what cannot start here."""
        redis = connect(context.settings)
        super().__init__(
            functions,
            queue_name=queue,
            redis_pool=redis,
            ctx=job_context,
            max_jobs=max_jobs,
            handle_signals=False,
            health_check_interval=HEALTH_CHECK_SECONDS,
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
        )
        self._wait_for_capacity = wait_for_capacity
        self.has_polled = False

    async def main(self) -> None:
        """Take and start jobs until cancelled. Raises RedisError or OSError when Redis goes away."""
        while True:
            await self.record_health()
            self.has_polled = True
            if len(self.tasks) >= self.max_jobs:
                await asyncio.wait(self.tasks.values(), timeout=_LISTEN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                continue
            if self._wait_for_capacity is not None:
                await self._wait_for_capacity()
            free = self.max_jobs - len(self.tasks)
            jobs = await self._take(free)
            for job_id, job in jobs:
                task = asyncio.create_task(self._run(job_id, job))
                self.tasks[job_id] = task
                task.add_done_callback(lambda _, job_id=job_id: self.tasks.pop(job_id, None))  # type: ignore[misc]
            if 0 < len(jobs) < free:
                await asyncio.sleep(GATHER_SECONDS)

    async def stop(self) -> None:
        """Cancel the jobs; the sweeper finds what they leave undone."""
        for task in list(self.tasks.values()):
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        await self.pool.aclose(close_connection_pool=True)

    async def _take(self, at_most: int) -> list[tuple[str, bytes]]:
        """Jobs of the queue, oldest first, as soon as there is one; none after `_LISTEN_SECONDS` without."""
        first = await self.pool.bzpopmin(self.queue_name, timeout=_LISTEN_SECONDS)
        if first is None:
            return []
        async with self.pool.pipeline(transaction=False) as pipe:
            pipe.getdel(job_key_prefix + first[1].decode())
            pipe.zpopmin(self.queue_name, at_most - 1)
            found, others = await pipe.execute()
        ids = [first[1].decode(), *(job_id.decode() for job_id, _ in others)]
        jobs = [found]
        if others:
            async with self.pool.pipeline(transaction=False) as pipe:
                for job_id in ids[1:]:
                    pipe.getdel(job_key_prefix + job_id)
                jobs += await pipe.execute()
        return [(job_id, job) for job_id, job in zip(ids, jobs, strict=True) if job is not None]

    async def _run(self, job_id: str, job: bytes) -> None:
        try:
            name, args, kwargs, _, _ = deserialize_job_raw(job, deserializer=self.job_deserializer)
            function = self.functions[name]
        except (DeserializationError, KeyError, TypeError) as error:
            self.jobs_failed += 1
            _log.warning("unknown_job_dropped", job=job_id, error=repr(error))
            return
        try:
            async with asyncio.timeout(function.timeout_s):
                await function.coroutine({**self.ctx, "job_id": job_id}, *args, **kwargs)
            self.jobs_complete += 1
        except Exception as error:
            self.jobs_failed += 1
            _log.exception("job_failed", job=job_id, function=name, error=repr(error))


class ConsumerSupervisor:
    """Runs a consumer again and again: it ends when Redis goes away, and the worker process must not."""

    def __init__(self, new_consumer: Callable[[], QueueConsumer]) -> None:
        self._new_consumer = new_consumer
        self._failures = 0

    @property
    def is_unhealthy(self) -> bool:
        """Whether it failed several times in a row: what is due must be found without the queue."""
        return self._failures >= _UNHEALTHY_AFTER

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            consumer = self._new_consumer()
            try:
                await consumer.async_run()
            except Exception as error:
                self._failures = 1 if consumer.has_polled else self._failures + 1
                wait = _RESTART_SECONDS[min(self._failures, len(_RESTART_SECONDS)) - 1]
                _log.warning("consumer_restarted", queue=consumer.queue_name, error=repr(error), in_seconds=wait)
                await asyncio.sleep(wait)
            finally:
                await consumer.stop()
