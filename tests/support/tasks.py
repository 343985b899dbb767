"""Tasks that are ended for certain."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel until it has ended: a client of Redis that is at something may see a lost connection instead."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)
