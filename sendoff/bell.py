"""The bell: tells workers through Redis that something is due. It carries ids, never data, and may fail to ring.

Whatever isn't rung for is found by the sweeper, so ringing never raises and never makes its caller wait.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any, Protocol

import orjson
import structlog
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from sendoff.settings import Settings

QUEUE = "sendoff:jobs"
CHANNEL = "sendoff:bell"
"""Where workers hear that there is a new job, so that they need not ask for one all the time."""

DELIVER, PROCESS_UPLOAD, RUN_REPLAY = "deliver", "process_upload", "run_replay"

IDS_PER_JOB = 200
"""One arq job costs about what 50 deliveries cost elsewhere; past a few hundred ids nothing is gained any more."""

_RING_TIMEOUT_SECONDS = 2.0
_JOB_EXPIRES_SECONDS = 3600
_FULL = 100_000  # ids waiting to be rung for; beyond it Redis is away and the sweeper has them anyway

_log = structlog.get_logger(__name__)


class Bell(Protocol):
    """How operations say that work is due, after they have committed it."""

    def ring_deliveries(self, delivery_ids: Iterable[str]) -> None:
        """These deliveries are due."""

    def ring_uploads(self, upload_ids: Iterable[str]) -> None:
        """These uploads are ready for processing."""

    def ring_replays(self, replay_ids: Iterable[str]) -> None:
        """These replays have something to do."""


class ArqBell:
    """Rings by enqueueing arq jobs in the background; what is rung for meanwhile shares the next job."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._waiting: deque[tuple[str, str]] = deque(maxlen=_FULL)
        self._ringing: asyncio.Task[None] | None = None

    def ring_deliveries(self, delivery_ids: Iterable[str]) -> None:
        self._ring(DELIVER, delivery_ids)

    def ring_uploads(self, upload_ids: Iterable[str]) -> None:
        self._ring(PROCESS_UPLOAD, upload_ids)

    def ring_replays(self, replay_ids: Iterable[str]) -> None:
        self._ring(RUN_REPLAY, replay_ids)

    async def close(self) -> None:
        """Ring for what still waits, then let go of the connections."""
        if self._ringing is not None:
            await self._ringing
        await self._redis.aclose(close_connection_pool=True)

    def _ring(self, job: str, ids: Iterable[str]) -> None:
        self._waiting.extend((job, identifier) for identifier in ids)
        if self._waiting and (self._ringing is None or self._ringing.done()):
            self._ringing = asyncio.create_task(self._ring_for_all())

    async def _ring_for_all(self) -> None:
        while self._waiting:
            job, ids = self._next_job()
            try:
                async with asyncio.timeout(_RING_TIMEOUT_SECONDS):
                    await self._redis.enqueue_job(job, ids, _expires=_JOB_EXPIRES_SECONDS)
                    await self._redis.publish(CHANNEL, job)
            except (RedisError, OSError, TimeoutError) as error:
                _log.warning("bell_not_rung", error=str(error), ids=len(ids) + len(self._waiting))
                self._waiting.clear()

    def _next_job(self) -> tuple[str, list[str]]:
        job, identifier = self._waiting.popleft()
        ids = [identifier]
        most = IDS_PER_JOB if job == DELIVER else 1
        while self._waiting and len(ids) < most and self._waiting[0][0] == job:
            ids.append(self._waiting.popleft()[1])
        return job, ids


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
