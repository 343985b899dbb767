"""`python -m bench.statistics`: how long charts and the overview take at ten million deliveries, on PostgreSQL.

The deliveries themselves are not inserted, for no chart reads them. Of what the overview counts, there is more than it
counts up to.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg

from bench.measurement.databases import POSTGRES_SETTINGS
from sendoff.clock import SystemClock
from sendoff.context import Context
from sendoff.operators.installation.overview import get_overview
from sendoff.operators.installation.statistics import Bucket, By, StatisticsQuery, get_statistics
from sendoff.policy.statistics import minute_of
from sendoff.processes.startup import open_context
from sendoff.settings import load
from sendoff.store.engine.database import migrate
from tests.support.postgres import PostgresServer

DELIVERIES = 10_000_000
_REPETITIONS = 7
_COUNTED = 150_000  # deliveries and dead letters that wait: more than are counted

_ENDPOINTS = """
    INSERT INTO organizations (id, name, created_at)
    SELECT md5('o' || n)::uuid, 'Organization ' || n, now() FROM generate_series(1, {organizations}) AS n;
    INSERT INTO endpoints (id, organization_id, dialect, url, events, state, secret, consecutive_failures,
        disabled_by_operator, drain_due, ordered, last_sequence, created_at, updated_at)
    SELECT md5('e' || n)::uuid, md5('o' || (1 + n % {organizations}))::uuid, 'default', 'https://r.example/' || n,
        '["upload.completed"]', 'active', '', 0, false, false, false, 0, now(), now()
    FROM generate_series(1, {endpoints}) AS n;
"""
_SUMS = """
    INSERT INTO statistics (span, scope, subject_id, minute, event_type, outcome, accepted, attempts, failed_attempts,
        delivered, duration_total, latency_total, duration_08, duration_10, duration_12, duration_14, latency_09,
        latency_11, latency_14, latency_20)
    SELECT {span}, '{scope}', md5('{initial}' || n)::uuid, at, kind, outcome,
        CASE WHEN outcome = '' THEN {each} END, CASE WHEN outcome <> '' THEN {each} END,
        CASE WHEN outcome = 'timeout' THEN {each} END, CASE WHEN outcome = 'ok' THEN {each} END,
        {each} * (20 + n % 300), {each} * 30, {each} / 4, {each} / 4, {each} / 4, {each} / 4, {each} / 4, {each} / 4,
        {each} / 4, {each} / 4
    FROM generate_series({first} / {span} * {span}, {last}, {span}) AS at, generate_series(1, {subjects}) AS n,
        (VALUES {kinds}) AS k(kind, outcome)
    WHERE outcome <> 'timeout' OR n % 10 = 0
"""
_EVERYTHING = """
    INSERT INTO statistics (span, scope, subject_id, minute, event_type, outcome, accepted, attempts, failed_attempts,
        delivered, duration_total, duration_10, latency_11)
    SELECT span, 'all', '00000000-0000-0000-0000-000000000000', minute, event_type, outcome, accepted, attempts,
        failed_attempts, delivered, duration_total, duration_10, latency_11
    FROM statistics WHERE scope = 'organization' AND subject_id = md5('o1')::uuid
"""
_WAITING = """
    SET session_replication_role = replica;
    INSERT INTO deliveries (id, event_id, endpoint_id, organization_id, state, attempt_count, due_at, created_at)
    SELECT gen_random_uuid(), 'evt_' || lpad(to_hex(n), 24, '0'), md5('e' || (1 + n % 100))::uuid, md5('o1')::uuid,
        CASE WHEN n % 2 = 0 THEN 'pending' ELSE 'held' END, 0, now() - interval '1 hour', now()
    FROM generate_series(1, {counted} * 2) AS n;
    INSERT INTO dead_letters (id, delivery_id, event_id, event_type, endpoint_id, endpoint_url, organization_id, reason,
        attempt_count, died_at, state)
    SELECT gen_random_uuid(), gen_random_uuid(), 'evt_1', 'upload.completed', md5('e1')::uuid, 'https://r.example/',
        md5('o1')::uuid, 'retries_exhausted', 6, now(), 'open' FROM generate_series(1, {counted}) AS n;
    INSERT INTO statistics_increments (minute, organization_id, endpoint_id, event_type, outcome, attempts, delivered)
    SELECT {last}, md5('o1')::uuid, md5('e' || (1 + n % {endpoints}))::uuid, 'upload.completed', 'ok', 1, 1
    FROM generate_series(1, 6 * {endpoints}) AS n;
"""
_BY_BOTH = "('upload.completed', 'ok'), ('upload.completed', ''), ('upload.completed', 'timeout')"
_TWICE = "('', 'ok'), ('', ''), ('', 'timeout'), ('upload.completed', '')"
_KEPT = {1: 2_880, 5: 2_880, 60: 30 * 1_440, 1_440: 30 * 1_440}


@dataclass(frozen=True, slots=True)
class _Options:
    endpoints: int
    organizations: int


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.statistics", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--endpoints", type=int, default=200)
    parser.add_argument("--organizations", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sendoff-") as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder), settings={**POSTGRES_SETTINGS, "fsync": "off"})
        server.create()
        server.start()
        try:
            asyncio.run(_measure(server, _Options(given.endpoints, given.organizations)))
        finally:
            server.stop()
    return 0


async def _measure(server: PostgresServer, options: _Options) -> None:
    url = server.create_database("statistics")
    await asyncio.to_thread(migrate, url)
    rows = await _fill(url, options)
    sys.stdout.write(
        f"{options.endpoints:,} endpoints, {rows:,} sums, as {DELIVERIES:,} deliveries make in 48 hours\n\n"
    )
    sys.stdout.write(f"| question | median ms | worst of {_REPETITIONS} |\n|---|---:|---:|\n")
    settings = load(database_url=url, secret_keys=["k" * 32], redis_url="redis://127.0.0.1:1")
    async with open_context(settings) as context:
        for name, ask in _questions(context).items():
            times = [await _timed(ask) for _ in range(_REPETITIONS + 1)][1:]
            sys.stdout.write(f"| {name} | {statistics.median(times):.1f} | {max(times):.1f} |\n")


def _questions(context: Context) -> dict[str, Callable[[], Awaitable[object]]]:
    now = SystemClock().now()

    def chart(hours: float, bucket: Bucket, **chosen: object) -> Callable[[], Awaitable[object]]:
        query = StatisticsQuery(since=now - timedelta(hours=hours), bucket=bucket, **chosen)  # type: ignore[arg-type]
        return lambda: get_statistics(context, query)

    worst = {"by": By.ENDPOINT, "order": "-failed_attempts"}
    return {
        "24 hours by five minutes": chart(24, Bucket.FIVE_MINUTES),
        "24 hours by minute": chart(24, Bucket.MINUTE),
        "24 hours by five minutes, by outcome": chart(24, Bucket.FIVE_MINUTES, by=By.OUTCOME),
        "1 hour by minute, the five worst endpoints": chart(1, Bucket.MINUTE, limit=5, **worst),
        "24 hours by hour, the twenty worst endpoints": chart(24, Bucket.HOUR, **worst),
        "24 hours by five minutes, the five worst endpoints": chart(24, Bucket.FIVE_MINUTES, limit=5, **worst),
        "30 days by day, the twenty slowest endpoints": chart(720, Bucket.DAY, by=By.ENDPOINT, order="-duration"),
        "30 days by day, by organization": chart(720, Bucket.DAY, by=By.ORGANIZATION),
        "the overview": lambda: get_overview(context),
    }


async def _timed(ask: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await ask()
    return (time.perf_counter() - started) * 1_000


async def _fill(url: str, options: _Options) -> int:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    last = minute_of(SystemClock().now())
    await connection.execute(_ENDPOINTS.format(endpoints=options.endpoints, organizations=options.organizations))
    for span, kept in _KEPT.items():
        each = max(4, DELIVERIES * span // (2_880 * options.endpoints))
        for scope, initial, subjects, kinds in (
            ("endpoint", "e", options.endpoints, _BY_BOTH),
            ("organization", "o", options.organizations, _TWICE),
        ):
            values = {"scope": scope, "initial": initial, "subjects": subjects, "kinds": kinds, "each": each}
            await connection.execute(_SUMS.format(span=span, first=last - kept, last=last, **values))
    await connection.execute(_EVERYTHING)
    await connection.execute(_WAITING.format(counted=_COUNTED, last=last, endpoints=options.endpoints))
    await connection.execute("ANALYZE")
    rows: int = await connection.fetchval("SELECT count(*) FROM statistics")
    await connection.close()
    return rows


if __name__ == "__main__":
    sys.exit(main())
