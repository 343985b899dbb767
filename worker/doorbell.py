"""The doorbell: takes the ids of due deliveries from Redis as the dispatcher has room for them."""

from __future__ import annotations

import asyncio

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sendoff.context import Context
from sendoff.delivery.admission import CLAIM_BATCH_LIMIT, bulk_share
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.errors import Unavailable
from sendoff.queue import DUE_IN_BULK, HELD_FOR

_log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.01
"""The pause after a small claim: under load, what comes meanwhile shares the next one. Alone, nobody waits for it."""

_LISTEN_SECONDS = 2.0  # less than a command to Redis may take
_AWAY_SECONDS = (0.1, 0.5, 1.0)


class Doorbell:
    """Hands over to a dispatcher what is rung for on one of the lists.

    Each list has its own: while two hundred of a bulk are claimed, a single delivery is, too.
    """

    def __init__(self, context: Context, dispatcher: Dispatcher, key: str) -> None:
        """`key`: DUE or DUE_IN_BULK."""
        self._context = context
        self._dispatcher = dispatcher
        self._key = key
        self.failures = 0
        """How many times in a row it could not hear, or not hand over."""

    @property
    def is_deaf(self) -> bool:
        """Whether it has failed again and again: somebody else must look what is due."""
        return self.failures >= len(_AWAY_SECONDS)

    async def listen(self) -> None:
        """Hand over, for ever. What is taken from Redis and not handed over is found by the sweeper."""
        while True:
            room = await self._dispatcher.wait_for_capacity()
            is_bulk = self._key == DUE_IN_BULK
            try:
                await self._hear(bulk_share(room) if is_bulk else min(room, CLAIM_BATCH_LIMIT))
                self.failures = 0
            except Exception as error:
                if isinstance(error, (RedisError, OSError, Unavailable)):
                    _log.warning("bell_not_heard", error=str(error))
                else:  # such as an id that is none; it must not end the process
                    _log.exception("bell_not_heard")
                await asyncio.sleep(_AWAY_SECONDS[min(self.failures, len(_AWAY_SECONDS) - 1)])
                self.failures += 1

    async def _hear(self, at_most: int) -> None:
        heard = await _take_ids(self._context.redis, self._key, at_most=at_most)
        holders = {one.removeprefix(HELD_FOR) for one in heard if one.startswith(HELD_FOR)}
        if holders:
            self._dispatcher.backlog_available(holders)
        delivery_ids = [one for one in heard if not one.startswith(HELD_FOR)]
        if delivery_ids:
            await self._dispatcher.submit(delivery_ids)
        if 0 < len(heard) < at_most:
            await asyncio.sleep(GATHER_SECONDS)


async def _take_ids(redis: Redis, key: str, *, at_most: int) -> list[str]:
    """The ids at the head of the list, as soon as there are some; none after a while without."""
    command = ("BLMPOP", _LISTEN_SECONDS, 1, key, "LEFT", "COUNT", at_most)
    answer = await redis.execute_command(*command)  # type: ignore[no-untyped-call]
    return [delivery_id.decode() for delivery_id in answer[1]] if answer else []
