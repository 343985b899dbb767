"""How many TLS handshakes are under way at once, and who waits for a turn.

A receiver that announces a message of 100 KB has OpenSSL make room for all of it: half a handshake takes 50 KB while
the receiver is silent and up to 215 KB when it means harm (measured), a thousand of them what a worker takes otherwise.
So that receivers which never finish keep nobody waiting, hosts take turns, and what is late gives way, but only where
somebody waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from sendoff.wire.http.connection import Origin

MOST_HANDSHAKES = 150

_PATIENCE_SECONDS = 1.0
_LAST_LOOK_SECONDS = 0.01


class HandshakePermit:
    """A place among the handshakes that are under way; `give_way` is called when it has had it for too long."""

    def __init__(self, turns: HandshakeLimiter, since: float) -> None:
        self.since = since
        self.give_way: Callable[[], None] = lambda: None
        self._turns = turns

    def end(self) -> None:
        """Give the place back."""
        self._turns._end(self)


class HandshakeLimiter:
    """At most `most` turns at once."""

    def __init__(self, most: int = MOST_HANDSHAKES) -> None:
        self._free = most
        self._under_way: dict[HandshakePermit, None] = {}  # the oldest first
        self._waiting: OrderedDict[Origin, deque[asyncio.Future[None]]] = OrderedDict()  # who is next first
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, origin: Origin) -> HandshakePermit:
        """A turn, when it is `origin`'s; whoever takes one must end it."""
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

    def _end(self, turn: HandshakePermit) -> None:
        del self._under_way[turn]
        self._pass_on()

    def _pass_on(self) -> None:
        """To the next host's first waiter, if there is one that was not just cancelled."""
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
            self._timer = asyncio.get_running_loop().call_at(late_at, self._look_once_more)

    def _look_once_more(self) -> None:
        # After a standstill the loop runs what is late before it reads what came in time.
        self._timer = asyncio.get_running_loop().call_later(_LAST_LOOK_SECONDS, self._end_late_ones)

    def _end_late_ones(self) -> None:
        self._timer = None
        late_since = asyncio.get_running_loop().time() - _PATIENCE_SECONDS
        late = [turn for turn in self._under_way if turn.since <= late_since]
        for turn in late[: sum(map(len, self._waiting.values()))]:
            turn.give_way()
        self._watch()
