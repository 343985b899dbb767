"""A backlog of retries that wait for their time: what a worker that has nothing to do pays for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from bench.measurement.accounting import ProcessTable
from bench.measurement.snapshots import Usage
from bench.scale.options import ScaleOptions
from bench.scale.rows import WAITING, Seed
from bench.scale.seeding import find_endpoints, seed
from bench.scale.site import Site, open_site
from bench.scale.summary import idleness
from sendoff.clock import SystemClock

_SETTLING_SECONDS = 10.0  # until what a worker does once at its start is behind it


async def measure_waiting(options: ScaleOptions, directory: Path) -> str:
    """Idleness without and with the retries."""
    async with open_site(directory, "waiting", idle_seconds=options.idle_seconds) as site:
        endpoints = await find_endpoints(site.database)
        without = await _idle(site)
        started = await _start_cost(site)
        now = SystemClock().now()
        rows = Seed(
            options.waiting,
            endpoint_of=lambda number: endpoints[number % len(endpoints)],
            state_of=lambda _number: WAITING,
            since=now - timedelta(minutes=50),
            until=now,
        )
        await seed(site.database, rows)
        started_with = await _start_cost(site)
        waiting = await _idle(site)
    table = idleness([("nothing waits", without), (f"{options.waiting:,} retries wait", waiting)])
    first = f"The first {_SETTLING_SECONDS:.0f} s of a worker's life"
    return f"{table}\n\n{first} cost {started}; with the retries {started_with}."


async def _idle(site: Site) -> Usage:
    if not site.servers.worker_pids:
        await _start_cost(site)
    result = await site.bench().idle()
    site.servers.stop_workers()
    return result.usage


async def _start_cost(site: Site) -> str:
    """CPU time of the worker and of the database."""
    site.servers.stop_workers()
    database = ProcessTable().cpu_seconds(site.database.pids)
    site.servers.start_workers(1)
    await asyncio.sleep(_SETTLING_SECONDS)
    table = ProcessTable()
    worker = table.cpu_seconds(site.servers.worker_pids)
    return f"{worker:.2f} s of its CPU and {table.cpu_seconds(site.database.pids) - database:.2f} s of PostgreSQL's"
