"""`arq worker.settings.WorkerSettings` runs a whole worker; with `--check` it reports whether one is running.

`python -m worker` runs the same jobs, and outlives a Redis that goes away: arq's own loop ends then.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, ClassVar

import orjson
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Function

from sendoff.errors import SendoffError
from sendoff.observability.logging import configure_logging
from sendoff.processes.process import disable_core_dumps, make_files_private, notify_ready, raise_descriptor_limit
from sendoff.processes.startup import open_context
from sendoff.queue import DELIVERIES, connect, redis_settings
from sendoff.settings import Settings, load

from .consumer import HEALTH_CHECK_SECONDS
from .health import WorkerHealth, serve_health
from .host import FUNCTIONS, JOB_TIMEOUT_SECONDS, MAX_JOBS, WorkerHost
from .process import check_public_url


def _load() -> Settings:
    try:
        return load()
    except SendoffError as error:
        sys.exit(f"worker: {error}")


_SETTINGS = _load()


async def start(ctx: dict[Any, Any]) -> None:
    """Open the database and start the engine, which consumes all queues alongside arq's loop."""
    disable_core_dumps()
    make_files_private()
    configure_logging(_SETTINGS, process="worker")
    raise_descriptor_limit()
    opened, health = AsyncExitStack(), WorkerHealth()
    try:
        check_public_url(_SETTINGS)
        serve_health(_SETTINGS, health)
        host = WorkerHost(await opened.enter_async_context(open_context(_SETTINGS, traced_as="sendoff-worker")), health)
    except SendoffError as error:
        sys.exit(f"worker: {error}")
    ctx["host"], ctx["opened"] = host, opened
    ctx["tasks"] = [asyncio.create_task(health.beat()), asyncio.create_task(_stop_when_drained(host))]
    host.start()
    health.set_ready()
    notify_ready()


async def _stop_when_drained(host: WorkerHost) -> None:
    """End as by a signal once an operator has asked the worker to finish and stop."""
    await host.drain_requested.wait()
    os.kill(os.getpid(), signal.SIGTERM)


async def stop(ctx: dict[Any, Any]) -> None:
    """Drain within `SHUTDOWN_GRACE_SECONDS`, then close the connections."""
    if "host" in ctx:
        for task in ctx["tasks"]:
            task.cancel()
        await ctx["host"].stop()
        await ctx["opened"].aclose()


class WorkerSettings:
    """arq's settings of a worker. Its other queues are consumed by the engine that `on_startup` starts."""

    functions: ClassVar[list[Function]] = FUNCTIONS[DELIVERIES]
    queue_name = _SETTINGS.redis_key(DELIVERIES)
    redis_settings: ClassVar[RedisSettings] = redis_settings(_SETTINGS)
    # Of a cluster arq knows nothing: it is handed a client that does.
    redis_pool: ClassVar[ArqRedis | None] = connect(_SETTINGS) if _SETTINGS.redis_key_tag else None
    on_startup = start
    on_shutdown = stop
    max_jobs = MAX_JOBS[DELIVERIES]
    job_timeout = JOB_TIMEOUT_SECONDS
    health_check_interval = HEALTH_CHECK_SECONDS
    keep_result = 0
    retry_jobs = False
    log_results = False
    job_serializer = partial(orjson.dumps, default=repr)
    job_deserializer = orjson.loads
