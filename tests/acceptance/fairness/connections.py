"""Connections that a test holds, and what clients send who never finish a request."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

HEAD = b"%b %b HTTP/1.1\r\nHost: x\r\n%b"
BODY = b"Content-Length: 1000\r\n\r\n{"
WAYS = {
    "a body after a 401": HEAD % (b"POST", b"/api/v1/webhooks", BODY),
    "a body after a 401 on another surface": HEAD % (b"POST", b"/api/v1/subscriptions", BODY),
    "a body after a 404": HEAD % (b"POST", b"/nothing", BODY),
    "a body of a GET": HEAD % (b"GET", b"/health", BODY),
    "chunks without end": HEAD % (b"POST", b"/api/v1/uploads", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
    "a body after a 413": HEAD % (b"POST", b"/api/v1/webhooks", b"Content-Length: 99999999\r\n\r\n{"),
    "half a head": b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ",
    "nothing": b"",
}


class Client:
    """A connection that a test holds."""

    def __init__(self, base: str, sent: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2])), timeout=30)
        if sent:
            self._socket.sendall(sent)

    def send(self, data: bytes) -> None:
        """Send on, if the server still listens."""
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def read_to_end(self) -> bytes:
        """Everything that comes until the connection ends, by a close or by a reset."""
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := self._socket.recv(65_536):
                received += piece
        return received

    def reset(self) -> None:
        """End the connection by a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor of the connection."""
        return self._socket.fileno()


@contextmanager
def clients(base: str, sent: bytes, count: int) -> Iterator[list[Client]]:
    held = [Client(base, sent) for _ in range(count)]
    try:
        yield held
    finally:
        for client in held:
            client.close()
