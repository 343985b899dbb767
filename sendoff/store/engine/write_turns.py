"""The turns of one process's transactions that write to SQLite, which has one writer.

Waiting within SQLite is by trial and error, and holds a thread and a connection. Here transactions come in the order in
which they were asked for, except that the hot ones, of publishing and of deliveries, alternate with all others: a hot
one waits for at most one transaction of an upload, say, however many uploads wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class WriteTurns:
    """One writer at a time."""

    def __init__(self) -> None:
        self._is_taken = False
        self._was_hot = False
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {True: deque(), False: deque()}

    @asynccontextmanager
    async def taken(self, *, hot: bool) -> AsyncIterator[None]:
        """The turn for the length of the block."""
        if self._is_taken:
            await self._wait(hot=hot)
        self._is_taken, self._was_hot = True, hot
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, *, hot: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[hot].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given the turn in the same moment
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Keep the turn taken for the next one that waits."""
        for hot in (not self._was_hot, self._was_hot):
            while self._waiting[hot]:
                turn = self._waiting[hot].popleft()
                if not turn.cancelled():
                    self._is_taken, self._was_hot = True, hot
                    turn.set_result(None)
                    return
        self._is_taken = False
