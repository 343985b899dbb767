"""TLS between a plain connection and what is sent on it, in little memory.

The event loop's own TLS takes up to 140 KB for a connection on which a receiver has sent what it may, and there can be
a thousand of them. Here OpenSSL is fed in small slices, whose size is what its buffers grow to, and everything is
decrypted into one piece of memory that all connections share.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, cast

from sendoff.wire.connection import Connection
from sendoff.wire.errors import TlsFailed

RECORD_BYTES = 16_384
"""The most that one record holds, and so what is decrypted at once."""

MOST_HANDSHAKE_BYTES = 32_768
"""A chain of certificates takes 3 to 8 KB; what is parsed of it stays in memory as long as the connection does."""

MOST_UNASKED_ANSWERS = 32
"""How often a receiver can make us answer below HTTP, to changes of keys above all, which nobody needs so often."""

_SLICE_BYTES = 4_096
_GOODBYE_SECONDS = 1.0


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The protocol of a plain transport, and the transport of the connection above it once `handshake` is through."""

    def __init__(
        self, connection: Connection, context: ssl.SSLContext, host: str, buffer: memoryview, plaintext: memoryview
    ) -> None:
        """`host` is who the receiver must be. `buffer` and `plaintext` (RECORD_BYTES) are shared by a loop's connections."""
        self._connection = connection
        self._context = context
        self._host = host
        self._buffer = buffer
        self._plaintext = plaintext
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._loop = asyncio.get_running_loop()
        self._handshake: asyncio.Future[None] = self._loop.create_future()
        self._is_open = False
        self._has_answered = False
        self._received = self._answers = 0
        self._error: ssl.SSLError | None = None

    async def handshake(self) -> None:
        """Agree on encryption and see who the receiver is, on the connected transport. Raises TlsFailed."""
        try:
            await self._handshake
        except BaseException:
            self._plain.abort()
            raise

    def write(self, data: Any) -> None:
        try:
            for start in range(0, len(data), _SLICE_BYTES):
                self._object.write(data[start : start + _SLICE_BYTES])
                self._plain.write(self._outgoing.read())
        except ssl.SSLError as error:
            self._break(error)

    def get_write_buffer_size(self) -> int:
        return self._plain.get_write_buffer_size()

    def close(self) -> None:
        """Say goodbye and end the connection, without waiting for an answer."""
        with contextlib.suppress(ssl.SSLError):  # there always is one: the answer has not come
            self._object.unwrap()
        self._is_open = False
        self._plain.write(self._outgoing.read())
        self._plain.close()
        self._loop.call_later(_GOODBYE_SECONDS, self._plain.abort)  # or a receiver that never reads would keep it open

    def abort(self) -> None:
        self._is_open = False
        self._plain.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._plain = cast(asyncio.Transport, transport)
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._received += nbytes
        for start in range(0, nbytes, _SLICE_BYTES):
            self._incoming.write(self._buffer[start : min(nbytes, start + _SLICE_BYTES)])
            if not self._handshake.done():
                self._shake_hands()
            if self._is_open and self._incoming.pending:
                self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._handshake.done():
            self._handshake.set_exception(TlsFailed("The receiver closed the connection during the TLS handshake."))
        elif not self._handshake.cancelled() and self._handshake.exception() is None:
            self._connection.connection_lost(self._error or exc)

    def _shake_hands(self) -> None:
        try:
            if self._received > MOST_HANDSHAKE_BYTES:
                raise TlsFailed(f"The receiver's certificates are larger than {MOST_HANDSHAKE_BYTES} bytes.")
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._plain.write(self._outgoing.read())
        except ssl.SSLError as error:
            self._handshake.set_exception(_failure(error))
        except TlsFailed as error:
            self._handshake.set_exception(error)
        else:
            self._plain.write(self._outgoing.read())
            self._handshake.set_result(None)
            self._is_open = True
            self._connection.connection_made(self)

    def _read(self) -> None:
        try:
            while self._is_open:
                size = self._object.read(RECORD_BYTES, self._plaintext)
                if not size:
                    self._said_goodbye()
                    return
                if not self._has_answered:
                    self._has_answered = True
                    self._keep_session()
                self._connection.data_received(self._plaintext[:size])
                if not self._incoming.pending and not self._object.pending():
                    return
        except ssl.SSLWantReadError:
            if self._outgoing.pending:
                self._answer()
        except ssl.SSLError as error:
            self._break(error)
