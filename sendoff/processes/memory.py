"""Memory for other processes again: what the C library keeps of large requests that are over.

Bodies, batches and long lists are freed when they are answered, but the C library keeps their pages, in as many arenas
as there are threads. Without this a process stays as large as it was in its worst minute.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path

RETURN_SECONDS = 30.0
"""How often free pages are given back, which takes a few milliseconds of a thread. Less often leaves a process large
for longer."""

GROWTH_BYTES = 16 * 1024 * 1024
"""Growth after which garbage is collected first: 10 to 50 ms in which nothing else is done. With less it is collected
more often; with more it stays for longer."""

_ARENAS = 2
"""Of the C library in one process. More keep more free pages apart; with one, threads would wait for each other."""
_M_ARENA_MAX = -8  # of <malloc.h>


def keep_arenas_few() -> None:
    """Let all threads share a few arenas. Call it before there are threads; without glibc it does nothing."""
    set_option = _function("mallopt")
    if set_option is not None:
        set_option(_M_ARENA_MAX, _ARENAS)


async def return_memory_regularly() -> None:
    """Give free pages back to the system every RETURN_SECONDS, until cancelled; without glibc do nothing."""
    trim, size = _function("malloc_trim"), _resident_bytes()
    while trim is not None:
        await asyncio.sleep(RETURN_SECONDS)
        if _resident_bytes() > size + GROWTH_BYTES:
            gc.collect()  # exceptions hold what they were about in cycles, which are looked for when objects are made
        await asyncio.to_thread(trim, 0)
        size = _resident_bytes()


def _resident_bytes() -> int:
    """The process's size in memory; 0 where the system does not tell it in this way."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _function(name: str) -> Callable[..., int] | None:
    """The C library's function; None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None)
