"""The doorbell: takes the ids of due deliveries from Redis as the dispatcher has room for them."""

from __future__ import annotations

import asyncio

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sendoff.bell import DUE
from sendoff.errors import Unavailable
from sendoff.operations.dispatcher import Dispatcher
from sendoff.operations.runtime import Runtime

_log = structlog.get_logger(__name__)

IDS_AT_ONCE = 200
"""One claim; past a few hundred nothing is gained any more."""

GATHER_SECONDS = 0.01
"""The pause after a claim: under load, what comes meanwhile shares the next one. Alone, nobody waits for it."""

_LISTEN_SECONDS = 2.0  # less than a command to Redis may take
_AWAY_SECONDS = (0.1, 0.5, 1.0)


async def hear_bell(runtime: Runtime, dispatcher: Dispatcher) -> None:
    """Hand over what is rung for, for ever. What is taken from Redis and not handed over is found by the sweeper."""
    failures = 0
    while True:
        room = await dispatcher.wait_for_room()
        try:
            delivery_ids = await _take_ids(runtime.redis, at_most=min(room, IDS_AT_ONCE))
            if delivery_ids:
                await dispatcher.submit(delivery_ids)
                await asyncio.sleep(GATHER_SECONDS)
            failures = 0
        except Exception as error:
            if isinstance(error, (RedisError, OSError, Unavailable)):
                _log.warning("bell_not_heard", error=str(error))
            else:  # such as an id that is none; it must not end the process
                _log.exception("bell_not_heard")
            await asyncio.sleep(_AWAY_SECONDS[min(failures, len(_AWAY_SECONDS) - 1)])
            failures += 1


async def _take_ids(redis: Redis, *, at_most: int) -> list[str]:
    """The ids at the head of the list, as soon as there are some; none after a while without."""
    command = ("BLMPOP", _LISTEN_SECONDS, 1, DUE, "LEFT", "COUNT", at_most)
    answer = await redis.execute_command(*command)  # type: ignore[no-untyped-call]
    return [delivery_id.decode() for delivery_id in answer[1]] if answer else []
