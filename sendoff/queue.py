"""The queue: tells workers through Redis that something is due. It carries ids, never data, and may fail to ring.

Deliveries are rung for on a list, which a worker empties as it has room: one command for many ids on either side.
Uploads and replays, which are few and long, are arq jobs (docs/decisions/0010).
Whatever isn't rung for is found by the sweeper, so ringing never raises and never makes its caller wait.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Iterable
from functools import partial
from typing import Any, Protocol, cast

import orjson
import structlog
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from sendoff.settings import Settings

DUE, DUE_IN_BULK = "sendoff:due", "sendoff:due:bulk"
"""The lists of ids of deliveries that are due, the oldest first. What is rung for by the hundred stands in the second:
a fan-out to many endpoints doesn't hold up the single events of others."""

HELD_FOR = "held:"
"""Begins what stands in these lists for an endpoint for which deliveries are held; its id follows."""

BULK = 50
"""More than so many ids at once are bulk."""

QUEUE = "sendoff:jobs"
CHANNEL = "sendoff:bell"
"""Where workers hear that there is a new job, so that they need not ask for one all the time."""

PROCESS_UPLOAD, RUN_REPLAY = "process_upload", "run_replay"

MOST_DUE = 100_000
"""Ids in each list: beyond it nobody listens, and the sweeper has them anyway."""

_IDS_AT_ONCE = 1_000
_RING_TIMEOUT_SECONDS = 2.0
_JOB_EXPIRES_SECONDS = 3600
_log = structlog.get_logger(__name__)


class Queue(Protocol):
    """How operations say that work is due, after they have committed it."""

    def enqueue_deliveries(self, delivery_ids: Iterable[str]) -> None:
        """These deliveries are due."""

    def enqueue_backlog(self, endpoint_ids: Iterable[str]) -> None:
        """Deliveries are held for these endpoints, which may have room for them."""

    def enqueue_uploads(self, upload_ids: Iterable[str]) -> None:
        """These uploads are ready for processing."""

    def enqueue_replays(self, replay_ids: Iterable[str]) -> None:
        """These replays have something to do."""


class RedisQueue:
    """Rings in the background; what is rung for meanwhile shares the next command."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._deliveries: dict[str, deque[str]] = {
            DUE: deque(maxlen=MOST_DUE),
            DUE_IN_BULK: deque(maxlen=MOST_DUE),
        }
        self._jobs: deque[tuple[str, str]] = deque(maxlen=MOST_DUE)
        self._ringing: asyncio.Task[None] | None = None

    def enqueue_backlog(self, endpoint_ids: Iterable[str]) -> None:
        self.enqueue_deliveries(HELD_FOR + endpoint_id for endpoint_id in endpoint_ids)

    def enqueue_deliveries(self, delivery_ids: Iterable[str]) -> None:
        ids = list(delivery_ids)
        self._deliveries[DUE if len(ids) <= BULK else DUE_IN_BULK].extend(ids)
        self._ring()

    def enqueue_uploads(self, upload_ids: Iterable[str]) -> None:
        self._jobs.extend((PROCESS_UPLOAD, upload_id) for upload_id in upload_ids)
        self._ring()

    def enqueue_replays(self, replay_ids: Iterable[str]) -> None:
        self._jobs.extend((RUN_REPLAY, replay_id) for replay_id in replay_ids)
        self._ring()

    async def close(self) -> None:
        """Ring for what still waits, then let go of the connections."""
        if self._ringing is not None:
            await self._ringing
        await self._redis.aclose(close_connection_pool=True)

    def _waiting(self) -> int:
        return len(self._jobs) + sum(map(len, self._deliveries.values()))

    def _ring(self) -> None:
        if self._waiting() and (self._ringing is None or self._ringing.done()):
            self._ringing = asyncio.create_task(self._ring_for_all())

    async def _ring_for_all(self) -> None:
        while self._waiting():
            try:
                async with asyncio.timeout(_RING_TIMEOUT_SECONDS):
                    await self._ring_for_some()
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("bell_not_rung", error=str(error), ids=self._waiting())
                self._jobs.clear()
                for waiting in self._deliveries.values():
                    waiting.clear()

    async def _ring_for_some(self) -> None:
        for key, waiting in self._deliveries.items():
            if waiting:
                await self._push(key, [waiting.popleft() for _ in range(min(len(waiting), _IDS_AT_ONCE))])
        if self._jobs:
            await self._ring_for_job()

    async def _push(self, key: str, ids: list[str]) -> None:
        length: int = await cast(Awaitable[int], self._redis.rpush(key, *ids))
        if length > MOST_DUE:
            await cast(Awaitable[str], self._redis.ltrim(key, 0, MOST_DUE - 1))

    async def _ring_for_job(self) -> None:
        job, identifier = self._jobs.popleft()
        await self._redis.enqueue_job(job, [identifier], _expires=_JOB_EXPIRES_SECONDS)
        await self._redis.publish(CHANNEL, job)


def connect(settings: Settings) -> ArqRedis:
    """A client for the settings' Redis. It connects when first used, so that a process starts without Redis."""
    options: dict[str, Any] = {"socket_connect_timeout": 1.0, "socket_timeout": 5.0, "max_connections": 50}
    if settings.redis_url.startswith("rediss://"):
        options |= {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    pool = ConnectionPool.from_url(settings.redis_url, **options)
    return ArqRedis(
        pool_or_conn=pool,
        # arq also serializes the errors of jobs, if only to throw them away.
        job_serializer=partial(orjson.dumps, default=repr),
        job_deserializer=orjson.loads,
        default_queue_name=QUEUE,
    )
