"""A worker process among receivers that break every rule: it stays small, and healthy receivers get theirs."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from sendoff.endpoints.manage import RegisteredEndpoint
from sendoff.ids import new_id
from sendoff.publishing.publish import NewEvent
from sendoff.store.tables import Endpoint
from tests.acceptance.hostile import HOSTILE
from tests.acceptance.hostile_tls import hostile_below_http
from tests.integration.wire.receivers import Behaviour, Peer, receiving, well_behaved
from tests.support.app_fixture import AppFixture, open_app
from tests.support.polling import eventually
from tests.support.receiver_process import ReceiverProcess
from tests.support.servers import Server
from tests.support.tls import Authority

MOST_GROWTH_BYTES = 50_000_000
EVENT = NewEvent("upload.completed", b'{"upload":{"id":"1"}}')

SETTINGS = {
    "ATTEMPT_TIMEOUT_SECONDS": "2",
    "LEASE_SECONDS": "5",
    "RETRY_SCHEDULE": "200ms",
    "DISABLE_AFTER_FAILURES": "1000000",
    "DANGEROUSLY_ALLOW_NETWORKS": "127.0.0.0/8",
    "DANGEROUSLY_ALLOW_HTTP": "true",
    "SHUTDOWN_GRACE_SECONDS": "1",
}


@dataclass
class Hostile:
    """A receiver; `tls` is what it speaks to the ping, and `below_http` leaves it to `behave` afterwards."""

    behave: Behaviour
    tls: ssl.SSLContext | None = None
    below_http: bool = False
    errors: set[str] | None = None
    """What may be recorded of it, if it is known."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Its URL, while it runs."""
        async with receiving(self._after_the_ping, tls=None if self.below_http else self.tls) as opened:
            yield f"{'https' if self.tls else 'http'}://127.0.0.1:{opened.port}"

    async def _after_the_ping(self, peer: Peer) -> None:
        """Well-behaved on the first connection, which is the registration's."""
        if peer.number > 1:
            await self.behave(peer)
            return
        if self.tls is not None and self.below_http:
            await peer.writer.start_tls(self.tls)
        await well_behaved(peer)


HTTP, TLS, HTTPS = "http", "tls", "https"
"""Hostile in HTTP, in TLS, and in HTTP with TLS around it."""

STORM = {HTTP: [1, 3, 3], TLS: [1, 2], HTTPS: [1, 3, 3]}
"""How many events are published at a time. Each attempt at a receiver that hangs takes two seconds, and an endpoint
that does not answer is sent one at a time."""

COPIES = 8
"""Endpoints of each hostile receiver, so that it has several requests at once."""


@pytest.fixture(params=[pytest.param(HTTP, marks=pytest.mark.chaos), TLS, pytest.param(HTTPS, marks=pytest.mark.chaos)])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def hostile(scheme: str, authority: Authority, tmp_path: Path) -> dict[str, Hostile]:
    own = authority.server_context("127.0.0.1")
    if scheme == TLS:
        made = hostile_below_http(authority, tmp_path)
        return {name: Hostile(behave, own, below_http=True, errors=errors) for name, (behave, errors) in made.items()}
    return {name: Hostile(behave, own if scheme == HTTPS else None) for name, behave in HOSTILE.items()}


@pytest.fixture
def healthy(scheme: str, authority: Authority) -> Iterator[ReceiverProcess]:
    """In a process of its own: it is not late because the hostile ones are busy."""
    with ReceiverProcess(certificate=None if scheme == HTTP else authority.certificate("127.0.0.1")) as running:
        yield running


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
async def app(sqlite_url: str, valkey_url: str, authority: Authority) -> AsyncIterator[AppFixture]:
    async with open_app(sqlite_url, redis_url=valkey_url, ca_file=authority.ca_file) as opened:
        yield opened


@pytest.fixture
async def worker(
    sqlite_url: str, valkey_url: str, authority: Authority, tmp_path: Path
) -> AsyncIterator[WorkerProcess]:
    given = SETTINGS | {"DATABASE_URL": sqlite_url, "REDIS_URL": valkey_url, "SECRET_KEYS": "k" * 32}
    given["CA_FILE"] = str(authority.ca_file)
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


async def look(app: AppFixture, query: str) -> list[tuple[Any, ...]]:
    async with app.transaction() as tx:
        return [tuple(row) for row in (await tx.execute(text(query))).all()]


async def errors_by_endpoint(app: AppFixture) -> dict[str, set[str]]:
    """What was recorded of each, by the path of its URL."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    query = """SELECT endpoints.url, attempts.outcome FROM attempts JOIN deliveries ON deliveries.id = delivery_id
        JOIN endpoints ON endpoints.id = endpoint_id"""
    for url, outcome in await look(app, query):
        found[urlsplit(url).path.strip("/")].add(outcome)
    return found


async def test_hostile_receivers_cost_little_memory_and_no_other_delivery(
    scheme: str, app: AppFixture, worker: WorkerProcess, healthy: ReceiverProcess, hostile: dict[str, Hostile]
) -> None:
    await app.register(healthy.url("/healthy"))
    healthy.forget()
    await app.publish(*[EVENT] * 200)  # until it has all that it needs when all is well
    await eventually(partial(_arrived, healthy, 200), within=60, what="what is delivered when all is well")
    before, descriptors = worker.memory("VmRSS"), worker.descriptors()
    worker.forget_peak()
    healthy.forget()

    async with AsyncExitStack() as stack:
        for name, receiver in hostile.items():
            url = await stack.enter_async_context(receiver.open())
            await _copy(app, await app.register(f"{url}/{_as_path(name)}"))
        sent = 0
        for events in STORM[scheme]:
            await app.publish(*[EVENT] * events)
            sent += events
            arrived = partial(_arrived, healthy, sent)
            await eventually(arrived, within=60, what="the healthy receiver gets its own")
            if sent == 1:  # the calm before: each is seen for what it is
                await eventually(lambda: _nothing_open(app), within=30, what="the first deliveries have an end")
        await eventually(lambda: _nothing_open(app), within=90, what="every delivery has an end")

    assert worker.memory("VmHWM") - before < MOST_GROWTH_BYTES
    await eventually(lambda: worker.descriptors() < descriptors + 20, within=30, what="connections are closed")
    assert len(healthy.counts("X-OptimalDial-Delivery-Id", "/healthy")) == sent
    recorded = await errors_by_endpoint(app)
    assert recorded["healthy"] == {"ok"}
    for name, receiver in hostile.items():
        errors = recorded[_as_path(name)]
        assert errors, name
        if receiver.errors is not None:
            # In a storm on a busy machine anything may take too long.
            assert errors & receiver.errors, (name, errors)
            assert errors <= receiver.errors | {"timed_out"}, (name, errors)


async def _copy(app: AppFixture, registered: RegisteredEndpoint) -> None:
    """More endpoints with the same URL, whose pings the limit for a host would refuse."""
    async with app.context.database.write() as tx:
        for _ in range(COPIES - 1):
            identifier = new_id()
            secret = app.context.vault.seal(registered.secret, bound_to=identifier)
            tx.add(Endpoint(**registered.endpoint.model_dump() | {"id": identifier, "secret": secret}))


def _as_path(name: str) -> str:
    return name.replace(" ", "-").replace("'", "")


async def _arrived(healthy: ReceiverProcess, count: int) -> bool:
    return await asyncio.to_thread(healthy.arrived, "/healthy") >= count


async def _nothing_open(app: AppFixture) -> bool:
    query = "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'held', 'queued', 'in_flight')"
    return await look(app, query) == [(0,)]
