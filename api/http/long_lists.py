"""Lists that a contract has without pages, sent piece by piece.

A piece is read, rendered and sent before the next one is read: a long list neither holds the event loop nor stands in
memory whole, and a client that does not read stops the reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeVar

from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from sendoff.context import Context
from sendoff.turns import Turns

Row = TypeVar("Row")

_PIECES_AT_A_TIME = 2
"""Pieces of one organization's lists that a process works on at once. Each takes a few milliseconds of the event loop,
in which other requests wait; with fewer, long lists take longer when many are asked for."""


async def stream_list(
    context: Context, organization_id: str, pages: AsyncIterator[Sequence[Row]], show: Callable[[Row], BaseModel]
) -> Response:
    """A JSON array of the rows, in the organization's turns. Raises what reading the first page raises, at once."""
    pieces = _pieces(partial(context.service(_new_turns).taken, organization_id), pages, show)
    first = await anext(pieces)
    second = await anext(pieces, None)
    if second is None:
        return Response(b"[" + first + b"]", media_type="application/json")
    return StreamingResponse(_array(first, second, pieces), media_type="application/json")


def _new_turns(_context: Context) -> Turns:
    return Turns(_PIECES_AT_A_TIME)


async def _pieces(
    turn: Callable[[], AbstractAsyncContextManager[None]],
    pages: AsyncIterator[Sequence[Row]],
    show: Callable[[Row], BaseModel],
) -> AsyncIterator[bytes]:
    """The rows of each page that has any, rendered and separated by commas; at least one piece."""
    is_empty = True
    while True:
        async with turn():
            page = await anext(pages, None)
            if page is None:
                break
            piece = b",".join(show(row).model_dump_json().encode() for row in page)
        if piece:
            is_empty = False
            yield piece
    if is_empty:
        yield b""


async def _array(first: bytes, second: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield b"[" + first
    yield b"," + second
    async for piece in others:
        yield b"," + piece
    yield b"]"
