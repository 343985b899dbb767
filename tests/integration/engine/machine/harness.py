"""The harness of the state machine: real operations and databases, with a fake clock, random source, queue and wire."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from sqlalchemy import Engine, create_engine, delete

from sendoff.clock import FakeClock
from sendoff.context import Context
from sendoff.store.tables import (
    Attempt,
    DeadLetter,
    Delivery,
    Endpoint,
    Event,
    LastExchange,
    Replay,
    ReplayItem,
)
from tests.integration.engine.machine.db_snapshot import DbSnapshot, take_snapshot
from tests.integration.engine.machine.fakes import CrashingDatabase, FakeWire, ProcessDied
from tests.support.app_fixture import START, AppFixture, ListQueue, open_app

Result = TypeVar("Result")

SCHEDULE = (60.0, 300.0)
FAILURES_TO_DISABLE = 10
LEASE_SECONDS = 20.0
RETENTION_DAYS = 30
DEAD_LETTER_RETENTION_DAYS = 90
_EMPTIED = (ReplayItem, Replay, DeadLetter, LastExchange, Attempt, Delivery, Event, Endpoint)


@dataclass
class Harness:
    """One app for all examples; `reset` empties it."""

    runner: asyncio.Runner
    app: AppFixture
    wire: FakeWire
    database: CrashingDatabase
    eye: Engine | None
    """Looks at SQLite without an event loop and a thread in between: most of the time goes into looking."""

    @property
    def context(self) -> Context:
        return self.app.context

    @property
    def clock(self) -> FakeClock:
        return self.app.clock

    @property
    def queue(self) -> ListQueue:
        return self.app.queue

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What `work` gives."""
        return self.runner.run(work)

    def run_with_crash(self, work: Coroutine[Any, Any, Result], *, dies_after: int | None) -> Result | None:
        """The result of `work`; None when its process died after that number of commits."""
        self.database.commits_left = dies_after
        try:
            return self.runner.run(work)
        except ProcessDied:
            return None
        finally:
            self.database.commits_left = None

    def look(self) -> DbSnapshot:
        """The database as it is."""
        if self.eye is None:
            return self.run(self._look())
        with self.eye.connect() as connection:
            return take_snapshot(connection)

    def reset(self) -> None:
        """As new: no events, no endpoints, the clock at its start."""
        self.app.clock, self.app.queue = FakeClock(START), ListQueue()
        self.wire.sent.clear()
        self.app.context = replace(self.context, clock=self.clock, queue=self.queue)
        self.run(self._empty())

    async def _look(self) -> DbSnapshot:
        async with self.context.database.read() as tx:
            return await (await tx.connection()).run_sync(take_snapshot)

    async def _empty(self) -> None:
        async with self.context.database.write() as tx:
            for table in _EMPTIED:
                await tx.execute(delete(table))


@contextmanager
def open_harness(database_url: str) -> Iterator[Harness]:
    """A harness with an event loop of its own."""
    with asyncio.Runner() as runner:
        opening = open_app(
            database_url,
            retry_schedule=list(SCHEDULE),
            disable_after_failures=FAILURES_TO_DISABLE,
            lease_seconds=LEASE_SECONDS,
            endpoint_max_in_flight=1,
            retention_days=RETENTION_DAYS,
            dead_letter_retention_days=DEAD_LETTER_RETENTION_DAYS,
        )
        app = runner.run(opening.__aenter__())
        eye = create_engine(database_url.replace("+aiosqlite", "")) if "+aiosqlite" in database_url else None
        try:
            yield _furnish(runner, app, eye)
        finally:
            if eye is not None:
                eye.dispose()
            runner.run(opening.__aexit__(None, None, None))


def _furnish(runner: asyncio.Runner, app: AppFixture, eye: Engine | None) -> Harness:
    wire, database = FakeWire(), CrashingDatabase(app.context.database)
    app.context = replace(
        app.context,
        wire=cast("Any", wire),
        database=cast("Any", database),
    )
    return Harness(runner, app, wire, database, eye)
