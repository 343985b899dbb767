"""A connection to Redis for frequent commands: they leave in one write, and replies are read without a task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError, ResponseError

from sendoff.connections.vanished_hosts import descriptor_of, give_up_unacknowledged

_UNACKNOWLEDGED_SECONDS = 2
"""After so long a connection ends whose other side acknowledges nothing, though replies may take longer. Longer delays
a failover from a host that has vanished; shorter drops connections in a blip of the network."""

_NOTHING_YET = object()


class CommandPipe(asyncio.Protocol):
    """The client's library connects: it knows addresses, TLS, login and Sentinels. Then the pipe talks by itself.

    Connects when it is first used. After any failure the next call connects again, and what was unanswered is lost.
    Belongs to one task.
    """

    def __init__(self, redis: Redis) -> None:
        pool = redis.connection_pool
        self._connection: AbstractConnection = pool.connection_class(**pool.connection_kwargs)
        self._transport: asyncio.Transport | None = None
        self._reader: hiredis.Reader
        self._replies: deque[Any] = deque()
        self._unanswered = 0
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = 0

    @property
    def has_unanswered(self) -> bool:
        """Whether a reply is still to come or to be taken."""
        return bool(self._replies) or (self._transport is not None and self._unanswered > 0)

    async def run(self, commands: Sequence[Sequence[Any]], *, seconds: float) -> list[Any]:
        """The replies, in order. Raises RedisError, OSError, or TimeoutError after `seconds`."""
        is_reused = self._transport is not None
        try:
            return await self._run(commands, seconds)
        except RedisConnectionError:
            if not is_reused:
                raise
        return await self._run(commands, seconds)  # Redis has closed the connection since it was last used

    async def send(self, commands: Sequence[Sequence[Any]], *, seconds: float) -> None:
        """Write commands, whose replies `receive` returns. Connecting may take `seconds`. Raises as `run`."""
        if self._transport is None:
            async with asyncio.timeout(seconds):
                await self._connect()
        transport = cast("asyncio.Transport", self._transport)
        transport.write(b"".join([hiredis.pack_command(tuple(command)) for command in commands]))
        self._unanswered += len(commands)

    async def receive(self, at_least: int = 1, *, seconds: float) -> list[Any]:
        """The replies that have come, as soon as there are `at_least`. Raises as `run`."""
        if len(self._replies) < at_least:
            await self._wait_for(at_least, seconds)
        replies = [*self._replies]
        self._replies.clear()
        self._unanswered -= len(replies)
        for reply in replies:
            if isinstance(reply, RedisError):
                self._drop()  # a former master, for instance, and the library finds the new one
                raise reply
        return replies

    async def close(self) -> None:
        """Close the connection."""
        self._drop()
        await self._connection.disconnect(nowait=True)

    async def _run(self, commands: Sequence[Sequence[Any]], seconds: float) -> list[Any]:
        await self.send(commands, seconds=seconds)
        return await self.receive(len(commands), seconds=seconds)

    async def _connect(self) -> None:
        await self._connection.disconnect(nowait=True)
        await self._connection.connect()  # type: ignore[no-untyped-call]
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=ResponseError, notEnoughData=_NOTHING_YET
        )
        self._replies.clear()
        self._unanswered = 0
        writer = cast("asyncio.StreamWriter", self._connection._writer)  # noqa: SLF001 - nothing public leads to it
        self._transport = cast("asyncio.Transport", writer.transport)
        give_up_unacknowledged(descriptor_of(self._transport), _UNACKNOWLEDGED_SECONDS)
        self._transport.set_protocol(self)

    async def _wait_for(self, replies: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._transport is None:
            raise _lost()
        self._wanted, self._waiter = replies, loop.create_future()
        timer = loop.call_later(seconds, self._fail, TimeoutError(f"Redis did not answer within {seconds:g} s."))
        try:
            await self._waiter
        except BaseException:
            self._drop()  # replies that nobody reads would be taken for the next ones
            raise
        finally:
            timer.cancel()
            self._waiter = None

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING_YET:
                self._replies.append(reply)
        except RedisError as error:
            self._fail(error)
            self._drop()
            return
        if len(self._replies) >= self._wanted and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(_lost(exc))

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.set_protocol(asyncio.Protocol())  # its end must not be taken for the next connection's
            self._transport.abort()
            self._transport = None


def _lost(error: Exception | None = None) -> RedisConnectionError:
    return RedisConnectionError(f"Redis closed the connection{f': {error}' if error else ''}.")
