"""A history in partitions: what claims and lists cost, and what it takes to drop a partition with all but its dead."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.measurement.databases import POSTGRES_SETTINGS
from bench.scale.options import ScaleOptions
from bench.table import aligned
from sendoff.ids import new_event_id, new_id
from sendoff.policy.delivery.admission import Quotas
from sendoff.policy.partitions import expired, length_of, next_boundary
from sendoff.policy.states import DeliveryState
from sendoff.store.engine.batch import execute
from sendoff.store.engine.database import Database, migrate
from sendoff.store.hot import open_hot_store
from sendoff.store.partitions.convert import convert
from sendoff.store.partitions.layout import read_partitions, run
from sendoff.store.partitions.retire import add_partition, retire
from sendoff.store.queries.traffic.deliveries import NewDelivery, find_due
from sendoff.store.queries.traffic.events import NewEventRow
from tests.support.postgres import PostgresServer

Figures = dict[str, str]

_DAYS = 38
_ENDPOINTS = 1_000
_AT_ONCE = 250_000
_ORGANIZATION = "01900000-0000-7000-8000-000000000001"
_ENDPOINT = "('01900000-0000-7000-8000-' || lpad((i % {count})::text, 12, '0'))::uuid"

_ROWS = """
    CREATE TEMP TABLE made ON COMMIT DROP AS
    SELECT i, to_timestamp(ms / 1000.0) AS at, 'evt_' || h || substr(r, 1, 12) AS event_id,
        (substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-7' || substr(r, 1, 3) || '-8' || substr(r, 4, 3) || '-'
            || substr(r, 7, 12))::uuid AS id,
        CASE WHEN i % 1000 = 7 THEN 'dead' ELSE 'delivered' END AS state
    FROM (
        SELECT i, {first}::bigint + i::bigint * {span}::bigint / {number} AS ms,
            lpad(to_hex({first}::bigint + i::bigint * {span}::bigint / {number}), 12, '0') AS h, md5(i::text) AS r
        FROM generate_series({begin}, {end}) AS i
    ) AS timed
"""
_FILL = (
    f"""
    INSERT INTO events (id, organization_id, type, data, occurred_at, created_at, delivery_count)
    SELECT event_id, '{_ORGANIZATION}', 'upload.completed', '{{"upload":{{"id":"' || event_id || '"}}}}', at, at, 1
    FROM made
    """,  # noqa: S608 - constants of this module
    f"""
    INSERT INTO deliveries (id, event_id, endpoint_id, organization_id, state, attempt_count, created_at,
        last_attempt_at, last_response_status, delivered_at)
    SELECT id, event_id, {_ENDPOINT.format(count=_ENDPOINTS)}, '{_ORGANIZATION}', state, 1, at, at,
        CASE state WHEN 'dead' THEN 500 ELSE 200 END, CASE state WHEN 'delivered' THEN at END FROM made
    """,  # noqa: S608 - constants of this module
    """
    INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, response_status)
    SELECT id, 1, at, 5, 'ok', 200 FROM made
    """,
)
_ENDPOINT_ROWS = f"""
    INSERT INTO organizations (id, name, created_at) VALUES ('{_ORGANIZATION}', 'bench', now());
    INSERT INTO endpoints (id, organization_id, dialect, url, events, state, secret, consecutive_failures, drain_due,
        ordered, last_sequence, created_at, updated_at, last_success_at)
    SELECT {_ENDPOINT.format(count=_ENDPOINTS)}, '{_ORGANIZATION}', 'standard', 'https://bench.example', '["*"]',
        'active', '', 0, FALSE, FALSE, 0, now(), now(), now() FROM generate_series(0, {_ENDPOINTS - 1}) AS i
"""  # noqa: S608 - constants of this module


async def measure_partitions(options: ScaleOptions, directory: Path) -> str:
    """A tenth of the rows, then all of them; one of a thousand deliveries is dead, and stays."""
    columns = [options.rows // 10, options.rows]
    figures = [await _measure(directory, number) for number in columns]
    head = ["", *(f"{number:,} deliveries" for number in columns)]
    return aligned([head, *([name, *(found[name] for found in figures)] for name in figures[0])])


async def _measure(directory: Path, number: int) -> Figures:
    settings = {key: value for key, value in POSTGRES_SETTINGS.items() if key != "shared_preload_libraries"}
    server = PostgresServer(directory / f"postgres-{number}", settings=settings)
    server.create()
    server.start()
    try:
        url = server.create_database("sendoff")
        await asyncio.to_thread(migrate, url)
        now = datetime.now(UTC)
        began = now - timedelta(days=_DAYS)
        await convert(url, now=began)
        database = Database.open(url, command_seconds=None)
        try:
            await _make_partitions(database, now)
            await _fill(database, number, began, now - timedelta(hours=1))
            return {
                **await _measure_claims(database),
                **await _measure_looks(database),
                **await _measure_drops(database, now),
            }
        finally:
            await database.close()
    finally:
        server.stop()


async def _make_partitions(database: Database, now: datetime) -> None:
    """Those that a worker would have made day by day."""
    while True:
        async with database.read() as tx:
            newest = (await read_partitions(tx))[-1]
        if newest.lower is None or newest.lower > now:
            return
        boundary = next_boundary(newest, now=newest.lower, length=length_of(30))
        if boundary is None or not await add_partition(database, newest, boundary):
            raise RuntimeError("a partition could not be made")


async def _fill(database: Database, number: int, began: datetime, until: datetime) -> None:
    first = int(began.timestamp() * 1000)
    span = int(until.timestamp() * 1000) - first
    for begin in range(0, number, _AT_ONCE):
        end = min(begin + _AT_ONCE, number) - 1
        made = _ROWS.format(first=first, span=span, number=number, begin=begin, end=end)
        async with database.write() as tx:
            await run(tx, ["SET LOCAL synchronous_commit = off", made, *_FILL])
    async with database.write() as tx:
        await run(tx, [*_ENDPOINT_ROWS.split(";"), "ANALYZE events, deliveries, attempts"])


async def _measure_claims(database: Database) -> Figures:
    hot, figures = open_hot_store(database), Figures()
    for size, times in ((1, 300), (100, 60)):
        took = []
        for _ in range(times):
            now = datetime.now(UTC)
            events = [
                NewEventRow(new_event_id(), _ORGANIZATION, "upload.completed", "{}", now, now, None, 1)
                for _ in range(size)
            ]
            ids = [new_id() for _ in range(size)]
            deliveries = [
                NewDelivery(id_, event.id, _endpoint(place), _ORGANIZATION, now, DeliveryState.PENDING)
                for place, (id_, event) in enumerate(zip(ids, events, strict=True))
            ]
            await hot.accept(events, deliveries, now=now)
            quotas = Quotas(known={}, default=size, unproven=size)
            until = now + timedelta(minutes=1)
            took.append(
                await _timed(lambda: hot.claim_due(ids, quotas=quotas, lease_token=new_id(), now=now, until=until))  # noqa: B023
            )
        figures[f"claim of {size}, ms: median and least"] = _in_words(took)
    return figures


async def _measure_looks(database: Database) -> Figures:
    hot, now = open_hot_store(database), datetime.now(UTC)

    async def due() -> None:
        async with database.read() as tx:
            await find_due(tx, now=now, enqueued_until=now, limit=500)

    async def listed() -> None:
        async with database.read() as tx:
            newest = "SELECT * FROM deliveries WHERE endpoint_id = :endpoint_id ORDER BY id DESC LIMIT 100"
            await execute(tx, newest, endpoint_id=_endpoint(1))

    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "look for work": lambda: hot.look_for_work(now=now, enqueued_until=now),
        "sweep, nothing due": due,
        "list: newest 100 of an endpoint": listed,
    }
    return {
        f"{what}, ms: median and least": _in_words([await _timed(ask) for _ in range(50)])
        for what, ask in asked.items()
    }


async def _measure_drops(database: Database, now: datetime) -> Figures:
    """Drop one partition after the other, as retention does, while another session asks for a delivery."""
    took: list[float] = []
    waited: list[float] = []
    kept = 0
    while True:
        async with database.read() as tx:
            partitions = await read_partitions(tx)
        until = next(one.upper for one in partitions if not one.is_kept)
        if until is None or until > now - timedelta(days=5):
            return {
                "drop a partition, s: median and longest": f"{statistics.median(took):.2f}, {max(took):.2f}",
                "kept of all that were dropped": f"{kept:,}",
                "longest that another session waited, s": f"{max(waited):.2f}",
            }
        asking = asyncio.create_task(_ask_on(database, waited))
        started = time.perf_counter()
        retired = await retire(database, expired(partitions, until=until), until=until)
        took.append(time.perf_counter() - started)
        asking.cancel()
        if retired is None:
            raise RuntimeError("a partition could not be dropped")
        kept = retired.kept


async def _ask_on(database: Database, waited: list[float]) -> None:
    direct = database.direct
    assert direct is not None  # noqa: S101 - PostgreSQL
    question = "SELECT state FROM deliveries WHERE id = $1::uuid"
    while True:
        waited.append(await _timed(lambda: direct.fetch(question, _ORGANIZATION)))
        await asyncio.sleep(0.005)


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def _endpoint(place: int) -> str:
    return f"01900000-0000-7000-8000-{place % _ENDPOINTS:012d}"


def _in_words(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.2f}, {min(seconds) * 1000:.2f}"
