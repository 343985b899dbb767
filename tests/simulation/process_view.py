"""The database as one process sees it: away at times, slow while the process stands still, closed once it is dead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sendoff.errors import Unavailable
from sendoff.store.engine.database import Database, Transaction
from sendoff.store.engine.sqlite_driver import Work


class ProcessDied(BaseException):
    """The process does not live any more; nothing of the product may catch it."""


class DatabaseSeenBy:
    """The installation's database for one process, which `may_go_on` lets through or stops."""

    def __init__(
        self,
        database: Database,
        may_go_on: Callable[[], None],
        pause: Callable[[], Awaitable[None]],
        watch: Callable[[Work[Any]], Work[Any]],
    ) -> None:
        """`may_go_on` raises when the process does not get through; `pause` waits while it stands still.

        `watch` gives the work of a hot transaction back with what must hold of it.
        """
        self._database = database
        self._may_go_on = may_go_on
        self._pause = pause
        self._watch = watch

    @property
    def is_sqlite(self) -> bool:
        return True

    @property
    def direct(self) -> None:
        return None

    @property
    def embedded(self) -> DatabaseSeenBy:
        return self

    @asynccontextmanager
    async def _transaction(self, opened: Any) -> AsyncIterator[Transaction]:
        await self._pause()
        self._may_go_on()
        async with opened as tx:
            yield tx
            self._may_go_on()  # before the commit
        await self._pause()

    def transaction(self, *, within: float | None = None) -> Any:
        return self._transaction(self._database.write(within=within))

    def look(self) -> Any:
        return self._transaction(self._database.look())

    def snapshot(self, *, within: float | None = None) -> Any:
        return self._transaction(self._database.read(within=within))

    async def hot_write(self, work: Any) -> Any:
        await self._pause()
        self._may_go_on()
        result = await self._database.embedded.write(self._watch(work))
        await self._pause()
        self._may_go_on()  # committed, and the process does not hear of it
        return result

    async def hot_read(self, work: Any) -> Any:
        self._may_go_on()
        return await self._database.embedded.read(work)

    def write(self, work: Any = None, *, within: float | None = None, pause: float = 0) -> Any:
        """A transaction, or one hot transaction of `work`: the product has a class for each. SQLite has no pauses."""
        return self.transaction(within=within) if work is None else self.hot_write(work)

    def read(self, work: Any = None, *, within: float | None = None, owner: str | None = None) -> Any:
        return self.snapshot(within=within) if work is None else self.hot_read(work)


def away() -> None:
    """What a process hears while the database is away."""
    raise Unavailable("The database cannot be reached.")
