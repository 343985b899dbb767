"""What filters cost to accept an event: 100 endpoints with a filter each, beside organizations without any.

Events go through the line that the API's route puts them in, in this process. CPU time is that of this process, for the
events of one organization one after the other. The organizations take turns of ten events, and the lower quartile of
their turns is shown: what else the machine does makes the same work take longer now and then. Then a neighbour, an
organization with one endpoint, publishes at random moments at a rate, first beside an organization like itself and then
beside the one with filters, which publish at that rate and at random moments, too.

    python -m bench.filters [--write] [--endpoints 100] [--events 300] [--rate 50] [--seconds 20]      writes FILTERS.md
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import shlex
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop

from bench.measurement.databases import BenchDatabase, Postgres, Sqlite
from bench.table import aligned, percentile
from sendoff.accounts.authentication import EVENTS_WRITE
from sendoff.accounts.organizations import create_key, create_organization
from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.ids import new_id
from sendoff.processes.process import tune_garbage_collector
from sendoff.processes.startup import open_context
from sendoff.publishing.batcher import PublishBatcher
from sendoff.publishing.publish import NewEvent
from sendoff.settings import load
from sendoff.store.engine.database import migrate
from sendoff.store.tables import Endpoint
from tests.support.valkey import ValkeyServer

RESULTS = Path(__file__).parent / "FILTERS.md"
TURN = 10
"""Events of a turn. With more, a busy machine disturbs every turn; fewer take too little time to be told apart."""

WARM_UP = 50
"""Events before each measurement: expressions are compiled and statements prepared by them."""

_ACTOR = Actor("bench")
_TYPE = "upload.completed"


@dataclass
class Publisher:
    """Who publishes, and to how many endpoints."""

    authorization: str
    acceptance: PublishBatcher

    async def publish(self, number: int) -> float:
        """Publish an event that the filter of one endpoint matches; the milliseconds until it is accepted."""
        data = b'{"customer":"c%d","amount":%d,"lines":[{"sku":"a","count":2},{"sku":"b","count":1}]}'
        event = NewEvent(_TYPE, data % (number % 100, number))
        started = time.perf_counter()
        await self.acceptance.publish(self.authorization, [event])
        return (time.perf_counter() - started) * 1000


async def found(context: Context, endpoints: int, *, filtered: bool) -> Publisher:
    """A new organization with that many endpoints; each filter takes a hundredth of the events."""
    organization = await create_organization(context, _ACTOR, name="Bench", credits=None)
    minted = await create_key(
        context, _ACTOR, organization_id=organization.id, email="bench@example.com", scopes=[EVENTS_WRITE]
    )
    now = context.clock.now()
    async with context.database.write() as tx:
        for number in range(endpoints):
            identifier = new_id()
            tx.add(
                Endpoint(
                    id=identifier,
                    organization_id=organization.id,
                    dialect="default",
                    url=f"https://customer-{number}.example/hook",
                    events=[_TYPE],
                    secret=context.vault.seal("s" * 64, bound_to=identifier),
                    filter=f"data.customer == 'c{number % 100}' && data.amount >= 0" if filtered else None,
                    created_at=now,
                    updated_at=now,
                )
            )
    return Publisher(f"Bearer {minted.key}", context.service(PublishBatcher))


async def cpu_of(organizations: Sequence[Publisher], events: int) -> list[tuple[float, list[float]]]:
    """For each, the milliseconds of CPU time of an event and the sorted times until its events were accepted."""
    for organization in organizations:
        for number in range(WARM_UP):
            await organization.publish(number)
    turns: list[list[float]] = [[] for _ in organizations]
    taken: list[list[float]] = [[] for _ in organizations]
    for first in range(0, events, TURN):
        for organization, own, times in zip(organizations, turns, taken, strict=True):
            before = time.process_time()
            times += [await organization.publish(number) for number in range(first, first + TURN)]
            own.append((time.process_time() - before) * 1000 / TURN)
    return [(percentile(sorted(own), 0.25), sorted(times)) for own, times in zip(turns, taken, strict=True)]


async def beside(neighbour: Publisher, busy: Publisher, *, rate: float, seconds: float) -> list[float]:
    """The neighbour's sorted times until acceptance while both publish at the rate, at moments of their own."""

    async def at_rate(organization: Publisher) -> list[float]:
        due = time.perf_counter()
        running = []
        for number in range(int(rate * seconds)):
            due += random.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            running.append(asyncio.create_task(organization.publish(number)))
        return list(await asyncio.gather(*running))

    taken, _ = await asyncio.gather(at_rate(neighbour), at_rate(busy))
    return sorted(taken)


@asynccontextmanager
async def opened(database: BenchDatabase, directory: Path) -> AsyncIterator[Context]:
    """The product in this process, on the database and a Valkey of its own."""
    valkey = ValkeyServer(directory)
    valkey.start()
    try:
        await asyncio.to_thread(migrate, database.url)
        settings = load(database_url=database.url, redis_url=valkey.url, secret_keys="k" * 32)
        async with open_context(settings) as context:
            tune_garbage_collector()  # as the API does
            yield context
    finally:
        valkey.kill()


async def measure(database: BenchDatabase, directory: Path, options: argparse.Namespace) -> list[list[str]]:
    """The rows of the table for this database."""
    async with opened(database, directory) as context:
        one = await found(context, 1, filtered=False)
        like_it = await found(context, 1, filtered=False)
        many = await found(context, options.endpoints, filtered=True)
        names = ("1 endpoint", f"{options.endpoints} endpoints with a filter")
        measured = await cpu_of((one, many), options.events)
        rows = [
            [database.name, name, f"{cpu:.2f}", *_percentiles(taken)]
            for name, (cpu, taken) in zip(names, measured, strict=True)
        ]
        for name, busy in (("the same", like_it), ("filters", many)):
            taken = await beside(one, busy, rate=options.rate, seconds=options.seconds)
            rows.append([database.name, f"1 endpoint, beside {name}", "", *_percentiles(taken)])
        return rows


def _percentiles(ordered: list[float]) -> list[str]:
    return [f"{percentile(ordered, 0.5):.1f}", f"{percentile(ordered, 0.99):.1f}"]


def main() -> int:
    """Measure both databases; 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.filters")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--rate", type=float, default=50.0, help="events per second of each of both")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rows = [["database", "organization", "CPU ms an event", "accepted in ms, p50", "p99"]]
    with tempfile.TemporaryDirectory(prefix="sendoff-bench-") as name:
        Path(name).chmod(0o755)  # PostgreSQL may have to run as another user
        for make in (Sqlite, Postgres):
            directory = Path(name) / make.__name__
            directory.mkdir()
            database: BenchDatabase = make(directory)
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    rows += runner.run(measure(database, directory, options))
            finally:
                database.stop()
    command = shlex.join(["python", "-m", "bench.filters", *sys.argv[1:]])
    load = os.getloadavg()[1]
    machine = f"{os.cpu_count()} cores; load average {load:.1f}, which lengthens all of it, CPU times least."
    text = f"# What filters cost\n\n`{command}` on {machine}\n\n{aligned(rows)}\n"
    sys.stdout.write(text)
    if options.write:
        RESULTS.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
