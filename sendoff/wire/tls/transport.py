"""TLS on a plain connection, in little memory.

The event loop's own TLS takes up to 140 KB for a connection to a hostile receiver, and there can be a thousand of them.
Here OpenSSL is fed in small slices, which bound the growth of its buffers, and all connections of a loop share one
buffer for plaintext.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

from sendoff.wire.errors import TlsFailed
from sendoff.wire.http.connection import HttpConnection
from sendoff.wire.tls.byte_budget import TlsByteBudget, to_tls_error
from sendoff.wire.tls.failures import handshake_failure

RECORD_BYTES = 16_384
"""Bytes of the largest TLS record, and of the buffer that records are decrypted into; fixed by TLS."""

_SLICE_BYTES = 4_096
_WRITE_BYTES = 16_384
_GOODBYE_SECONDS = 1.0


NewConnection = Callable[[], HttpConnection]
Buffers = tuple[memoryview, memoryview]
"""The buffers for ciphertext and plaintext. All connections of a loop share them, since they are emptied at once."""


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The protocol of a plain transport, and the transport of the connection that is made after the handshake."""

    __slots__ = (
        "_buffer",
        "_byte_budget",
        "_connection",
        "_decrypt",
        "_error",
        "_handshake",
        "_incoming",
        "_is_open",
        "_loop",
        "_new_connection",
        "_object",
        "_outgoing",
        "_plain",
        "_plaintext",
    )

    def __init__(
        self,
        new_connection: NewConnection,
        context: ssl.SSLContext,
        host: str,
        buffers: Buffers,
        byte_budget: TlsByteBudget,
    ) -> None:
        """`host` is the name that the receiver's certificate must have."""
        self._new_connection = new_connection
        self._buffer, self._plaintext = buffers
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._decrypt = cast("Callable[[int, memoryview], int]", self._object.read)
        self._loop = asyncio.get_running_loop()
        self._handshake: asyncio.Future[HttpConnection] | None = self._loop.create_future()
        self._connection: HttpConnection | None = None
        self._plain: asyncio.Transport
        self._is_open = False
        self._byte_budget = byte_budget
        self._error: ssl.SSLError | None = None

    async def handshake(self) -> HttpConnection:
        """Agree on encryption and verify the receiver's certificate. Raises TlsFailed."""
        try:
            return await cast("asyncio.Future[HttpConnection]", self._handshake)
        except BaseException:
            self._plain.abort()
            raise
        finally:
            self._handshake = None  # a failure's stack trace, which it holds, holds this object

    def evict(self) -> None:
        """Fail the handshake because others are waiting."""
        self._fail(TlsFailed("The TLS handshake took too long while others were waiting; speed up the receiver."))

    def write(self, data: Any) -> None:
        try:
            for start in range(0, len(data), _WRITE_BYTES):
                self._object.write(data[start : start + _WRITE_BYTES])
                self._plain.write(self._outgoing.read())
        except ssl.SSLError as error:
            self._break(error)

    def get_write_buffer_size(self) -> int:
        return self._plain.get_write_buffer_size()

    def close(self) -> None:
        """Say goodbye and end the connection, without waiting for an answer."""
        with contextlib.suppress(ssl.SSLError):  # nearly always: the answer has not come
            self._object.unwrap()
        self._is_open = False
        self._plain.write(self._outgoing.read())
        self._plain.close()
        # A receiver that never reads would keep the connection open.
        self._loop.call_later(_GOODBYE_SECONDS, self._plain.abort)

    def abort(self) -> None:
        self._is_open = False
        self._plain.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._plain = cast("asyncio.Transport", transport)
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        for start in range(0, nbytes, _SLICE_BYTES):
            self._byte_budget.receive(self._incoming.write(self._buffer[start : min(nbytes, start + _SLICE_BYTES)]))
            if self._connection is None:
                self._shake_hands()
            if self._is_open:
                self._read()
        if self._outgoing.pending:
            self._answer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_open = False
        self._byte_budget.end()
        if self._connection is not None:
            self._connection.connection_lost(self._error or exc)
        else:
            self._fail(TlsFailed("The receiver closed the connection during the TLS handshake."))

    def _shake_hands(self) -> None:
        if self._handshake is None or self._handshake.done():
            return
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._has_memory()
        except ssl.SSLError as error:
            self._fail(handshake_failure(error))
        else:
            if self._has_memory():
                self._begin(self._handshake)
        self._plain.write(self._outgoing.read())

    def _has_memory(self) -> bool:
        violation = self._byte_budget.violation()
        if violation is not None:
            self._fail(TlsFailed(violation))
        return violation is None

    def _begin(self, handshake: asyncio.Future[HttpConnection]) -> None:
        self._byte_budget.complete_handshake()
        self._is_open = True
        self._connection = self._new_connection()
        self._connection.connection_made(self)
        handshake.set_result(self._connection)

    def _fail(self, error: TlsFailed) -> None:
        if self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(error)
            self._handshake.exception()  # marks it as retrieved, since the caller may have been cancelled

    def _read(self) -> None:
        try:
            self._pass_on(cast("HttpConnection", self._connection))
            if self._is_open:
                self._object.write(b"")  # writes nothing, but makes OpenSSL release its write buffer
            if self._byte_budget.is_too_much:
                self._break(to_tls_error("the receiver sends too much besides its answer"))
        except ssl.SSLError as error:
            self._break(error)

    def _pass_on(self, connection: HttpConnection) -> None:
        while self._is_open:
            try:
                size = self._decrypt(RECORD_BYTES, self._plaintext)
            except ssl.SSLWantReadError:
                return
            if not size:
                connection.eof_received()
                if self._is_open:
                    self.close()
                return
            self._byte_budget.consumed(size)
            connection.data_received(self._plaintext[:size])
            if not self._incoming.pending and not self._object.pending():
                return

    def _answer(self) -> None:
        if self._byte_budget.too_many_control_records():
            self._break(to_tls_error("the receiver changes its keys too often"))
        self._plain.write(self._outgoing.read())

    def _break(self, error: ssl.SSLError) -> None:
        self._error = error.with_traceback(None)
        self.abort()
