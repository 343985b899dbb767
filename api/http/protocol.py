"""uvicorn's HTTP/1.1 with two bounds that it lacks: how large a request's head may be, and how long it may take."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sendoff.ids import new_request_id

LARGEST_HEAD_BYTES = 65_536
HEAD_PATIENCE_SECONDS = 20.0
_LINGER_SECONDS = 1.0


class BoundedProtocol(HttpToolsProtocol):
    """Ends connections whose request's head is too large or too slow; what is no HTTP is answered as JSON."""

    _head_bytes = 0
    _in_head = True
    _refused = False
    _under_way: tuple[RequestResponseCycle, ...] = ()
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        # Judged after parsing: a body that came along with its head doesn't count.
        if self._in_head and self._head_bytes > LARGEST_HEAD_BYTES and not self._refused:
            self._refuse(b"431 Request Header Fields Too Large", "The request's headers are too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()
        if self.cycle is not None:
            self._under_way = (*(cycle for cycle in self._under_way if not cycle.response_complete), self.cycle)

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", msg)

    def _await_head(self) -> None:
        self._head_came()
        self._in_head, self._head_bytes = True, 0
        self._deadline = self.loop.call_later(HEAD_PATIENCE_SECONDS, self.transport.close)

    def _head_came(self) -> None:
        self._in_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes, message: str) -> None:
        self._refused = True
        if self._give_up_requests():
            self._head_came()
            self.transport.close()  # an answer within an answer is none
            return
        body = orjson.dumps({"detail": message})
        head: list[Any] = [
            b"HTTP/1.1 " + status,
            b"Content-Type: application/json",
            b"Content-Length: " + str(len(body)).encode(),
            b"X-Request-Id: " + new_request_id().encode(),
            b"Connection: close",
        ]
        self._head_came()
        self.transport.write(b"\r\n".join([*head, b"", body]))
        # To close while bytes arrive would reset the connection, and the caller could lose the answer.
        self.transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _give_up_requests(self) -> bool:
        """Let nobody answer any more what came before; whether an answer has begun."""
        open_ones = [cycle for cycle in self._under_way if not cycle.response_complete]
        for cycle in open_ones:
            cycle.disconnected = True
            cycle.message_event.set()
        return any(cycle.response_started for cycle in open_ones)
