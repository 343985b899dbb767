"""Figures of the whole installation for `/metrics` and `/ready`: one process asks the database, and Redis tells all.

A key in Redis elects the process that is asked for them first in a while. It measures, and leaves the result there.
Without Redis each process measures for itself, as seldom.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from math import isnan, nan
from typing import Any

import orjson
import structlog
from prometheus_client import Gauge
from redis.exceptions import RedisError

from sendoff.context import Context
from sendoff.errors import SendoffError
from sendoff.observability import metrics
from sendoff.operators.installation.workers import ALIVE_SECONDS
from sendoff.policy.states import DeadLetterReason
from sendoff.queue import QUEUE_NAMES, measure_queues
from sendoff.store.queries.installation import measurements, workers
from sendoff.store.queries.installation.overview import count_open

MEASURE_SECONDS, MEASURE_SLOWLY_SECONDS = 10.0, 60.0
"""How often the database is asked at most: for what an index answers, and for what reads all endpoints. More
often, and a database with a hundred thousand open deliveries spends more than a percent of a core on it."""

PATIENCE_SECONDS = 2.0
"""How long Redis or the database may take before `/metrics` answers with what it has."""

_KEY, _ELECTION_KEY = "sendoff:measurement", "sendoff:measuring"
_KEPT_SECONDS = 3 * MEASURE_SLOWLY_SECONDS

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SlowMeasurement:
    """What is measured once a minute. `secrets` counts by the id of the key."""

    at: float
    storage_bytes: Mapping[str, int]
    secrets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the database said at the Unix time `at`."""

    at: float
    workers: int
    oldest_due_seconds: float
    deliveries_open: Mapping[str, int]
    dead_letters_open: Mapping[str, int]
    endpoints: Mapping[str, int]
    replays_running: int
    replays_stuck: int
    retention_lag_seconds: float
    slow: SlowMeasurement

    @classmethod
    def of_json(cls, document: bytes) -> Measurement:
        """As another process left it in Redis. Raises ValueError, KeyError or TypeError for what none left."""
        fields: dict[str, Any] = orjson.loads(document)
        return cls(**{**fields, "slow": SlowMeasurement(**fields["slow"])})


async def measure(context: Context, *, before: Measurement | None = None) -> Measurement:
    """Ask the database. What is slow to find out is taken from `before` if that is young enough.

    Raises errors.Unavailable.
    """
    now, settings = context.clock.now(), context.settings
    at = now.timestamp()
    async with context.database.read() as tx:
        counts = await count_open(tx, now=now)
        running, stuck = await measurements.count_replays(tx, now=now)
        return Measurement(
            at=at,
            workers=len(await workers.seen_since(tx, now - timedelta(seconds=ALIVE_SECONDS))),
            oldest_due_seconds=await measurements.oldest_due(tx, now=now),
            deliveries_open={str(state): count for state, count in counts.deliveries.items()},
            dead_letters_open={str(reason): counts.dead_letters.get(reason, 0) for reason in DeadLetterReason},
            endpoints={str(state): count for state, count in counts.endpoints.items()},
            replays_running=running,
            replays_stuck=stuck,
            retention_lag_seconds=await measurements.retention_lag(
                tx,
                delivered_until=now - timedelta(days=settings.retention_days),
                dead_until=now - timedelta(days=settings.dead_letter_retention_days),
            ),
            slow=before.slow
            if before is not None and 0 <= at - before.slow.at < MEASURE_SLOWLY_SECONDS
            else SlowMeasurement(at, await measurements.storage_bytes(tx), await measurements.count_secrets_by_key(tx)),
        )


def count_unreadable_secrets(context: Context, measured: Measurement) -> int:
    """The endpoints' secrets that no key of this process opens."""
    known = set(context.vault.key_ids)
    return sum(number for key_id, number in measured.slow.secrets.items() if key_id not in known)


def opens_no_secret(context: Context, measured: Measurement) -> bool:
    """Whether there are secrets, and this process's keys open none of them: it was given the wrong keys."""
    return bool(measured.slow.secrets) and not measured.slow.secrets.keys() & set(context.vault.key_ids)


class Measurements:
    """What this process knows of the installation. One per context."""

    def __init__(self) -> None:
        self._known: Measurement | None = None
        self._asked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, _context: Context) -> Measurements:
        return cls()

    async def current(self, context: Context, *, not_older_than: float = MEASURE_SECONDS) -> Measurement | None:
        """A measurement, made now if none is as young and it is this process's turn; None while none can be had."""
        if self._is_young(context, not_older_than):
            return self._known
        shared, is_elected = await self._ask_redis(context)
        if shared is not None and (self._known is None or shared.at > self._known.at):
            self._known = shared
        if is_elected and not self._is_young(context, not_older_than) and (self._task is None or self._task.done()):
            self._asked_at = context.clock.monotonic()
            self._task = asyncio.create_task(self._measure(context))
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=PATIENCE_SECONDS)
        return self._known if self._is_young(context, _KEPT_SECONDS) else None

    async def aclose(self) -> None:
        """Measure no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _is_young(self, context: Context, seconds: float) -> bool:
        return self._known is not None and abs(context.clock.now().timestamp() - self._known.at) < seconds

    async def _ask_redis(self, context: Context) -> tuple[Measurement | None, bool]:
        """What another process left, and whether it is this one's turn. Without Redis it is, when its time has come."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), context.redis.pipeline(transaction=False) as pipe:
                pipe.get(context.settings.redis_key(_KEY))
                pipe.set(context.settings.redis_key(_ELECTION_KEY), "1", nx=True, px=int(MEASURE_SECONDS * 1000))
                document, is_elected = await pipe.execute()
        except (RedisError, OSError, TimeoutError):
            return None, context.clock.monotonic() - self._asked_at >= MEASURE_SECONDS
        try:
            return Measurement.of_json(document) if document else None, bool(is_elected)
        except (ValueError, KeyError, TypeError):
            return None, bool(is_elected)  # another version's

    async def _measure(self, context: Context) -> None:
        try:
            self._known = await measure(context, before=self._known)
        except SendoffError as error:
            _log.warning("measurement_failed", error=str(error))
            self._known = None
        except Exception:
            _log.exception("measurement_failed")
            self._known = None
        key = context.settings.redis_key(_KEY)
        with contextlib.suppress(RedisError, OSError, TimeoutError):  # without Redis the others measure for themselves
            async with asyncio.timeout(PATIENCE_SECONDS):
                if self._known is None:
                    await context.redis.unlink(key)  # old figures would look like those of a database that answers
                else:
                    document = orjson.dumps(asdict(self._known))
                    await context.redis.set(key, document, px=int(_KEPT_SECONDS * 1000))


async def watch_secrets(context: Context) -> bool:
    """Set the metric of secrets that no key of this process opens, log them, and return whether it opens none.

    Workers do it once a minute.
    """
    measured = await context.service(Measurements.of).current(context, not_older_than=MEASURE_SLOWLY_SECONDS)
    if measured is None:
        return False
    unreadable = count_unreadable_secrets(context, measured)
    metrics.SECRETS_UNREADABLE.set(unreadable)
    if unreadable:
        _log.error("secrets_unreadable", secrets=unreadable)
    return opens_no_secret(context, measured)


async def update_metrics(context: Context) -> None:
    """Set the installation's gauges to what Redis and the database say; NaN where they cannot be asked."""
    measured = await context.service(Measurements.of).current(context)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            jobs, alive = await measure_queues(
                context.redis, now=context.clock.now().timestamp(), key_tag=context.settings.redis_key_tag
            )
    except (RedisError, OSError, TimeoutError):
        jobs, alive = dict.fromkeys(QUEUE_NAMES, nan), nan if measured is None else measured.workers
    metrics.REDIS_UP.set(0 if isnan(jobs["deliveries"]) else 1)
    metrics.WORKERS.set(alive)
    _set_all(metrics.QUEUE_JOBS, jobs)
    for gauge, name in _PLAIN_GAUGES.items():
        gauge.set(nan if measured is None else getattr(measured, name))
    metrics.SECRETS_UNREADABLE.set(nan if measured is None else count_unreadable_secrets(context, measured))
    _set_all(metrics.DELIVERIES_OPEN, None if measured is None else measured.deliveries_open)
    _set_all(metrics.DEAD_LETTERS_OPEN, None if measured is None else measured.dead_letters_open)
    _set_all(metrics.ENDPOINTS, None if measured is None else measured.endpoints)
    _set_all(metrics.STORAGE_BYTES, None if measured is None else measured.slow.storage_bytes)


_PLAIN_GAUGES = {
    metrics.OLDEST_DUE_SECONDS: "oldest_due_seconds",
    metrics.REPLAYS_RUNNING: "replays_running",
    metrics.REPLAYS_STUCK: "replays_stuck",
    metrics.RETENTION_LAG_SECONDS: "retention_lag_seconds",
}


def _set_all(gauge: Gauge, by_label: Mapping[str, float] | None) -> None:
    """Without figures the gauge has no series: which labels there are is not known."""
    if by_label is None:
        gauge.clear()
        return
    for label, number in by_label.items():
        gauge.labels(label).set(number)
