"""Work that ends, or does not begin, when its client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from .protocol import HAS_LEFT

Result = TypeVar("Result")


def refuse_if_client_has_left(scope: Scope) -> None:
    """Raise ClientDisconnect if nobody waits for the answer any more."""
    has_left: Callable[[], bool] | None = scope.get(HAS_LEFT)
    if has_left is not None and has_left():
        raise ClientDisconnect


async def until_client_leaves(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the client disconnects. Call it after the body has been read.

    Raises ClientDisconnect then, since no client waits for the answer.
    """
    task = asyncio.create_task(work)
    leaving = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait([task, leaving], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
