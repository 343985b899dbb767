"""Accepts a POST: one row, committed and on disk, then the answer, then a job.

It knows no keys, no subscriptions and no invalid requests.

    python -m bench.floor.api PORT POSTGRES_DIRECTORY VALKEY_SOCKET RECEIVER_PORT RECEIVER_HOST [RECEIVER_HOST …]
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import cycle
from typing import Any, cast
from uuid import uuid4

import asyncpg
import uvloop

from bench.floor.commands import RedisCommands

QUEUE = "arq:queue"
JOB = "arq:job:"

_ACCEPT = "INSERT INTO deliveries (id, url, data, state, due_at) VALUES ($1, $2, $3, 'pending', now())"
_JOB_EXPIRES_MS = 600_000
_CONNECTIONS = 4


class Accepting:
    """What all connections share."""

    def __init__(self, urls: list[str], jobs: RedisCommands) -> None:
        self._urls = cycle(urls)
        self._jobs = jobs
        self.idle: asyncio.LifoQueue[asyncpg.prepared_stmt.PreparedStatement] = asyncio.LifoQueue()

    async def accept(self, body: bytes, transport: asyncio.Transport) -> None:
        """Commit, answer, enqueue."""
        delivery_id = uuid4()
        statement = await self.idle.get()
        try:
            await statement.fetch(delivery_id, next(self._urls), body.decode())
        finally:
            self.idle.put_nowait(statement)
        answer = b'{"id":"%b"}' % event_id(delivery_id.hex)
        transport.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        job = delivery_id.hex
        self._jobs.send(
            ("SET", JOB + job, f'["deliver",["{job}"]]', "PX", _JOB_EXPIRES_MS, "NX"),
            ("ZADD", QUEUE, "NX", int(time.time() * 1000), job),
        )


def event_id(delivery_id: str) -> bytes:
    """The id by which the benchmark matches answers with receipts: as long as the product's."""
    return delivery_id[:28].encode()


class LeanConnection(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, accepting: Accepting) -> None:
        self._accepting = accepting
        self._rest = b""
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _content_length(data):
            self._rest = data
            return
        self._rest = b""
        self._task = asyncio.create_task(self._accepting.accept(data[end + 4 :], self._transport))


def _content_length(request: bytes) -> int:
    start = request.find(b"Content-Length: ") + 16
    return int(request[start : request.find(b"\r\n", start)])


def _ignore(_reply: Any) -> None:
    """What was added need not be known."""


async def _serve(port: str, postgres: str, valkey: str, receiver_port: str, *hosts: str) -> None:
    urls = [f"http://{host}:{receiver_port}/hook" for host in hosts]
    accepting = Accepting(urls, await RedisCommands.connect(valkey, _ignore))
    for _ in range(_CONNECTIONS):
        connection = await asyncpg.connect(host=postgres, user="postgres", database="sendoff")
        accepting.idle.put_nowait(await connection.prepare(_ACCEPT))
    server = await asyncio.get_running_loop().create_server(lambda: LeanConnection(accepting), "127.0.0.1", int(port))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
