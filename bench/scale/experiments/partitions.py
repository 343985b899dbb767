"""A history in partitions: what claims, lists and pages cost, and how long it takes to drop a partition."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import asyncpg
import httpx

from bench.measurement.databases import Postgres
from bench.scale.asking import AskedDatabase, Cost, QueryStep, Routine, ask_side_by_side
from bench.scale.experiments.hot_statements import background, hot_path
from bench.scale.experiments.lists import Sample, lists
from bench.scale.experiments.pages import PAGES, SOME, open_dashboard
from bench.scale.filling import DAYS, ENDPOINTS, endpoint, fill
from bench.scale.options import ScaleOptions
from bench.table import aligned, number
from sendoff.context import Context
from sendoff.ids import row_id_at
from sendoff.policy.partitions import expired
from sendoff.processes.startup import open_context
from sendoff.settings import load
from sendoff.store.engine.database import Database, migrate
from sendoff.store.partitions.layout import read_partitions
from sendoff.store.partitions.retire import remove_dropped, retire
from tests.support.valkey import ValkeyServer

_FEW = 1_000_000
_HOT_ROUNDS, _ROUNDS = 60, 9
_NOT_DROPPED = timedelta(days=5)
"""Partitions that end later than this before now are not dropped."""

_FROM = "SELECT event_id, id::text, created_at FROM deliveries WHERE id >= $1::uuid ORDER BY id LIMIT 1"
_WAL = "SELECT pg_current_wal_insert_lsn()"


@dataclass(frozen=True, slots=True)
class _History:
    """A filled database, and what asks it: the product, and the observer on a connection of its own."""

    number: int
    database: Postgres
    context: Context
    connection: asyncpg.Connection
    pages: httpx.AsyncClient


async def measure_partitions(options: ScaleOptions, directory: Path) -> str:
    """A million deliveries beside all of them, asked in turns; one of a thousand is dead, and stays."""
    folder = options.histories or directory
    numbers = [min(_FEW, options.rows // 10), options.rows]
    for one in numbers:
        await asyncio.to_thread(fill, folder / str(one), one)
    valkey = ValkeyServer(directory)
    await asyncio.to_thread(valkey.start)
    try:
        async with AsyncExitStack() as stack:
            histories = [await stack.enter_async_context(_open(folder, one, valkey.url)) for one in numbers]
            compared = [
                await _compare(histories, _hot, rounds=_HOT_ROUNDS),
                await _compare(histories, _looks),
                await _compare(histories, _pages),
            ]
            wal = [await _measure_wal(one) for one in histories]
            dropped = [await _measure_drops(one.context.database) for one in histories]
    finally:
        valkey.stop()
    others = [
        ["", *(f"{one:,} deliveries" for one in numbers)],
        ["bytes of WAL for a delivery, in batches of 100", *wal],
        *([what, *(figures[what] for figures in dropped)] for what in dropped[0]),
    ]
    return "\n\n".join([*compared, aligned(others)])


@asynccontextmanager
async def _open(folder: Path, number: int, redis_url: str) -> AsyncIterator[_History]:
    database = await asyncio.to_thread(Postgres, folder / str(number))
    try:
        await asyncio.to_thread(migrate, database.url)  # a history that was kept may be of an earlier version
        connection = await database.open_connection()
        settings = load(database_url=database.url, redis_url=redis_url, secret_keys=["b" * 32])
        try:
            async with open_context(settings) as context, open_dashboard(context) as pages:
                yield _History(number, database, context, connection, pages)
        finally:
            await connection.close()
    finally:
        await asyncio.to_thread(database.stop)


async def _compare(
    histories: Sequence[_History],
    routines_of: Callable[[_History], Awaitable[Sequence[Routine]]],
    *,
    rounds: int = _ROUNDS,
) -> str:
    asked = [AskedDatabase(one.connection, await routines_of(one)) for one in histories]
    costs = await ask_side_by_side(asked, rounds=rounds)
    whats: dict[str, Callable[[Cost], str]] = {
        "ms": lambda cost: number(cost.milliseconds),
        "CPU ms": lambda cost: number(cost.cpu_ms),
        "pages": lambda cost: f"{cost.pages:,}",
    }
    head = ["", *(f"{what}, {one.number:,}" for what in whats for one in histories)]
    rows = [[step, *(shown(each[step]) for shown in whats.values() for each in costs)] for step in costs[0]]
    return aligned([head, *rows])


async def _hot(history: _History) -> Sequence[Routine]:
    endpoints = [endpoint(place) for place in range(ENDPOINTS)]
    return [hot_path(history.context, endpoints, batch=batch) for batch in (1, 100)]


async def _looks(history: _History) -> Sequence[Routine]:
    middle = datetime.now(UTC) - timedelta(days=DAYS / 2)
    sample = Sample(endpoint(0), endpoint(ENDPOINTS), *await history.connection.fetchrow(_FROM, row_id_at(middle)))
    return [*background(history.context), *lists(history.context, sample)]


async def _pages(history: _History) -> Sequence[Routine]:
    some = dict(await history.connection.fetchrow(SOME))
    return [[QueryStep(path.partition("=0")[0], partial(_show, history.pages, path.format(**some)))] for path in PAGES]


async def _show(client: httpx.AsyncClient, path: str, _: object) -> None:
    answer = await client.get(path)
    if answer.status_code != httpx.codes.OK:
        raise RuntimeError(f"{path} was answered {answer.status_code}")


async def _measure_wal(history: _History) -> str:
    """What is written to the log for a delivery's way from acceptance to its record."""
    [routine] = [hot_path(history.context, [endpoint(place) for place in range(ENDPOINTS)])]
    await history.connection.execute("CHECKPOINT")
    before = await history.connection.fetchval(_WAL)
    for _ in range(_HOT_ROUNDS):
        given: object = None
        for step in routine:
            given = await step.ask(given)
    written = await history.connection.fetchval("SELECT pg_current_wal_insert_lsn() - $1::pg_lsn", before)
    return f"{int(written) // (_HOT_ROUNDS * 100):,}"


async def _measure_drops(database: Database) -> dict[str, str]:
    """Drop one partition after the other, as retention does, while another session asks for a delivery."""
    took: list[float] = []
    changed: list[float] = []
    waited: list[float] = []
    kept = 0
    while True:
        async with database.read() as tx:
            partitions = await read_partitions(tx)
        until = next(one.upper for one in partitions if not one.is_kept)
        if until is None or until > datetime.now(UTC) - _NOT_DROPPED:
            break
        dropped = asyncio.Event()
        asking = asyncio.create_task(_ask_until(dropped, database, waited))
        started = time.perf_counter()
        retired = await retire(database, expired(partitions, until=until), until=until)
        seconds = time.perf_counter() - started
        dropped.set()
        await asking  # with the question that waited for the drop
        if retired is None and not took:
            raise RuntimeError("a partition could not be dropped")
        if retired is None:  # more would stay than may be copied
            break
        took.append(seconds)
        changed.append(retired.seconds)
        kept = retired.kept
        await remove_dropped(database)
    return {
        "partitions dropped one after the other": str(len(took)),
        "drop a partition, s: median and longest": f"{statistics.median(changed):.2f}, {max(changed):.2f}",
        "… with what is read before, s": f"{statistics.median(took):.2f}, {max(took):.2f}",
        "kept of all that were dropped": f"{kept:,}",
        "longest that another session waited, s": f"{max(waited):.2f}",
    }


async def _ask_until(dropped: asyncio.Event, database: Database, waited: list[float]) -> None:
    direct = database.direct
    assert direct is not None  # noqa: S101 - PostgreSQL
    while not dropped.is_set():
        started = time.perf_counter()
        await direct.fetch("SELECT state FROM deliveries WHERE id = $1::uuid", endpoint(0).id)
        waited.append(time.perf_counter() - started)
        await asyncio.sleep(0.005)
