"""The work queue: notifies workers of due work through arq and Redis. Jobs carry ids, never data, and may be lost.

Deliveries, uploads and replays are arq jobs, in queues of their own so that none holds up another. The sweeper finds
what a lost job was for; so enqueueing never raises and never makes its caller wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import orjson
import structlog
from arq.connections import ArqRedis, RedisSettings
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from redis.asyncio import Redis
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import RedisError

from sendoff.command_pipe import CommandPipe
from sendoff.connections.redis_cluster import ClusterConnection, ClusterNodes, ClusterSSLConnection
from sendoff.connections.redis_sentinels import SentinelPool, Sentinels
from sendoff.ids import new_id
from sendoff.server_urls.redis import RedisAddress, parse_redis_url
from sendoff.settings import Settings

DELIVERIES = "arq:queue"
"""arq's default queue: deliveries that were published alone or a few at a time."""

BULK_DELIVERIES = "arq:queue:bulk"
"""Deliveries by the hundred: a fan-out, a batch, a sweep. Single ones do not wait behind them."""

UPLOADS, REPLAYS = "arq:queue:uploads", "arq:queue:replays"
QUEUES = (DELIVERIES, BULK_DELIVERIES, UPLOADS, REPLAYS)
QUEUE_NAMES = ("deliveries", "bulk", "uploads", "replays")
"""What metrics call the queues, in the same order."""

WORKERS_KEY = "sendoff:workers"
"""A sorted set of the workers, by the time of each one's last report."""

WORKER_ALIVE_SECONDS = 5.0
"""A worker that has not reported for this long does not count. Workers report every second."""

DELIVER, DELIVER_BACKLOG, PROCESS_UPLOAD, RUN_REPLAY = "deliver", "deliver_backlog", "process_upload", "run_replay"
"""The jobs' function names. `deliver_backlog` carries ids of endpoints for which deliveries are held."""

_DELIVER_TO = "deliver-to"
"""Begins the name of a job for a single delivery whose endpoint is known. A worker of a release that does not know the
name reads the job's body instead, which says the same without the endpoint."""

BULK = 50
"""Calls with more ids than this go to BULK_DELIVERIES."""

IDS_PER_JOB = 200
"""The most ids in a job. A job of 200 costs the worker about as much as a job of one."""

GATHER_SECONDS_PER_ID, GATHER_SECONDS = 0.001, 0.01
"""Ids that come while a command is under way wait until this long after its start for each id that it carries, at most
GATHER_SECONDS, to share a job. So an id that comes alone is sent at once, and under load jobs carry many. Longer pauses
save commands and claims, and delay deliveries by as much."""

MAX_QUEUED_JOBS = {DELIVERIES: 5_000, BULK_DELIVERIES: 500, UPLOADS: 5_000, REPLAYS: 5_000}
"""Jobs kept in each queue; beyond this the newest are dropped, and the sweeper finds what they were for. 500 jobs of
200 ids take 4 MB in Redis; 5,000 take 40 MB at most, when all of them were gathered under load."""

MAX_WAITING_IDS = 100_000
"""Ids that wait in this process for Redis; beyond this the oldest are dropped."""

QUEUE_SIZE_SECONDS = 1.0
"""A queue's size is asked for this often while jobs are added, and earlier when they could have filled it. Longer, and
several processes together exceed its bound by more."""

_JOB_EXPIRES_MS = 600_000
_JOBS_PER_COMMAND = 100
_ENQUEUE_TIMEOUT_SECONDS = 2.0
_TIMEOUTS: dict[str, Any] = {"socket_connect_timeout": 1.0, "socket_timeout": 5.0}
_log = structlog.get_logger(__name__)


class Queue(Protocol):
    """How operations say that work is due, after they have committed it. Calls return at once and never raise."""

    def enqueue_deliveries(self, delivery_ids: Iterable[str], endpoint_ids: Mapping[str, str] | None = None) -> None:
        """These deliveries are due. `endpoint_ids`: the endpoint of each by the delivery's id, if they are known.

        A worker that knows the endpoint of a single delivery asks whether that one has room, and not which of all have.
        """

    def enqueue_backlog(self, endpoint_ids: Iterable[str]) -> None:
        """Deliveries are held for these endpoints, which may have capacity for them."""

    def enqueue_uploads(self, upload_ids: Iterable[str]) -> None:
        """These uploads are ready for processing."""

    def enqueue_replays(self, replay_ids: Iterable[str]) -> None:
        """These replays have deliveries to send."""


class RedisQueue:
    """Enqueues arq jobs in the background. What comes while a command is under way shares the next jobs."""

    def __init__(self, redis: ArqRedis, *, key_tag: str = "") -> None:
        self._redis = redis
        self._tag = key_tag
        self._pipe = CommandPipe(redis)
        kinds = [(DELIVERIES, DELIVER), (DELIVERIES, DELIVER_BACKLOG), (BULK_DELIVERIES, DELIVER)]
        self._waiting: dict[tuple[str, str], deque[str]] = {
            kind: deque(maxlen=MAX_WAITING_IDS) for kind in [*kinds, (UPLOADS, PROCESS_UPLOAD), (REPLAYS, RUN_REPLAY)]
        }
        self._sending: asyncio.Task[None] | None = None
        self._next_at = float("-inf")
        self._sizes = dict.fromkeys(QUEUES, 0)
        """Jobs in each queue at most: those at the last look, and those added since by this process."""
        self._looked_at = dict.fromkeys(QUEUES, float("-inf"))
        self._is_failing = False

    def enqueue_deliveries(self, delivery_ids: Iterable[str], endpoint_ids: Mapping[str, str] | None = None) -> None:
        ids = list(delivery_ids)
        if len(ids) > BULK:
            self._enqueue(BULK_DELIVERIES, DELIVER, ids)
        else:
            known = endpoint_ids or {}
            self._enqueue(DELIVERIES, DELIVER, [f"{one}:{known[one]}" if one in known else one for one in ids])

    def enqueue_backlog(self, endpoint_ids: Iterable[str]) -> None:
        self._enqueue(DELIVERIES, DELIVER_BACKLOG, endpoint_ids)

    def enqueue_uploads(self, upload_ids: Iterable[str]) -> None:
        self._enqueue(UPLOADS, PROCESS_UPLOAD, upload_ids)

    def enqueue_replays(self, replay_ids: Iterable[str]) -> None:
        self._enqueue(REPLAYS, RUN_REPLAY, replay_ids)

    async def close(self) -> None:
        """Send what still waits, then close the connections."""
        if self._sending is not None:
            await self._sending
        await self._pipe.close()
        await self._redis.aclose(close_connection_pool=True)

    def _enqueue(self, queue: str, function: str, ids: Iterable[str]) -> None:
        self._waiting[queue, function].extend(ids)
        if self._count() and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send_all())

    def _count(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._count():
            try:
                await self._send_some()
            except (RedisError, OSError, TimeoutError) as error:
                self._note_failure(error)
                for waiting in self._waiting.values():
                    waiting.clear()
            else:
                self._note_success()
            if self._count():
                await asyncio.sleep(max(0.0, self._next_at - loop.time()))

    def _note_failure(self, error: Exception) -> None:
        """One line of the log for an outage, not one for each command: under load there are hundreds a second."""
        if not self._is_failing:
            _log.warning("enqueue_failed", error=str(error) or type(error).__name__, ids=self._count())
        self._is_failing = True

    def _note_success(self) -> None:
        if self._is_failing:
            _log.info("enqueue_recovered")
        self._is_failing = False

    async def _send_some(self) -> None:
        started, now = asyncio.get_running_loop().time(), int(time.time() * 1000)
        before = self._count()
        commands: list[tuple[Any, ...]] = []
        queues: dict[str, None] = {}
        for job_id, queue, job in self._take_jobs(now):
            # A job that names its only id is enqueued again while it waits: it stays one job.
            commands += (
                ("SET", job_key_prefix + job_id, job, "PX", _JOB_EXPIRES_MS, "NX"),
                ("ZADD", queue + self._tag, "NX", now, job_id),
            )
            self._sizes[queue] += 1
            queues[queue] = None
        self._next_at = started + min(GATHER_SECONDS, GATHER_SECONDS_PER_ID * (before - self._count()))
        looked_at = [queue for queue in queues if self._must_look(queue)]
        replies = await self._pipe.run(
            [*commands, *(("ZCARD", queue + self._tag) for queue in looked_at)], seconds=_ENQUEUE_TIMEOUT_SECONDS
        )
        for queue, size in zip(looked_at, replies[len(commands) :], strict=True):
            self._sizes[queue], self._looked_at[queue] = size, started
            if size > MAX_QUEUED_JOBS[queue]:
                await self._drop_newest(queue, size - MAX_QUEUED_JOBS[queue])

    def _must_look(self, queue: str) -> bool:
        is_old = asyncio.get_running_loop().time() - self._looked_at[queue] > QUEUE_SIZE_SECONDS
        return is_old or self._sizes[queue] > MAX_QUEUED_JOBS[queue]

    async def _drop_newest(self, queue: str, count: int) -> None:
        async with asyncio.timeout(_ENQUEUE_TIMEOUT_SECONDS):
            dropped = await self._redis.zpopmax(queue + self._tag, count)
            if dropped:
                await self._redis.unlink(*(job_key_prefix + job_id.decode() for job_id, _ in dropped))

    def _take_jobs(self, now: int) -> Iterable[tuple[str, str, bytes]]:
        """Up to `_JOBS_PER_COMMAND` jobs out of what waits: id, queue, and the job as arq writes it."""
        left = _JOBS_PER_COMMAND
        for (queue, function), waiting in self._waiting.items():
            is_delivery = queue in (DELIVERIES, BULK_DELIVERIES)
            while waiting and left:
                left -= 1
                taken = [waiting.popleft() for _ in range(min(len(waiting), IDS_PER_JOB if is_delivery else 1))]
                ids = [one.partition(":")[0] for one in taken]
                name = _DELIVER_TO if len(taken[0]) > len(ids[0]) else function
                job_id = new_id() if len(ids) > 1 else f"{name}:{taken[0]}"
                yield job_id + self._tag, queue, serialize_job(function, (ids,), {}, None, now, serializer=_serialize)


def named_id(job_id: str, key_tag: str = "") -> tuple[str, str] | None:
    """Function and id of a job that is named after the only id that it carries; None of any other job.

    The endpoint of a delivery, if the job names it, follows the id and a colon.
    """
    name, _, identifier = job_id.removesuffix(key_tag).partition(":")
    return (DELIVER, identifier) if name in (DELIVER, _DELIVER_TO) and identifier else None


async def measure_queues(redis: Redis, *, now: float, key_tag: str) -> tuple[dict[str, float], float]:
    """The jobs that wait in each queue, by QUEUE_NAMES, and the number of workers. Raises RedisError."""
    async with redis.pipeline(transaction=False) as pipe:
        for queue in QUEUES:
            pipe.zcard(queue + key_tag)
        pipe.zcount(WORKERS_KEY + key_tag, now - WORKER_ALIVE_SECONDS, "+inf")
        *sizes, workers = await pipe.execute()
    return dict(zip(QUEUE_NAMES, sizes, strict=True)), workers


_serialize = partial(orjson.dumps, default=repr)  # arq also serializes the errors of jobs


def connect(settings: Settings) -> ArqRedis:
    """A client for the settings' Redis. It connects when first used, so that a process starts without Redis."""
    return ArqRedis(
        pool_or_conn=_connection_pool(settings),
        job_serializer=_serialize,
        job_deserializer=orjson.loads,
        default_queue_name=settings.redis_key(DELIVERIES),
    )


def _connection_pool(settings: Settings) -> ConnectionPool:
    address = parse_redis_url(settings.redis_url)
    tls = _tls_options(address, settings)
    login = {"username": address.username, "password": address.password}
    options: dict[str, Any] = {**_TIMEOUTS, "db": address.database, **login, "max_connections": 50, **tls}
    if address.path is not None:
        return ConnectionPool(connection_class=UnixDomainSocketConnection, path=address.path, **options)
    if address.service is not None:
        of_sentinels = {name: address.options.get(f"sentinel_{name}") for name in login}
        sentinels: Any = Sentinels(  # type: ignore[no-untyped-call]
            address.hosts, sentinel_kwargs={**_TIMEOUTS, **of_sentinels, "ssl": address.tls, **tls}
        )
        return SentinelPool(address.service, sentinels, ssl=address.tls, **options)  # type: ignore[no-untyped-call]
    kind = SSLConnection if address.tls else Connection
    if address.is_cluster:
        nodes = ClusterNodes(address.hosts, connection_class=kind, **_TIMEOUTS, **login, **tls)
        to_owner = ClusterSSLConnection if address.tls else ClusterConnection
        return ConnectionPool(connection_class=to_owner, nodes=nodes, **options)
    [(host, port)] = address.hosts
    return ConnectionPool(connection_class=kind, host=host, port=port, **options)


def _tls_options(address: RedisAddress, settings: Settings) -> dict[str, Any]:
    """The server's certificate is always checked, against the system's authorities and one's own."""
    if not address.tls:
        return {}
    own = {} if settings.ca_file is None else {"ssl_ca_certs": str(settings.ca_file)}
    given = {name: value for name, value in address.options.items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **own, **given}


def redis_settings(settings: Settings) -> RedisSettings:
    """The settings' Redis in arq's form, which arq's own command line needs; of a cluster, its first host."""
    address = parse_redis_url(settings.redis_url)
    found = RedisSettings(
        database=address.database,
        username=address.username,
        password=address.password,
        unix_socket_path=address.path,
        ssl=address.tls,
    )
    for name, value in _tls_options(address, settings).items():
        setattr(found, name, value)
    if address.service is not None:
        found.sentinel, found.sentinel_master, found.host = True, address.service, address.hosts
    elif address.hosts:
        found.host, found.port = address.hosts[0]
    return found
