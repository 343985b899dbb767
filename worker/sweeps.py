"""The sweeper's loop: of several workers one takes each turn, told apart by Redis; without Redis each takes its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog
from redis.exceptions import RedisError

from sendoff.context import Context
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.delivery.sweep import sweep
from sendoff.errors import Unavailable
from sendoff.ids import new_id
from sendoff.queue import DUE, DUE_IN_BULK

from .doorbell import Doorbell
from .local_queue import LocalQueue

_log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0

ENOUGH_DUE = 1_000
"""With this many ids waiting in Redis another bell would be heard late, or never if nobody can take them: who sweeps
then rings for itself instead."""

TRUST, TRUST_IN_A_CROWD = timedelta(seconds=2), timedelta(seconds=8)
"""How long what was just accepted is left to its own queue: bells that were never rung are made good within 10 s."""

LONGEST_WITHOUT_SWEEP_SECONDS = 5.0
"""After this a worker sweeps even if Redis says that another is at it: keys expire by a clock that may be set back."""

_PATIENCE_SECONDS = 1.0  # what Redis may take to answer before it counts as away
_TURN_KEY = "sendoff:sweep"
_WORKERS_KEY = "sendoff:workers"
_ALIVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Situation:
    """What Redis says: how many workers live, whether it is this one's turn, how many ids wait."""

    workers: int
    is_our_turn: bool
    waiting_ids: int


async def run_sweeps(context: Context, dispatcher: Dispatcher, doorbell: Doorbell) -> None:
    """Sweep for ever, and tell the admission how many workers there are."""
    direct = replace(context, queue=LocalQueue(context, dispatcher))
    name = new_id()
    swept_at = float("-inf")
    while True:
        overdue = context.clock.monotonic() - swept_at > LONGEST_WITHOUT_SWEEP_SECONDS
        situation = await _ask_redis(context, name)
        if situation is not None:
            dispatcher.admission.set_workers(situation.workers)
        if situation is None or overdue or situation.is_our_turn:
            swept_at = context.clock.monotonic()
            if situation is None or doorbell.is_deaf:
                await _sweep(direct, timedelta(0))
            elif situation.waiting_ids < ENOUGH_DUE:
                await _sweep(context, TRUST)
            else:
                await _sweep(direct, TRUST_IN_A_CROWD)
        await asyncio.sleep(SWEEP_SECONDS)


async def _ask_redis(context: Context, name: str) -> _Situation | None:
    """The situation, this worker counted as alive; None when Redis cannot be reached."""
    now = context.clock.now().timestamp()
    pipeline = context.redis.pipeline()
    pipeline.zadd(_WORKERS_KEY, {name: now})
    pipeline.zremrangebyscore(_WORKERS_KEY, "-inf", now - _ALIVE_SECONDS)
    pipeline.zcard(_WORKERS_KEY)
    pipeline.set(_TURN_KEY, name, nx=True, px=int(SWEEP_SECONDS * 900))
    pipeline.llen(DUE)
    pipeline.llen(DUE_IN_BULK)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            answers = await pipeline.execute()
    except (RedisError, OSError, TimeoutError):
        return None
    return _Situation(
        workers=int(answers[2]), is_our_turn=bool(answers[3]), waiting_ids=int(answers[4]) + int(answers[5])
    )


async def _sweep(context: Context, trust: timedelta) -> None:
    try:
        await sweep(context, sweep_lag=trust)
    except Unavailable as error:
        _log.warning("sweep_put_off", error=str(error))
    except Exception:
        _log.exception("sweep_put_off")
