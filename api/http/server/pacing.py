"""When requests begin that nobody vouches for: one in each round of the event loop, by addresses in turn."""

from __future__ import annotations

import asyncio
from collections import deque


class Pacer:
    """Spreads a flood of requests over many rounds of the event loop, between which other requests are worked on.

    Addresses take turns, so one that sends a single request does not wait for the thousand of another.
    """

    def __init__(self) -> None:
        self._has_begun = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # the address whose turn is next comes first

    async def wait(self, address: str) -> None:
        """Return when a request of this address may begin: at once if it is the first in this round."""
        if not self._has_begun:
            self._begin()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(turn)
        await turn

    def _begin(self) -> None:
        self._has_begun = True
        asyncio.get_running_loop().call_soon(self._start_round)

    def _start_round(self) -> None:
        self._has_begun = False
        while self._waiting and not self._has_begun:
            address = next(iter(self._waiting))
            of_address = self._waiting.pop(address)
            turn = of_address.popleft()
            if of_address:
                self._waiting[address] = of_address  # behind the others
            if not turn.done():
                turn.set_result(None)
                self._begin()
