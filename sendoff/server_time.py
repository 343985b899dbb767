"""Keeps a process's clock at the database's time, so that hosts whose clocks differ agree on leases and due times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from sendoff.clock import SharedClock
from sendoff.errors import Unavailable
from sendoff.store.engine.database import Database

_log = structlog.get_logger(__name__)

ASK_SECONDS = 30.0
"""Seconds between questions for the server's time. A longer interval lets more drift of the monotonic clock, or the
clock of a new primary, show in leases."""

NOTED_SECONDS = 1.0
"""A difference between the machine's clock and the server's that is logged. Leases and due times bear any difference,
but receivers refuse signatures whose time is off by more than their tolerance, usually five minutes."""


@asynccontextmanager
async def following_server_time(database: Database, clock: SharedClock) -> AsyncIterator[None]:
    """Set `clock` by the database now and every `ASK_SECONDS`. On SQLite it stays at the machine's time.

    Raises errors.Unavailable when the database cannot be asked now; later it goes on by the last answer.
    """
    if database.is_sqlite:
        yield
        return
    await _ask(database, clock)
    following = asyncio.create_task(_follow(database, clock))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _follow(database: Database, clock: SharedClock) -> None:
    was_noted = False
    while True:
        ahead = clock.machine_is_ahead
        differs = abs(ahead) >= NOTED_SECONDS
        if differs and not was_noted:
            _log.warning("clock_differs", machine_is_ahead_seconds=round(ahead, 3))
        elif was_noted and not differs:
            _log.info("clock_agrees", machine_is_ahead_seconds=round(ahead, 3))
        was_noted = differs
        await asyncio.sleep(ASK_SECONDS)
        with suppress(Unavailable):
            await _ask(database, clock)


async def _ask(database: Database, clock: SharedClock) -> None:
    asked_at = clock.monotonic()
    server_time = await database.server_time()
    if server_time is not None:
        clock.set(server_time, asked_at=asked_at)
