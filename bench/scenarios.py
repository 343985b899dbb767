"""The scenarios: what is sent, and what is measured until the last delivery is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.measurement.snapshots import Meter, Snapshot, Usage
from bench.options import BenchOptions
from bench.plan import LoadPlan, LoadResult, read_answers
from bench.processes.receiver import read_arrivals
from bench.processes.requests import heads, many_events, one_event
from bench.processes.servers import run_load
from tests.support.polling import eventually

BATCH = 100
FIXED_RATE = 200.0

_STALLED_AFTER_SECONDS = 60
_SETTLING_SECONDS = 1.0
_BATCH_CONNECTIONS = 4


@dataclass(slots=True)
class Result:
    """One scenario on one database. Latencies are sorted milliseconds."""

    name: str
    usage: Usage
    events: int = 0
    deliveries: int = 0
    repeated: int = 0
    """Requests that arrived beyond one for each delivery."""
    accepted_per_second: float | None = None
    recorded_per_second: float | None = None
    after_answer: list[float] = field(default_factory=list)
    after_sending: list[float] = field(default_factory=list)
    top_statements: list[str] = field(default_factory=list)


@dataclass
class Bench:
    """One installation, and what is needed to load it."""

    options: BenchOptions
    directory: Path
    meter: Meter
    keys: Sequence[str]

    async def warm_up(self) -> None:
        """Connections are made, caches filled, code compiled."""
        await self._measure("warm-up", self.singles(most=500))

    async def idle(self) -> Result:
        """Nothing to do."""
        await asyncio.sleep(_SETTLING_SECONDS)
        await self._start_counting()
        before = await self.meter.read()
        await asyncio.sleep(self.options.idle_seconds)
        return await self._complete(Result("idle", await self.meter.since(before)))

    async def single(self) -> Result:
        """One event per POST, as fast as the connections take turns."""
        return await self._measure("single", self.singles())

    async def batch(self) -> Result:
        """A hundred events per POST."""
        return await self._measure("batch", self._batches(self.options.batch_events), events_each=BATCH)

    async def at_rate(self, name: str, rate: float) -> Result:
        """One event per POST at a fixed rate, however the answers come."""
        return await self._measure(name, self.singles(rate=rate))

    async def backlog(self) -> Result:
        """Everything is published while no worker runs; measured from the moment the workers are ready."""
        servers = self.meter.servers
        servers.stop_workers()
        delivered = await self._start_counting()
        before_accepting = await self.meter.read()
        outcome = self._load(self._batches(self.options.backlog_events))
        accepting = await self.meter.since(before_accepting)
        servers.start_workers(self.options.workers)
        before, early = await self.meter.read(), self.meter.receiver.count()
        result = await self._until_recorded("backlog", before, outcome.answered * BATCH, delivered)
        result.deliveries -= early  # of those that were ready before the last one was
        result.usage.cpu["api"] = accepting.cpu["api"]
        result.accepted_per_second = outcome.per_second * BATCH
        result.recorded_per_second = result.deliveries / result.usage.seconds
        return await self._complete(result)

    async def _measure(self, name: str, plan: LoadPlan, *, events_each: int = 1) -> Result:
        delivered = await self._start_counting()
        before = await self.meter.read()
        outcome = self._load(plan)
        result = await self._until_recorded(name, before, outcome.answered * events_each, delivered)
        result.accepted_per_second = outcome.per_second * events_each
        result.recorded_per_second = result.deliveries / (before.at + result.usage.seconds - outcome.started)
        if plan.answers:
            self._add_latencies(result, Path(plan.answers))
        return await self._complete(result)

    async def _start_counting(self) -> int:
        self.meter.receiver.reset()
        await self.meter.database.forget_statements()
        return await self.meter.database.count_delivered()

    def _load(self, plan: LoadPlan) -> LoadResult:
        outcome = run_load(plan, self.directory)
        if outcome.refused:
            log = self.meter.servers.log("api")
            raise RuntimeError(f"{outcome.refused} requests were refused, the first with:\n{outcome.refusal}\n{log}")
        return outcome

    async def _until_recorded(self, name: str, before: Snapshot, events: int, delivered: int) -> Result:
        deliveries = events * self.options.fanout
        meter, receiver = self.meter, self.meter.receiver
        await self._until_arrived(deliveries)

        async def all_recorded() -> bool:
            return await meter.database.count_open() == 0

        await eventually(all_recorded, within=_STALLED_AFTER_SECONDS, what="all deliveries recorded")
        result = Result(name, await meter.since(before), events, deliveries)
        recorded = await meter.database.count_delivered() - delivered
        if recorded != deliveries:
            raise RuntimeError(f"{name}: {recorded} deliveries are recorded as delivered, not {deliveries}")
        result.repeated = receiver.count() - deliveries
        return result

    async def _until_arrived(self, deliveries: int) -> None:
        """However long it takes, as long as something arrives."""
        receiver = self.meter.receiver
        arrived = 0
        while arrived < deliveries:
            before = arrived
            await eventually(
                lambda: receiver.count() > before,  # noqa: B023 - awaited in the same turn
                within=_STALLED_AFTER_SECONDS,
                what=lambda: f"more than {before} of {deliveries} requests\n{self.meter.servers.log('worker')}",  # noqa: B023
            )
            arrived = receiver.count()

    async def _complete(self, result: Result) -> Result:
        if self.options.statements:
            result.top_statements = await self.meter.database.top_statements()
        return result

    def _add_latencies(self, result: Result, answers: Path) -> None:
        receipts = self.meter.receiver.dump(self.directory / "receipts")
        by_id = {answer.event_id: answer for answer in read_answers(answers)}
        matched = [(by_id[event_id], at) for event_id, at in read_arrivals(receipts) if event_id in by_id]
        result.after_answer = sorted((at - answer.answered) * 1000 for answer, at in matched)
        result.after_sending = sorted((at - answer.sent) * 1000 for answer, at in matched)

    def singles(self, *, most: int = 1_000_000, rate: float = 0) -> LoadPlan:
        """What the load generator is to send: one event per POST."""
        body = one_event(self.options.payload)
        return LoadPlan(
            host="127.0.0.1",
            port=self.meter.servers.api_port,
            heads=heads("/api/v1/events", self.keys, self.meter.servers.api_port, body),
            bodies=[body],
            expect=202,
            connections=self.options.connections,
            seconds=self.options.seconds,
            most=most,
            rate=rate,
            answers=str(self.directory / "answers"),
        )

    def _batches(self, events: int) -> LoadPlan:
        body = many_events(self.options.payload, BATCH)
        return LoadPlan(
            host="127.0.0.1",
            port=self.meter.servers.api_port,
            heads=heads("/api/v1/events/batch", self.keys, self.meter.servers.api_port, body),
            bodies=[body],
            expect=202,
            connections=_BATCH_CONNECTIONS,
            seconds=60 + events / 1000,
            most=max(1, events // BATCH),
        )
