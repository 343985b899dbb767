"""Who publishes in a transaction of its own, one after the other by organization and Idempotency-Key.

Those that wait hold no connection to the database: an organization that sends many such requests at once takes neither
the connections of the others nor, on SQLite, the time of the one writer.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sendoff.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sendoff.context import Context
    from sendoff.idempotency import IdempotentRequest

AT_ONCE_ON_POSTGRES = 4
"""Transactions of one organization at once in a process, of its 20 connections. On SQLite, which has one writer, 1."""


class PublishTurns:
    """The turns of this process."""

    def __init__(self, at_once: int) -> None:
        self._by_organization = Turns(at_once)
        self._by_key = Turns(1)

    @classmethod
    def of(cls, context: Context) -> PublishTurns:
        """For `context.service`: the one of this context's process."""
        return cls(1 if context.database.is_sqlite else AT_ONCE_ON_POSTGRES)

    @asynccontextmanager
    async def taken(self, organization_id: str, request: IdempotentRequest | None) -> AsyncIterator[None]:
        """A turn for the length of the block, in the order in which they were asked for."""
        if request is None:
            async with self._by_organization.taken(organization_id):
                yield
            return
        async with (
            self._by_key.taken((organization_id, request.key)),
            self._by_organization.taken(organization_id),
        ):
            yield
