"""An installation for fault injection: API and workers as processes, a Valkey of its own, a receiver that counts.

It knows every event that was accepted, and in the end what must have become of each.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sendoff.operations.accounts import create_key, create_organization
from sendoff.operations.actors import Actor
from sendoff.operations.authenticate import EVENTS_WRITE, authenticate
from sendoff.operations.endpoints import NewEndpoint, register_endpoint
from sendoff.operations.runtime import open_runtime
from sendoff.settings import load
from tests.support.databases import LiveDatabase
from tests.support.polling import eventually_blocking
from tests.support.publisher import EVENT_TYPE, Published, Publisher
from tests.support.reckoning import Reckoning, reckon
from tests.support.remote import RemoteReceiver
from tests.support.servers import Server
from tests.support.valkey import ValkeyServer, free_port

QUICK = {
    "LEASE_SECONDS": "3",
    "ATTEMPT_TIMEOUT_SECONDS": "2",
    "RETRY_SCHEDULE": "1s,1s,1s,1s,1s",
    "SHUTDOWN_GRACE_SECONDS": "2",
}
"""Settings under which what takes half a minute takes seconds."""

_ACTOR = Actor(name="test")


class Installation:
    """Everything between `open_installation`'s begin and end; processes are started by the test."""

    def __init__(
        self,
        directory: Path,
        database: LiveDatabase,
        receiver: RemoteReceiver,
        *,
        settings: Mapping[str, str],
        redis_url: str | None = None,
    ) -> None:
        self.directory = directory
        self.database = database
        self.receiver = receiver
        self.valkey = ValkeyServer(directory)
        self.port = free_port()
        self.published = Published()
        self.may_come_twice = 0
        """Deliveries that were in flight when a worker was killed: the most that may be sent twice."""
        given = {
            "DATABASE_URL": database.url,
            "REDIS_URL": redis_url or self.valkey.url,
            "SECRET_KEYS": "k" * 32,
            "STORAGE_URL": f"file://{directory}/uploads",
            "DANGEROUSLY_ALLOW_NETWORKS": "127.0.0.0/8",
            "DANGEROUSLY_ALLOW_HTTP": "true",
            **settings,
        }
        self.settings = {name.lower(): value for name, value in given.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENDOFF_")}
        self.environment = inherited | {f"SENDOFF_{name}": value for name, value in given.items()}
        self.api = self._new_server("api", "api", "--port", str(self.port))
        self.workers: list[Server] = []
        self._paths: dict[str, str] = {}
        self._key = ""

    def start(self, *, workers: int = 1) -> None:
        """Start the API and so many workers."""
        self.api.launch()
        new = [self.new_worker() for _ in range(workers)]
        for worker in new:
            worker.launch()
        for server in (self.api, *new):
            server.wait_until_ready()

    def new_worker(self, *, through: Sequence[str] = ()) -> Server:
        """Another worker, not started yet; `through` is a module, with arguments, that runs it."""
        worker = self._new_server(f"worker{len(self.workers) + 1}", *through, "worker")
        self.workers.append(worker)
        return worker

    def register(self, *paths: str) -> None:
        """Register an endpoint for each of the receiver's paths."""
        self._paths |= dict(zip(asyncio.run(self._register(paths)), paths, strict=True))

    @contextmanager
    def publishing(self, *, rate: float = 100) -> Iterator[Published]:
        """Publish events within the block, so many per second."""
        with Publisher(self.port, self._key, self.published, rate=rate).running() as published:
            yield published

    def publish(self, events: int) -> None:
        """Publish so many events at once, all of which must be accepted."""
        publisher = Publisher(self.port, self._key, self.published, rate=1)
        for first in range(0, events, 1000):
            assert publisher.publish_at_once(min(1000, events - first)), self.api.log()

    def accept(self, more: int, *, within: float = 30) -> None:
        """Wait until so many more events than now are accepted; somebody must be publishing."""
        wanted = len(self.published.accepted) + more
        eventually_blocking(
            lambda: len(self.published.accepted) >= wanted,
            within=within,
            what=lambda: f"{wanted} accepted events, got {self.published}\n{self.api.log()}",
        )

    def kill(self, *workers: Server) -> int:
        """Kill workers in the midst of their work; how many deliveries were in flight then, at the most."""
        for worker in workers:
            worker.kill()
        in_flight = self.count("in_flight")
        self.may_come_twice += in_flight
        return in_flight

    def count(self, *states: str) -> int:
        """How many deliveries are in one of the states."""
        return sum(count for state, count in self._counts().items() if state in states)

    def settle(self, *, within: float = 30) -> Reckoning:
        """Wait until no delivery is open, and reckon what became of everything that was accepted."""
        eventually_blocking(
            lambda: self.count("pending", "held", "in_flight") == 0,
            within=within,
            what=lambda: f"no open deliveries, but {self._counts()}\n{self._logs()}",
        )
        return reckon(self.published.accepted, self._paths, self.receiver.tally(), self.database)

    def check(self, *, within: float = 30) -> Reckoning:
        """Settle, and hold the guarantees: nothing lost, nothing altered, no more twice than may come twice."""
        reckoning = self.settle(within=within)
        reckoning.check(duplicates_at_most=self.may_come_twice)
        return reckoning

    def close(self) -> None:
        """End whatever still runs."""
        for server in (self.api, *self.workers):
            server.kill()
        self.valkey.kill()

    def _new_server(self, name: str, *program: str) -> Server:
        return Server(program, self.environment, self.directory / f"{name}.log")

    async def _register(self, paths: Sequence[str]) -> list[str]:
        async with open_runtime(load(**self.settings)) as runtime:
            organization = await create_organization(runtime, _ACTOR, name="Acme", credits=None)
            minted = await create_key(
                runtime, _ACTOR, organization_id=organization.id, email="ada@example.com", scopes=[EVENTS_WRITE]
            )
            self._key = minted.key
            principal = await authenticate(runtime, f"Bearer {minted.key}")
            chosen = [NewEndpoint(self.receiver.url(path), events=(EVENT_TYPE,)) for path in paths]
            return [(await register_endpoint(runtime, principal, _ACTOR, new)).endpoint.id for new in chosen]

    def _counts(self) -> dict[str, int]:
        rows = self.database.query("SELECT state, count(*) FROM deliveries GROUP BY state")
        return {state: int(count) for state, count in rows}

    def _logs(self) -> str:
        return "\n".join(server.log() for server in (self.api, *self.workers))


@contextmanager
def open_installation(
    directory: Path, database: LiveDatabase, *, settings: Mapping[str, str] = QUICK, redis_url: str | None = None
) -> Iterator[Installation]:
    """An installation whose Valkey and receiver run; ended for certain."""
    with RemoteReceiver() as receiver:
        installation = Installation(directory, database, receiver, settings=settings, redis_url=redis_url)
        try:
            installation.valkey.start()
            yield installation
        finally:
            installation.close()
