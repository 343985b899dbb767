"""Requests to cells: forwarded ones, whose bodies pass through unread, and the router's own questions."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from sendoff.errors import Unavailable
from sendoff.observability.metrics import CELL_REQUESTS
from sendoff.wire.tls.trust import default_ssl_context

from .connection import Body, CellConnection, CellLost, CellRequest, Headers

CONNECT_SECONDS = 2.0
"""A cell that takes longer to connect counts as away. Shorter, and a busy one does."""

READ_SECONDS = 90.0
"""The longest silence of a cell while it is waited for. Longer than a cell works on any request: it answers 503 by
itself before, and lists are sent piece by piece."""

ASK_SECONDS = 3.0
"""How long a question of the router's own may take; a list shows the other cells without it."""

IDLE_SECONDS = 30.0
"""How long a connection is used again after its last request. Longer than SENDOFF_KEEP_ALIVE_SECONDS of the cells, and
requests meet connections that the cell is about to end."""

MOST_CONNECTIONS = 1_000
"""Connections to one cell, and so requests under way in it. Beyond it requests for that cell are answered 503: a cell
that hangs does not use up the router for the others."""

_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host"}
    | {b"expect"}
)
# What the router writes itself.
_OF_ROUTER = _HOP_BY_HOP | {b"x-forwarded-for", b"forwarded", b"x-request-id"}
_OF_SERVER = _HOP_BY_HOP | {b"x-request-id", b"date"}


@dataclass(frozen=True, slots=True)
class CellAnswer:
    """A cell's answer to a question; `document` is its JSON, or None."""

    status: int
    document: Any


class _Cell:
    """The connections to one cell."""

    def __init__(self, name: str, url: str, tls: ssl.SSLContext) -> None:
        parts = urlsplit(url)
        self.name = name
        self.authority = parts.netloc.encode("ascii")
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = tls if parts.scheme == "https" else None
        self._open: set[CellConnection] = set()
        self._opening = 0
        self._idle: list[CellConnection] = []

    async def take(self) -> CellConnection:
        """A connection that is not in use, the last used one if there is any. Raises CellLost."""
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since + IDLE_SECONDS > loop.time():
                return connection
            connection.abort()
        if len(self._open) + self._opening >= MOST_CONNECTIONS:
            raise CellLost(f"{MOST_CONNECTIONS} requests are under way in it")
        self._opening += 1
        try:
            connection = await self._connect()
        finally:
            self._opening -= 1
        if connection.usable:
            self._open.add(connection)
        return connection

    async def _connect(self) -> CellConnection:
        def made() -> CellConnection:
            return CellConnection(self._open.discard, patience=READ_SECONDS)

        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                opened = asyncio.get_running_loop().create_connection(made, self._host, self._port, ssl=self._tls)
                return (await opened)[1]
        except OSError as error:  # of which TimeoutError and SSLError are kinds
            raise CellLost(repr(error)) from None

    def put_back(self, connection: CellConnection) -> None:
        """End its exchange, and keep the connection if it can carry another one."""
        connection.end()
        if connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def close(self) -> None:
        for connection in tuple(self._open):
            connection.abort()


class CellClient:
    """The way to the cells, by name."""

    def __init__(self, urls: Mapping[str, str], *, ca_file: Path | None = None) -> None:
        """`ca_file`: authorities that are trusted besides the system's."""
        tls = default_ssl_context(ca_file)
        self._cells = {name: _Cell(name, url, tls) for name, url in urls.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._cells)

    def close(self) -> None:
        """End all connections."""
        for cell in self._cells.values():
            cell.close()

    async def ask(
        self, cell: str, path: str, *, headers: Headers = (), params: Mapping[str, str] | None = None
    ) -> CellAnswer:
        """A GET of the router's own; `path` is not percent-encoded. Raises Unavailable without an answer in time."""
        target = quote(path) + (f"?{urlencode(params)}" if params else "")
        try:
            async with (
                asyncio.timeout(ASK_SECONDS),
                self._exchange(cell, CellRequest("GET", target.encode("ascii"), headers)) as answer,
            ):
                body = b"".join([piece async for piece in answer.pieces()])
        except (TimeoutError, CellLost) as error:
            raise _away(cell, error) from None
        is_json = any(
            name.lower() == b"content-type" and value.startswith(b"application/json") for name, value in answer.headers
        )
        return CellAnswer(answer.status, orjson.loads(body) if is_json else None)

    async def forward(
        self, cell: str, scope: Scope, receive: Receive, send: Send, *, query: bytes, body: bytes | None = None
    ) -> None:
        """Send the request on and the answer back. `body` is the request's if it has been read already.

        Raises Unavailable while nothing of an answer has been sent.
        """
        method = "HEAD" if scope["state"].get("is_head") else scope["method"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        given = await _body(scope, receive) if body is None else body
        async with self._exchange(cell, CellRequest(method, target, forwarded_headers(scope), given)) as answer:
            CELL_REQUESTS.labels(cell, "answered").inc()
            headers = [pair for pair in answer.headers if pair[0].lower() not in _OF_SERVER]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            whole = answer.take_whole_body()
            if whole is None:
                async for piece in answer.pieces():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": whole or b""})

    @asynccontextmanager
    async def _exchange(self, name: str, request: CellRequest) -> AsyncIterator[CellConnection]:
        cell = self._cells[name]
        try:
            connection = await cell.take()
        except CellLost as error:
            raise _away(name, error) from None
        try:
            try:
                await connection.begin(request, cell.authority)
            except CellLost as error:
                raise _away(name, error) from None
            yield connection
        finally:
            cell.put_back(connection)


def forwarded_headers(scope: Scope) -> Headers:
    """The client's headers as a cell gets them: with the client's address, and the id that both log."""
    host = (scope.get("client") or ("", 0))[0]
    kept = [pair for pair in scope["headers"] if pair[0].lower() not in _OF_ROUTER]
    return [*kept, (b"x-forwarded-for", host.encode()), (b"x-request-id", scope["state"]["request_id"].encode())]


async def _body(scope: Scope, receive: Receive) -> Body:
    """What the request carries: all of it if it has come in one piece, as most do."""
    if not any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"]):
        return None
    message = await receive()
    return _pieces(message, receive) if message.get("more_body") else _piece(message)


async def _pieces(message: Message, receive: Receive) -> AsyncIterator[bytes]:
    while True:
        if piece := _piece(message):
            yield piece
        if not message.get("more_body"):
            return
        message = await receive()


def _piece(message: Message) -> bytes:
    if message["type"] != "http.request":
        raise ClientDisconnect
    return bytes(message.get("body", b""))


def _away(cell: str, error: Exception) -> Unavailable:
    CELL_REQUESTS.labels(cell, "away").inc()
    return Unavailable("A part of the service cannot be reached; try again.", detail=f"cell {cell}: {error!r}")
