"""Takes jobs as they come, claims the row, sends a signed POST, and records those that were answered together.

It knows no quotas, deadlines, retries or statistics. It says that it is ready as the product's worker does, on the
descriptor SENDOFF_READY_FD.

    python -m bench.floor.worker POSTGRES_DIRECTORY VALKEY_SOCKET
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import uvloop

from bench.floor.api import JOB, QUEUE, event_id
from bench.floor.commands import RedisCommands

_CLAIM = """
    UPDATE deliveries SET state = 'in_flight', lease_token = $2, leased_until = $3
    WHERE id = $1 AND state = 'pending' RETURNING url, data
"""
_RECORD = """
    UPDATE deliveries AS d SET state = 'delivered', lease_token = NULL, leased_until = NULL
    FROM unnest($1::uuid[], $2::uuid[]) AS r(id, lease_token) WHERE d.id = r.id AND d.lease_token = r.lease_token
"""
_SECRET = b"bench" * 8
_WAITS_AHEAD = 8
_RECORD_SECONDS = 0.05
_LEASE = timedelta(seconds=60)
_CONNECTIONS = 3


class Working:
    """Deliveries from the queue to the record."""

    def __init__(self) -> None:
        self.claims: asyncio.LifoQueue[asyncpg.prepared_stmt.PreparedStatement] = asyncio.LifoQueue()
        self.records: asyncpg.prepared_stmt.PreparedStatement
        self.jobs: RedisCommands
        self._waits = 0
        self._started: list[bytes] = []
        self._idle: dict[tuple[str, int], list[LeanExchange]] = defaultdict(list)
        self._answered: list[tuple[UUID, UUID]] = []
        self._recording = False
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self) -> None:
        """Remove the jobs that were started, and wait for the next ones."""
        removals = [("UNLINK", *self._started)] if self._started else []
        self._started = []
        self._waits = _WAITS_AHEAD
        waits = [("BZMPOP", 5, 1, QUEUE, "MIN", "COUNT", 1)] * _WAITS_AHEAD
        self.jobs.send(*removals, *waits)

    def replied(self, reply: Any) -> None:
        """A job, a number of removals, or nothing after five seconds."""
        if isinstance(reply, int):
            return
        self._waits -= 1
        if reply is not None:
            [[job, _]] = reply[1]
            self._started.append(JOB.encode() + job)
            self._spawn(self._deliver(UUID(job.decode())))
        if not self._waits:
            self.ask()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery_id: UUID) -> None:
        lease_token, statement = uuid4(), await self.claims.get()
        try:
            row = await statement.fetchrow(delivery_id, lease_token, datetime.now(UTC) + _LEASE)
        finally:
            self.claims.put_nowait(statement)
        if row is None:
            return
        url, body = urlsplit(row["url"]), row["data"].encode()
        head = [
            f"POST {url.path} HTTP/1.1",
            f"Host: {url.netloc}",
            f"X-Event-Id: {event_id(delivery_id.hex).decode()}",
            f"X-Signature: {hmac.digest(_SECRET, body, 'sha256').hex()}",
            f"Content-Length: {len(body)}\r\n\r\n",
        ]
        place = url.hostname or "", url.port or 80
        exchange = self._idle[place].pop() if self._idle[place] else await LeanExchange.connect(*place)
        answer = await exchange.send("\r\n".join(head).encode() + body)
        self._idle[place].append(exchange)
        if answer.startswith(b"HTTP/1.1 200"):
            self._answered.append((delivery_id, lease_token))
            if not self._recording:
                self._recording = True
                self._spawn(self._record())

    async def _record(self) -> None:
        while self._answered:
            await asyncio.sleep(_RECORD_SECONDS)
            answered, self._answered = self._answered, []
            await self.records.fetch([one for one, _ in answered], [token for _, token in answered])
        self._recording = False


class LeanExchange(asyncio.Protocol):
    """A connection to a receiver, whose answers come in one piece."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[bytes]
        self._transport: asyncio.Transport

    @classmethod
    async def connect(cls, host: str, port: int) -> LeanExchange:
        _, exchange = await asyncio.get_running_loop().create_connection(cls, host, port)
        return exchange

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    async def send(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._answer.set_result(data)


async def _work(postgres: str, valkey: str) -> None:
    working = Working()
    working.jobs = await RedisCommands.connect(valkey, working.replied)
    for _ in range(_CONNECTIONS):
        # A claim may be lost with the database server, as the product's may (docs/decisions/0023).
        connection = await _connect(postgres, synchronous_commit="off")
        working.claims.put_nowait(await connection.prepare(_CLAIM))
    working.records = await (await _connect(postgres)).prepare(_RECORD)
    working.ask()
    os.write(int(os.environ["SENDOFF_READY_FD"]), b"1")
    await asyncio.Event().wait()


async def _connect(postgres: str, **settings: str) -> asyncpg.Connection:
    return await asyncpg.connect(host=postgres, user="postgres", database="sendoff", server_settings=settings)


if __name__ == "__main__":
    uvloop.run(_work(*sys.argv[1:]))
