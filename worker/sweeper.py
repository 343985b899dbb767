"""The sweeper's loop: a key in Redis elects one worker for each sweep; without Redis every worker sweeps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from sendoff.clock import seconds_to_next
from sendoff.command_pipe import CommandPipe
from sendoff.errors import Unavailable
from sendoff.ids import new_id
from sendoff.observability.metrics import REDIS_UP
from sendoff.queue import BULK_DELIVERIES, DELIVERIES, WORKER_ALIVE_SECONDS, WORKERS_KEY
from sendoff.recovery.sweep import sweep
from sendoff.recovery.unanswered_claims import UnansweredClaims
from sendoff.work_search import SEARCH_SECONDS, WorkSearch

from .local_queue import LocalQueue

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.delivery.dispatcher import Dispatcher

    from .consumer import ConsumerSupervisor

_log = structlog.get_logger(__name__)

SWEEP_SECONDS = SEARCH_SECONDS

QUEUE_BACKPRESSURE_JOBS = 1_000
"""With this many delivery jobs in the queue another one would be run late: the sweeper then dispatches locally."""

QUEUE_BACKPRESSURE_SECONDS = 2.0
"""The same, with a job that has waited this long."""

SWEEP_LAG, SWEEP_LAG_UNDER_LOAD = timedelta(seconds=2), timedelta(seconds=8)
"""How long the sweeper leaves accepted deliveries to their own jobs. The work of a lost job is found within 10 s."""

LONGEST_WITHOUT_SWEEP_SECONDS = 5.0
"""After this a worker sweeps without being elected: Redis's keys expire by a wall clock that may be set back."""

MISTRUST_SECONDS = 10.0
"""For so long after Redis was away, workers find what is due themselves. Publishers and consumers notice later than the
sweeper that it is back, or that another server is its master, and what was enqueued meanwhile is lost. Longer costs
each worker a query each second; shorter lets such deliveries wait for SWEEP_LAG."""

_PATIENCE_SECONDS = 0.5  # what is due waits for so long, in each second in which Redis says nothing
_REDIS_TIMEOUT_SECONDS = 2.0  # to connect, through a Sentinel perhaps, and again to answer
_ELECTION_KEY = "sendoff:sweep"


@dataclass(frozen=True, slots=True)
class _QueueStatus:
    """What Redis says: how many workers live, whether this one is to sweep, how far the queue is behind."""

    workers: int
    is_elected: bool
    jobs: int
    oldest_seconds: float

    @property
    def is_behind(self) -> bool:
        return self.jobs >= QUEUE_BACKPRESSURE_JOBS or self.oldest_seconds >= QUEUE_BACKPRESSURE_SECONDS


async def run_sweeps(context: Context, dispatcher: Dispatcher, deliveries: ConsumerSupervisor) -> None:
    """Sweep until cancelled, and pass admission the number of workers that share the endpoints' caps."""
    queue = _QueueWatch(context)
    try:
        await _sweep_regularly(context, dispatcher, deliveries, queue)
    finally:
        await queue.close()


async def _sweep_regularly(
    context: Context, dispatcher: Dispatcher, deliveries: ConsumerSupervisor, queue: _QueueWatch
) -> None:
    local = replace(context, queue=LocalQueue(context, dispatcher))
    swept_at = away_at = float("-inf")
    while True:
        overdue = context.clock.monotonic() - swept_at > LONGEST_WITHOUT_SWEEP_SECONDS
        status = await queue.look()
        REDIS_UP.set(status is not None)
        now = context.clock.monotonic()
        if status is None:
            away_at = now
        else:
            dispatcher.admission.set_workers(status.workers)
        await _release_unanswered(context)
        if status is None or now - away_at < MISTRUST_SECONDS:
            swept_at = now
            await _sweep(local, timedelta(0))
        elif overdue or status.is_elected:
            swept_at = now
            if deliveries.is_unhealthy:
                await _sweep(local, timedelta(0))
            elif status.is_behind:
                await _sweep(local, SWEEP_LAG_UNDER_LOAD)
            else:
                await _sweep(context, SWEEP_LAG)
        await asyncio.sleep(seconds_to_next(SWEEP_SECONDS, asyncio.get_running_loop().time()))


class _QueueWatch:
    """Asks Redis for the status of the queue. Belongs to one task."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pipe = CommandPipe(context.redis)
        self._name = new_id()
        self._asking: asyncio.Task[_QueueStatus | None] | None = None

    async def look(self) -> _QueueStatus | None:
        """The status, with this worker counted as alive; None when Redis does not answer at once.

        A question that is not answered yet goes on, for connecting may take longer: its answer is the next look's.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(_ask_redis(self._context, self._pipe, self._name))
        await asyncio.wait([self._asking], timeout=_PATIENCE_SECONDS)
        if not self._asking.done():
            return None
        asked, self._asking = self._asking, None
        return asked.result()

    async def close(self) -> None:
        """Close the connection."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        await self._pipe.close()


async def _ask_redis(context: Context, pipe: CommandPipe, name: str) -> _QueueStatus | None:
    """The status, after this worker is counted as alive; None when Redis cannot be reached."""
    now, key = context.clock.now().timestamp(), context.settings.redis_key
    workers_key = key(WORKERS_KEY)
    commands: list[tuple[str | float, ...]] = [
        ("ZADD", workers_key, now, name),
        ("ZREMRANGEBYSCORE", workers_key, "-inf", now - WORKER_ALIVE_SECONDS),
        ("ZCARD", workers_key),
        ("SET", key(_ELECTION_KEY), name, "NX", "PX", int(SWEEP_SECONDS * 1000 * 0.9)),  # gone before the next sweep
    ]
    for queue in (DELIVERIES, BULK_DELIVERIES):
        commands += ("ZCARD", key(queue)), ("ZRANGE", key(queue), 0, 0, "WITHSCORES")
    try:
        _, _, workers, elected, *of_queues = await pipe.run(commands, seconds=_REDIS_TIMEOUT_SECONDS)
    except (RedisError, OSError, TimeoutError):
        return None
    oldest = min((float(score) / 1000 for found in of_queues[1::2] for score in found[1:]), default=now)
    return _QueueStatus(workers, elected is not None, sum(of_queues[::2]), now - oldest)


async def _release_unanswered(context: Context) -> None:
    try:
        await UnansweredClaims.of(context).release()
    except Unavailable:
        pass  # it is tried again in a second
    except Exception:
        _log.exception("release_failed")


async def _sweep(context: Context, lag: timedelta) -> None:
    try:
        await sweep(context, sweep_lag=lag, work=await WorkSearch.of(context).find(sweep_lag=lag))
    except Unavailable as error:
        _log.warning("sweep_failed", error=str(error))
    except Exception:
        _log.exception("sweep_failed")
