"""The bell: tells workers through Redis that something is due. It carries ids, never data, and may fail to ring.

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

DUE = "sendoff:due"
"""The list of ids of deliveries that are due, the oldest first."""

QUEUE = "sendoff:jobs"
CHANNEL = "sendoff:bell"
"""Where workers hear that there is a new job, so that they need not ask for one all the time."""

PROCESS_UPLOAD, RUN_REPLAY = "process_upload", "run_replay"

MOST_DUE = 100_000
"""Ids in the list: beyond it nobody listens, and the sweeper has them anyway."""

_IDS_AT_ONCE = 1_000
_RING_TIMEOUT_SECONDS = 2.0
_JOB_EXPIRES_SECONDS = 3600
_log = structlog.get_logger(__name__)


class Bell(Protocol):
    """How operations say that work is due, after they have committed it."""

    def ring_deliveries(self, delivery_ids: Iterable[str]) -> None:
        """These deliveries are due."""

    def ring_uploads(self, upload_ids: Iterable[str]) -> None:
        """These uploads are ready for processing."""

    def ring_replays(self, replay_ids: Iterable[str]) -> None:
        """These replays have something to do."""


class RedisBell:
    """Rings in the background; what is rung for meanwhile shares the next command."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._deliveries: deque[str] = deque(maxlen=MOST_DUE)
        self._jobs: deque[tuple[str, str]] = deque(maxlen=MOST_DUE)
        self._ringing: asyncio.Task[None] | None = None

    def ring_deliveries(self, delivery_ids: Iterable[str]) -> None:
        self._deliveries.extend(delivery_ids)
        self._ring()

    def ring_uploads(self, upload_ids: Iterable[str]) -> None:
        self._jobs.extend((PROCESS_UPLOAD, upload_id) for upload_id in upload_ids)
        self._ring()

    def ring_replays(self, replay_ids: Iterable[str]) -> None:
        self._jobs.extend((RUN_REPLAY, replay_id) for replay_id in replay_ids)
        self._ring()

    async def close(self) -> None:
        """Ring for what still waits, then let go of the connections."""
        if self._ringing is not None:
            await self._ringing
        await self._redis.aclose(close_connection_pool=True)

    def _ring(self) -> None:
        if (self._deliveries or self._jobs) and (self._ringing is None or self._ringing.done()):
            self._ringing = asyncio.create_task(self._ring_for_all())

    async def _ring_for_all(self) -> None:
        while self._deliveries or self._jobs:
            try:
                async with asyncio.timeout(_RING_TIMEOUT_SECONDS):
                    await (self._ring_for_deliveries() if self._deliveries else self._ring_for_job())
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("bell_not_rung", error=str(error), ids=len(self._deliveries) + len(self._jobs))
                self._deliveries.clear()
                self._jobs.clear()

    async def _ring_for_deliveries(self) -> None:
        ids = [self._deliveries.popleft() for _ in range(min(len(self._deliveries), _IDS_AT_ONCE))]
        length: int = await cast(Awaitable[int], self._redis.rpush(DUE, *ids))
        if length > MOST_DUE:
            await cast(Awaitable[str], self._redis.ltrim(DUE, 0, MOST_DUE - 1))

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
