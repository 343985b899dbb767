"""Waiting for an event, but not for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[None]:
    """End the block after so many seconds, without an error."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


async def wait_for(event: asyncio.Event, *, seconds: float) -> None:
    """Wait for the event, for so many seconds at most."""
    async with at_most(seconds):
        await event.wait()
