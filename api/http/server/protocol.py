"""uvicorn's HTTP/1.1 with the bounds that it lacks: on a request's head, and on unread or unsent data."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sendoff.ids import new_request_id

from .connections import ConnectionLimiter

LARGEST_HEAD_BYTES = 65_536
"""Bytes of a request line with its headers. A larger head is answered with 431."""

HEAD_PATIENCE_SECONDS = 20.0
"""How long a head may take, from the connection's or the request's first byte; the connection is closed then."""

LEAST_READ_BYTES_PER_SECOND = 1_024
"""How fast a client must read a response that waits for it. A slower one is cut off after the write timeout."""

LINGER_QUIET_SECONDS = 2.0
LONGEST_LINGER_SECONDS = 10.0
"""After an early answer the rest of the request is discarded until the client is quiet for the first time, or for the
second in all. Shorter times let clients that send on lose the answer to a reset; longer ones hold more connections."""

_PROGRESS_BYTES = 16_384
"""A piece of a body from this size on shows that its sender is busy: its connection is closed last."""

BODY_IS_HERE = "sendoff.body_is_here"
"""The name in an ASGI scope that says whether the request's body had arrived in full when its answer began."""

HAS_LEFT = "sendoff.has_left"
"""The name in an ASGI scope of a function that says whether the client has closed the connection."""

_UPGRADE = re.compile(rb"\nupgrade:", re.IGNORECASE)
_BEGINNINGS = {b"\nupgrade"[:length] for length in range(1, 9)} | {b"\n\r"}
"""What a piece of a head may end with that its rest makes an upgrade, or the head's end."""

_NOT_OFFERED = b"\nX-Ignor:"
"""What stands in an offered upgrade's place, of the same length. Java's HTTP client offers HTTP/2 with every request
over plain HTTP, and the parser would take the body of such a request for the other protocol."""

_REFUSED_FOR_SECONDS = 5
_NO_LINGER = struct.pack("ii", 1, 0)


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is closed when its client is too slow, and answered in JSON when it does not speak HTTP."""

    _head_bytes = 0
    _kept = b""
    _in_head = True
    _has_begun = False
    in_body = False
    _lingers = False
    _last_read_at = 0.0
    _under_way: tuple[RequestResponseCycle, ...] = ()
    _deadline: asyncio.TimerHandle | None = None
    _write_deadline: asyncio.TimerHandle | None = None
    _unread = 0

    def __init__(
        self, *arguments: Any, limiter: ConnectionLimiter | None = None, write_timeout: float = 30, **options: Any
    ) -> None:
        """`write_timeout`: seconds in which a client must go on reading a response."""
        super().__init__(*arguments, **options)
        self._limiter = limiter or ConnectionLimiter()
        self._write_timeout = write_timeout

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        if self._limiter.admit(self, self.client[0] if self.client else ""):
            self._watch_head()
        elif self._limiter.refuse(self):
            retry_after = b"Retry-After: %d" % _REFUSED_FOR_SECONDS
            message = f"Too many connections are open; close some and try again in {_REFUSED_FOR_SECONDS} s."
            self._refuse(b"503 Service Unavailable", message, retry_after)
        else:
            self._lingers = True
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.remove(self)
        self._cancel_deadline()
        self._cancel_write_deadline()
        super().connection_lost(exc)
        # After a reset the timer of idle connections would keep the connection, and a body that nobody read, for long.
        self._unset_keepalive_if_required()
        self._cancel_requests()  # those before the last one, of which the framework's class does not know
        self._under_way = ()

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            self._last_read_at = self.loop.time()
            return
        if self._in_head:
            self._head_bytes += len(data)
        if not self.in_body:  # a head, or the beginning of the next one on a connection that is used again
            data = self._ignore_upgrade(data)
        super().data_received(data)
        if self._lingers or self.transport.is_closing():
            return
        # Judged after parsing: a body that came along with its head doesn't count.
        if self._in_head and self._head_bytes > LARGEST_HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", "The request's headers are too large; send fewer.")
        elif not (self._in_head or self.in_body) and self.cycle is not None and not self.cycle.response_complete:
            self._limiter.serve(self)
        elif self._has_begun or len(data) >= _PROGRESS_BYTES:
            self._limiter.await_request(self)
            if self._in_head and self._deadline is None:
                self._watch_head()
        self._has_begun = False

    def _ignore_upgrade(self, data: bytes) -> bytes:
        """A piece of a head without an offer to change the protocol; the beginning of one waits for its rest."""
        data, self._kept = self._kept + data, b""
        end = data.find(b"\n\r\n")
        if end < 0:
            newline = data.rfind(b"\n")
            if newline >= 0 and data[newline:].lower() in _BEGINNINGS:
                data, self._kept = data[:newline], data[newline:]
            end = len(data)
        if _UPGRADE.search(data, 0, end):
            return _UPGRADE.sub(_NOT_OFFERED, data[:end]) + data[end:]
        return data

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._cancel_deadline()
        # Most requests arrive in one piece: what a head that is late needs waits until the piece is parsed.
        self._has_begun, self._in_head, self.in_body, self._head_bytes = True, True, False, 0

    def on_headers_complete(self) -> None:
        self._cancel_deadline()
        self._in_head, self.in_body = False, True
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = _ResponseTransport(self)  # type: ignore[assignment]
            self._under_way = (*(cycle for cycle in self._under_way if not cycle.response_complete), self.cycle)

    def on_message_complete(self) -> None:
        self.in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self.pipeline and not self._lingers:
            self._limiter.await_next_request(self)
        super().on_response_complete()
        if self._lingers:
            self._unset_keepalive_if_required()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.transport.get_write_buffer_size()
        self._write_deadline = self.loop.call_later(self._write_timeout, self._check_that_client_reads)
        self._limiter.response_waits(self, self._unread)

    def resume_writing(self) -> None:
        self._cancel_write_deadline()
        self._limiter.response_read(self)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", msg)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        self.close_in_time()

    def evict(self) -> None:
        """Close the connection at once: another one needs its place."""
        self._cut_off()

    def close_in_time(self) -> None:
        """Close the connection when its client has read the response, or does not read on."""
        if not self.transport.is_closing() and self.transport.get_write_buffer_size() and not self._write_deadline:
            self._write_deadline = self.loop.call_later(self._write_timeout, self._cut_off)
        self.transport.close()

    def linger(self) -> None:
        """Close the connection when the client stops sending.

        Closing it while bytes arrive would reset it, and the client could lose the response.
        """
        self._cancel_deadline()
        self._lingers, self._last_read_at = True, self.loop.time()
        if self.cycle is not None:
            self.cycle.body = bytearray()  # nobody reads it any more
        self._limiter.await_request(self)
        self.flow.resume_reading()
        self.transport.write_eof()
        self._linger_until(self.loop.time() + LONGEST_LINGER_SECONDS)

    def _linger_until(self, latest: float) -> None:
        now = self.loop.time()
        end = min(self._last_read_at + LINGER_QUIET_SECONDS, latest)
        if now >= end:
            self.transport.abort()
        else:
            self._deadline = self.loop.call_at(end, self._linger_until, latest)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        def has_left() -> bool:
            # The framework is told a round of the event loop later, and until then reports requests without an answer.
            cycle.disconnected = cycle.disconnected or self.transport.is_closing()
            return cycle.disconnected

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            scope[BODY_IS_HERE] = not cycle.more_body
            scope[HAS_LEFT] = has_left

            async def respond(message: Any) -> None:
                # The rest of an unread body would be taken for the next request, or go on without end.
                if cycle.more_body and message["type"] == "http.response.start":
                    cycle.keep_alive = False
                await send(message)

            try:
                await app(scope, receive, respond)
            finally:
                del scope[HAS_LEFT]  # it leads back to the scope: only a collection would find either

        super()._start_asgi_task(cycle, answer)

    def _watch_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_PATIENCE_SECONDS, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _check_that_client_reads(self) -> None:
        left = self.transport.get_write_buffer_size()
        if self._unread - left < LEAST_READ_BYTES_PER_SECOND * self._write_timeout:
            self._cut_off()
            return
        self._unread = left
        self._write_deadline = self.loop.call_later(self._write_timeout, self._check_that_client_reads)

    def _cut_off(self) -> None:
        """Close the connection at once; a reset frees what the kernel still holds of an unread response."""
        if self.transport.get_write_buffer_size():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def _refuse(self, status: bytes, message: str, *headers: bytes) -> None:
        if self._cancel_requests():
            self._lingers = True
            self._cancel_deadline()
            self.close_in_time()  # a response has begun, and another one within it would be taken for its body
            return
        body = orjson.dumps({"detail": message})
        head = [
            b"HTTP/1.1 " + status,
            b"Content-Type: application/json",
            b"Content-Length: " + str(len(body)).encode(),
            b"X-Request-Id: " + new_request_id().encode(),
            b"Connection: close",
            *headers,
        ]
        self.transport.write(b"\r\n".join([*head, b"", body]))
        self.linger()

    def _cancel_requests(self) -> bool:
        """Stop answering the requests that came before; whether a response has begun."""
        open_ones = [cycle for cycle in self._under_way if not cycle.response_complete]
        for cycle in open_ones:
            cycle.disconnected = True
            cycle.message_event.set()
        return any(cycle.response_started for cycle in open_ones)


class _ResponseTransport:
    """What a response is written to. Closing it waits for the client to read, and discards what it still sends."""

    __slots__ = ("_connection", "is_closing", "write")

    def __init__(self, connection: BoundedProtocol) -> None:
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        if self._connection.in_body:
            self._connection.linger()
        else:
            self._connection.close_in_time()
