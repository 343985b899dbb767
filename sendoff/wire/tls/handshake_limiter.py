"""Limits how many TLS handshakes are under way at once.

When a receiver announces a message of 100 KB, OpenSSL allocates all of it. An unfinished handshake takes 50 KB with a
silent receiver and up to 215 KB with a hostile one (measured); a thousand of them would double the memory of a worker.
Hosts are served round-robin, and late handshakes are evicted while others wait, so that receivers which never finish do
not delay the rest.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from sendoff.wire.http.connection import Origin

MOST_HANDSHAKES = 150
"""Handshakes at once. Each may take up to 215 KB: twice as many need 32 MB more."""

_PATIENCE_SECONDS = 1.0
_RECHECK_SECONDS = 0.01


class HandshakePermit:
    """Permission for one handshake; `evict` is called when it takes too long while others wait."""

    def __init__(self, turns: HandshakeLimiter, since: float) -> None:
        self.since = since
        self.evict: Callable[[], None] = lambda: None
        self._turns = turns

    def end(self) -> None:
        """Release the permit."""
        self._turns.end_of(self)


class HandshakeLimiter:
    """Grants at most `most` permits at once."""

    def __init__(self, most: int = MOST_HANDSHAKES) -> None:
        self._free = most
        self._under_way: dict[HandshakePermit, None] = {}  # the oldest first
        self._waiting: OrderedDict[Origin, deque[asyncio.Future[None]]] = OrderedDict()  # who is next first
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, origin: Origin) -> HandshakePermit:
        """Wait for the turn of `origin` and return its permit; the caller must end it."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(origin)
        turn = HandshakePermit(self, asyncio.get_running_loop().time())
        self._under_way[turn] = None
        return turn

    async def _wait(self, origin: Origin) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(origin, deque()).append(waiter)
        self._watch()
        try:
            await waiter
        except BaseException:
            if waiter.cancelled():
                self._forget(origin, waiter)
            else:
                self._pass_on()
            raise

    def _forget(self, origin: Origin, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiting[origin]
        waiters.remove(waiter)
        if not waiters:
            del self._waiting[origin]

    def end_of(self, turn: HandshakePermit) -> None:
        """Take the permit back and pass it on."""
        del self._under_way[turn]
        self._pass_on()

    def _pass_on(self) -> None:
        """Pass the permit to the first waiter of the next host that was not cancelled."""
        for origin, waiters in self._waiting.items():
            waiter = next((waiter for waiter in waiters if not waiter.done()), None)
            if waiter is not None:
                self._waiting.move_to_end(origin)
                self._forget(origin, waiter)
                waiter.set_result(None)
                return
        self._free += 1

    def _watch(self) -> None:
        if self._timer is None and self._waiting and self._under_way:
            late_at = next(iter(self._under_way)).since + _PATIENCE_SECONDS
            self._timer = asyncio.get_running_loop().call_at(late_at, self._recheck_after_stall)

    def _recheck_after_stall(self) -> None:
        # If the loop stalled, expired timers run before pending reads: poll once more so that data in time wins.
        self._timer = asyncio.get_running_loop().call_later(_RECHECK_SECONDS, self._end_late_ones)

    def _end_late_ones(self) -> None:
        self._timer = None
        late_since = asyncio.get_running_loop().time() - _PATIENCE_SECONDS
        late = [turn for turn in self._under_way if turn.since <= late_since]
        for turn in late[: sum(map(len, self._waiting.values()))]:
            turn.evict()
        self._watch()
