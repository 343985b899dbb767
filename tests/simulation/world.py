"""One installation under faults: its processes, its receivers, what goes wrong, and what must hold all the same."""

from __future__ import annotations

import asyncio
import contextvars
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from ipaddress import IPv4Address
from random import Random
from typing import Any, Protocol, TypeVar, cast

from redis.asyncio import Redis

from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.errors import Conflict, Unavailable
from sendoff.idempotency import StoredResponse
from sendoff.operators.actions import switch_endpoint
from sendoff.operators.installation.reconcile import reconcile
from sendoff.operators.replays.replay import Selection, start_replay
from sendoff.policy.endpoints.addresses import Target
from sendoff.publishing.publish import AcceptedEvent, NewEvent, publish
from sendoff.queue import BULK_DELIVERIES, DELIVERIES, REPLAYS, RedisQueue
from sendoff.store.engine.batch import read_time
from sendoff.store.engine.database import Database
from sendoff.store.engine.sqlite_driver import Work
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.wire.errors import ConnectionLost, LocalFailure, TimedOut
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import Response
from tests.simulation.loop import SimulatedClock, SimulatedLoop
from tests.simulation.process_view import DatabaseSeenBy, ProcessDied, away
from tests.simulation.redis_twin import ClientTwin, RedisTwin
from worker.health import WorkerHealth
from worker.host import WorkerHost
from worker.sweeper import run_sweeps

FAULTS_SECONDS = 20.0
"""How long things go wrong. Then every process lives, everything can be reached and every receiver answers."""

FAULTS_PER_SECOND = 1.0
"""About twenty in one life: what follows from two or three that come together is seen, and hides nothing later."""

PUBLISHES_PER_SECOND = 0.5
"""Enough that every fault meets deliveries under way. More cost time, and meet the same faults in the same state."""

END_WITHIN_SECONDS = 600.0
"""The schedule's waits, a lease and a slow replay together: what has not ended by then never will."""

Result = TypeVar("Result")
_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Storage(Protocol):
    """The database of one installation."""

    def look(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """What the statement finds among what is committed."""
        ...

    def open(self) -> Database:
        """The way of one process to it."""
        ...

    def close(self, opened: Database) -> None:
        """Close a dead process's connections, as the operating system does."""
        ...


class Violation(AssertionError):
    """Something that must always hold did not."""


@dataclass
class Receivers:
    """What each receiver does with a request, by its path, and what each got."""

    rng: Random
    does: dict[str, str] = field(default_factory=dict)
    acknowledged: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Answers with 2xx that reached a living process, by path and event."""

    async def answer(self, path: str, event_id: str, *, within: float) -> Response:
        """What the process gets, within the attempt's time."""
        does = self.does.get(path, "200")
        if does == "flaky":
            does = self.rng.choice(_FLAKY)
        await asyncio.sleep(self.rng.choice((0.002, 0.02, 0.2)))
        if does == "hangs":
            await asyncio.sleep(within)
            raise TimedOut("headers")
        if does == "no route":
            raise LocalFailure("There is no route to the host.")
        if does == "slow":
            await asyncio.sleep(min(within, 3.0))
        if does == "resets":
            raise ConnectionLost("The receiver closed the connection.", answered=False)
        status = 200 if does == "slow" else int(does)
        if status == 200:
            self.acknowledged[path, event_id] += 1
        return Response(status, (), b"", truncated=False, elapsed_ms=3)


@dataclass(frozen=True)
class Acknowledgement:
    """A 2xx that a process got within its lease, and when it had sent the request."""

    process: Process
    sent_at: float


class Process:
    """An operating system's process: its tasks, whether it lives, and until when it stands still."""

    def __init__(self, world: World, name: str, run: Callable[[Context], Coroutine[Any, Any, None]]) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.stands_still_until = float("-inf")
        self.tasks: dict[asyncio.Task[Any], None] = {}
        """In the order of their start, in which they are cancelled; that of a set would differ at every run."""
        self.database = world.storage.open()
        client = cast("Any", ClientTwin(world.redis))
        self.context = replace(
            world.template,
            database=cast("Database", DatabaseSeenBy(self.database, self.may_go_on, self.pause, self.keeps_leases)),
            wire=cast("Client", self),
            redis=cast("Redis", client),
            queue=RedisQueue(client),
            clock=SimulatedClock(world.loop),
            random_source=world.rng.random,
            under_way={},
            _services={},
        )
        self.within = within = contextvars.copy_context()
        within.run(_PROCESS.set, self)
        self.main = asyncio.get_running_loop().create_task(run(self.context), context=within)
        self.note(self.main)

    def may_go_on(self) -> None:
        """Raise when the process is dead, or when the database does not answer it."""
        if not self.alive:
            raise ProcessDied
        if self.world.database_is_away:
            away()

    def stand_still(self, seconds: float) -> None:
        """Let it hear of nothing for so long, as a machine that swaps, or a virtual one that is moved."""
        self.stands_still_until = max(self.stands_still_until, self.world.loop.now + seconds)

    async def pause(self) -> None:
        """Wait while the process stands still."""
        while self.stands_still_until > self.world.loop.now:  # noqa: ASYNC110 - it may be moved meanwhile
            await asyncio.sleep(self.stands_still_until - self.world.loop.now)
        if not self.alive:
            raise ProcessDied

    def keeps_leases(self, work: Work[Any]) -> Work[Any]:
        """The work with a look at leases before and after it: only its holder or time ends one."""

        def watched(connection: sqlite3.Connection) -> Any:
            before = connection.execute(_LEASES).fetchall()
            result = work(connection)
            after = connection.execute(_LEASES).fetchall()
            self.world.check_leases({tuple(row) for row in before}, {tuple(row) for row in after}, by=self)
            return result

        return watched

    async def check(self, _target: Target, **_options: object) -> list[IPv4Address]:
        """As the wire does: where a target's requests would go."""
        return [IPv4Address("127.0.0.1")]

    async def send(
        self,
        target: Target,
        head: bytes,
        _body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - the wire's method
        **_options: object,
    ) -> Response:
        """As the wire does, to this world's receivers."""
        if not self.alive:
            raise ProcessDied
        [event_id] = _EVENT_ID.findall(head.decode())
        sent_at = self.world.loop.now
        lease_ends = self.world.check_send(target.path, event_id, by=self)
        response = await self.world.receivers.answer(target.path, event_id, within=timeout)
        await self.pause()
        if response.status == 200 and self.context.clock.now() < lease_ends:
            self.world.acknowledged[target.path, event_id] = Acknowledgement(self, sent_at)
        return response

    def could_record(self, since: float) -> bool:
        """Whether nothing has kept it from recording what it has known since then."""
        return self.alive and self.stands_still_until < since and self.world.database_away_until < since

    async def kill(self) -> None:
        """End it between two steps of its tasks. Its transactions are rolled back, and nothing of it runs on."""
        self.alive = False
        while self.tasks:
            for task in list(self.tasks):
                task.cancel()
            await asyncio.wait(self.tasks)
        self.world.storage.close(self.database)

    def note(self, task: asyncio.Task[Any]) -> None:
        self.tasks[task] = None
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and self.alive and (isinstance(error, _NEVER) or task is self.main):
            self.world.errors.append(error)


class World:
    """Everything of one seed. `template` is a context on the migrated database that `storage` has a copy of."""

    def __init__(
        self,
        seed: int,
        loop: SimulatedLoop,
        redis: RedisTwin,
        template: Context,
        storage: Storage,
        organization_id: str,
        endpoints: dict[str, str],
    ) -> None:
        self.seed = seed
        self.organization_id = organization_id
        self.loop = loop
        self.rng = Random(seed)  # noqa: S311 - not for secrets
        self.template = template
        self.paths = endpoints
        """The receiver's path of each endpoint, by the endpoint's id."""
        self.storage = storage
        self.redis = redis
        self.receivers = Receivers(self.rng)
        self.database_is_away = False
        self.database_away_until = float("-inf")
        self.acknowledged: dict[tuple[str, str], Acknowledgement] = {}
        """The last acknowledgement of each delivery, by path and event."""
        self.holders: dict[str, Process] = {}
        """Who took each lease, by its token."""
        self.accepted: list[str] = []
        self.errors: list[BaseException] = []
        self.faults = 0
        self.log: list[str] = []
        loop.set_task_factory(_task_of_process)

    async def live(self) -> None:
        """Let things go wrong, then let everything come to its end. Raises Violation."""
        api = Process(self, "api", self._publish)
        workers = [Process(self, f"worker {number}", _work) for number in range(2)]
        operator = Process(self, "operator", _idle)
        until = self.loop.now + FAULTS_SECONDS
        while self.loop.now < until:
            await asyncio.sleep(self.rng.expovariate(FAULTS_PER_SECOND))
            api, workers = await self._go_wrong(api, workers, operator)
            self._raise_errors()
        self._heal()
        self.note("the end begins")
        await api.kill()
        await self._until_ended()
        await _within(operator, self._check_end(operator))
        for process in (*workers, operator):
            await process.kill()

    def note(self, what: str) -> None:
        """Add a line to what is printed when this seed fails."""
        self.log.append(f"{self.loop.now:8.3f} {what}")

    def check_send(self, path: str, event_id: str, *, by: Process) -> datetime:
        """A request begins only for a delivery in flight that no process knows to be delivered; when its lease ends."""
        [(state, until)] = self.storage.look(
            "SELECT d.state, d.leased_until FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id "
            "WHERE d.event_id = ? AND e.url LIKE '%' || ?",
            (event_id, path),
        )
        if state != "in_flight":
            self.errors.append(self._violation(f"{by.name} sends {event_id} to {path}, and its delivery is {state}"))
        known = self.acknowledged.get((path, event_id))
        if known is not None and known.process.could_record(known.sent_at):
            self.errors.append(
                self._violation(f"{by.name} sends {event_id} to {path}, which acknowledged it to {known.process.name}")
            )
        return cast("datetime", read_time(until))

    def check_leases(self, before: set[tuple[str, ...]], after: set[tuple[str, ...]], *, by: Process) -> None:
        """See to what a transaction does to leases, each with its delivery and the time until which it holds."""
        for _, lease_token, _ in after - before:
            self.holders.setdefault(lease_token, by)
        for delivery_id, lease_token, until in before - after:
            holder = self.holders.get(lease_token, by)
            if holder is not by and read_time(until) > by.context.clock.now():
                what = f"{by.name} ends the lease that {holder.name} has on {delivery_id}"
                self.errors.append(self._violation(what))

    async def _publish(self, context: Context) -> None:
        """The backend of the product: it publishes, and remembers what was accepted."""
        while True:
            await asyncio.sleep(self.rng.expovariate(PUBLISHES_PER_SECOND))
            found: list[AcceptedEvent] = []
            count = self.rng.choice((1, 1, 1, 5))
            events = [NewEvent("upload.completed", b'{"n":1}') for _ in range(count)]
            try:
                await publish(context, self.organization_id, events, answer=partial(_note_accepted, found))
            except Unavailable:
                continue
            self.accepted += [delivery_id for event in found for delivery_id in event.delivery_ids]

    async def _go_wrong(self, api: Process, workers: list[Process], operator: Process) -> tuple[Process, list[Process]]:
        what = self.rng.choice(_FAULTS)
        self.faults += 1
        self.note(what)
        if what == "a worker is killed":
            victim = self.rng.choice(workers)
            await victim.kill()
            workers = [worker for worker in workers if worker is not victim]
            workers.append(Process(self, f"{victim.name}'", _work))
        elif what == "the API is killed":
            await api.kill()
            api = Process(self, f"{api.name}'", self._publish)
        elif what == "a worker stands still":
            self.rng.choice(workers).stand_still(self.rng.choice(_STALLS))
        elif what == "the database goes":
            self.database_is_away = True
            await asyncio.sleep(self.rng.expovariate(0.3))
            self.database_is_away = False
            self.database_away_until = self.loop.now
        elif what == "Redis goes":
            self.redis.away = True
            await asyncio.sleep(self.rng.expovariate(0.2))
            self.redis.away = False
        elif what == "Redis is flushed":
            self.redis.flush()
        elif what == "a receiver changes":
            path = self.rng.choice(sorted(self.paths.values()))
            self.receivers.does[path] = self.rng.choice(_RECEIVERS)
            self.note(f"  {path}: {self.receivers.does[path]}")
        elif what == "an operator replays":
            await self._by_operator(
                operator, start_replay(operator.context, _OPERATOR, Selection(DeadLetterFilter()), rate=20)
            )
        elif what == "an operator enables":
            endpoint_id = self.rng.choice(sorted(self.paths))
            await self._by_operator(operator, switch_endpoint(operator.context, _OPERATOR, endpoint_id, on=True))
        return api, workers

    async def _by_operator(self, operator: Process, action: Coroutine[Any, Any, object]) -> None:
        try:
            await _within(operator, action)
        except (Unavailable, Conflict) as error:
            self.note(f"  {error}")

    def _heal(self) -> None:
        self.redis.away = self.database_is_away = False
        self.receivers.does.clear()

    async def _until_ended(self) -> None:
        until = self.loop.now + END_WITHIN_SECONDS
        while open_ones := self._count("state NOT IN ('delivered', 'dead')"):
            if self.loop.now > until:
                raise self._violation(f"{open_ones} deliveries never end: {self._states()}")
            await asyncio.sleep(1.0)
            self._raise_errors()

    async def _check_end(self, operator: Process) -> None:
        rows = self.storage.look("SELECT id, event_id, endpoint_id, state FROM deliveries")
        ended = {delivery_id: rest for delivery_id, *rest in rows}
        for delivery_id in self.accepted:
            if delivery_id not in ended:
                raise self._violation(f"delivery {delivery_id} was accepted, and is not there")
            event_id, endpoint_id, state = ended[delivery_id]
            path = self.paths[endpoint_id]
            if state == "delivered" and not self.receivers.acknowledged[path, event_id]:
                raise self._violation(f"{event_id} counts as delivered to {path}, which never got it")
        [(gaps,)] = self.storage.look(
            "SELECT count(*) FROM (SELECT max(number) AS last, count(*) AS n FROM attempts GROUP BY delivery_id) "
            "WHERE last <> n"
        )
        if gaps:
            raise self._violation(f"the attempts of {gaps} deliveries are not numbered without gaps")
        found = await reconcile(operator.context)
        if found.counts:
            raise self._violation(f"the audit finds {found.counts}")

    def _raise_errors(self) -> None:
        for error in self.errors:
            if isinstance(error, Violation):
                raise error
            raise self._violation(f"a task ended: {error!r}") from error

    def _violation(self, what: str) -> Violation:
        return Violation("\n".join([f"seed {self.seed}: {what}", *self.log[-40:]]))

    def _count(self, condition: str) -> int:
        [(count,)] = self.storage.look(f"SELECT count(*) FROM deliveries WHERE {condition}")  # noqa: S608
        return int(count)

    def _states(self) -> dict[str, int]:
        return dict(self.storage.look("SELECT state, count(*) FROM deliveries GROUP BY state"))


_NEVER = (Violation, LookupError, TypeError, AttributeError, AssertionError)
"""What a task ends with only by a defect of the product's."""

_LEASES = "SELECT id, lease_token, leased_until FROM deliveries WHERE lease_token IS NOT NULL"
_EVENT_ID = re.compile(r"(?im)^webhook-id: *(\S+)")
_OPERATOR = Actor(name="operator")
_RECEIVERS = ("200", "200", "flaky", "flaky", "500", "hangs", "slow", "resets", "no route", "410")
_FLAKY = ("200", "500", "resets", "hangs", "hangs", "slow", "slow")
_STALLS = (1.0, 8.0, 12.5, 13.0, 30.0)
"""Seconds for which a process stands still: less than a lease, a little more, much more."""

_FAULTS = (
    *["a receiver changes"] * 4,
    *["a worker is killed"] * 3,
    *["a worker stands still"] * 5,
    "the API is killed",
    "the database goes",
    "Redis goes",
    "Redis is flushed",
    "an operator replays",
    "an operator enables",
)


async def _work(context: Context) -> None:
    """A worker's engine, without what only cleans up."""
    host = WorkerHost(context, WorkerHealth())
    wait_for_slot = host.dispatcher.wait_for_slot
    deliveries = host._supervise(DELIVERIES, wait_for_slot=wait_for_slot)
    works = [
        deliveries.run(),
        host._supervise(BULK_DELIVERIES, wait_for_slot=wait_for_slot).run(),
        host._supervise(REPLAYS).run(),
        run_sweeps(context, host.dispatcher, deliveries),
        _drain(host),
    ]
    await asyncio.gather(*works)


async def _drain(host: WorkerHost) -> None:
    while True:
        await asyncio.sleep(1.0)
        try:
            await host._drain_endpoints_if_due()
        except Unavailable:
            continue


async def _within(process: Process, work: Coroutine[Any, Any, Result]) -> Result:
    """Do it as the process does its own."""
    return await asyncio.get_running_loop().create_task(work, context=process.within)


async def _idle(_context: Context) -> None:
    await asyncio.Event().wait()


def _note_accepted(found: list[AcceptedEvent], accepted: list[AcceptedEvent]) -> StoredResponse:
    found.extend(accepted)
    return StoredResponse(202, b"")


def _task_of_process(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    process = _PROCESS.get()
    if process is not None:
        process.note(task)
    return task
