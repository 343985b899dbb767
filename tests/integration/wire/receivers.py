"""Receivers made by hand, byte by byte, since the interesting ones break every rule."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from ipaddress import ip_address, ip_network

from sendoff.policy.endpoints.addresses import Address, AddressPolicy, Target, check_url
from sendoff.wire.errors import NameNotFound

LOOPBACK = AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),), allow_http=True)
HEAD = b"HTTP/1.1 200 OK\r\n"
OK = HEAD + b"Content-Length: 2\r\n\r\nok"


class Peer:
    """The receiver's side of one connection; `number` counts the receiver's connections from 1."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """One whole request; raises IncompleteReadError when the sender is gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return head + await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        """Write and wait until the kernel has taken it."""
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Return when the sender has closed its side."""
        while await self.reader.read(65_536):
            pass

    def resumed(self) -> bool:
        """Whether the TLS session is an earlier one."""
        session_reused: bool = self.writer.get_extra_info("ssl_object").session_reused
        return session_reused

    def end_without_goodbye(self) -> None:
        """End the TCP stream without a TLS close_notify."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as below:
            below.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection."""
        self.writer.transport.abort()


Behaviour = Callable[[Peer], Awaitable[None]]


class RawReceiver:
    """A server on 127.0.0.1 that runs `behave` on each connection, and counts them."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0
        self.scheme = "http"
        self._behaviour = behaviour
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def target(self, path: str = "/hooks", *, host: str = "127.0.0.1") -> Target:
        return check_url(f"{self.scheme}://{host}:{self.port}{path}", LOOPBACK)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._behaviour(Peer(self.connections, reader, writer))
        finally:
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        for writer in self._writers:
            with contextlib.suppress(AttributeError):  # of Python before 3.11.4, if the connection has ended
                writer.transport.abort()  # an encrypted connection that nobody reads would not end by itself
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def receiving(behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawReceiver]:
    """A running receiver."""
    receiver = RawReceiver(behaviour)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls, backlog=1024)
    receiver.port = server.sockets[0].getsockname()[1]
    receiver.scheme = "https" if tls else "http"
    try:
        yield receiver
    finally:
        server.close()
        await receiver.stop()


async def well_behaved(peer: Peer) -> None:
    """Answers every request on the connection with 200."""
    while True:
        await peer.request()
        await peer.send(OK)


def answering(*pieces: bytes, then_close: bool = False) -> Behaviour:
    """Sends `pieces` after each request, with a pause for the network between them."""

    async def behave(peer: Peer) -> None:
        while True:
            await peer.request()
            for piece in pieces:
                await peer.send(piece)
                await asyncio.sleep(0)
            if then_close:
                return

    return behave


class FixedResolver:
    """Knows the names it was given; a list of lists is answered one after the other, the last one repeatedly."""

    def __init__(self, **names: Sequence[Sequence[str]]) -> None:
        self._names = {name.replace("_", "."): [list(answer) for answer in answers] for name, answers in names.items()}
        self.asked: list[str] = []

    def is_queued(self, host: str) -> bool:
        return False

    async def resolve(self, host: str, **_options: object) -> Sequence[Address]:
        self.asked.append(host)
        answers = self._names.get(host)
        if answers is None:
            raise NameNotFound("The host name does not exist, or has no address.")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ip_address(text) for text in answer]
