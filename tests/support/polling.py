"""Waiting for something to become true, with a deadline instead of a guess."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Found = TypeVar("Found")

_PAUSE_SECONDS = 0.02


@overload
async def eventually(
    look: Callable[[], Awaitable[Found | None]], *, within: float = ..., what: str | Callable[[], str] = ...
) -> Found: ...


@overload
async def eventually(
    look: Callable[[], Found | None], *, within: float = ..., what: str | Callable[[], str] = ...
) -> Found: ...


async def eventually(
    look: Callable[[], Any],
    *,
    within: float = 10,
    what: str | Callable[[], str] = "what was waited for",
) -> Any:
    """The first true value that `look` returns; fails with `what` after `within` seconds without one."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(_PAUSE_SECONDS)


def eventually_blocking(
    look: Callable[[], Found | None],
    *,
    within: float = 10,
    every: float = _PAUSE_SECONDS,
    what: str | Callable[[], str] = "what was waited for",
) -> Found:
    """The same for code without an event loop; looks once per `every` seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(every)
    return found
