"""TLS between a plain connection and what is sent on it, in little memory.

The event loop's own TLS takes up to 140 KB for a connection on which a receiver has sent what it may, and there can be
a thousand of them. Here OpenSSL is fed in small slices, whose size is what its buffers grow to, and everything is
decrypted into one piece of memory that all connections share.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

from sendoff.wire.errors import TlsFailed
from sendoff.wire.http.connection import Connection
from sendoff.wire.tls.byte_budget import TlsByteBudget, refusal
from sendoff.wire.tls.trust import handshake_failure

RECORD_BYTES = 16_384
"""The most that one record holds, and so what is decrypted at once."""

_SLICE_BYTES = 4_096
_WRITE_BYTES = 16_384
_GOODBYE_SECONDS = 1.0


NewConnection = Callable[[], Connection]
Buffers = tuple[memoryview, memoryview]
"""What is read into, and what it is decrypted into: a loop's connections share them, for nothing stays in them."""


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The protocol of a plain transport, and the transport of a connection that is made once hands are shaken."""

    __slots__ = (
        "_buffer",
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
        "_overhead",
        "_plain",
        "_plaintext",
    )

    def __init__(
        self,
        new_connection: NewConnection,
        context: ssl.SSLContext,
        host: str,
        buffers: Buffers,
        overhead: TlsByteBudget,
    ) -> None:
        """`host` is who the receiver must be."""
        self._new_connection = new_connection
        self._buffer, self._plaintext = buffers
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._decrypt = cast(Callable[[int, memoryview], int], self._object.read)
        self._loop = asyncio.get_running_loop()
        self._handshake: asyncio.Future[Connection] | None = self._loop.create_future()
        self._connection: Connection | None = None
        self._plain: asyncio.Transport
        self._is_open = False
        self._overhead = overhead
        self._error: ssl.SSLError | None = None

    async def handshake(self) -> Connection:
        """Agree on encryption and see who the receiver is. Raises TlsFailed."""
        try:
            return await cast("asyncio.Future[Connection]", self._handshake)
        except BaseException:
            self._plain.abort()
            raise
        finally:
            self._handshake = None  # a failure's stack trace, which it holds, holds this object

    def give_way(self) -> None:
        """End the handshake because others wait for their turn."""
        self._fail(TlsFailed("The receiver took too long to shake hands while others were waiting."))

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
        # A receiver that never reads would keep the connection open for ever.
        self._loop.call_later(_GOODBYE_SECONDS, self._plain.abort)

    def abort(self) -> None:
        self._is_open = False
        self._plain.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._plain = cast(asyncio.Transport, transport)
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        for start in range(0, nbytes, _SLICE_BYTES):
            self._overhead.receive(self._incoming.write(self._buffer[start : min(nbytes, start + _SLICE_BYTES)]))
            if self._connection is None:
                self._shake_hands()
            if self._is_open:
                self._read()
        if self._outgoing.pending:
            self._answer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_open = False
        self._overhead.end()
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
            self._has_room()
        except ssl.SSLError as error:
            self._fail(handshake_failure(error))
        else:
            if self._has_room():
                self._begin(self._handshake)
        self._plain.write(self._outgoing.read())

    def _has_room(self) -> bool:
        objection = self._overhead.objection()
        if objection is not None:
            self._fail(TlsFailed(objection))
        return objection is None

    def _begin(self, handshake: asyncio.Future[Connection]) -> None:
        self._overhead.begin_anew()
        self._is_open = True
        self._connection = self._new_connection()
        self._connection.connection_made(self)
        handshake.set_result(self._connection)

    def _fail(self, error: TlsFailed) -> None:
        if self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(error)
            self._handshake.exception()  # it may be that nobody waits for it any more

    def _read(self) -> None:
        try:
            self._pass_on(cast(Connection, self._connection))
            if self._is_open:
                self._object.write(b"")  # nothing; OpenSSL gives back the buffer that it took in case it had to answer
            if self._overhead.is_too_much:
                self._break(refusal("the receiver sends too much that is no answer"))
        except ssl.SSLError as error:
            self._break(error)

    def _pass_on(self, connection: Connection) -> None:
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
            self._overhead.carried(size)
            connection.data_received(self._plaintext[:size])
            if not self._incoming.pending and not self._object.pending():
                return

    def _answer(self) -> None:
        if self._overhead.answer_is_too_much():
            self._break(refusal("the receiver changes its keys too often"))
        self._plain.write(self._outgoing.read())

    def _break(self, error: ssl.SSLError) -> None:
        self._error = error.with_traceback(None)
        self.abort()
