"""HTTP/1.1 to a cell: one request at a time on each connection, bodies passed through as they come.

The client for receivers (`sendoff.wire.http`) reads answers whole, and within bounds that are made for strangers. A
cell is trusted, its answers may be long, and each microsecond here is paid for every request.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import cast

from httptools import HttpParserError, HttpResponseParser

Headers = Sequence[tuple[bytes, bytes]]
Body = bytes | AsyncIterator[bytes] | None

_MOST_WAITING_BYTES = 256 * 1024
"""Of an answer that the client reads slowly; the cell is not read on meanwhile."""

_NOT_IN_TARGETS = re.compile(rb"[^!-~]")
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class CellLost(Exception):
    """The cell cannot be reached, ended the connection, or answered with what is not HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class CellRequest:
    """`target` is the path with the query; `headers` come without those that belong to a connection."""

    method: str
    target: bytes
    headers: Headers
    body: Body = None

    def head(self, host: bytes) -> bytes:
        """The bytes before the body."""
        # What cannot be in a target would end the line, and what follows would be read as a request of its own.
        target = _NOT_IN_TARGETS.sub(lambda found: b"%%%02X" % found[0][0], self.target)
        lines = [self.method.encode(), b" ", target, b" HTTP/1.1\r\nhost: ", host, b"\r\n"]
        framed = False
        for name, value in self.headers:
            framed = framed or name.lower() == b"content-length"
            lines += (name, b": ", value, b"\r\n")
        if not framed:
            lines.append(self._framing())
        lines.append(b"\r\n")
        return b"".join(lines)

    def _framing(self) -> bytes:
        if self.is_chunked:
            return b"transfer-encoding: chunked\r\n"
        body = cast("bytes | None", self.body)
        return b"" if not body and self.method in _BODILESS else b"content-length: %d\r\n" % len(body or b"")

    @property
    def is_chunked(self) -> bool:
        """Whether nobody knows how long the body is."""
        is_known = self.body is None or isinstance(self.body, bytes)
        return not is_known and all(name.lower() != b"content-length" for name, _ in self.headers)


class CellConnection(asyncio.Protocol):
    """A connection; `usable` while it can carry another request. Nothing is sent twice."""

    def __init__(self, on_lost: Callable[[CellConnection], None], *, patience: float) -> None:
        """`patience`: the longest silence of the cell, in seconds, while it is waited for."""
        self.usable = True
        self.idle_since = 0.0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._on_lost = on_lost
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._complete = True
        self._is_head = False
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_paused = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._active_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    async def begin(self, request: CellRequest, host: bytes) -> None:
        """Send the request, and wait for the head of its answer: `status` and `headers`.

        Raises CellLost, or what reading the request's body raises.
        """
        if not self.usable:
            raise CellLost("the connection ended before the request")
        self.status, self.headers, self._complete = 0, [], False
        self._is_head = request.method == "HEAD"
        self._active_at = self._loop.time()
        self._timer = self._loop.call_later(self._patience, self._check_silence)
        head = request.head(host)
        if request.body is None or isinstance(request.body, bytes):
            self._transport.write(head + request.body if request.body else head)
        else:
            self._transport.write(head)
            self._sending = self._loop.create_task(self._send(request.body, is_chunked=request.is_chunked))
            self._sending.add_done_callback(self._sent)
        while not self.status:
            await self._wait()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body of the answer. Raises CellLost when it breaks off."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._waiting_bytes -= len(piece)
                yield piece
            if self._complete:
                return
            self._read_on()
            await self._wait()

    def take_whole_body(self) -> bytes | None:
        """The body of the answer if all of it has come along with the head, and nobody has to wait for more."""
        if not self._complete:
            return None
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting_bytes = 0
        return body

    def end(self) -> None:
        """The exchange is over. What was not sent or read until now costs the connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        if not self._complete or self._pieces or not self.usable:
            self.abort()
        else:
            self._read_on()

    def abort(self) -> None:
        """End the connection at once."""
        self.usable = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._complete:  # nothing was asked, so it cannot be an answer
            self.abort()
            return
        self._active_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(CellLost(f"an answer that is not HTTP/1.1: {error}"))
        if self._waiting_bytes > _MOST_WAITING_BYTES and not self._is_paused and self.usable:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self.usable = False
        if self.status and not self._complete and not self._is_framed():
            self._complete = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(CellLost(repr(exc) if exc else "the connection ended before the answer did"))
        self.resume_writing()
        del self._parser  # it and this object hold each other
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def on_message_begin(self) -> None:
        if self._complete:
            raise CellLost("bytes followed the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # not a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
            # The parser cannot be told that the answer to a HEAD has no body; the connection ends instead.
            if self._is_head:
                self._complete, self.usable = True, False
        else:
            self.headers = []

    def on_body(self, data: bytes) -> None:
        if not self._is_head:
            self._pieces.append(data)
            self._waiting_bytes += len(data)

    def on_message_complete(self) -> None:
        if self.status:
            self._complete = True
            self.usable = self.usable and self._sending is None and self._parser.should_keep_alive()

    def _read_on(self) -> None:
        if self._is_paused and self.usable:
            self._is_paused = False
            self._transport.resume_reading()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._active_at = self._loop.time()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        """End the connection. A caller that waits for the answer gets the first such error, unless it is complete."""
        self._error = self._error or error
        self.abort()
        self._wake()

    def _check_silence(self) -> None:
        left = self._active_at + self._patience - self._loop.time()
        if left <= 0 and self._waiter is not None:
            self._fail(CellLost(f"nothing came for {self._patience:.0f} s"))
        else:
            self._timer = self._loop.call_later(left if left > 0 else self._patience, self._check_silence)

    async def _send(self, body: AsyncIterator[bytes], *, is_chunked: bool) -> None:
        async for piece in body:
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            self._active_at = self._loop.time()
            if self._writable is not None:
                await self._writable
        if is_chunked:
            self._transport.write(b"0\r\n\r\n")

    def _sent(self, task: asyncio.Task[None]) -> None:
        """The body is sent. If it cannot be read to its end, the cell must not wait for the rest."""
        if task.cancelled():
            return
        self._sending = None
        error = task.exception()
        if isinstance(error, Exception):
            self._fail(error)

    def _is_framed(self) -> bool:
        return any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in self.headers)
