"""A worker process among receivers that break every rule: it stays small, and healthy receivers get theirs."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from sendoff.operations.publish import NewEvent
from tests.support.house import House, open_house
from tests.support.polling import eventually
from tests.support.receiver import Receiver
from tests.support.servers import Server
from tests.wire.receivers import OK, Behaviour, Peer, receiving, well_behaved

MOST_GROWTH_BYTES = 50_000_000
EVENTS = 40
EVENT = NewEvent("upload.completed", b'{"upload":{"id":"1"}}')
HEAD = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(bytes(30_000_000))

SETTINGS = {
    "ATTEMPT_TIMEOUT_SECONDS": "1",
    "LEASE_SECONDS": "5",
    "RETRY_SCHEDULE": "200ms,200ms",
    "DISABLE_AFTER_FAILURES": "1000000",
    "DANGEROUSLY_ALLOW_NETWORKS": "127.0.0.0/8",
    "DANGEROUSLY_ALLOW_HTTP": "true",
    "SHUTDOWN_GRACE_SECONDS": "1",
}


def sending(start: bytes, filler: bytes = b"", *, pause: float = 0.0) -> Behaviour:
    """After the request `start`, then `filler` for ever, or nothing for ever."""

    async def behave(peer: Peer) -> None:
        await peer.request()
        await peer.send(start)
        while filler:
            await peer.send(filler)
            await asyncio.sleep(pause)
        await peer.gone()

    return behave


async def resets(peer: Peer) -> None:
    peer.reset()


async def resets_after_the_request(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def never_reads(peer: Peer) -> None:
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(30)


async def answers_before_it_is_asked(peer: Peer) -> None:
    await peer.send(OK * 1_000)
    await peer.gone()


async def goes_away_after_some_bytes(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK[: peer.number % len(OK)])


HOSTILE: dict[str, Behaviour] = {
    "endless headers": sending(HEAD, b"X-Filler: " + b"x" * 8_000 + b"\r\n"),
    "an endless header": sending(HEAD + b"X-Endless: ", b"x" * 64_000),
    "an endless reason": sending(b"HTTP/1.1 200 ", b"reason " * 8_000),
    "headers within the bounds": sending(
        HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 480) for n in range(120)) + b"Content-Length: 16384\r\n\r\n"
    ),
    "an endless body": sending(HEAD + b"\r\n", b"x" * 64_000),
    "a body of a terabyte": sending(HEAD + b"Content-Length: 1000000000000\r\n\r\n", b"x" * 64_000),
    "endless chunks": sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 8_000),
    "the smallest chunks, and no end": sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nxy\r\n" * 8_191),
    "a head of one long line, and no end": sending(HEAD + b"X-Long: " + b"x" * 60_000),
    "endless chunk extensions": sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 60_000),
    "a gzip bomb": sending(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "a byte now and then": sending(HEAD, b"x", pause=0.1),
    "interim answers for ever": sending(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 500),
    "two lengths": sending(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "too short a body": sending(HEAD + b"Content-Length: 200\r\n\r\nok"),
    "garbage": sending(b"\x00\xff" * 30_000),
    "a redirect": sending(b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
    "another time": sending(b"HTTP/1.1 503 No\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n"),
    "silence": sending(b""),
    "a reset": resets,
    "a reset after the request": resets_after_the_request,
    "no reading": never_reads,
    "an answer too soon": answers_before_it_is_asked,
    "a part of an answer": goes_away_after_some_bytes,
}


def after_the_ping(behave: Behaviour) -> Callable[[Peer], Awaitable[None]]:
    """Well-behaved on the first connection, which is the registration's."""

    async def behaving(peer: Peer) -> None:
        await (well_behaved if peer.number == 1 else behave)(peer)

    return behaving


@dataclass
class WorkerProcess:
    """What /proc tells about it."""

    pid: int

    def memory(self, what: str) -> int:
        """`VmRSS` is what it has now, `VmHWM` the most since `forget_peak`; bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())


@pytest.fixture
async def house(sqlite_url: str, valkey_url: str) -> AsyncIterator[House]:
    async with open_house(sqlite_url, redis_url=valkey_url) as opened:
        yield opened


@pytest.fixture
async def worker(sqlite_url: str, valkey_url: str, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    given = SETTINGS | {"DATABASE_URL": sqlite_url, "REDIS_URL": valkey_url, "SECRET_KEYS": "k" * 32}
    environment = {**os.environ, **{f"SENDOFF_{name}": value for name, value in given.items()}}
    server = Server(["worker"], environment, tmp_path / "log")
    server.launch()
    await asyncio.to_thread(server.wait_until_ready)
    try:
        assert server._process is not None
        yield WorkerProcess(server._process.pid)
        assert server.is_running, server.log()
        assert "Traceback" not in server.log(), server.log()
    finally:
        await asyncio.to_thread(server.stop)


async def count_open(house: House) -> int:
    from sqlalchemy import text

    async with house.transaction() as tx:
        query = text("SELECT count(*) FROM deliveries WHERE state IN ('pending', 'held', 'in_flight')")
        return int((await tx.execute(query)).scalar_one())


async def test_hostile_receivers_cost_a_worker_little_memory_and_nobody_else_a_delivery(
    house: House, worker: WorkerProcess, receiver: Receiver
) -> None:
    await house.register(receiver.url("/healthy"))
    receiver.forget()
    await house.publish(*[EVENT] * 200)  # until it has all that it needs when all is well
    await receiver.wait_for(200, "/healthy", within=30)
    before, descriptors = worker.memory("VmRSS"), worker.descriptors()
    worker.forget_peak()
    receiver.forget()

    async with AsyncExitStack() as stack:
        for name, behave in HOSTILE.items():
            hostile = await stack.enter_async_context(receiving(after_the_ping(behave)))
            await house.register(f"http://127.0.0.1:{hostile.port}/{name.replace(' ', '-')}")
        await house.publish(*[EVENT] * EVENTS)
        await receiver.wait_for(EVENTS, "/healthy", within=30)
        for round_ in range(1, 4):
            await house.publish(*[EVENT] * EVENTS)
            await receiver.wait_for(EVENTS * (1 + round_), "/healthy", within=30)
        await eventually(lambda: _nothing_open(house), within=90, what="every delivery has an end")

    assert worker.memory("VmHWM") - before < MOST_GROWTH_BYTES
    await eventually(lambda: worker.descriptors() < descriptors + 20, within=30, what="connections are closed")
    arrived = {request.header("X-OptimalDial-Delivery-Id") for request in receiver.requests("/healthy")}
    assert len(arrived) == EVENTS * 4


async def _nothing_open(house: House) -> bool:
    return await count_open(house) == 0
