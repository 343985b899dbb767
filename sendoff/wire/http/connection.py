"""One connection, one request at a time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Hashable
from typing import cast

from sendoff.wire.errors import BadResponse, ConnectionLost, Phase, TimedOut, WireError
from sendoff.wire.http.memory_budget import MemoryBudget
from sendoff.wire.http.message import Response
from sendoff.wire.http.reader import ResponseReader
from sendoff.wire.tls.failures import broken_connection

Origin = tuple[str, str, int]

PoolKey = Hashable
"""What connections must have in common to be used in place of each other: the origin, and the client certificate."""

# A connection outlives changes of its name in the DNS by no more than this.
LONGEST_LIFE_SECONDS = 300.0

_RECHECK_SECONDS = 0.01


class HttpConnection(asyncio.BufferedProtocol):
    """An open connection; `usable` as long as it can carry another request.

    Bytes that arrive while no request is under way end it. `on_lost` is called once, when it is gone.
    """

    __slots__ = (
        "_body_seconds",
        "_body_timer",
        "_buffer",
        "_loop",
        "_on_lost",
        "_reader",
        "_spoiled",
        "_timer",
        "_transport",
        "_waiter",
        "expires_at",
        "pool_key",
        "retires_at",
        "usable",
    )

    def __init__(
        self,
        pool_key: PoolKey,
        body_cap: int,
        on_lost: Callable[[HttpConnection], None],
        buffer: memoryview,
        budget: MemoryBudget,
        body_seconds: float,
    ) -> None:
        """`buffer` is read into. All connections of a loop share it, since it is emptied before the next read.

        `budget` limits what their unfinished responses hold together. `body_seconds` is how long a body may take after
        its head; after that it is cut off, and the response is judged on its status.
        """
        self.pool_key = pool_key
        self._buffer = buffer
        self.usable = True
        self.expires_at = 0.0
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self.retires_at = self._loop.time() + LONGEST_LIFE_SECONDS
        self._reader = ResponseReader(body_cap, budget)
        self._body_seconds = body_seconds
        self._body_timer: asyncio.TimerHandle | None = None
        self._spoiled = False
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle

    async def exchange(self, request: bytes, *, method: str, started: float, deadline: float) -> Response:
        """Write the request and read its response; times are the loop's. Raises WireError."""
        reader = self._reader
        if self._transport is None or not self.usable:
            raise self._why_unusable()
        reader.begin(method)
        self._waiter = waiter = self._loop.create_future()
        self._timer = self._loop.call_at(deadline, self._recheck_after_stall)
        try:
            self._transport.write(request)
            await waiter
        except BaseException:
            self.abort()
            reader.begin(method)  # release what it holds
            raise
        finally:
            self._waiter = None
            self._timer.cancel()
            if self._body_timer is not None:
                self._body_timer.cancel()
                self._body_timer = None
            del waiter  # it holds a failure, whose stack trace holds this frame
        elapsed_ms = round((self._loop.time() - started) * 1000)
        response = Response(reader.status, reader.headers(), reader.body(), reader.truncated, elapsed_ms)
        reader.begin(method)  # an idle connection must not hold on to its last answer
        return response

    def close(self) -> None:
        """End an idle connection politely."""
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once, and the request under way with it."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._buffer[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._spoiled = True
            self.abort()
            return
        try:
            complete = self._reader.feed(data)
        except BadResponse as error:
            error.__context__ = None  # what led to it holds frames, and with them this connection
            self._fail(error.with_traceback(None))
            return
        if complete:
            self._finish(waiter)
        elif self._body_timer is None and self._reader.status:
            self._body_timer = self._loop.call_later(self._body_seconds, self._expire)

    def eof_received(self) -> None:
        waiter = self._waiter
        self.usable = False
        if waiter is not None and not waiter.done() and self._reader.feed_eof():
            self._finish(waiter)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._reader.end_early():
            self._finish(waiter)
        elif isinstance(exc, ssl.SSLError):
            self._fail(broken_connection(exc))
        else:
            self._fail(self._lost())
        # A failure's stack trace may keep this object for a while; it must not keep the buffers around it.
        self._transport = None
        self._reader.end()
        self._on_lost(self)

    def _finish(self, waiter: asyncio.Future[None]) -> None:
        # The answer came before the whole request was sent: a receiver that never reads would keep the rest in memory.
        if not self._reader.reusable or (self._transport is not None and self._transport.get_write_buffer_size()):
            self.abort()
        waiter.set_result(None)

    def _fail(self, error: WireError) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self.abort()

    def _recheck_after_stall(self) -> None:
        # If the loop stalled, expired timers run before pending reads: poll once more so that data in time wins.
        self._timer = self._loop.call_later(_RECHECK_SECONDS, self._expire)

    def _expire(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._reader.end_early():
            self._finish(waiter)
        else:
            self._fail(TimedOut(self._phase()))

    def _phase(self) -> Phase:
        if self._transport is not None and self._transport.get_write_buffer_size():
            return "write"
        return "headers"

    def _lost(self) -> ConnectionLost:
        if self._reader.received:
            return ConnectionLost("The receiver closed the connection within its answer.", answered=True)
        return ConnectionLost("The receiver closed the connection without an answer.", answered=False)

    def _why_unusable(self) -> WireError:
        if self._spoiled:
            return BadResponse("The receiver sent bytes before it was asked.")
        return ConnectionLost("The receiver closed the connection before the request.", answered=False)
