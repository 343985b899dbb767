"""The worker's life: start, supervise arq's loop and the schedule, drain and stop."""

from __future__ import annotations

import asyncio
import resource
import signal
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from arq.worker import Worker, func
from prometheus_client import start_http_server
from redis.exceptions import RedisError

from sendoff.bell import DELIVER, PROCESS_UPLOAD, QUEUE, RUN_REPLAY, connect
from sendoff.metrics import REGISTRY
from sendoff.operations.bury import bury_closed
from sendoff.operations.dispatcher import Dispatcher
from sendoff.operations.remove_orphan_files import remove_orphan_files
from sendoff.operations.runtime import Runtime, open_runtime
from sendoff.operations.sweep import tidy
from sendoff.readiness import announce_ready
from sendoff.settings import Settings
from worker import jobs
from worker.schedule import BURY_SECONDS, FIND_ORPHAN_FILES_SECONDS, TIDY_SECONDS, repeat, run_sweeps

_log = structlog.get_logger(__name__)

POLL_SECONDS = 0.03
"""How often arq asks Redis for jobs: half of it is added to a delivery's latency, and an idle poll costs 0.2 ms."""

MAX_JOBS = 20
JOB_TIMEOUT_SECONDS = 3600  # uploads; a delivery job ends when its deliveries are handed over
RESTART_SECONDS = (0.1, 0.5, 1.0, 2.0)
_CANCEL_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Process:
    """What a worker process is made of."""

    runtime: Runtime
    dispatcher: Dispatcher


async def serve(settings: Settings) -> None:
    """Work until the process is told to stop, then drain within `SHUTDOWN_GRACE_SECONDS`.

    Raises errors.WrongSchema when the database needs `sendoff migrate`; waits for a database that is away.
    """
    stop = _stop_on_signals()
    _allow_many_connections()
    async with open_runtime(settings) as runtime:
        if settings.worker_metrics_port is not None:
            start_http_server(settings.worker_metrics_port, registry=REGISTRY)
        process = Process(runtime, Dispatcher(runtime))
        loops = [
            asyncio.create_task(_supervise_arq(process, settings)),
            asyncio.create_task(run_sweeps(runtime, process.dispatcher)),
            asyncio.create_task(repeat("bury", BURY_SECONDS, partial(bury_closed, runtime))),
            asyncio.create_task(repeat("tidy", TIDY_SECONDS, partial(tidy, runtime))),
            asyncio.create_task(
                repeat("orphan files", FIND_ORPHAN_FILES_SECONDS, partial(remove_orphan_files, runtime))
            ),
        ]
        announce_ready()
        _log.info("worker_ready")
        await _until_stopped(stop, loops)
        await _end(loops)
        await process.dispatcher.drain(settings.shutdown_grace_seconds)
        _log.info("worker_stopped")


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _until_stopped(stop: asyncio.Event, loops: list[asyncio.Task[None]]) -> None:
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *loops], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done - {stopped}:
        task.result()  # a loop that ended by itself has failed: let the process end with its error


async def _end(loops: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: one whose Redis fails at that very moment sees the failure, not the cancellation."""
    running = set(loops)
    while running:
        for loop in running:
            loop.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*loops, return_exceptions=True)


async def _supervise_arq(process: Process, settings: Settings) -> None:
    """Run arq's worker, again and again: it ends when Redis goes away, and its process must not."""
    failures = 0
    while True:
        worker = _new_arq_worker(process, settings)
        started = process.runtime.clock.monotonic()
        try:
            await worker.async_run()
        except (RedisError, OSError, TimeoutError) as error:
            lived = process.runtime.clock.monotonic() - started
            failures = 0 if lived > RESTART_SECONDS[-1] else failures + 1
            wait = RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)]
            _log.warning("arq_restarted", error=str(error), in_seconds=wait)
            await asyncio.sleep(wait)
        finally:
            await _stop_arq(worker)


async def _stop_arq(worker: Worker) -> None:
    """End arq's tasks; what they had handed to the dispatcher goes on, what they had not is found by the sweeper."""
    for task in worker.tasks.values():
        task.cancel()
    await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
    await worker.pool.aclose(close_connection_pool=True)


def _new_arq_worker(process: Process, settings: Settings) -> Worker:
    context: dict[Any, Any] = {"process": process}
    redis = connect(settings)
    return Worker(
        functions=[
            func(jobs.deliver, name=DELIVER),
            func(jobs.process_upload, name=PROCESS_UPLOAD),
            func(jobs.run_replay, name=RUN_REPLAY),
        ],
        redis_pool=redis,
        queue_name=QUEUE,
        ctx=context,
        handle_signals=False,
        poll_delay=POLL_SECONDS,
        max_jobs=MAX_JOBS,
        job_timeout=JOB_TIMEOUT_SECONDS,
        keep_result=0,
        max_tries=1_000,
        retry_jobs=False,
        log_results=False,
        job_serializer=redis.job_serializer,
        job_deserializer=redis.job_deserializer,
    )
