"""The scenarios: what is sent, and what is measured until the last delivery is recorded."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.calibration import calibrate
from bench.load import Outcome, Plan, read_answers
from bench.measuring import Meter, Usage
from bench.options import Options
from bench.receiver import read_arrivals
from bench.town import EVENT_TYPE
from tests.support.polling import eventually
from tests.support.processes import ROOT, start

BATCH = 100
FIXED_RATE = 200.0

_RECORDED_WITHIN_SECONDS = 120
_SETTLING_SECONDS = 1.0
_BATCH_CONNECTIONS = 4


@dataclass(slots=True)
class Result:
    """One scenario on one database. Latencies are milliseconds."""

    name: str
    usage: Usage
    events: int = 0
    deliveries: int = 0
    repeated: int = 0
    """Requests that arrived beyond one for each delivery."""
    accepted_per_second: float | None = None
    recorded_per_second: float | None = None
    load_cpu_seconds: float = 0
    after_answer: list[float] = field(default_factory=list)
    after_sending: list[float] = field(default_factory=list)
    calibration_ms: float = 0
    statements: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """One installation, and what is needed to load it."""

    options: Options
    directory: Path
    meter: Meter
    keys: list[str]

    async def warm_up(self) -> None:
        """Connections are made, caches filled, code compiled."""
        await self._measure("warm-up", self._plan(most=500))

    async def idle(self) -> Result:
        """Nothing to do."""
        await asyncio.sleep(_SETTLING_SECONDS)
        before = await self.meter.read()
        await asyncio.sleep(self.options.idle_seconds)
        return Result("idle", await self.meter.since(before), calibration_ms=calibrate())

    async def single(self) -> Result:
        """One event per POST, as fast as the connections take turns."""
        return await self._measure("single", self._plan())

    async def batch(self) -> Result:
        """A hundred events per POST."""
        return await self._measure("batch", self._batches(self.options.batch_events), events_each=BATCH)

    async def at_rate(self, name: str, rate: float) -> Result:
        """One event per POST at a fixed rate, however the answers come."""
        return await self._measure(name, self._plan(rate=rate))

    async def backlog(self) -> Result:
        """Everything is published while no worker runs; measured from the moment the workers are ready."""
        servers, receiver = self.meter.servers, self.meter.receiver
        servers.stop_workers()
        delivered = await self.meter.database.count_delivered()
        receiver.reset()
        outcome = await self._load(self._batches(self.options.backlog_events))
        events = outcome.answered * BATCH
        servers.start_workers(self.options.workers)
        before = await self.meter.read()
        result = Result("backlog", *await self._until_recorded(before, events))
        await self._complete(result, events, delivered)
        result.accepted_per_second = outcome.per_second * BATCH
        result.recorded_per_second = result.deliveries / result.usage.seconds
        return result

    async def _measure(self, name: str, plan: Plan, *, events_each: int = 1) -> Result:
        delivered = await self.meter.database.count_delivered()
        self.meter.receiver.reset()
        before = await self.meter.read()
        outcome = await self._load(plan)
        events = outcome.answered * events_each
        result = Result(name, *await self._until_recorded(before, events))
        ended = time.monotonic()
        await self._complete(result, events, delivered)
        result.accepted_per_second = outcome.per_second * events_each
        result.recorded_per_second = result.deliveries / (ended - outcome.started)
        result.load_cpu_seconds = outcome.cpu_seconds
        if plan.answers and events_each == 1:
            self._add_latencies(result, Path(plan.answers))
        return result
