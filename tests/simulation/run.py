"""Runs the simulation of one seed after another, in this process."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import structlog
import uuid_utils

from sendoff.context import Context
from sendoff.store.engine.database import migrate
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import Response
from tests.simulation.database_twin import without_threads
from tests.simulation.loop import SimulatedClock, SimulatedLoop
from tests.simulation.redis_twin import ClientTwin, PipeTwin, RedisTwin
from tests.simulation.world import World
from tests.support.app_fixture import open_app

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
    file: Path
    endpoints: dict[str, str]


def make_template(directory: Path) -> Template:
    """Make it in `directory`."""
    file = directory / "template.db"
    migrate(f"sqlite+aiosqlite:///{file}")
    return asyncio.run(_make_template(file))


async def _make_template(file: Path) -> Template:
    async with open_app(f"sqlite+aiosqlite:///{file}", **SETTINGS) as app:
        acknowledging = replace(app, context=replace(app.context, wire=cast("Client", _Acknowledging())))
        endpoints: dict[str, str] = {}
        for path in PATHS:
            made = await acknowledging.register(
                f"http://127.0.0.1:9000{path}", "upload.completed", ordered=path == "/ordered", dialect="standard"
            )
            endpoints[made.endpoint.id] = path
        return Template(app.context, app.principal.organization_id, file, endpoints)


def simulate(template: Template, seed: int, directory: Path) -> World:
    """Live the life of one seed; the same seed lives the same life. Raises world.Violation."""
    file = directory / f"{seed}.db"
    shutil.copyfile(template.file, file)
    dice = Random(seed)  # noqa: S311 - not for secrets
    loop = SimulatedLoop(lambda: dice.choice(_LATENCIES))
    redis = RedisTwin(loop)
    try:
        with _twins(loop, redis, dice):
            world = World(seed, loop, redis, template.context, file, template.organization_id, template.endpoints)
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(world.live())
    finally:
        for leftover in directory.glob(f"{seed}.db*"):
            leftover.unlink()
    return world


@contextmanager
def _twins(loop: SimulatedLoop, redis: RedisTwin, dice: Random) -> Iterator[None]:
    """What the product asks of the world outside is asked of its twins within the block."""
    clock, places = SimulatedClock(loop), itertools.count()

    def uuid7() -> uuid.UUID:
        moment = int(clock.now().timestamp() * 1000) << 80
        return uuid.UUID(int=moment | 0x7 << 76 | (next(places) & 0xFFF) << 64 | 0x2 << 62 | dice.getrandbits(62))

    def connect(_settings: object) -> ClientTwin:
        return ClientTwin(redis)

    with ExitStack() as patches:
        patches.enter_context(without_threads())
        for name, twin in {
            "sendoff.ids.uuid_utils": SimpleNamespace(uuid7=uuid7, UUID=uuid_utils.UUID),
            "sendoff.queue.time": SimpleNamespace(time=lambda: clock.now().timestamp()),
            "sendoff.queue.CommandPipe": PipeTwin,
            "worker.consumer.CommandPipe": PipeTwin,
            "worker.sweeper.CommandPipe": PipeTwin,
            "worker.consumer.connect": connect,
        }.items():
            patches.enter_context(patch(name, twin))
        yield


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
