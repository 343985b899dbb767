"""An HTTP proxy on the way out, by CONNECT.

The proxy belongs to the operator and may have any address. It is given the checked address of the receiver, never the
name, so that it cannot resolve it to another one.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from sendoff.policy.endpoints.addresses import Address
from sendoff.wire.errors import ConnectFailed, LocalFailure, WireError
from sendoff.wire.net.sockets import open_first

_MOST_REPLY_BYTES = 16_384
_REPLY = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


class Proxy:
    """Opens tunnels through the proxy at `url`, which may hold a user name and password."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"} or parts.query:
            raise ValueError("the egress proxy must be written like http://proxy.example:3128")
        self._host = parts.hostname
        self._port = parts.port or 3128
        self._authorization = _basic(parts.username, parts.password)

    async def open(self, address: Address, port: int) -> socket.socket:
        """A socket whose other end is `address`; raises ConnectFailed, or LocalFailure if the proxy is to blame."""
        sock = await self._connect()
        try:
            await self._tunnel(sock, f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}")
        except OSError:
            sock.close()
            raise LocalFailure("The egress proxy closed the connection.") from None
        except BaseException:
            sock.close()
            raise
        return sock

    async def _connect(self) -> socket.socket:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
            return await open_first(addresses, self._port)
        except (OSError, WireError):
            raise LocalFailure("The egress proxy cannot be reached.") from None

    async def _tunnel(self, sock: socket.socket, authority: str) -> None:
        loop = asyncio.get_running_loop()
        request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{self._authorization}\r\n"
        await loop.sock_sendall(sock, request.encode("ascii"))
        reply = b""
        while b"\r\n\r\n" not in reply:
            more = await loop.sock_recv(sock, 4_096)
            reply += more
            if not more or len(reply) > _MOST_REPLY_BYTES:
                raise LocalFailure("The egress proxy gave no valid answer.")
        _judge(reply)


def _judge(reply: bytes) -> None:
    match = _REPLY.match(reply)
    status = int(match[1]) if match else 0
    if status in {502, 503, 504}:
        raise ConnectFailed(f"The egress proxy could not reach the receiver (status {status}).")
    if not 200 <= status < 300:
        raise LocalFailure(f"The egress proxy refused the connection (status {status}).")
    if reply.partition(b"\r\n\r\n")[2]:
        raise ConnectFailed("The receiver sent bytes before it was asked.")


def _basic(username: str | None, password: str | None) -> str:
    if username is None:
        return ""
    pair = f"{unquote(username)}:{unquote(password or '')}".encode()
    return f"Proxy-Authorization: Basic {base64.b64encode(pair).decode('ascii')}\r\n"
