"""Names of receivers without a DNS of the machine's: a server on loopback, and the product's look-ups directed to it.

    python -m bench.traffic.resolver PORT -m MODULE [ARGUMENT …]

runs a module of the product whose look-ups of these names go to the server at PORT; all others go where they always do.
"""

from __future__ import annotations

import asyncio
import runpy
import socket
import struct
import sys
from functools import partial
from typing import Any, cast

from bench.traffic.shape import DOMAIN

_ADDRESS = "127.0.0.1"
_SECONDS = 5.0
_HEADER = struct.Struct("!6H")
_ANSWERED, _RECURSE = 0x8180, 0x0100
_TYPE_A, _CLASS_IN = 1, 1
_ANSWER_TTL = 60


class NameServer(asyncio.DatagramProtocol):
    """Answers each question with the loopback address."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        [identifier, *_] = _HEADER.unpack_from(data)
        record = struct.pack("!HHHIH", 0xC000 | _HEADER.size, _TYPE_A, _CLASS_IN, _ANSWER_TTL, 4)
        answer = _HEADER.pack(identifier, _ANSWERED, 1, 1, 0, 0) + data[_HEADER.size :] + record
        self._transport.sendto(answer + socket.inet_aton(_ADDRESS), addr)


def use_resolver(port: int) -> None:
    """Direct this process's look-ups of the receivers' names to the name server at `port`."""
    socket.getaddrinfo = partial(_look_up, port, socket.getaddrinfo)


def _look_up(port: int, otherwise: Any, host: Any, service: Any, *arguments: Any, **options: Any) -> Any:
    if not str(host).endswith(f".{DOMAIN}"):
        return otherwise(host, service, *arguments, **options)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_SECONDS)
        asking.connect((_ADDRESS, port))
        labels = b"".join(bytes([len(label)]) + label for label in host.encode().split(b"."))
        question = labels + b"\0" + struct.pack("!HH", _TYPE_A, _CLASS_IN)
        asking.send(_HEADER.pack(1, _RECURSE, 1, 0, 0, 0) + question)
        address = socket.inet_ntoa(asking.recv(512)[-4:])
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 0))]


if __name__ == "__main__":
    use_resolver(int(sys.argv[1]))
    sys.argv = sys.argv[3:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
