"""A receiver of webhooks: a real HTTP(S) server that records its requests and sends programmed answers.

In a test's own process: `async with Receiver.start() as receiver`. As a process of its own:
`python -m tests.support.receiver --port 0 --print-port`, driven through `/_receiver/…` (receiver_process.py).
Clients that pipeline are not served: one request at a time on each connection.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import ssl
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httptools

from tests.support.exchange import Received, Reply
from tests.support.polling import eventually
from tests.support.receipts import collect_receipts
from tests.support.reference_signatures import is_signed

CONTROL = "/_receiver/"


class Receiver:
    """Answers 200 on every path that was not programmed."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.open_connections: set[asyncio.Transport] = set()
        self.host = "127.0.0.1"
        self.port = 0
        self.scheme = "http"
        self._programs: dict[str, list[Reply]] = {}
        self._counts: Counter[str] = Counter()
        self._trusted: dict[str, tuple[str, list[str]]] = {}
        self.refused: list[Received] = []
        self._by_path: defaultdict[str, list[Received]] = defaultdict(list)
        self._replies: list[Reply] = []
        self._held: list[Callable[[], None]] = []
        self.answered: Counter[str] = Counter()
        """How many requests to each path were answered."""

    @classmethod
    @asynccontextmanager
    async def start(
        cls, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Receiver]:
        """A running receiver, stopped with its connections at the end of the block."""
        receiver = cls()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(receiver), host, port, ssl=tls, backlog=1024)
        receiver.host, receiver.port = host, server.sockets[0].getsockname()[1]
        receiver.scheme = "https" if tls else "http"
        try:
            yield receiver
        finally:
            server.close()
            for transport in list(receiver.open_connections):
                transport.abort()
            await server.wait_closed()

    def url(self, path: str = "/", *, host: str | None = None) -> str:
        """Where `path` is received; `host` puts another name into the URL."""
        return f"{self.scheme}://{host or self.host}:{self.port}{path}"

    def program(self, path: str, *replies: Reply | int) -> None:
        """Answer the next requests to `path` (without query) with `replies` in turn, all later ones with the last."""
        self._programs[path] = [Reply(status=reply) if isinstance(reply, int) else reply for reply in replies]
        self._counts[path] = 0

    def trust(self, path: str, dialect: str, *secrets: str) -> None:
        """Answer 401 to what comes to `path` without the signatures of `secrets`, and list it in `refused`."""
        self._trusted[path] = (dialect, list(secrets))

    def requests(self, path: str | None = None) -> list[Received]:
        """What arrived at `path`, or everywhere, in the order of receipt."""
        return list(self.received if path is None else self._by_path[path])

    async def wait_for(self, count: int, path: str | None = None, *, within: float = 10) -> list[Received]:
        """What arrived, as soon as it is `count` requests or more. Fails when it is fewer after `within` seconds."""
        await eventually(
            lambda: len(self.received if path is None else self._by_path[path]) >= count,
            within=within,
            what=lambda: f"{count} requests to {path or 'any path'}, got {len(self.requests(path))}",
        )
        return self.requests(path)

    def forget(self) -> None:
        """Forget what was received; programs go on where they are."""
        self.received.clear()
        self._replies.clear()
        self.refused.clear()
        self._by_path.clear()

    def hold(self, answer: Callable[[], None]) -> None:
        """Keep an answer back until the next `release`."""
        self._held.append(answer)

    def release(self) -> None:
        """Give the answers that were held until now."""
        held, self._held = self._held, []
        for answer in held:
            answer()

    def take(self, request: Received) -> Reply:
        """Record a request and give the reply to it."""
        path = request.path.partition("?")[0]
        reply = self._choose(path, request)
        self.received.append(request)
        self._replies.append(reply)
        self._by_path[path].append(request)
        return reply

    def _choose(self, path: str, request: Received) -> Reply:
        if path in self._trusted and not is_signed(request, *self._trusted[path]):
            self.refused.append(request)
            return Reply(status=401, body="the signature is wrong")
        replies = self._programs.get(path) or [Reply()]
        turn = self._counts[path]
        self._counts[path] += 1
        return replies[min(turn, len(replies) - 1)]

    def control(self, request: Received) -> Reply:
        """Do what a request to `/_receiver/…` says."""
        parts = urlsplit(request.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match request.method, parts.path.removeprefix(CONTROL):
            case "PUT", "program":
                command = json.loads(request.body)
                self.program(command["path"], *(Reply.from_json(reply) for reply in command["replies"]))
            case "PUT", "trust":
                command = json.loads(request.body)
                self.trust(command["path"], command["dialect"], *command["secrets"])
            case "GET", "requests" | "refused" as which:
                found = self.requests(asked.get("path")) if which == "requests" else self.refused
                return Reply(body=json.dumps([one.to_json() for one in found[int(asked.get("since", 0)) :]]))
            case "GET", "counts":
                names = (request.header(asked["header"]) for request in self.requests(asked.get("path")))
                return Reply(body=json.dumps(Counter(names)))
            case "GET", "numbers":
                arrived = {path: len(requests) for path, requests in self._by_path.items()}
                return Reply(body=json.dumps({"arrived": arrived, "answered": self.answered}))
            case "GET", "receipts":
                receipts = collect_receipts(zip(self.received, self._replies, strict=True))
                return Reply(body=json.dumps([asdict(receipt) for receipt in receipts]))
            case "POST", "forget":
                self.forget()
            case "POST", "release":
                self.release()
            case _:
                return Reply(status=404)
        return Reply(status=204, body="")


class _Connection(asyncio.Protocol):
    """One connection; httptools calls the `on_…` methods."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._receiver.connections += 1
        self._number = self._receiver.connections
        self._receiver.open_connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._receiver.open_connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._write(b"HTTP/1.1 400 Not understood\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._close()

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        request = Received(
            method=self._parser.get_method().decode(),
            path=self._target.decode("latin-1"),
            headers=tuple(self._headers),
            body=b"".join(self._body),
            arrived_at=time.time(),
            connection=self._number,
        )
        receiver = self._receiver
        reply = (receiver.control if request.path.startswith(CONTROL) else receiver.take)(request)
        keep_alive = self._parser.should_keep_alive()
        if reply.held:
            receiver.hold(partial(self._answer, request, reply, keep_alive))
        elif reply.delay:
            asyncio.get_running_loop().call_later(reply.delay, self._answer, request, reply, keep_alive)
        else:
            self._answer(request, reply, keep_alive)

    def _answer(self, request: Received, reply: Reply, keep_alive: bool) -> None:
        if reply.hang or self._transport is None:
            return
        self._receiver.answered[request.path.partition("?")[0]] += 1
        if reply.reset:
            self._transport.abort()
        elif reply.close:
            self._close()
        else:
            self._send(reply, keep_alive)

    def _send(self, reply: Reply, keep_alive: bool) -> None:
        head, body = reply.render(keep_alive=keep_alive)
        if reply.trickle:
            self._write(head)
            self._trickle(body, reply.trickle)
            return
        self._write(head + body)
        if not keep_alive:
            self._close()

    def _trickle(self, rest: bytes, pause: float) -> None:
        if rest and self._transport is not None:
            self._write(rest[:1])
            asyncio.get_running_loop().call_later(pause, self._trickle, rest[1:], pause)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def _serve(options: argparse.Namespace) -> None:
    tls = None
    if options.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.certificate)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    async with Receiver.start(host=options.host, port=options.port, tls=tls) as receiver:
        if options.print_port:
            sys.stdout.write(f"{receiver.port}\n")
            sys.stdout.flush()
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--print-port", action="store_true", help="say on standard output which port it became")
    parser.add_argument("--certificate", type=Path, help="serve TLS with this PEM file (key and chain)")
    gc.disable()  # it keeps all that it gets; looking through it stands in the way of what is measured
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
