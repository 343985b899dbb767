"""Turns by name, usually an organization's id: a number at a time of each, the others wait in line."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable


class Turns:
    """Lines of this process, one for each name that has a turn or waits for one.

    Ask for a turn before you take what others need as well, such as a connection: who waits here holds nothing.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._lines: dict[Hashable, _Line] = {}

    @asynccontextmanager
    async def taken(self, name: Hashable) -> AsyncIterator[None]:
        """A turn of `name` for the length of the block, in the order in which they were asked for."""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(asyncio.Semaphore(self._at_once))
        line.users += 1
        try:
            async with line.turns:
                yield
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[name]

    def count(self, name: Hashable) -> int:
        """How many of `name` have a turn or wait for one."""
        line = self._lines.get(name)
        return 0 if line is None else line.users


@dataclass(slots=True)
class _Line:
    turns: asyncio.Semaphore
    users: int = 0
