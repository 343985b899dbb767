"""Redis in memory: the commands that queue, consumers and sweepers send, with blocking, expiry, loss and absence."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import orjson
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.simulation.loop import SimulatedLoop


class RedisTwin:
    """The server. While it is `away`, every command fails."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.away = False
        self._sets: dict[str, dict[bytes, float]] = {}
        self._values: dict[str, tuple[bytes, float]] = {}
        self._grown = asyncio.Event()

    def flush(self) -> None:
        """Lose everything, as a server without persistence does when it restarts."""
        self._sets.clear()
        self._values.clear()

    async def answer(self, command: Sequence[Any]) -> Any:
        """The reply to one command. Raises ConnectionError while the server is away."""
        name, *arguments = command
        if self.away:
            raise RedisConnectionError("Connection refused.")
        return await getattr(self, f"_{name.lower()}")(*arguments)

    async def _zadd(self, key: str, *arguments: Any) -> int:
        is_new_only = arguments[0] == "NX"
        score, member = arguments[-2:]
        found = self._sets.setdefault(key, {})
        if not is_new_only or _bytes(member) not in found:
            found[_bytes(member)] = float(score)
        self._grown.set()
        return 1

    async def _zremrangebyscore(self, key: str, _lowest: str, highest: float) -> int:
        found = self._sets.get(key, {})
        gone = [member for member, score in found.items() if score <= float(highest)]
        for member in gone:
            del found[member]
        return len(gone)

    async def _zcard(self, key: str) -> int:
        return len(self._sets.get(key, {}))

    async def _zrange(self, key: str, first: int, last: int, *_with: str) -> list[bytes]:
        found = sorted(self._sets.get(key, {}).items(), key=lambda one: (one[1], one[0]))
        return [part for member, score in found[first : last + 1] for part in (member, b"%f" % score)]

    async def _bzmpop(self, seconds: float, _keys: int, key: str, _end: str, _count: str, most: int) -> Any:
        deadline = self.loop.time() + seconds
        while not self._sets.get(key):
            if self.away:
                raise RedisConnectionError("Connection closed by server.")
            left = deadline - self.loop.time()
            if left <= 0:
                return None
            self._grown.clear()
            try:
                async with asyncio.timeout(min(left, 1.0)):
                    await self._grown.wait()
            except TimeoutError:
                continue
        found = self._sets[key]
        oldest = sorted(found, key=lambda member: (found[member], member))[:most]
        return [key.encode(), [[member, found.pop(member)] for member in oldest]]

    async def _set(self, key: str, value: Any, *options: Any) -> bytes | None:
        now = self.loop.time()
        if "NX" in options and self._values.get(key, (b"", now))[1] > now:
            return None
        seconds = options[options.index("PX") + 1] / 1000 if "PX" in options else float("inf")
        self._values[key] = (_bytes(value), now + seconds)
        return b"OK"

    async def _getdel(self, key: str) -> bytes | None:
        value, until = self._values.pop(key, (b"", 0.0))
        return value if until > self.loop.time() else None

    async def _unlink(self, *keys: str) -> int:
        return sum(self._values.pop(key, None) is not None for key in keys)


class ClientTwin:
    """The client library's part that arq's worker asks for: its health key, and how jobs are written."""

    job_serializer = staticmethod(orjson.dumps)
    job_deserializer = staticmethod(orjson.loads)

    def __init__(self, server: RedisTwin) -> None:
        self.server = server

    async def psetex(self, *_arguments: object) -> None:
        if self.server.away:
            raise RedisConnectionError("Connection refused.")

    async def zcard(self, key: str) -> int:
        return int(await self.server.answer(("ZCARD", key)))

    async def zpopmax(self, _key: str, _count: int) -> list[tuple[bytes, float]]:
        return []

    async def aclose(self, **_options: object) -> None:
        """Nothing to let go of."""


class PipeTwin:
    """A connection, with the methods of CommandPipe."""

    def __init__(self, client: ClientTwin) -> None:
        self._server = client.server
        self._unanswered: deque[asyncio.Task[Any]] = deque()

    @property
    def has_unanswered(self) -> bool:
        return bool(self._unanswered)

    async def run(self, commands: Sequence[Sequence[Any]], *, seconds: float) -> list[Any]:
        await self.send(commands, seconds=seconds)
        return await self.receive(len(commands), seconds=seconds)

    async def send(self, commands: Sequence[Sequence[Any]], *, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await asyncio.sleep(self._server.loop.latency())
        if self._server.away:
            raise RedisConnectionError("Connection refused.")
        before = self._unanswered[-1] if self._unanswered else None
        for command in commands:  # one after the other, as on one connection
            before = asyncio.create_task(self._answer(before, command))
            self._unanswered.append(before)

    async def receive(self, at_least: int = 1, *, seconds: float) -> list[Any]:
        async with asyncio.timeout(seconds):
            replies = [await self._unanswered.popleft() for _ in range(at_least)]
        while self._unanswered and self._unanswered[0].done():
            replies.append(self._unanswered.popleft().result())
        return replies

    async def close(self) -> None:
        for task in self._unanswered:
            task.cancel()
        await asyncio.gather(*self._unanswered, return_exceptions=True)
        self._unanswered.clear()

    async def _answer(self, before: asyncio.Task[Any] | None, command: Sequence[Any]) -> Any:
        if before is not None:
            await asyncio.wait({before})
        return await self._server.answer(command)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
