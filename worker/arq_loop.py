"""arq's loop, supervised: it ends when Redis goes away, and the worker process must not."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from arq.worker import Worker, func

from sendoff.context import Context
from sendoff.queue import CHANNEL, PROCESS_UPLOAD, QUEUE, RUN_REPLAY, connect

from . import jobs

_log = structlog.get_logger(__name__)

IDLE_POLL_SECONDS = 0.5
"""How often a worker without jobs asks Redis for some although nobody rang; it hears the bell within a millisecond."""

BUSY_POLL_SECONDS = 0.02
"""How often a worker with jobs does: a job that ends makes room for the next one without a sound."""

MAX_JOBS = 20
JOB_TIMEOUT_SECONDS = 3600  # uploads
RESTART_SECONDS = (0.1, 0.5, 1.0, 2.0)

IN_PROGRESS_SECONDS = 15.0
"""How long arq keeps a job from other workers. By default it is the longest job's timeout: for an hour the jobs of
killed workers would stand at the head of the queue, of which arq reads a hundred. To run a job twice is harmless."""


class BellWorker(Worker):
    """arq's worker, woken by the bell instead of polling for it."""

    async def main(self) -> None:
        self.ctx["redis"] = self.pool
        async with self.pool.pubsub() as bell:
            await bell.subscribe(CHANNEL)
            while True:
                await self._poll_iteration()
                wait = BUSY_POLL_SECONDS if self.tasks else IDLE_POLL_SECONDS
                await bell.get_message(ignore_subscribe_messages=True, timeout=wait)


async def supervise_arq(context: Context) -> None:
    """Run arq's worker, which does uploads and replays, again and again; its jobs find `context` in their context."""
    clock = context.clock
    failures = 0
    while True:
        worker = _new_arq_worker(context)
        started = clock.monotonic()
        try:
            await worker.async_run()
        except Exception as error:
            lived = clock.monotonic() - started
            failures = 0 if lived > RESTART_SECONDS[-1] else failures + 1
            wait = RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)]
            _log.warning("arq_restarted", error=repr(error), in_seconds=wait)
            await asyncio.sleep(wait)
        finally:
            await _stop_arq(worker)


async def _stop_arq(worker: Worker) -> None:
    """End arq's tasks; what they leave undone is found by the sweeper."""
    for task in worker.tasks.values():
        task.cancel()
    await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
    await worker.pool.aclose(close_connection_pool=True)


def _new_arq_worker(context: Context) -> Worker:
    job_context: dict[Any, Any] = {"context": context}
    redis = connect(context.settings)
    worker = BellWorker(
        functions=[
            func(jobs.process_upload, name=PROCESS_UPLOAD),
            func(jobs.run_replay, name=RUN_REPLAY),
        ],
        redis_pool=redis,
        queue_name=QUEUE,
        ctx=job_context,
        handle_signals=False,
        poll_delay=IDLE_POLL_SECONDS,
        max_jobs=MAX_JOBS,
        job_timeout=JOB_TIMEOUT_SECONDS,
        keep_result=0,
        max_tries=1_000,
        retry_jobs=False,
        log_results=False,
        job_serializer=redis.job_serializer,
        job_deserializer=redis.job_deserializer,
    )
    worker.in_progress_timeout_s = IN_PROGRESS_SECONDS
    return worker
