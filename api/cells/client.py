"""Requests to cells: forwarded ones, whose bodies pass through unread, and the router's own questions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from sendoff.errors import Unavailable
from sendoff.observability.metrics import CELL_REQUESTS

CONNECT_SECONDS = 2.0
"""A cell that takes longer to connect counts as away. Shorter, and a busy one does."""

READ_SECONDS = 90.0
"""Longer than a cell works on any request: it answers 503 by itself before, and lists are sent piece by piece."""

ASK_SECONDS = 3.0
"""How long a question of the router's own may take; a list shows the other cells without it."""

MOST_CONNECTIONS = 1_000

Headers = Sequence[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host"}
)
# What the router writes itself.
_OF_ROUTER = _HOP_BY_HOP | {b"x-forwarded-for", b"forwarded", b"x-request-id"}
_OF_SERVER = _HOP_BY_HOP | {b"x-request-id", b"date"}


@dataclass(frozen=True, slots=True)
class CellAnswer:
    """A cell's answer to a question; `document` is its JSON, or None."""

    status: int
    document: Any


class CellClient:
    """The way to the cells, by name."""

    def __init__(self, urls: Mapping[str, str], *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` replaces the network."""
        self._urls = dict(urls)
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=200),
            trust_env=False,
            follow_redirects=False,
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._urls)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(
        self, cell: str, path: str, *, headers: Headers = (), params: Mapping[str, str] | None = None
    ) -> CellAnswer:
        """A GET of the router's own. Raises Unavailable when the cell does not answer in time."""
        try:
            response = await self._client.get(
                self._urls[cell] + path, headers=list(headers), params=params, timeout=ASK_SECONDS
            )
        except httpx.HTTPError as error:
            raise _away(cell, error) from None
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return CellAnswer(response.status_code, response.json() if is_json else None)

    async def forward(
        self, cell: str, scope: Scope, receive: Receive, send: Send, *, query: bytes, body: bytes | None = None
    ) -> None:
        """Send the request on and the answer back. `body` is the request's if it has been read already.

        Raises Unavailable while nothing of an answer has been sent.
        """
        async with self._exchange(cell, scope, receive, query, body) as response:
            await send(
                {
                    "type": "http.response.start",
                    "status": response.status_code,
                    "headers": [pair for pair in response.headers.raw if pair[0].lower() not in _OF_SERVER],
                }
            )
            async for piece in response.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def _exchange(
        self, cell: str, scope: Scope, receive: Receive, query: bytes, body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        target = self._urls[cell].encode() + scope["raw_path"] + (b"?" + query if query else b"")
        request = self._client.build_request(
            "HEAD" if scope["state"].get("is_head") else scope["method"],
            target.decode("ascii"),
            headers=[*forwarded_headers(scope)],
            content=_body(scope, receive) if body is None else body,
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _away(cell, error) from None
        CELL_REQUESTS.labels(cell, "answered").inc()
        try:
            yield response
        finally:
            await response.aclose()


def forwarded_headers(scope: Scope) -> Headers:
    """The client's headers as a cell gets them: with the client's address, and the id that both log."""
    host = (scope.get("client") or ("", 0))[0]
    kept = [pair for pair in scope["headers"] if pair[0].lower() not in _OF_ROUTER]
    return [*kept, (b"x-forwarded-for", host.encode()), (b"x-request-id", scope["state"]["request_id"].encode())]


def _body(scope: Scope, receive: Receive) -> AsyncIterator[bytes] | None:
    names = {name.lower() for name, _ in scope["headers"]}
    return _pieces(receive) if names & {b"content-length", b"transfer-encoding"} else None


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise httpx.ReadError("the client left")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


def _away(cell: str, error: httpx.HTTPError) -> Unavailable:
    CELL_REQUESTS.labels(cell, "away").inc()
    return Unavailable("A part of the service cannot be reached; try again.", detail=f"cell {cell}: {error!r}")
