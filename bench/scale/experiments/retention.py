"""Deliveries past their retention: how fast a worker removes them, which bounds what can be accepted for long."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from bench.measurement.calibration import REFERENCE_MS
from bench.measurement.snapshots import PARTS
from bench.scale.options import ScaleOptions
from bench.scale.rows import DELIVERED, Seed
from bench.scale.seeding import find_endpoints, seed
from bench.scale.site import open_site
from bench.table import number
from sendoff.clock import SystemClock
from tests.support.polling import eventually

_PATIENCE_SECONDS = 300.0


async def measure_retention(options: ScaleOptions, directory: Path) -> str:
    """All that is there is too old, and the worker has nothing else to do."""
    async with open_site(directory, "retention") as site:
        endpoints = await find_endpoints(site.database)
        old = SystemClock().now() - timedelta(days=60)
        rows = Seed(
            options.expired,
            endpoint_of=lambda number: endpoints[number % len(endpoints)],
            state_of=lambda _number: DELIVERED,
            since=old - timedelta(days=1),
            until=old,
            payload=1024,
        )
        await seed(site.database, rows)

        async def all_removed() -> bool:
            return await site.database.count_delivered() == 0

        site.servers.start_workers(1)
        before = await site.meter.read()
        await eventually(all_removed, within=_PATIENCE_SECONDS, what="all removed")
        usage = await site.meter.since(before)
    speed = REFERENCE_MS / usage.calibration_ms
    used = ", ".join(f"{part} {number(usage.cpu[part] * speed / options.expired * 1e6)}" for part in PARTS)
    return (
        f"{options.expired:,} deliveries with their events and attempts were removed in {usage.seconds:.0f} s, "
        f"{number(options.expired / usage.seconds)} a second. CPU µs each, normalized: {used}. "
        f"CPU used elsewhere: {number(usage.elsewhere / usage.seconds)} cores."
    )
