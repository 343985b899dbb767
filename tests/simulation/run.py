"""Runs the simulation of one seed after another, in this process."""

from __future__ import annotations

import asyncio
import itertools
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import structlog
import uuid_utils

from sendoff.context import Context
from sendoff.processes.process import tune_garbage_collector
from sendoff.store.engine.database import migrate
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import Response
from tests.simulation.defects import DEFECTS
from tests.simulation.file_database import FileDatabases
from tests.simulation.loop import SimulatedClock, SimulatedLoop
from tests.simulation.memory_database import MemoryDatabases
from tests.simulation.redis_twin import ClientTwin, PipeTwin, RedisTwin
from tests.simulation.world import Violation, World
from tests.support.app_fixture import START, open_app

SETTINGS: dict[str, Any] = {
    "retry_schedule": "2s,5s,20s",
    "attempt_timeout_seconds": 5,
    "lease_seconds": 12,
    "disable_after_failures": 12,
    "endpoint_max_in_flight": 4,
    "worker_max_in_flight": 20,
}
PATHS = ("/one", "/two", "/three", "/ordered")
_LATENCIES = (0.0002, 0.001, 0.001, 0.005, 0.05)


@dataclass(frozen=True)
class Template:
    """A migrated database with an organization and endpoints, of which every seed gets a copy."""

    context: Context
    organization_id: str
    endpoints: dict[str, str]
    databases: MemoryDatabases | FileDatabases
    folder: tempfile.TemporaryDirectory[str]
    """Where the copies are made; it is removed with the template."""


@cache
def make_template(database: str) -> Template:
    """Make it, once in a process; the copies are in memory, or in files beside it if `database` is `file`."""
    memory = Path("/dev/shm")  # noqa: S108 - the database need not outlive the run
    folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
    file = Path(folder.name) / "template.db"
    migrate(f"sqlite+aiosqlite:///{file}")
    with _ids(lambda: START, Random(0)):  # noqa: S311 - not for secrets
        return asyncio.run(_make_template(folder, file, FileDatabases if database == "file" else MemoryDatabases))


async def _make_template(
    folder: tempfile.TemporaryDirectory[str], file: Path, databases: type[MemoryDatabases | FileDatabases]
) -> Template:
    async with open_app(f"sqlite+aiosqlite:///{file}", **SETTINGS) as app:
        acknowledging = replace(app, context=replace(app.context, wire=cast("Client", _Acknowledging())))
        endpoints: dict[str, str] = {}
        for path in PATHS:
            made = await acknowledging.register(
                f"http://127.0.0.1:9000{path}", "upload.completed", ordered=path == "/ordered", dialect="standard"
            )
            endpoints[made.endpoint.id] = path
    return Template(app.context, app.principal.organization_id, endpoints, databases(file), folder)


@dataclass
class Report:
    """What was simulated, up to the first violation."""

    seeds: int = 0
    seconds: float = 0.0
    deliveries: int = 0
    faults: int = 0
    cpu_seconds: float = 0.0
    violation: str | None = None

    def add(self, other: Report) -> None:
        self.seeds += other.seeds
        self.seconds += other.seconds
        self.deliveries += other.deliveries
        self.faults += other.faults
        self.cpu_seconds += other.cpu_seconds
        self.violation = self.violation or other.violation


def simulate_all(seeds: range, defect: str | None, database: str) -> Report:
    """Simulate these seeds, up to the first violation."""
    silence()
    began, report = time.process_time(), Report()
    template = make_template(database)
    tune_garbage_collector()
    with DEFECTS[defect]() if defect else nullcontext():
        for seed in seeds:
            try:
                world = simulate(template, seed)
            except Violation as violation:
                report.violation = str(violation)
                break
            report.add(Report(1, world.loop.now, len(world.accepted), world.faults))
    report.cpu_seconds = time.process_time() - began
    return report


def simulate(template: Template, seed: int) -> World:
    """Live the life of one seed; the same seed lives the same life. Raises world.Violation."""
    rng = Random(seed)  # noqa: S311 - not for secrets
    loop = SimulatedLoop(lambda: rng.choice(_LATENCIES))
    redis = RedisTwin(loop)
    with template.databases.copy(loop) as storage, _twins(loop, redis, rng):
        world = World(seed, loop, redis, template.context, storage, template.organization_id, template.endpoints)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(world.live())
    return world


@contextmanager
def _twins(loop: SimulatedLoop, redis: RedisTwin, rng: Random) -> Iterator[None]:
    """What the product asks of the world outside is asked of its twins within the block."""
    clock = SimulatedClock(loop)

    def connect(_settings: object) -> ClientTwin:
        return ClientTwin(redis)

    with ExitStack() as patches:
        patches.enter_context(_ids(clock.now, rng))
        for name, twin in {
            "sendoff.queue.time": SimpleNamespace(time=lambda: clock.now().timestamp()),
            "sendoff.queue.CommandPipe": PipeTwin,
            "worker.consumer.CommandPipe": PipeTwin,
            "worker.sweeper.CommandPipe": PipeTwin,
            "worker.consumer.connect": connect,
        }.items():
            patches.enter_context(patch(name, twin))
        yield


def _ids(now: Callable[[], datetime], rng: Random) -> AbstractContextManager[Any]:
    """Ids by the simulated time and the seed; random ones would change the order of sets."""
    places = itertools.count()

    def uuid7() -> uuid.UUID:
        moment = int(now().timestamp() * 1000) << 80
        return uuid.UUID(int=moment | 0x7 << 76 | (next(places) & 0xFFF) << 64 | 0x2 << 62 | rng.getrandbits(62))

    return patch("sendoff.ids.uuid_utils", SimpleNamespace(uuid7=uuid7, UUID=uuid_utils.UUID))


class _Acknowledging:
    """A wire on which every receiver answers 200."""

    async def check(self, *_arguments: object, **_options: object) -> list[object]:
        return []

    async def send(self, *_arguments: object, **_options: object) -> Response:
        return Response(200, (), b"", truncated=False, elapsed_ms=1)


def silence() -> None:
    """Log nothing: a simulated worker says a great deal."""
    logging.disable(logging.CRITICAL)  # the pool's, of connections whose process was killed
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
