"""Redis in memory: the commands that queue, consumers and sweepers send, with blocking, expiry, loss and absence."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import orjson
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.simulation.loop import SimulatedLoop

WAITS = object()
"""What stands for the reply of a command that waits."""


class RedisTwin:
    """The server. While it is `away`, every command fails."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self._is_away = False
        self._sets: dict[str, dict[bytes, float]] = {}
        self._values: dict[str, tuple[bytes, float]] = {}
        self._blocked: dict[PipeTwin, None] = {}
        """Connections on which a command waits for a member of a set, the one that waits longest first."""

    @property
    def away(self) -> bool:
        return self._is_away

    @away.setter
    def away(self, away: bool) -> None:
        self._is_away = away
        self._go_on()

    def flush(self) -> None:
        """Lose everything, as a server without persistence does when it restarts."""
        self._sets.clear()
        self._values.clear()

    def answer(self, command: Sequence[Any]) -> Any:
        """The reply to one command; WAITS if there is none yet. Raises ConnectionError while the server is away."""
        name, *arguments = command
        if self._is_away:
            raise RedisConnectionError("Connection refused.")
        return getattr(self, f"_{name.lower()}")(*arguments)

    def block(self, pipe: PipeTwin) -> None:
        """Let the connection go on when there may be an answer."""
        self._blocked[pipe] = None

    def unblock(self, pipe: PipeTwin) -> None:
        self._blocked.pop(pipe, None)

    def _go_on(self) -> None:
        for pipe in list(self._blocked):
            pipe.go_on()

    def _zadd(self, key: str, *arguments: Any) -> int:
        is_new_only = arguments[0] == "NX"
        score, member = arguments[-2:]
        found = self._sets.setdefault(key, {})
        if not is_new_only or _bytes(member) not in found:
            found[_bytes(member)] = float(score)
        self._go_on()
        return 1

    def _zremrangebyscore(self, key: str, _lowest: str, highest: float) -> int:
        found = self._sets.get(key, {})
        gone = [member for member, score in found.items() if score <= float(highest)]
        for member in gone:
            del found[member]
        return len(gone)

    def _zcard(self, key: str) -> int:
        return len(self._sets.get(key, {}))

    def _zrange(self, key: str, first: int, last: int, *_with: str) -> list[bytes]:
        found = sorted(self._sets.get(key, {}).items(), key=lambda one: (one[1], one[0]))
        return [part for member, score in found[first : last + 1] for part in (member, b"%f" % score)]

    def _bzmpop(self, _seconds: float, _keys: int, key: str, _end: str, _count: str, most: int) -> Any:
        found = self._sets.get(key)
        if not found:
            return WAITS
        oldest = sorted(found, key=lambda member: (found[member], member))[:most]
        return [key.encode(), [[member, found.pop(member)] for member in oldest]]

    def _set(self, key: str, value: Any, *options: Any) -> bytes | None:
        now = self.loop.time()
        if "NX" in options and self._values.get(key, (b"", now))[1] > now:
            return None
        seconds = options[options.index("PX") + 1] / 1000 if "PX" in options else float("inf")
        self._values[key] = (_bytes(value), now + seconds)
        return b"OK"

    def _getdel(self, key: str) -> bytes | None:
        value, until = self._values.pop(key, (b"", 0.0))
        return value if until > self.loop.time() else None

    def _unlink(self, *keys: str) -> int:
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
        return int(self.server.answer(("ZCARD", key)))

    async def zpopmax(self, _key: str, _count: int) -> list[tuple[bytes, float]]:
        return []

    async def aclose(self, **_options: object) -> None:
        """Nothing to let go of."""


class PipeTwin:
    """A connection, with the methods of CommandPipe: its commands are answered in their order."""

    def __init__(self, client: ClientTwin) -> None:
        self._server = client.server
        self._commands: deque[tuple[Sequence[Any], asyncio.Future[Any]]] = deque()
        self._unanswered: deque[asyncio.Future[Any]] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        """When the first command has waited for long enough."""

    @property
    def has_unanswered(self) -> bool:
        return bool(self._unanswered)

    async def run(self, commands: Sequence[Sequence[Any]], *, seconds: float) -> list[Any]:
        await self.send(commands, seconds=seconds)
        return await self.receive(len(commands), seconds=seconds)

    async def send(self, commands: Sequence[Sequence[Any]], *, seconds: float) -> None:
        await asyncio.sleep(self._server.loop.latency())
        if self._server.away:
            raise RedisConnectionError("Connection refused.")
        for command in commands:
            future = self._server.loop.create_future()
            self._commands.append((command, future))
            self._unanswered.append(future)
        self.go_on()

    async def receive(self, at_least: int = 1, *, seconds: float) -> list[Any]:
        replies = [await self._unanswered.popleft() for _ in range(at_least)]
        while self._unanswered and self._unanswered[0].done():
            replies.append(self._unanswered.popleft().result())
        return replies

    async def close(self) -> None:
        self._answered()
        self._commands.clear()
        for future in self._unanswered:
            future.cancel()
        self._unanswered.clear()

    def go_on(self) -> None:
        """Answer the commands up to the first one that waits."""
        while self._commands:
            command, future = self._commands[0]
            try:
                reply = self._server.answer(command)
            except RedisConnectionError as error:
                reply = error
            if reply is WAITS:
                self._server.block(self)
                if self._deadline is None:
                    self._deadline = self._server.loop.call_later(command[1], self._give_up)
                return
            self._settle(future, reply)

    def _give_up(self) -> None:
        """The first command has waited for as long as it asked to."""
        self._settle(self._commands[0][1], None)
        self.go_on()

    def _settle(self, future: asyncio.Future[Any], reply: Any) -> None:
        self._commands.popleft()
        self._answered()
        if future.done():
            return
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    def _answered(self) -> None:
        self._server.unblock(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
