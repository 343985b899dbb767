"""What happens by the clock: sweep and bury every second, tidy every minute, and so on.

Timed by the monotonic clock rather than by arq's cron, which stands still for an hour when the wall clock is set
back by one, and which needs Redis (docs/decisions/0002).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
from redis.exceptions import RedisError

from sendoff.bell import ArqBell
from sendoff.errors import Unavailable
from sendoff.ids import new_id
from sendoff.operations.dispatcher import Dispatcher
from sendoff.operations.runtime import Runtime
from sendoff.operations.sweep import sweep
from worker.direct_bell import DirectBell

_log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
BURY_SECONDS = 1.0
TIDY_SECONDS = 60.0
FIND_ORPHAN_FILES_SECONDS = 86_400.0

ENOUGH_JOBS = 100
"""With this many jobs waiting the workers have work for seconds; to ring again would only repeat them."""

_TURN_KEY = "sendoff:sweep"
_WORKERS_KEY = "sendoff:workers"
_ALIVE_SECONDS = 5.0


async def repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` again and again, that many seconds apart, also after it could not be done."""
    while True:
        try:
            await work()
        except Exception as error:
            _log.warning("put_off", work=name, error=str(error))
        await asyncio.sleep(seconds)


async def run_sweeps(runtime: Runtime, dispatcher: Dispatcher) -> None:
    """Sweep for ever. Of several workers one takes each turn; without Redis each sweeps for itself."""
    direct = replace(runtime, bell=DirectBell(runtime, dispatcher))
    name = new_id()
    while True:
        try:
            dispatcher.pacer.set_workers(await _count_workers(runtime, name))
            if await _is_reachable_and_ours(runtime):
                await sweep(runtime)
        except (RedisError, OSError, TimeoutError):
            await _sweep_without_redis(direct)
        except Unavailable as error:
            _log.warning("sweep_put_off", error=str(error))
        await asyncio.sleep(SWEEP_SECONDS)


async def _count_workers(runtime: Runtime, name: str) -> int:
    """How many workers were alive within the last seconds, this one included."""
    now = runtime.clock.now().timestamp()
    async with runtime.redis.pipeline() as pipeline:
        pipeline.zadd(_WORKERS_KEY, {name: now})
        pipeline.zremrangebyscore(_WORKERS_KEY, "-inf", now - _ALIVE_SECONDS)
        pipeline.zcard(_WORKERS_KEY)
        answers = await pipeline.execute()
    return int(answers[-1])


async def _is_reachable_and_ours(runtime: Runtime) -> bool:
    turn = await runtime.redis.set(_TURN_KEY, "taken", nx=True, px=int(SWEEP_SECONDS * 900))
    if not turn:
        return False
    return not isinstance(runtime.bell, ArqBell) or await runtime.bell.count_waiting_jobs() < ENOUGH_JOBS


async def _sweep_without_redis(direct: Runtime) -> None:
    try:
        await sweep(direct)
    except Unavailable as error:
        _log.warning("sweep_put_off", error=str(error))
