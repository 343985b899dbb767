"""Who publishes in a transaction of its own, one after the other by organization and Idempotency-Key.

Those that wait hold no connection to the database: an organization that sends many such requests at once takes neither
the connections of the others nor, on SQLite, the time of the one writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.idempotency import IdempotentRequest

AT_ONCE_ON_POSTGRES = 4
"""Transactions of one organization at once in a process, of its 20 connections. On SQLite, which has one writer, 1."""


class PublishTurns:
    """The turns of this process."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._lines: dict[Hashable, _Line] = {}

    @classmethod
    def of(cls, context: Context) -> PublishTurns:
        """For `context.service`: the one of this context's process."""
        return cls(1 if context.database.is_sqlite else AT_ONCE_ON_POSTGRES)

    @asynccontextmanager
    async def taken(self, organization_id: str, request: IdempotentRequest | None) -> AsyncIterator[None]:
        """A turn for the length of the block, in the order in which they were asked for."""
        if request is None:
            async with self._one_of(organization_id, self._at_once):
                yield
            return
        async with self._one_of((organization_id, request.key), 1), self._one_of(organization_id, self._at_once):
            yield

    @asynccontextmanager
    async def _one_of(self, name: Hashable, at_once: int) -> AsyncIterator[None]:
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(asyncio.Semaphore(at_once))
        line.users += 1
        try:
            async with line.turns:
                yield
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[name]


@dataclass(slots=True)
class _Line:
    turns: asyncio.Semaphore
    users: int = 0
